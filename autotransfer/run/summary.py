"""The result of a fit in words, a line for each finding. A difference below its standard error is no finding."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from autotransfer.analysis.backbone_ranking import BackboneScore
from autotransfer.analysis.depths import DepthScore
from autotransfer.analysis.label_errors import LabelErrors
from autotransfer.analysis.pareto import ParetoPoint
from autotransfer.analysis.result import Analysis
from autotransfer.analysis.selection_bias import SelectionBias
from autotransfer.analysis.transfer_gain import TransferGain
from autotransfer.data.grouping import Grouping
from autotransfer.runtime.text import escape
from autotransfer.selection.calibration import Calibration
from autotransfer.selection.finals import Finals
from autotransfer.selection.result import SelectionResult
from autotransfer.selection.thresholds import Thresholds
from autotransfer.settings.limits import format_bytes, format_seconds
from autotransfer.tasks.score import format_score
from autotransfer.tasks.task import Task
from autotransfer.warnings import FitWarning

if TYPE_CHECKING:
    from autotransfer.run.result import FitResult

__all__ = ["LABEL_WIDTH", "describe_analysis", "describe_selection", "summarize"]

# Backbones and depths that are printed at most; JSON has all.
MAX_SHOWN = 5
# Smallest importance that is printed.
MIN_SHOWN_IMPORTANCE = 0.005
# Smallest difference between the scores of a split at random and of one that keeps groups together that is printed.
MIN_SHOWN_OVERESTIMATE = 0.01
# Columns of what a line is about.
LABEL_WIDTH = 19

Line = tuple[str, str]
"""What a line is about, and what it says; a line that says nothing is not printed."""


def summarize(result: FitResult) -> str:
    """Return the result as lines of text."""
    counts = ", ".join(f"{count} {state}" for state, count in result.trials.counts().items() if count)
    lines: list[Line] = [
        *describe_selection(result.selection),
        ("validation", str(result.validation)),
        ("unbiased estimate", _selection_bias(result.analysis.selection_bias)),
        ("test", "" if result.test is None else str(result.test)),
        ("prediction", _cost(result.selection)),
        *_front(result.pareto),
        *describe_analysis(result.analysis),
        ("suspected labels", _label_errors(result.analysis.label_errors)),
        ("re-evaluated", _finals(result.selection.finals)),
        ("calibration", _calibration(result.selection.calibration)),
        ("thresholds", _thresholds(result.selection.thresholds, result.model.task)),
        ("groups", _groups(result.data.grouping)),
        ("trials", f"{counts} in {result.seconds['total']:.0f} s"),
        ("warnings", _warnings(result.warnings)),
        ("report", str(result.report)),
        ("run", str(result.run)),
    ]
    return "\n".join(f"{label:<{LABEL_WIDTH}}{escape(text)}" for label, text in lines if text)


def describe_selection(selection: SelectionResult) -> list[Line]:
    """Return what the model is: its candidate, or the members of an ensemble and what they bring."""
    selected = selection.selected
    if selected.kind == "single":
        return [("best", str(selected.members[0].candidate))]
    lines = [("model", f"{selected.kind} of {len(selected.trials)}{_improvement(selection)}")]
    for member in selected.members:
        lines.append(("", f"{member.weight:.2f}  trial {member.trial}: {member.candidate}"))
    return lines


def describe_analysis(analysis: Analysis) -> list[Line]:
    """Return the transfer gain, the rankings and the importance."""
    return [
        ("transfer gain", _transfer_gain(analysis.transfer_gain)),
        ("backbones", _backbones(analysis.backbones)),
        ("stages trained", _depths(analysis.depths)),
        ("importance", _importance(analysis.importance)),
    ]


def _improvement(selection: SelectionResult) -> str:
    """Return what an ensemble improves on the best candidate; its score only beyond the standard error."""
    if (ensemble := selection.ensemble) is None:
        return ""
    loss = f": loss {-ensemble.loss_reduction:+.0%} against the best candidate alone"
    gain = format_score(ensemble.gain, selection.validation.score, sign=True)
    return loss + (f", score {gain}" if abs(ensemble.gain) > ensemble.error else "")


def _cost(selection: SelectionResult) -> str:
    """Return what the saved model takes, and the limits on that."""
    if selection.cost is None:
        return ""
    batch, limits = selection.limits.batch, selection.limits
    examples = "" if batch == 1 else f" for {batch} examples at once"
    return f"{selection.cost}{examples}" + (f" (limits: {limits})" if limits.is_set else "")


def _front(points: Sequence[ParetoPoint]) -> list[Line]:
    """Return a line for each of the best candidates for their cost, where there is more than one."""
    if len(points) < 2:
        return []
    lines = [
        f"{format_score(one.objective)}  {format_seconds(one.latency_seconds)}, {format_bytes(one.size_bytes)}  "
        f"trial {one.trial}: {one.candidate.backbone} + {one.candidate.head}"
        + (f" + {one.candidate.views} views" if one.candidate.views > 1 else "")
        for one in points[:MAX_SHOWN]
    ]
    more = [f"{len(points) - MAX_SHOWN} more in result.json"] if len(points) > MAX_SHOWN else []
    labels = ["for their cost", *[""] * (len(lines) + len(more) - 1)]
    return list(zip(labels, [*lines, *more], strict=True))


def _selection_bias(found: SelectionBias | None) -> str:
    if found is None:
        return ""
    estimate, bias = found.unbiased_estimate, format_score(found.bias, found.unbiased_estimate, sign=True)
    if not float(bias) > 0:
        return ""
    among = f"{found.candidates}" if found.candidates == found.tried else f"{found.candidates} of {found.tried}"
    return f"{format_score(estimate)} (best of {among} candidates: {bias})"


def _label_errors(found: LabelErrors) -> str:
    return f"{found.estimated} of {found.examined}; label_errors.csv lists them" if found.estimated else ""


def _transfer_gain(found: TransferGain | None) -> str:
    if found is None:
        return ""
    if found.gain is None or found.baseline is None:
        return f"not measured: {found.reason}"
    has_error = found.error is not None and math.isfinite(found.error)
    error = f" ± {format_score(found.error or 0.0, found.baseline)}" if has_error else ""
    baseline, gain = format_score(found.baseline), format_score(found.gain, found.baseline, sign=True)
    if found.verdict == "undertrained_baseline":
        why = found.reason if found.from_scratch is None else f"random weights were trained for {_training(found)} only"
        return f"not known: {why}"
    if found.verdict == "no_difference":
        return f"none measurable{error and f' (standard error{error[2:]})'}: random weights reach {baseline}"
    note = ", negative transfer" if found.verdict == "negative_transfer" else ""
    how = "frozen" if found.from_scratch != found.baseline else f"trained for {_training(found)}"
    return f"{gain}{error} over random weights{note} ({baseline}, {how})"


def _training(found: TransferGain) -> str:
    """Return how long random weights were trained."""
    return f"{found.epochs} epoch{'' if found.epochs == 1 else 's'}, {found.steps} steps"


def _backbones(found: Sequence[BackboneScore]) -> str:
    if len(found) < 2:
        return ""
    shown = [f"{row.backbone} {format_score(row.objective)}{_note(row)}" for row in found[:MAX_SHOWN]]
    return ", ".join(shown) + _and_more(len(found))


def _note(row: BackboneScore) -> str:
    return " (negative transfer)" * bool(row.negative_transfer) + " (on a subsample)" * row.on_subsample


def _depths(found: Sequence[DepthScore]) -> str:
    best: dict[int, DepthScore] = {}
    for row in found:  # the first of a number of trained stages is the best one
        best.setdefault(row.trained, row)
    if len(best) < 2:
        return ""
    shown = [f"{row.trained or 'none'} {format_score(row.objective)}" for row in list(best.values())[:MAX_SHOWN]]
    return ", ".join(shown) + _and_more(len(best))


def _importance(found: Mapping[str, float] | None) -> str:
    return ", ".join(f"{name} {share:.0%}" for name, share in (found or {}).items() if share >= MIN_SHOWN_IMPORTANCE)


def _finals(found: Finals | None) -> str:
    """Return how the winner did against finalists that are behind it by more than the standard error."""
    if found is None:
        return ""
    behind = [row for row in found.rows if row.score is not None and row.state != "won" and not row.is_level]
    if not behind:
        return ""
    won = next(row for row in found.rows if row.state == "won")
    others = ", ".join(f"trial {row.number} {format_score(row.score or 0.0)}" for row in behind)
    return f"trial {won.number} {format_score(won.score or 0.0)} on {won.folds} folds, ahead of {others}"


def _calibration(found: Calibration | None) -> str:
    if found is None:
        return ""
    if not found.is_better:
        return f"expected error {found.ece_before:.4f}"
    after = f"{found.ece_before:.4f} to {found.ece_after:.4f}"
    return f"expected error {after} by a temperature of {found.temperature:.2f}"


def _thresholds(found: Thresholds | None, task: Task) -> str:
    """Return the thresholds that are not one half, and what they bring if that is more than the standard error."""
    if found is None or not found.thresholds:
        return ""
    if task.kind == "binary":
        position = 1 if task.positive_class is None else task.classes.index(task.positive_class)
        text = f"{found.thresholds[position]:.3f} for {task.classes[position]!r}"
    elif len(set(found.thresholds)) == 1:
        text = f"{found.thresholds[0]:.3f} for every label"
    else:
        pairs = zip(task.classes[:MAX_SHOWN], found.thresholds, strict=False)
        text = ", ".join(f"{value:.3f} for {label!r}" for label, value in pairs) + _and_more(len(task.classes))
    gain = found.score_after - found.score_before
    shown = format_score(gain, found.score_after, sign=True)
    return f"{text}: score {shown} against one half" if gain > found.error else text


def _groups(found: Grouping | None) -> str:
    if found is None:
        return ""
    kinds = {"given": "groups", "found": "groups of near-duplicates", "clustered": "clusters of dependent examples"}
    text = f"{found.groups} {kinds[found.source]} ({found.examples} examples) stay on one side of each split"
    if found.random_score - found.grouped_score < MIN_SHOWN_OVERESTIMATE or math.isnan(found.random_score):
        return text
    random, grouped = (format_score(score, places=3) for score in (found.random_score, found.grouped_score))
    return f"{text}; a split at random would score {random} instead of {grouped}"


def _warnings(found: Sequence[FitWarning]) -> str:
    """Return the codes: progress prints the messages once, and ``result.json`` holds them."""
    return f"{', '.join(dict.fromkeys(warning.code for warning in found))} (see result.json)" if found else ""


def _and_more(count: int) -> str:
    return f", and {count - MAX_SHOWN} more" if count > MAX_SHOWN else ""
