"""The model card of real fits: the hub's own class reads it, and names from data cannot break it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fixtures.fitting import fit_with
from huggingface_hub import ModelCard
from sklearn.metrics import precision_recall_fscore_support

from autotransfer.report.assemble import assemble
from autotransfer.report.card_usage import with_usage
from autotransfer.report.model_card import CardSources, model_card
from autotransfer.report.page import Table
from autotransfer.report.provenance import Provenance
from autotransfer.run.result import FitResult
from autotransfer.settings.settings import Budget
from autotransfer.tasks.score import Score
from autotransfer.warnings import FitWarning

pytestmark = pytest.mark.slow

NAMES = np.array(["a|b\n## Limits", "<img src=x onerror=alert(1)>", "---\nlicense: mit"])


@pytest.fixture(scope="module")
def result(
    tiny_zoo: Path, digits: tuple[np.ndarray, np.ndarray], tmp_path_factory: pytest.TempPathFactory
) -> FitResult:
    """A short search on digits whose classes have hostile names."""
    images, labels = digits
    place = tmp_path_factory.mktemp("card")
    return fit_with(
        images[:90], NAMES[labels[:90]], zoo=tiny_zoo, backbones="test_resnet", trials=3, epochs=1, progress=False,
        out=place / "run", cache_dir=place / "cache",
    )  # fmt: skip


@pytest.fixture(scope="module")
def text(result: FitResult) -> str:
    return (result.run / "model" / "README.md").read_text(encoding="utf-8")


def cells(section: str) -> list[list[str]]:
    """Return the rows of the table in a section, split at the bars that are not escaped."""
    rows = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


def section(text: str, title: str) -> str:
    return text.split(f"\n## {title}\n", 1)[1].split("\n## ")[0]


def test_the_hub_reads_the_header_of_a_fit(result: FitResult, text: str) -> None:
    data = ModelCard(text).data
    assert data.library_name == "autotransfer"
    assert data.pipeline_tag == "image-classification"
    assert data.license == "unknown"
    assert {"autotransfer", "multiclass", "image"} <= set(data.tags or [])
    assert data.eval_results is not None
    found = data.eval_results[0]
    assert (found.metric_type, found.metric_value) == ("accuracy", round(result.validation.score, 4))
    assert f"{result.validation.ci95[0]:.4f} to {result.validation.ci95[1]:.4f}" in str(found.metric_name)


def test_sections_are_those_of_the_card_alone(text: str) -> None:
    titles = re.findall(r"^## (.*)$", text, flags=re.MULTILINE)
    assert titles == [
        "Data", "Search", "Model", "Scores", "Scores by class", "Calibration", "Limits of use", "Licence",
        "How to predict",
    ]  # fmt: skip
    assert "<img" not in text.replace(r"\<img", "")


def test_the_table_by_class_holds_the_out_of_fold_scores(result: FitResult, text: str) -> None:
    titles, _, *rows = cells(section(text, "Scores by class"))
    assert titles == ["class", "precision", "recall", "F1", "examples"]
    held_out, predictions = result.selection.out_of_fold, result.selection.out_of_fold_predictions
    expected = np.array(precision_recall_fscore_support(held_out.targets, predictions.argmax(1), zero_division=0.0)).T
    assert np.allclose(np.array([row[1:] for row in rows], dtype=float), expected, atol=5e-5)
    names = [re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", row[0]).replace("\\x0a", "\n") for row in rows]
    assert names == list(result.model.task.classes)


def test_classes_count_by_weights_on_card_and_page(result: FitResult) -> None:
    held_out, decided = result.selection.out_of_fold, result.selection.decided_predictions
    weights = np.random.default_rng(0).uniform(0.1, 5.0, len(held_out.rows))
    weighted = replace(result, selection=replace(result.selection, out_of_fold=replace(held_out, weights=weights)))
    found = precision_recall_fscore_support(
        held_out.targets, decided.argmax(1), sample_weight=weights, zero_division=0.0
    )
    sources = CardSources(dataset="d", targets=np.zeros(3, dtype=int), backbones={}, budget=Budget(trials=1))
    text = section(model_card(weighted, sources), "Scores by class")
    on_card = np.array([row[1:4] for row in cells(text)[2:]], dtype=float)
    assert np.allclose(on_card, np.array(found[:3]).T, atol=5e-5)
    assert "by their weights" in text
    page = assemble(weighted, Provenance(command="c", fingerprint="f", examples=1, seed=0))
    tables = [block for block in page.sections[0].blocks if isinstance(block, Table)]
    f1 = {row[0]: row[-1] for row in tables[-1].rows}
    assert [f1[str(name)][0] for name in held_out.task.classes] == pytest.approx(found[2])  # type: ignore[index]


def test_the_data_are_counted_by_class(result: FitResult, text: str) -> None:
    counts = [int(count) for count in re.findall(r"(?<!alert)\((\d+)\)", section(text, "Data"))]
    _, expected = np.unique(np.asarray(result.data.train.targets), return_counts=True)
    assert counts == expected.tolist()


def test_every_warning_is_a_limit(result: FitResult, text: str) -> None:
    limits = section(text, "Limits of use")
    assert result.warnings
    assert all(f"`{warning.code}`" in limits for warning in result.warnings)


@pytest.mark.parametrize("path", ["/home/me/my_photos/one.png", "C:\\Users\\me\\one.png", "local-dir:/home/me/one.png"])
def test_no_folder_of_the_machine_is_in_the_card(path: str, result: FitResult) -> None:
    warning = FitWarning(code="examples_skipped", message=f"'{path}' is left out, and {path}, too: see https://a.b/c/d")
    sources = CardSources(dataset="d", targets=np.zeros(3, dtype=int), backbones={}, budget=Budget(trials=1))
    limits = section(model_card(replace(result, warnings=(warning,)), sources), "Limits of use")
    assert limits.count("one.png") == 2
    assert not re.search("home|me|Users", limits.replace("some", ""))
    assert "a.b/c/d" in limits


def test_small_errors_keep_their_digits(result: FitResult) -> None:
    score = Score(metric="neg_mean_absolute_error", score=-1.2e-4, ci95=(-2e-4, -1e-4), accuracy=None, examples=9)
    changed = replace(result, selection=replace(result.selection, validation=score), test=None)
    sources = CardSources(dataset="d", targets=np.zeros(3, dtype=int), backbones={}, budget=Budget(trials=1))
    text = model_card(changed, sources)
    row = cells(section(text, "Scores"))[2]
    assert row[1:4] == ["neg\\_mean\\_absolute\\_error", "-0.0001200", "-0.0002000 to -0.0001000"]
    found = ModelCard(text).data.eval_results
    assert found is not None
    assert found[0].metric_value == -1.2e-4


def test_a_saved_result_takes_its_card_along(result: FitResult, text: str, tmp_path: Path) -> None:
    assert (result.save(tmp_path / "saved") / "README.md").read_text(encoding="utf-8") == text


def test_usage_of_another_library_takes_the_place_of_ours(text: str) -> None:
    changed = with_usage(text, "timm", "Call timm.")
    assert ModelCard(changed).data.library_name == "timm"
    assert changed.rstrip().endswith("## How to predict\n\nCall timm.")
    assert section(changed, "Data") == section(text, "Data")


def test_usage_keeps_what_a_user_has_added_behind_it(text: str) -> None:
    changed = with_usage(text + "\n## Thanks\n\nTo all.\n", "timm", "Call timm.")
    assert changed.rstrip().endswith("Call timm.\n\n## Thanks\n\nTo all.")
    assert "autotransfer.load" not in changed
