"""Single examples of a search: the worst errors, suspected labels, and their file in the run folder."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from fixtures.fitting import fit_with

from autotransfer.run.result import FitResult

pytestmark = pytest.mark.slow

FLIPPED = (5, 17, 40, 61)


@pytest.fixture(scope="module")
def result(
    digits: tuple[np.ndarray, np.ndarray], tiny_zoo: Path, tmp_path_factory: pytest.TempPathFactory
) -> FitResult:
    """A search on digits, four of which have another label."""
    labels = digits[1].copy()
    labels[list(FLIPPED)] = (labels[list(FLIPPED)] + 1) % 3
    out = tmp_path_factory.mktemp("runs") / "=run"
    return fit_with(digits[0], labels, zoo=tiny_zoo, trials=8, out=out, compare_scratch=False, epochs=2, device="cpu")


def test_flipped_labels_are_suspected(result: FitResult) -> None:
    found = result.analysis.label_errors
    assert found.examined == 120
    flipped = {f"item {number}" for number in FLIPPED}
    first = [each for each in found.worst if each.name in flipped]
    assert len(first) >= 3
    assert all(each.preview is not None and each.preview.media_type == "image/png" for each in first)
    with (result.run / "label_errors.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["path"] for row in rows[:8]} & flipped
    assert len(rows) == len(found.listed)
    assert [row["suspected"] for row in rows].count("yes") == found.estimated


def test_worst_errors_were_held_out(result: FitResult) -> None:
    worst = result.analysis.worst_errors
    assert worst
    rows = result.selection.out_of_fold.rows.tolist()
    for error in worst:
        position = rows.index(error.row)
        own = result.selection.out_of_fold_predictions[position]
        classes = result.model.task.classes
        assert (error.true, error.predicted) == (
            classes[result.selection.out_of_fold.targets[position]],
            classes[own.argmax()],
        )
        assert error.probability == pytest.approx(float(own.max()))
    written = json.loads((result.run / "result.json").read_text())
    assert [row["name"] for row in written["worst_errors"]] == [error.name for error in worst]
    assert "suspected labels" in str(result)


def test_the_model_is_asked_where_it_looks(result: FitResult) -> None:
    worst, attention = result.analysis.worst_errors, result.analysis.attention
    wrong = [each for each in attention if each.correct is False]
    right = [each for each in attention if each.correct]
    assert {each.row for each in wrong} <= {error.row for error in worst[:8]}
    assert wrong
    assert 0 < len(right) <= 4
    assert not {each.row for each in right} & {error.row for error in worst}
    by_row = {error.row: error for error in worst}
    assert all(each.label == by_row[each.row].predicted for each in wrong)
    assert all(each.preview.media_type == "image/png" for each in attention)


def test_without_previews_the_page_holds_names_alone(
    digits: tuple[np.ndarray, np.ndarray], tiny_zoo: Path, tmp_path: Path
) -> None:
    more = {"compare_scratch": False, "device": "cpu", "previews": False}
    found = fit_with(digits[0][:60], digits[1][:60], zoo=tiny_zoo, trials=1, out=tmp_path / "run", **more)
    assert all(each.preview is None for each in (*found.analysis.worst_errors, *found.analysis.label_errors.worst))
    assert found.analysis.attention == ()
    assert "image/png" not in (found.run / "report.json").read_text()


def test_explanations_end_with_the_budget_and_after_30_seconds() -> None:
    from autotransfer.pipeline.explain import deadline
    from autotransfer.search.budget import TimeBudget
    from autotransfer.settings import Budget

    now = [0.0]
    budget = TimeBudget(Budget(seconds=100.0), clock=lambda: now[0])
    expired = deadline(budget)
    assert not expired()
    now[0] = 31.0
    assert expired()
    now[0] = 101.0
    assert deadline(budget)()
    assert not deadline(budget, least=1.0)(), "previews are made in any case"
    assert not deadline(TimeBudget(Budget(trials=3), clock=lambda: now[0]))()
