"""From data to a model that predicts, saves and loads: whole searches, small and real."""

from __future__ import annotations

import csv
import itertools
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from fixtures.fitting import fit_with
from PIL import Image
from typer.testing import CliRunner

import autotransfer
from autotransfer.candidate import Candidate
from autotransfer.cli.main import app
from autotransfer.errors import SearchError
from autotransfer.run.result import FitResult
from autotransfer.search.budget import TimeBudget
from autotransfer.settings import Compute, RunOptions, SearchOptions

Fit = Callable[..., FitResult]
Digits = tuple[np.ndarray, np.ndarray]

HEADS = ("knn", "linear", "logistic", "mlp", "ncm", "ridge")
POLICIES = ("depth", "full", "gradual", "lp_ft", "norm_only")


@pytest.fixture
def fit(tiny_zoo: Path, tmp_path: Path) -> Fit:
    """``fit`` on the smaller backbone of the tiny zoo, into a folder of the test's own."""

    def fit(*data: Any, **settings: Any) -> FitResult:
        ours = {"zoo": tiny_zoo, "out": tmp_path / "run", "cache_dir": tmp_path / "cache", "progress": False}
        return fit_with(*data, **{**ours, "backbones": "test_resnet", "trials": 2, "epochs": 2, **settings})

    return fit


