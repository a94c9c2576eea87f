"""What to do next: plain rules from the warnings and the findings of a fit, the most urgent first."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from autotransfer.analysis.class_scores import score_classes
from autotransfer.report.error_section import confused_pairs
from autotransfer.report.example_sections import can_be_judged
from autotransfer.report.page import Notice
from autotransfer.report.wording import count_text, score_text, share_text

if TYPE_CHECKING:
    from autotransfer.run.result import FitResult

__all__ = ["advise"]

# Pieces of advice that are given at most.
MAX_NOTICES = 6
# Share of all errors from which on one pair of classes is named, and errors that it has at least.
PAIR_SHARE, MIN_PAIR_ERRORS = 0.25, 5
# Examples of a class below which more are asked for, where it is found worse than the others.
MIN_CLASS_EXAMPLES = 50
# How far its recall is behind that of the median class at least.
MIN_LAG = 0.05
# Width of an interval from which on more examples to score on are asked for.
WIDE_INTERVAL = 0.1
# Expected calibration error from which on probabilities are not to be taken at their word.
HIGH_CALIBRATION_ERROR = 0.05
# Share of the trials' seconds after which a best trial is a late one, and before which it is an early one.
LATE_SHARE, EARLY_SHARE = 0.8, 0.3
# Trials below which a search has hardly begun.
MIN_TRIALS = 8

# A few words, and what to do about a warning, by its code.
BY_WARNING = {
    "test_below_validation": (
        "Trust the test score",
        "It is below what validation promised. If examples belong together, such as several of one object, say so with "
        "groups, and fit again.",
    ),
    "test_overlaps_training": (
        "Clean the test set",
        "Take repeated examples out of the test set, or out of the training set: the test score is too high.",
    ),
    "validation_overlaps_training": (
        "Clean the validation set",
        "Take repeated examples out of it, or out of the training set: the validation score is too high.",
    ),
    "dependent_data": (
        "Name the groups",
        "Examples depend on each other. Give groups if you know what belongs together, and score on data from another "
        "time or place.",
    ),
    "grouping_failed": ("Name the groups", "Near-duplicates may stand on both sides of the split: give groups."),
    "negative_transfer": (
        "Try other backbones",
        "Pretrained weights do harm here. Other backbones may not, or one that is pretrained on data like yours.",
    ),
    "transfer_does_not_pay": ("Keep the simpler model", "Or try other backbones: no pretrained one is better."),
    "label_conflicts": ("Settle labels", "Copies of one example have several labels: all of them were left out."),
    "refit_rejected": ("Fit again", "The model was not trained on all examples; a larger budget allows for it."),
    "backbones_not_tried": ("Give more time", "Some backbones were not tried at all."),
}


def advise(result: FitResult) -> tuple[Notice, ...]:
    """Return what to do next, the most urgent first; how to use the model is always the last of it."""
    rules: tuple[Callable[[FitResult], Iterator[Notice]], ...] = (
        _of_warnings,
        _of_labels,
        _of_classes,
        _of_scores,
        _of_probabilities,
        _of_the_search,
        _of_the_gain,
    )
    found = [notice for rule in rules for notice in rule(result)]
    run = shlex.quote(str(result.run))
    use = Notice(title="Use it", text=f"autotransfer predict {run} DATA", tone="good")
    return (*found[: MAX_NOTICES - 1], use)


def _of_warnings(result: FitResult) -> Iterator[Notice]:
    codes = {warning.code for warning in result.warnings}
    for code, (title, text) in BY_WARNING.items():
        if code in codes:
            yield Notice(title=title, text=text)


def _of_labels(result: FitResult) -> Iterator[Notice]:
    found = result.analysis.label_errors
    if found.estimated and found.worst and can_be_judged(found):
        yield Notice(
            title="Check labels",
            text=f"About {found.estimated:,} of {found.examined:,} labels may be wrong. Look at them, correct those "
            "that are wrong, and fit again.",
            target="label-errors",
        )


def _of_classes(result: FitResult) -> Iterator[Notice]:
    """Name a pair of classes that makes many of the errors, and the class that needs examples most."""
    held_out, predictions = result.selection.out_of_fold, result.selection.decided_predictions
    task = held_out.task
    if task.kind == "regression":
        return
    if task.single_label and len(task.classes) > 2:
        pairs = confused_pairs(task, held_out.targets, predictions)
        wrong = sum(pair[2] for pair in pairs)
        if pairs and pairs[0][2] >= max(PAIR_SHARE * wrong, MIN_PAIR_ERRORS):
            true, taken, number, _ = pairs[0]
            yield Notice(
                title="One confusion",
                text=f"{number} of {count_text(wrong, 'error')} take {true!r} for {taken!r}. Look at these first: "
                "their labels may be at odds, or the two need more examples that tell them apart.",
                target="errors",
            )
    scores = score_classes(task, held_out.targets, predictions, held_out.group_ids, weights=held_out.weights)
    known = [row for row in scores if row.recall.value is not None and row.recall.high is not None]
    middle = sorted(row.recall.value or 0.0 for row in known)[len(known) // 2] if known else 0.0
    few = [row for row in known if row.examples < MIN_CLASS_EXAMPLES]
    weak = [row for row in few if (row.recall.high or 0.0) < middle and (row.recall.value or 0.0) < middle - MIN_LAG]
    if weak:
        row = min(weak, key=lambda row: row.recall.value or 0.0)
        weighted = "" if held_out.weights is None else ", by their weights"
        yield Notice(
            title="A weak class",
            text=f"Collect more examples of {row.label!r}: {share_text(row.recall.value or 0.0)} of its "
            f"{count_text(row.examples, 'example')} are found{weighted}.",
            target="errors",
        )


def _of_scores(result: FitResult) -> Iterator[Notice]:
    (low, high), score = result.validation.ci95, result.validation
    if math.isfinite(high - low) and high - low > WIDE_INTERVAL and abs(score.score) <= 1.0:
        yield Notice(
            title="A wide interval",
            text=f"The score lies between {score_text(low, score.score)} and {score_text(high, score.score)}: "
            f"{count_text(score.examples, 'example')} cannot say it more precisely. More can, and they "
            "improve the model.",
        )
    if result.test is None:
        run = shlex.quote(str(result.run))
        yield Notice(
            title="No test score",
            text=f"Score the model on examples that no choice has seen: autotransfer score {run} DATA",
        )


def _of_probabilities(result: FitResult) -> Iterator[Notice]:
    found = result.selection.calibration
    if found is not None and found.ece_after > HIGH_CALIBRATION_ERROR:
        yield Notice(
            title="Probabilities",
            text=f"Do not take probabilities at their word: they are off by {found.ece_after:.2f} on average.",
            target="errors",
        )


def _of_the_search(result: FitResult) -> Iterator[Notice]:
    """Say whether a longer search is likely to find something better."""
    clock, at_best, leader = 0.0, 0.0, -math.inf
    for record in result.trials:
        clock += record.seconds
        if record.can_win and record.objective is not None and record.objective > leader:
            leader, at_best = record.objective, clock
    run = shlex.quote(str(result.run))
    if len(result.trials) < MIN_TRIALS and clock:
        yield Notice(
            title="More search",
            text=f"There was time for {count_text(len(result.trials), 'trial')} only. A larger budget will find a "
            f"better model: autotransfer resume {run} --time-budget 1h",
            target="search",
        )
    elif clock and at_best > LATE_SHARE * clock:
        yield Notice(
            title="More search",
            text=f"The best trial came late, at {at_best / clock:.0%} of the time of all. A larger budget may find a "
            f"better one: autotransfer resume {run} --time-budget 1h",
            target="search",
        )
    elif clock and at_best < EARLY_SHARE * clock and len(result.trials) >= 20:
        yield Notice(
            title="More data",
            text=f"The best trial came early, at {at_best / clock:.0%} of the time of all. A longer search is "
            "unlikely to help; more labelled examples, or other backbones, may.",
            target="search",
        )


def _of_the_gain(result: FitResult) -> Iterator[Notice]:
    if any(warning.code == "undertrained_baseline" for warning in result.warnings):
        yield Notice(title="More time", text="Give a larger budget if you need to know what transfer gains.")
