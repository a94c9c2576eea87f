"""What a page advises follows from the findings."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from autotransfer.analysis.label_errors import LabelError, LabelErrors
from autotransfer.report.advice import BY_WARNING, MAX_NOTICES, advise
from autotransfer.search.trials import TrialRecord, Trials
from autotransfer.selection.calibration import Calibration
from autotransfer.selection.out_of_fold import OutOfFold
from autotransfer.tasks.score import Score
from autotransfer.tasks.task import Task
from autotransfer.warnings import WARNING_CODES, FitWarning

MakeRecord = Callable[..., TrialRecord]
ABC = Task(kind="multiclass", classes=("ant", "bee", "cat"))


def result(**more: Any) -> Any:
    """What advice reads of a result: 300 examples of three classes, none of which is wrong."""
    targets = more.pop("targets", np.arange(300) % 3)
    predicted = more.pop("predicted", targets)
    task = more.pop("task", ABC)
    outputs = np.eye(3)[predicted] if task.single_label else predicted
    weights = more.pop("weights", None)
    held_out = OutOfFold(task=task, rows=np.arange(len(targets)), targets=targets, weights=weights, parts=())
    score = Score.of(task, targets, outputs)
    selection = SimpleNamespace(
        out_of_fold=held_out, decided_predictions=outputs, calibration=more.pop("calibration", None)
    )
    known = {
        "analysis": SimpleNamespace(label_errors=more.pop("label_errors", LabelErrors())),
        "run": "runs/my run",
        "trials": Trials(),
        "warnings": (),
        "test": score,
        "validation": score,
    }
    return SimpleNamespace(selection=selection, **{**known, **more})


def titles(found: Any) -> list[str]:
    return [notice.title for notice in advise(found)]


def test_a_good_model_is_to_be_used() -> None:
    (notice,) = advise(result())
    assert notice.text == "autotransfer predict 'runs/my run' DATA"


@pytest.mark.parametrize("code", BY_WARNING)
def test_a_warning_says_what_to_do(code: str) -> None:
    assert code in WARNING_CODES
    assert titles(result(warnings=(FitWarning(code=code, message="m"),)))[0] == BY_WARNING[code][0]


def test_one_confusion_is_named() -> None:
    targets = np.arange(300) % 3
    predicted = targets.copy()
    predicted[np.flatnonzero(targets == 0)[:9]] = 1
    predicted[np.flatnonzero(targets == 2)[:1]] = 1
    notice = advise(result(targets=targets, predicted=predicted))[0]
    assert notice.title == "One confusion"
    assert "9 of 10 errors take 'ant' for 'bee'" in notice.text


def test_scattered_errors_name_no_confusion() -> None:
    targets = np.arange(300) % 3
    predicted = targets.copy()
    predicted[:24] = (targets[:24] + np.repeat([1, 2], 12)) % 3
    assert "One confusion" not in titles(result(targets=targets, predicted=predicted))


def test_a_small_class_that_is_missed_needs_examples() -> None:
    targets = np.array([0] * 200 + [1] * 200 + [2] * 20)
    predicted = np.where(np.arange(420) >= 408, 0, targets)
    (notice,) = (each for each in advise(result(targets=targets, predicted=predicted)) if each.title == "A weak class")
    assert "'cat'" in notice.text
    assert "20 examples" in notice.text


def test_a_class_is_weak_by_the_weights_of_its_examples() -> None:
    targets = np.array([0] * 200 + [1] * 200 + [2] * 20)
    predicted = np.where(np.arange(420) >= 408, 0, targets)
    missed_weigh_little = np.where(targets == predicted, 1.0, 1e-3)
    found = result(targets=targets, predicted=predicted, weights=missed_weigh_little)
    assert "A weak class" not in titles(found)
    found = result(targets=targets, predicted=predicted, weights=np.ones(420))
    (notice,) = (each for each in advise(found) if each.title == "A weak class")
    assert notice.text.endswith("0.400 of its 20 examples are found, by their weights.")


def test_few_examples_and_no_test_are_said() -> None:
    few = result(targets=np.arange(30) % 3, predicted=np.where(np.arange(30) < 6, 0, np.arange(30) % 3), test=None)
    assert {"A wide interval", "No test score"} <= set(titles(few))


def test_probabilities_that_are_off_are_not_to_be_believed() -> None:
    off = Calibration(temperature=1.0, ece_before=0.2, ece_after=0.2, log_loss_before=1.0, log_loss_after=1.0)
    assert "Probabilities" in titles(result(calibration=off))


def test_a_late_best_trial_asks_for_more_search(make_record: MakeRecord) -> None:
    late = Trials([make_record(number, 0.5 + 0.01 * number, seconds=1.0) for number in range(20)])
    early = Trials([make_record(number, 0.9 - 0.01 * number, seconds=1.0) for number in range(20)])
    assert "More search" in titles(result(trials=late))
    assert "More data" in titles(result(trials=early))


def test_suspected_labels_are_to_be_checked() -> None:
    worst = (LabelError(row=0, name="a", given="ant", suggested="bee", score=0.1),)
    found = result(label_errors=LabelErrors(worst=worst, estimated=7, examined=300))
    assert "About 7 of 300 labels" in advise(found)[0].text


def test_values_get_no_advice_on_classes() -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(size=(200, 1))
    task = Task(kind="regression", metric="r2")
    assert titles(result(task=task, targets=true, predicted=true + 0.01)) == ["Use it"]


def test_advice_is_short() -> None:
    warnings = tuple(FitWarning(code=code, message="m") for code in BY_WARNING)
    found = advise(result(warnings=warnings, test=None))
    assert len(found) == MAX_NOTICES
    assert found[-1].title == "Use it"