@pytest.fixture(scope="module")
def result(tiny_zoo: Path, digit_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> FitResult:
    """One search over everything, on folders, with a corrupt image and a stray one among the training images."""
    place = tmp_path_factory.mktemp("fit")
    train = shutil.copytree(digit_folder / "train", place / "train")
    (train / "one" / "broken.png").write_bytes(b"no image")
    shutil.copy(next((train / "one").glob("*.png")), train / "stray.png")
    return autotransfer.fit(
        train,
        test=digit_folder / "test",
        zoo=tiny_zoo,
        out=place / "run",
        compute=Compute(cache_dir=place / "cache"),
        run=RunOptions(progress=False),
        trials=11,
        search=SearchOptions(epochs=3),
    )


def _rows(run: Path) -> list[dict[str, str]]:
    with (run / "trials.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# --- what a search returns and leaves behind -----------------------------------------------------------------------


def test_digits_are_told_apart(result: FitResult) -> None:
    assert result.test is not None
    assert (result.validation.metric, result.test.metric) == ("accuracy", "accuracy")
    for score in (result.validation, result.test):
        assert score.score > 0.8
        assert score.accuracy == score.score
        low, high = score.ci95
        assert low <= score.score <= high
        assert low < high
    assert result.test.examples == 30


def test_the_budget_of_trials_is_kept_exactly(result: FitResult) -> None:
    assert len(result.trials) == 11
    assert sum(result.trials.counts().values()) == 11
    assert [record.reason for record in result.trials if record.state == "failed"] == []


def test_the_winner_is_the_one_of_the_finals_of_the_best_trials(result: FitResult) -> None:
    best = result.trials.best
    assert best is not None
    assert result.leaderboard()[0]["number"] == best.number
    assert result.selection.finals is not None
    assert result.selection.finals.rows[0].candidate == best.candidate
    assert result.best == result.selection.finals.winner.candidate == result.model.members[0].candidate


def test_every_image_is_decoded_once_and_the_others_are_listed(result: FitResult) -> None:
    assert result.data.decoded == 90
    reasons = {Path(entry.name).name: entry.reason for entry in result.data.skipped}
    assert set(reasons) == {"broken.png", "stray.png"}
    assert reasons["broken.png"] == "no image that Pillow can read"
    assert "belongs to no class" in reasons["stray.png"]


def test_seconds_add_up(result: FitResult) -> None:
    parts = {name: result.seconds[name] for name in ("decode", "search", "finals", "refit", "test", "analysis")}
    assert min(parts.values()) >= 0
    assert sum(parts.values()) == pytest.approx(result.seconds["total"], abs=1.0)


def test_the_run_folder_holds_the_result(result: FitResult) -> None:
    saved = json.loads((result.run / "result.json").read_text())
    assert saved == json.loads(json.dumps(result.to_json()))
    assert Candidate.from_json(saved["best"]) == result.best
    assert saved["trials"] == result.trials.counts()
    assert saved["run"] == str(result.run)
    assert {Path(entry["name"]).name for entry in saved["skipped"]} == {"broken.png", "stray.png"}


def test_the_run_folder_holds_every_trial(result: FitResult) -> None:
    rows = _rows(result.run)
    columns = list(rows[0])
    assert columns[:7] == ["number", "state", "score", "backbone", "head", "freeze", "depth"]
    assert columns[-5:] == ["objective", "best_epoch", "epochs", "seconds", "reason"]
    for row, record in zip(rows, result.trials, strict=True):
        expected = record.to_row()
        assert {name: value for name, value in row.items() if value} == {
            name: str(value) for name, value in expected.items() if value not in (None, "")
        }


def test_the_run_folder_says_what_was_asked_for(result: FitResult) -> None:
    asked = json.loads((result.run / "run.json").read_text())
    assert asked["autotransfer"] == autotransfer.__version__
    assert asked["task"]["classes"] == ["one", "two", "zero"]
    assert (asked["call"]["settings"]["seed"], asked["call"]["settings"]["trials"]) == (0, 11)


def test_nothing_in_the_run_folder_can_run_code(result: FitResult) -> None:
    files = [path for path in result.run.rglob("*") if path.is_file()]
    assert {"model.json", "model.safetensors"} <= {path.name for path in files}
    for path in files:
        assert path.suffix in {".json", ".journal", ".csv", ".md", ".svg", ".html", ".safetensors"}
        assert path.read_bytes()[:2] not in (b"\x80\x02", b"\x80\x04", b"\x80\x05", b"PK")  # pickles, and zips of them
    assert "<script" not in result.report.read_text(encoding="utf-8")


def test_the_result_explains_itself(result: FitResult) -> None:
    text = str(result)
    assert str(result.best) in text
    assert f"{result.trials.counts()['complete']} complete" in text
    title, *rows = str(result.leaderboard()).splitlines()
    assert {"number", "state", "score", "backbone", "head", "freeze", "depth", "epochs", "seconds"} <= set(
        title.split()
    )
    assert len(rows) == len(result.leaderboard())


def test_what_a_notebook_shows_is_one_line(result: FitResult) -> None:
    assert result.test is not None
    shown = repr(result)
    assert shown.startswith(f"<FitResult: {result.best}, validation accuracy {result.validation.score:.4f}, test ")
    assert f"{len(result.trials)} trials" in shown
    assert shown.endswith(f", run {str(result.run)!r}>")
    assert len(shown) < 400
    assert len(repr(result.model)) < 200


def test_every_run_has_a_picture_of_its_trials(result: FitResult) -> None:
    root = ElementTree.parse(result.run / "trials.svg").getroot()
    shown = [element.text or "" for element in root.iter()]
    sources = [text for text in shown if text.startswith("screening of the backbones")]
    assert len(sources) == 1
    marks = [element for element in root.iter() if "fill-opacity" in element.get("style", "")]
    of_legend = len({record.source for record in result.trials if record.score is not None})
    assert len(marks) == sum(record.score is not None for record in result.trials) + of_legend
    assert "accuracy" in shown
    assert result.test is not None
    assert f"the model, on test {result.test.score:.3f}" in shown


def test_every_run_has_a_page_that_is_made_again(result: FitResult) -> None:
    first = result.report.read_text(encoding="utf-8")
    assert result.report == result.run / "report.html"
    outcome = CliRunner().invoke(app, ["report", str(result.run)])
    assert (outcome.exit_code, outcome.stdout.strip()) == (0, str(result.report))
    assert result.report.read_text(encoding="utf-8") == first
    assert "broken.png" in first.replace("<wbr>", "")
    assert f"autotransfer predict {result.run} DATA" in first
    assert len(first) < 400_000


def test_a_notebook_shows_the_top_of_the_page(result: FitResult) -> None:
    html = result._repr_html_()
    assert str(result.report) in html
    assert f"{result.validation.score:.3f}" in html
    assert "<svg" not in html


def test_the_result_says_how_far_it_is_to_be_believed(result: FitResult) -> None:
    analysis, counts = result.analysis, result.trials.counts()
    bias = analysis.selection_bias
    assert bias is not None
    assert bias.unbiased_estimate == pytest.approx(result.validation.score - bias.bias)
    assert bias.tried == counts["complete"] + counts["paused"]
    assert analysis.transfer_gain is not None
    assert analysis.transfer_gain.from_scratch is not None
    assert analysis.transfer_gain.epochs == 3
    # Which of the two backbones is the better one is a matter of the last bits.
    assert {row.backbone for row in analysis.backbones} == {"test_resnet", "test_vit"}
    assert analysis.backbones[0].objective == max(row.objective for row in analysis.backbones)
    assert sum((analysis.importance or {"backbone": 1.0}).values()) == pytest.approx(1.0)
    assert {row.trial for row in analysis.depths} <= {record.number for record in result.trials}
    complete = [record.objective for record in result.trials if record.state == "complete"]
    assert max(row.objective for row in analysis.depths) >= max(value for value in complete if value is not None)
    saved = json.loads((result.run / "result.json").read_text())
    assert saved["transfer_gain"]["gain"] == analysis.transfer_gain.gain


@pytest.mark.slow
def test_random_weights_are_not_trained_where_nobody_asks(fit: Fit, digits: Digits) -> None:
    result = fit(digits[0][:40], digits[1][:40], heads="ridge", compare_scratch=False)
    assert result.analysis.transfer_gain is None
    assert "transfer gain" not in str(result)
    assert result.to_json()["transfer_gain"] is None
    assert [row.negative_transfer for row in result.analysis.backbones] == [None]


def test_the_loaded_model_predicts_the_same(result: FitResult, digit_folder: Path) -> None:
    loaded = autotransfer.load(result.run)
    folder = digit_folder / "test"
    np.testing.assert_array_equal(loaded.predict_proba(folder), result.predict_proba(folder))
    assert loaded.predict(folder).tolist() == result.predict(folder).tolist()
    assert loaded.members[0].candidate == result.best


def test_predictions_are_those_that_were_scored(result: FitResult, digit_folder: Path) -> None:
    paths = sorted((digit_folder / "test").glob("*/*.png"))
    right = result.predict(paths) == np.array([path.parent.name for path in paths])
    assert result.test is not None
    assert right.mean() == pytest.approx(result.test.score)


def test_one_image_is_predicted_alike_in_any_form_and_company(result: FitResult, digit_folder: Path) -> None:
    path = sorted((digit_folder / "test").glob("*/*.png"))[3]
    alone = result.predict_proba([path])
    with Image.open(path) as image:
        np.testing.assert_allclose(result.predict_proba([image]), alone, atol=1e-4)
        np.testing.assert_allclose(result.predict_proba(np.asarray(image)[None]), alone, atol=1e-4)
    among = result.predict_proba(sorted((digit_folder / "test").glob("*/*.png")))[3]
    np.testing.assert_allclose(among, alone[0], atol=0.02)  # 16 bit where the machine has it


def test_a_model_is_saved_elsewhere(result: FitResult, tmp_path: Path, digit_folder: Path) -> None:
    folder = result.save(tmp_path / "elsewhere")
    again = autotransfer.load(folder)
    assert again.predict(digit_folder / "test").tolist() == result.predict(digit_folder / "test").tolist()


# --- forms of data and kinds of task -------------------------------------------------------------------------------


def _as_files(digits: Digits, folder: Path) -> list[str]:
    paths = []
    for number, image in enumerate(digits[0][:40]):
        paths.append(str(folder / f"{number}.png"))
        Image.fromarray(image).save(paths[-1])
    return paths


@pytest.mark.slow
@pytest.mark.parametrize("form", ["array", "tensor", "paths", "pil", "frame", "csv", "dataset"])
def test_data_of_any_form(fit: Fit, digits: Digits, tmp_path: Path, form: str) -> None:
    images, labels = digits[0][:40], digits[1][:40]
    tensor = torch.from_numpy(np.repeat(images[:, None], 3, axis=1))
    settings: dict[str, Any] = {}
    if form == "array":
        data: tuple[Any, ...] = (images, labels)
    elif form == "tensor":
        data = (tensor, labels)
    elif form == "paths":
        data = (_as_files(digits, tmp_path), labels.tolist())
    elif form == "pil":
        data = ([Image.fromarray(image) for image in images], labels.tolist())
    elif form == "dataset":
        data = (torch.utils.data.TensorDataset(tensor, torch.from_numpy(labels)),)
    else:
        pandas = pytest.importorskip("pandas")
        frame = pandas.DataFrame({"where": _as_files(digits, tmp_path), "digit": [f"d{label}" for label in labels]})
        frame.to_csv(tmp_path / "labels.csv", index=False)
        data = (frame,) if form == "frame" else (tmp_path / "labels.csv",)
        settings = {"path_column": "where", "target_column": "digit"}
    result = fit(*data, heads="ridge", trials=1, **settings)
    assert result.data.decoded == 40
    assert result.validation.score > 0.7
    assert len(result.model.task.classes) == 3
    first = result.predict([Image.fromarray(images[0])])[0]
    assert first == (f"d{labels[0]}" if settings else labels[0])


@pytest.mark.slow
def test_two_classes(fit: Fit, digits: Digits) -> None:
    images, labels = digits[0][digits[1] < 2][:40], digits[1][digits[1] < 2][:40]
    result = fit(images, labels, metric="roc_auc")
    assert (result.model.task.kind, result.validation.metric) == ("binary", "roc_auc")
    assert result.validation.score > 0.9
    assert result.predict_proba(images).shape == (40, 2)


@pytest.mark.slow
def test_several_labels(fit: Fit, digits: Digits) -> None:
    labels = [[name for name, holds in (("even", d % 2 == 0), ("round", d == 0)) if holds] for d in digits[1].tolist()]
    result = fit(digits[0][:90], labels[:90], test=digits[0][90:], test_targets=labels[90:], trials=3)
    assert (result.model.task.kind, result.validation.metric) == ("multilabel", "f1_macro")
    assert result.validation.score > 0.7
    assert result.validation.accuracy is None
    predicted = result.predict(digits[0][90:])
    assert set().union(*predicted) <= {"even", "round"}
    np.testing.assert_array_equal(autotransfer.load(result.run).predict(digits[0][90:]), predicted)


@pytest.mark.slow
@pytest.mark.parametrize("width", [1, 2])
def test_values(fit: Fit, digits: Digits, width: int) -> None:
    # How bright an image is, in units that are far from 0 and 1: outputs must come back in them.
    bright = 1000.0 + digits[0].mean((1, 2))
    values = bright if width == 1 else np.stack([bright, -bright], axis=1)
    result = fit(digits[0][:90], values[:90], trials=3)
    assert (result.model.task.kind, result.model.task.width, result.validation.metric) == ("regression", width, "r2")
    assert result.validation.score > 0.5
    predicted = result.predict(digits[0][90:])
    assert predicted.shape == values[90:].shape
    assert np.abs(predicted - values[90:]).mean() < np.abs(values[90:] - values[:90].mean(0)).mean()
    np.testing.assert_array_equal(autotransfer.load(result.run).predict(digits[0][90:]), predicted)


@pytest.mark.slow
@pytest.mark.parametrize("targets", [[0, 0, 1, 1], [0.5, 1.5, 2.5, 3.5], [["a"], ["b"], ["a", "b"], []]])
def test_four_images_are_enough(fit: Fit, digits: Digits, targets: list[Any]) -> None:
    result = fit(digits[0][:4], targets, trials=12)
    assert [record.reason for record in result.trials if record.state == "failed"] == []
    assert len(result.predict(digits[0][:4])) == 4


@pytest.mark.slow
def test_imbalanced_classes_are_scored_by_balanced_accuracy(fit: Fit, digits: Digits) -> None:
    rows = np.concatenate([np.flatnonzero(digits[1] == 0)[:30], np.flatnonzero(digits[1] == 1)[:8]])
    result = fit(digits[0][rows], digits[1][rows])
    assert result.validation.metric == "balanced_accuracy"
    assert result.validation.accuracy is not None
    assert fit(digits[0][rows], digits[1][rows], metric="f1", overwrite=True).validation.metric == "f1"


@pytest.mark.slow
@pytest.mark.parametrize(("head", "freeze"), [("logistic", "frozen"), ("ridge", "frozen")])
def test_class_weights_raise_the_rare_class(fit: Fit, digits: Digits, head: str, freeze: str) -> None:
    # Labels that nothing in the images tells: whoever is right most often names the frequent class.
    labels = np.where(np.random.default_rng(0).random(120) < 0.2, "rare", "frequent")

    def rare(class_weight: Any) -> float:
        settings = {"heads": head, "freeze": freeze, "trials": 1, "overwrite": True}
        return float(
            (fit(digits[0], labels, class_weight=class_weight, **settings).predict_proba(digits[0])[:, 1]).mean()
        )

    assert rare("balanced") > rare(None) + 0.1
    assert rare({"rare": 10.0, "frequent": 0.5}) > rare("balanced") + 0.05


# --- every head and every policy -----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("head", "freeze"),
    [
        *((head, "frozen") for head in HEADS),
        *(("linear", policy) for policy in POLICIES),
        ("mlp", "full"),
        ("mlp", "depth"),
    ],
)
def test_every_head_and_every_policy_can_win_and_comes_back(
    fit: Fit, digits: Digits, tiny_zoo: Path, head: str, freeze: str
) -> None:
    result = fit(digits[0][:60], digits[1][:60], heads=[head], freeze=[freeze])
    assert (result.best.head, result.best.freeze) == (head, freeze)
    assert not {record.state for record in result.trials} - {"complete"}
    assert {row["freeze"] for row in result.leaderboard()} == {freeze}
    loaded = autotransfer.load(result.run)
    np.testing.assert_array_equal(loaded.predict_proba(digits[0]), result.predict_proba(digits[0]))
    from safetensors.torch import load_file

    pretrained = load_file(tiny_zoo / result.best.backbone / "model.safetensors")
    ours = {name.removeprefix("model."): t for name, t in loaded.members[0].network.backbone.state_dict().items()}
    changed = [name for name, tensor in pretrained.items() if not torch.equal(ours[name].cpu(), tensor)]
    if freeze not in ("gradual", "lp_ft"):  # they train the head first, and its epoch alone may be the best
        assert bool(changed) == (freeze != "frozen")


# --- budgets and repeats -------------------------------------------------------------------------------------------


def test_a_time_budget_is_kept(fit: Fit, digits: Digits, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = itertools.count()
    # A clock that goes on by a twentieth of a second whenever it is looked at, however busy the machine is.
    monkeypatch.setattr("autotransfer.api.TimeBudget", partial(TimeBudget, clock=lambda: next(looks) / 20))
    result = fit(digits[0][:90], digits[1][:90], time_budget="5s", trials=None)
    assert result.seconds["decode"] + result.seconds["search"] < 5.5
    assert result.seconds["total"] < 7  # what follows looks at it, too
    assert len(result.trials) > 1


@pytest.mark.slow
def test_a_tiny_time_budget_still_gives_a_model(fit: Fit, digits: Digits) -> None:
    result = fit(digits[0][:60], digits[1][:60], time_budget=0.01, trials=None)
    assert result.trials.best is not None
    assert len(result.predict(digits[0][60:])) == 60


def _without_seconds(result: FitResult) -> list[dict[str, Any]]:
    clocks = ("seconds", "latency_ms")
    return [{name: value for name, value in record.to_row().items() if name not in clocks} for record in result.trials]


@pytest.mark.slow
def test_equal_seeds_and_trials_give_equal_results(fit: Fit, digits: Digits, tmp_path: Path) -> None:
    def once(name: str, **cache: Any) -> FitResult:
        return fit(digits[0][:60], digits[1][:60], out=tmp_path / name, trials=10, **cache)

    one = once("one", cache_dir=tmp_path / "fresh")
    for other in (once("other", cache=False), once("warm", cache_dir=tmp_path / "fresh")):
        assert _without_seconds(other) == _without_seconds(one)
        np.testing.assert_array_equal(other.predict_proba(digits[0]), one.predict_proba(digits[0]))


@pytest.mark.slow
def test_test_images_that_cannot_be_read_do_not_cost_the_search(
    fit: Fit, digits: Digits, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    for file in files:
        file.write_bytes(b"no image")
    settings: dict[str, Any] = {"heads": "ridge", "trials": 1, "progress": True}
    result = fit(digits[0][:40], digits[1][:40], test=files, test_targets=[0, 1], **settings)
    assert result.test is None
    assert (result.run / "result.json").is_file()
    assert "The test examples are not scored: None of the 2 images can be decoded" in capsys.readouterr().err
    Image.fromarray(digits[0][40]).save(files[0])
    settings |= {"overwrite": True}
    result = fit(digits[0][:40], digits[1][:40], test=files, test_targets=[digits[1][40], 1], **settings)
    assert result.test is not None
    assert result.test.examples == 1
    assert "1 of 2 test images cannot be read and are not scored" in capsys.readouterr().err


def test_a_time_budget_that_no_trial_fits_into_is_said(fit: Fit, digits: Digits) -> None:
    with pytest.raises(SearchError, match=r"too small for any|the time ran out before the first epoch"):
        fit(digits[0][:40], digits[1][:40], heads="linear", freeze="full", time_budget=0.01, trials=None)


@pytest.mark.slow
def test_the_run_folder_has_a_name_of_its_own(
    fit: Fit, digits: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    runs = [fit(digits[0][:40], digits[1][:40], out=None, heads="ridge", trials=1).run for _ in range(2)]
    assert len(set(runs)) == 2
    assert all((Path("runs") / run.name / "result.json").is_file() for run in runs)


@pytest.mark.slow
def test_overwriting_leaves_nothing_of_the_old_run(fit: Fit, digits: Digits, tmp_path: Path) -> None:
    fit(digits[0][:40], digits[1][:40], heads="knn", trials=2)
    (tmp_path / "run" / "notes.txt").write_text("mine")
    result = fit(digits[0][:60], digits[1][:60], heads="ridge", trials=1, overwrite=True)
    assert len(_rows(result.run)) == 1
    assert autotransfer.load(result.run).members[0].candidate.head == "ridge"
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"  # what is not ours stays


@pytest.mark.slow
def test_a_pattern_narrows_the_search(fit: Fit, digits: Digits) -> None:
    result = fit(digits[0][:40], digits[1][:40], backbones="*vit", heads=["r*", "linear"], freeze="frozen", trials=4)
    assert {row["backbone"] for row in result.leaderboard()} == {"test_vit"}
    assert {row["head"] for row in result.leaderboard()} <= {"ridge", "linear"}


# --- input sizes ----------------------------------------------------------------------------------------------------


@pytest.fixture
def photo_zoo(tiny_zoo: Path, tmp_path: Path) -> Path:
    """A zoo of one convolutional backbone for images of 160 pixels."""
    folder = tmp_path / "zoo" / "photo_net"
    shutil.copytree(tiny_zoo / "test_resnet", folder)
    config = json.loads((folder / "config.json").read_text())
    config["pretrained_cfg"]["input_size"] = [3, 160, 160]
    (folder / "config.json").write_text(json.dumps(config))
    return folder.parent


@pytest.mark.slow
@pytest.mark.parametrize(("side", "sizes"), [(40, ["@96px", ""]), (200, ["", "@96px"])])
def test_small_images_are_tried_at_a_small_resolution_first(
    fit: Fit, photo_zoo: Path, digits: Digits, side: int, sizes: list[str]
) -> None:
    images = [Image.fromarray(image).resize((side, side)) for image in digits[0][:40]]
    result = fit(images, digits[1][:40], zoo=photo_zoo, backbones=(), heads=("ridge", "knn"), freeze="frozen", trials=3)
    tried = [record.candidate.backbone for record in result.trials if record.candidate is not None]
    assert tried[0] == f"photo_net{sizes[0]}"
    assert set(tried) == {f"photo_net{size}" for size in sizes}


@pytest.mark.slow
def test_a_winner_in_small_is_saved_and_loaded_in_small(
    fit: Fit, photo_zoo: Path, digits: Digits, tmp_path: Path
) -> None:
    images, labels = list(digits[0][:40]), digits[1][:40]
    result = fit(images, labels, zoo=photo_zoo, backbones="photo_net@96px", freeze="depth", trials=1)
    assert result.best.backbone == "photo_net@96px"
    result.model.save(tmp_path / "saved")
    loaded = autotransfer.load(tmp_path / "saved")
    assert loaded.members[0].network.backbone.preprocessing.size == (96, 96)
    np.testing.assert_allclose(loaded.predict_proba(images), result.model.predict_proba(images), atol=1e-5)


@pytest.mark.slow
def test_a_backbone_that_is_named_is_searched_at_its_own_size(fit: Fit, photo_zoo: Path, digits: Digits) -> None:
    images, labels = list(digits[0][:40]), digits[1][:40]
    result = fit(images, labels, zoo=photo_zoo, backbones="photo_net", freeze="frozen", trials=6)
    assert {r.candidate.backbone for r in result.trials if r.candidate is not None} == {"photo_net"}


# --- a split of the user's own -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_candidates_are_scored_on_the_given_validation_data(fit: Fit, digits: Digits) -> None:
    images, labels = digits
    result = fit(images[:60], labels[:60], validation=images[60:90], validation_targets=labels[60:90], trials=3)
    assert result.validation.examples == 30
    assert result.data.grouping is None
    best = result.trials.best
    assert best is not None
    assert best.predictions is not None
    assert np.isnan(best.predictions[:60]).all()
    classes = np.array(result.model.task.classes)
    assert best.score == np.mean(classes[best.predictions[60:].argmax(1)] == labels[60:90])


@pytest.mark.slow
def test_a_folder_to_validate_on_and_going_on_with_it(fit: Fit, digit_folder: Path, tmp_path: Path) -> None:
    first = fit(digit_folder / "train", validation=digit_folder / "test", heads="knn", freeze="frozen", trials=2)
    count = len(list((digit_folder / "test").rglob("*.png")))
    assert first.validation.examples == count
    assert "validation_overlaps_training" not in {warning.code for warning in first.warnings}
    again = autotransfer.resume(first.run, trials=3, progress=False)
    assert again.validation.examples == count
    assert [trial.score for trial in again.trials][:2] == [trial.score for trial in first.trials]
