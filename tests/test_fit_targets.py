"""What targets mean and how they are scored, in whole searches."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fixtures.fitting import fit_with
from PIL import Image
from safetensors.numpy import load_file
from sklearn.metrics import cohen_kappa_score, f1_score, make_scorer, r2_score, recall_score

import autotransfer
from autotransfer.errors import ConfigError, DataError, RunFormatError
from autotransfer.run.result import FitResult

Fit = Callable[..., FitResult]
Digits = tuple[np.ndarray, np.ndarray]


@pytest.fixture
def fit(tiny_zoo: Path, tmp_path: Path) -> Fit:
    """One trial on the smaller backbone of the tiny zoo, frozen, into a folder of the test's own."""

    def fit(*data: Any, **settings: Any) -> FitResult:
        ours = {"zoo": tiny_zoo, "out": tmp_path / "run", "cache_dir": tmp_path / "cache", "progress": False}
        ours |= {"backbones": "test_resnet", "freeze": "frozen", "trials": 1, "compare_scratch": False, "views": 1}
        return fit_with(*data, **{**ours, **settings})

    return fit


@pytest.fixture
def files(digits: Digits, tmp_path: Path) -> list[str]:
    """The digits as files of one folder, as a table lists them: ``img/NNN.png``."""
    (tmp_path / "img").mkdir()
    for number, image in enumerate(digits[0]):
        Image.fromarray(image).save(tmp_path / "img" / f"{number:03d}.png")
    return [f"img/{number:03d}.png" for number in range(len(digits[0]))]


def table(folder: Path, files: list[str], name: str = "table.csv", **columns: Any) -> Path:
    """Write a table with semicolons between its columns."""
    lines = [";".join(["path", *columns])]
    rows = zip(files, *columns.values(), strict=True)
    lines += [";".join(map(str, row)) for row in rows]
    (folder / name).write_text("\n".join(lines))
    return folder / name


def codes(result: FitResult) -> list[str]:
    return [warning.code for warning in result.warnings]


def said(result: FitResult, code: str) -> str:
    return " ".join(warning.message for warning in result.warnings if warning.code == code)


@pytest.mark.slow
@pytest.mark.parametrize(("offset", "unit"), [(1.7e9, 1.0), (0.0, 1e40), (0.0, 1e-40)])
def test_values_of_any_size_and_offset_have_their_true_score(
    fit: Fit, digits: Digits, tmp_path: Path, offset: float, unit: float
) -> None:
    images, _ = digits
    rng = np.random.default_rng(0)
    ink = images.mean(axis=(1, 2)) / 10 + rng.normal(0, 1, len(images))
    settings = {"heads": "ridge", "task": "regression"}
    plain = fit(images[:90], ink[:90], test=images[90:], test_targets=ink[90:], **settings, out=tmp_path / "plain")
    values = offset + unit * ink
    result = fit(images[:90], values[:90], test=images[90:], test_targets=values[90:], **settings)
    assert plain.test is not None
    assert result.test is not None
    assert plain.test.score < 0.95, "a perfect score would hide what rounding does"
    assert result.test.score == pytest.approx(plain.test.score, abs=1e-3)
    assert result.validation.score == pytest.approx(plain.validation.score, abs=1e-3)
    model = autotransfer.load(tmp_path / "run", device="cpu")
    predicted = model.predict(images[90:])
    assert predicted.dtype == np.float64
    assert r2_score(values[90:], predicted) == pytest.approx(plain.test.score, abs=1e-3)
    np.testing.assert_array_equal(predicted, result.predict(images[90:]))
    assert load_file(tmp_path / "run" / "model" / "model.safetensors")["members.0.scale"].dtype == np.float64


@pytest.mark.slow
def test_values_of_a_tensor_keep_their_precision(fit: Fit, digits: Digits) -> None:
    import torch

    ink = 1.7e9 + digits[0].mean(axis=(1, 2)) / 10
    result = fit(digits[0], torch.from_numpy(ink), heads="ridge")
    assert len(set(result.data.train.targets or ())) == len(set(ink.tolist())), "none was rounded into another"


@pytest.mark.slow
def test_ensemble_of_values_far_from_zero_predicts_them(fit: Fit, digits: Digits) -> None:
    images = digits[0]
    ink = 1.7e9 + images.mean(axis=(1, 2)) / 10 + np.random.default_rng(0).normal(0, 1, len(images))
    result = fit(images, ink, heads=("ridge", "knn"), trials=4, backbones=())
    assert 0.1 < result.validation.score < 0.95
    assert r2_score(ink, result.predict(images)) > result.validation.score - 0.1


def test_targets_that_are_all_equal_are_refused(fit: Fit, digits: Digits) -> None:
    with pytest.raises(DataError, match=r"All targets are 3\.5: a regression needs at least two different values"):
        fit(digits[0], [3.5] * len(digits[0]))
    pair = pd.DataFrame({"width": digits[1] + 0.5, "depth": [2.0] * len(digits[1])})
    with pytest.raises(DataError, match=r"All targets of the column 'depth' are 2\.0"):
        fit(digits[0], pair)


@pytest.mark.slow
def test_the_rarer_class_is_the_positive_one_and_is_named(fit: Fit, digits: Digits, tmp_path: Path) -> None:
    images, labels = digits
    names = np.where(labels == 0, "defect", "ok")
    settings = {"heads": "ncm", "metric": "recall", "test": images[90:], "test_targets": names[90:]}
    result = fit(images[:90], names[:90], **settings)
    predicted = result.predict(images[90:])
    assert result.test is not None
    assert result.test.score == pytest.approx(recall_score(names[90:], predicted, pos_label="defect"))
    assert "recall of 'defect'" in str(result)
    assert "recall of 'defect', the rarer class" in said(result, "positive_class")
    assert "--positive-class 'ok'" in said(result, "positive_class")
    stored = json.loads((tmp_path / "run" / "result.json").read_text())
    assert stored["test"]["positive_class"] == stored["validation"]["positive_class"] == "defect"
    assert autotransfer.load(tmp_path / "run", device="cpu").task.positive_class == "defect"

    other = fit(images[:90], names[:90], **settings, positive_class="ok", overwrite=True)
    assert other.test is not None
    assert other.test.score == pytest.approx(recall_score(names[90:], other.predict(images[90:]), pos_label="ok"))
    assert "positive_class" not in codes(other), "the user has said it"


@pytest.mark.slow
def test_a_positive_class_survives_resume(fit: Fit, digit_folder: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(digit_folder / "train", tmp_path / "train")
    shutil.rmtree(tmp_path / "train" / "two")
    first = fit(tmp_path / "train", metric="precision", positive_class="zero", heads="ncm")
    again = autotransfer.resume(tmp_path / "run", trials=2, progress=False)
    assert first.validation.positive_class == again.validation.positive_class == "zero"


@pytest.mark.slow
def test_a_test_set_that_lacks_a_class_is_scored_and_it_is_said(fit: Fit, digits: Digits) -> None:
    images, labels = digits
    names = np.array(["zero", "one", "two"])[labels]
    some = names != "two"
    result = fit(images, names, test=images[some], test_targets=names[some], heads="ncm", metric="neg_log_loss")
    assert result.test is not None
    assert np.isfinite(result.test.score)
    assert "test examples lack 1 of 3 classes ('two')" in said(result, "missing_classes")


@pytest.mark.slow
def test_validation_examples_that_lack_a_class_are_scored(fit: Fit, digits: Digits) -> None:
    images, labels = digits
    some = labels[60:] != 2
    held = {"validation": images[60:][some], "validation_targets": labels[60:][some]}
    result = fit(images[:60], labels[:60], **held, heads="linear", metric="neg_log_loss", epochs=1)
    assert np.isfinite(result.validation.score)
    assert "validation examples lack 1 of 3 classes (2)" in said(result, "missing_classes")


@pytest.mark.parametrize("part", ["test", "validation"])
@pytest.mark.parametrize("metric", ["roc_auc", "recall"])
def test_undefined_metric_is_refused_before_the_search(
    fit: Fit, digits: Digits, tmp_path: Path, part: str, metric: str
) -> None:
    images, labels = digits
    names = np.where(labels == 0, "defect", "ok")
    some = names == "ok"
    with pytest.raises(DataError, match=rf"{metric}.* is not defined on the {part} examples: they lack 'defect'"):
        fit(images, names, metric=metric, **{part: images[some], f"{part}_targets": names[some]})
    assert not (tmp_path / "run").exists()


def _share_right(estimator: Any, images: Any, targets: Any) -> float:
    return float((estimator.predict(images) == targets).mean())


@pytest.mark.slow
def test_a_scorer_of_the_users_own_chooses(fit: Fit, digits: Digits, tmp_path: Path) -> None:
    images, labels = digits
    names = np.array(["zero", "one", "two"])[labels]
    kappa = make_scorer(cohen_kappa_score, weights="quadratic")
    result = fit(images, names, metric=kappa, heads="ncm", test=images, test_targets=names)
    assert result.test is not None
    assert result.test.metric == "cohen_kappa_score(weights='quadratic')"
    assert result.test.score == pytest.approx(cohen_kappa_score(names, result.predict(images), weights="quadratic"))
    with pytest.raises(RunFormatError, match="data, or a metric, that no file holds"):
        autotransfer.resume(tmp_path / "run", progress=False)
    model = autotransfer.load(tmp_path / "run", device="cpu")
    with pytest.raises(ConfigError, match="was given as an object"):
        model.task.score(np.zeros(2, dtype=np.int64), np.eye(3)[:2])


@pytest.mark.slow
def test_a_callable_and_a_function_of_scikit_learn_choose(fit: Fit, digits: Digits, tmp_path: Path) -> None:
    images, labels = digits
    called = fit(images, labels, metric=_share_right, heads="ncm", test=images, test_targets=labels)
    assert called.test is not None
    assert (called.test.metric, called.test.score) == ("_share_right", called.test.accuracy)
    names = np.where(labels == 0, "a", "b")
    named = fit(images, names, metric=f1_score, heads="ncm", overwrite=True)
    assert named.validation.metric == "f1"
    assert named.validation.positive_class == "a"


@pytest.mark.slow
def test_a_lambda_reaches_worker_processes(fit: Fit, digits: Digits) -> None:
    # Pickle alone holds no lambda.
    metric = make_scorer(lambda truth, predicted: float((truth == predicted).mean()))
    result = fit(*digits, metric=metric, heads="ncm", workers=1)
    assert result.validation.score == result.validation.accuracy


@pytest.mark.slow
def test_columns_of_zeros_and_ones_name_the_classes(fit: Fit, digits: Digits, files: list[str], tmp_path: Path) -> None:
    labels = digits[1]
    columns = {"is_zero": (labels == 0).astype(int), "is_one": (labels == 1).astype(int), "big": (labels > 0) * 1}
    data = table(tmp_path, files, **columns)
    # The columns of the test set stand in another order, and say it in words.
    words = {name: np.where(columns[name], "yes", "no") for name in ("big", "is_zero", "is_one")}
    test = table(tmp_path, files, "test.csv", **words)
    result = fit(data, target_column=list(columns), test=test, heads="ridge")
    assert result.model.task.classes == ("is_zero", "is_one", "big")
    assert result.test is not None
    assert result.test.score > 0.8
    assert set(result.predict(digits[0][:1])[0]) <= set(columns)


@pytest.mark.slow
def test_data_frame_of_targets_names_classes_and_values(fit: Fit, digits: Digits) -> None:
    images, labels = digits
    several = pd.DataFrame({"round": labels == 0, "straight": labels == 1, "bent": labels == 2})
    result = fit(images, several, heads="ridge")
    assert result.model.task.classes == ("round", "straight", "bent")
    values = pd.DataFrame({"ink": images.mean(axis=(1, 2)) / 7, "top": images[:, :8].mean(axis=(1, 2)) / 7})
    pair = fit(
        images[:90],
        values[:90],
        test=images[90:],
        test_targets=values[90:][["top", "ink"]],
        heads="ridge",
        overwrite=True,
    )
    assert pair.model.task.target_names == ("ink", "top")
    assert pair.test is not None
    assert pair.test.score > 0.2, "columns are told by their names, not by their order"


@pytest.mark.slow
def test_whole_numbers_of_which_there_are_many_are_said(
    fit: Fit, digits: Digits, files: list[str], tmp_path: Path
) -> None:
    ages = 18 + np.arange(120) % 40
    result = fit(table(tmp_path, files, age=ages), heads="ncm")
    assert len(result.model.task.classes) == 40
    assert said(result, "target_format_assumed").startswith("40 classes from the column age, whole numbers")
    assert "--task regression reads them as numbers" in said(result, "target_format_assumed")
    values = fit(table(tmp_path, files, age=ages), heads="ridge", task="regression", overwrite=True)
    assert "target_format_assumed" not in codes(values)


@pytest.mark.slow
def test_decimal_commas_are_numbers_in_the_test_set_too(
    fit: Fit, digits: Digits, files: list[str], tmp_path: Path
) -> None:
    ink = digits[0].mean(axis=(1, 2))
    commas = [f"{value:.3f}".replace(".", ",") for value in ink]
    data = table(tmp_path, files[:90], ink=commas[:90])
    # Alone, "62,125" could be a number with a group of three digits.
    test = table(tmp_path, files[90:], "test.csv", ink=commas[90:])
    result = fit(data, test=test, heads="ridge")
    assert result.model.task.kind == "regression"
    assert "decimal commas" in said(result, "target_format_assumed")
    assert result.test is not None
    assert result.test.score > 0.5
    assert result.predict(digits[0]).max() < 200


@pytest.mark.slow
def test_labels_of_a_folder_and_of_a_table_are_the_same_labels(
    fit: Fit, digits: Digits, files: list[str], tmp_path: Path
) -> None:
    for image, label, name in zip(*digits, files, strict=True):
        place = tmp_path / "train" / str(label)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / Path(name).name)
    test = table(tmp_path, files, digit=digits[1])
    folder = fit(tmp_path / "train", test=test, heads="ncm")
    assert folder.model.task.classes == ("0", "1", "2")
    listed = fit(test, test=tmp_path / "train", heads="ncm", overwrite=True)
    assert listed.model.task.classes == (0, 1, 2)
    for result in (folder, listed):
        assert result.test is not None
        assert result.test.score > 0.8
    held = fit(tmp_path / "train", validation=test, heads="ncm", overwrite=True)
    assert held.model.task.classes == ("0", "1", "2")


@pytest.mark.slow
def test_texts_that_hold_several_labels_are_divided(fit: Fit, digits: Digits, files: list[str], tmp_path: Path) -> None:
    tags = ["round", "long|thin", "bent|long"]
    turned = ["round", "thin|long", "long|bent"]
    written = [(tags if i % 2 else turned)[label] for i, label in enumerate(digits[1])]
    data = table(tmp_path, files, tags=written)
    whole = fit(data, heads="ncm")
    assert len(whole.model.task.classes) == 5
    assert "--label-separator '|' reads them as several labels each" in said(whole, "target_format_assumed")
    divided = fit(data, heads="ridge", label_separator="|", overwrite=True)
    assert divided.model.task.kind == "multilabel"
    assert divided.model.task.classes == ("bent", "long", "round", "thin")
    assert "target_format_assumed" not in codes(divided)


def test_predictions_print_the_digits_that_tell_them_apart() -> None:
    from autotransfer.model.predictions import Prediction, to_csv
    from autotransfer.tasks.task import Task

    task = Task(kind="regression", metric="r2", width=2, target_names=("x", "y"))
    row = Prediction(path="a.png", prediction=[1700000052.25, 0.1234567])
    assert row.cells()[1] == "1700000052.25,0.123457"
    assert to_csv([row], task).splitlines() == ["path,prediction_x,prediction_y", "a.png,1700000052.25,0.1234567"]
