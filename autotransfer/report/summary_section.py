"""The top of the page: what won, how good it is, what it gains, what to do next, and every warning."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from autotransfer.report.advice import advise
from autotransfer.report.page import Block, Facts, Notice, Notices, Tile, Tiles, Tone
from autotransfer.report.wording import count_text, duration_text, interval_text, metric_words, score_text, signed_text

if TYPE_CHECKING:
    from autotransfer.run.result import FitResult

__all__ = ["page_lead", "page_title", "summary_blocks"]

# Warnings that say that a score, or the model, may not be what it seems.
GRAVE_CODES = frozenset(
    {
        "dependent_data",
        "grouping_failed",
        "negative_transfer",
        "refit_rejected",
        "test_below_validation",
        "test_not_scored",
        "test_overlaps_training",
        "validation_overlaps_training",
    }
)
WINNERS = {
    "single": "One candidate won",
    "ensemble": "An ensemble of candidates won, the first of them",
}


def page_title(result: FitResult) -> str:
    """Return the heading: the score, on what."""
    task, score = result.selection.out_of_fold.task, result.validation
    on = count_text(score.examples, result.model.modality.noun)
    kinds = {"regression": "", "multilabel": f" with {count_text(len(task.classes), 'label')}"}
    of = kinds.get(task.kind, f" of {count_text(len(task.classes), 'class', 'classes')}")
    return f"{metric_words(score.metric_label)} {score_text(score.score)} on {on}{of}"


def page_lead(result: FitResult) -> str:
    """Return the sentence on what won."""
    selected, backbones = result.selection.selected, len({row.backbone for row in result.analysis.backbones})
    first = result.best
    return (
        f"{WINNERS[selected.kind]}: {first.backbone} under the head {first.head}, {_depth(result)}. It was found in "
        f"{count_text(len(result.trials), 'trial')} of {count_text(backbones, 'backbone')} in "
        f"{duration_text(result.seconds['total'])}."
    )


def summary_blocks(result: FitResult) -> tuple[Block, ...]:
    """Return what a reader should see first."""
    blocks: list[Block] = [
        Tiles(tiles=(_validation(result), _unbiased(result), _test(result), _gain(result))),
        Notices(title="What to do next", notices=advise(result), numbered=True),
    ]
    if result.warnings:
        notices = tuple(
            Notice(title=warning.code, text=warning.message, tone="bad" if warning.code in GRAVE_CODES else "caution")
            for warning in sorted(result.warnings, key=lambda warning: warning.code not in GRAVE_CODES)
        )
        blocks.append(Notices(title="Warnings", notices=notices))
    else:
        blocks.append(Notices(title="Warnings", notices=(Notice(text="There are none.", tone="good"),)))
    blocks.append(_model(result))
    return tuple(blocks)


def _validation(result: FitResult) -> Tile:
    score = result.validation
    units = "" if score.groups is None else f" in {score.groups:,} groups"
    detail = f"{interval_text(*score.ci95, score.score)}; {count_text(score.examples, 'example')}{units}, out of fold"
    return Tile(
        label=f"Validation {metric_words(score.metric_label, begins=False)}",
        value=score_text(score.score),
        detail=detail,
    )


def _unbiased(result: FitResult) -> Tile:
    found, label = result.analysis.selection_bias, "Unbiased estimate"
    if found is None:
        return Tile(
            label=label, value="not estimated", detail="there is no choice to repeat, or there are too few groups"
        )
    among = f"the best of {count_text(found.candidates, 'candidate')}"
    bias = signed_text(found.bias, found.unbiased_estimate)
    detail = f"{among} looks {bias} better than it is" if float(bias) > 0 else among
    return Tile(label=label, value=score_text(found.unbiased_estimate), detail=detail)


def _test(result: FitResult) -> Tile:
    if result.test is None:
        return Tile(label="Test", value="none", detail="no test examples were given, or none could be scored")
    score, codes = result.test, {warning.code for warning in result.warnings}
    doubtful = codes & {"test_below_validation", "test_overlaps_training"}
    detail = f"{interval_text(*score.ci95, score.score)}; {count_text(score.examples, 'example')}, scored once"
    tone: Tone = "caution" if doubtful else "plain"
    return Tile(
        label=f"Test {metric_words(score.metric_label, begins=False)}",
        value=score_text(score.score),
        detail=detail,
        tone=tone,
    )


def _gain(result: FitResult) -> Tile:
    """Return what pretrained weights bring, in the words of the paired test."""
    found, label = result.analysis.transfer_gain, "Gain over random weights"
    if found is None:
        return Tile(label=label, value="not measured", detail="the comparison was switched off")
    if found.gain is None or found.baseline is None:
        return Tile(label=label, value="not measured", detail=found.reason)
    error = (
        "" if found.error is None or not math.isfinite(found.error) else f" ± {score_text(found.error, found.baseline)}"
    )
    beside = f"random weights reach {score_text(found.baseline)}"
    if found.verdict == "undertrained_baseline":
        training = f"{count_text(found.epochs, 'epoch')}, {count_text(found.steps, 'step')}"
        return Tile(label=label, value="not known", detail=f"random weights were trained too little: {training}")
    if found.verdict == "no_difference":
        return Tile(label=label, value="none measurable", detail=f"{beside}{error and f'; the error is{error[2:]}'}")
    tone: Tone = "bad" if found.verdict == "negative_transfer" else "good"
    note = "; transfer does harm here" if found.verdict == "negative_transfer" else ""
    return Tile(label=label, value=signed_text(found.gain, found.baseline) + error, detail=beside + note, tone=tone)


def _model(result: FitResult) -> Facts:
    """Return what the model is made of."""
    selected, facts = result.selection.selected, list[tuple[str, str]]()
    for member in selected.members:
        share = f", weight {member.weight:.2f}" if len(selected.members) > 1 else ""
        facts.append((f"Trial {member.trial}{share}", str(member.candidate)))
    trained_on = {row.backbone: row.trained_on for row in result.analysis.backbones}
    names = dict.fromkeys(member.candidate.backbone for member in selected.members)
    facts += [("Source", f"{name}: {trained_on[name]}") for name in names if trained_on.get(name)]
    facts.append(("Stages", f"{_depth(result)} (of the best candidate)" if len(names) > 1 else _depth(result)))
    task, calibration = result.model.task, result.selection.calibration
    if task.kind == "binary" and task.thresholds:
        facts.append(("Threshold", f"{task.thresholds[1]:.3f} of {task.classes[1]!r}"))
    if calibration is not None and calibration.is_better:
        facts.append(("Temperature", f"{calibration.temperature:.2f}"))
    if result.selection.cost is not None:
        facts.append(("A prediction", str(result.selection.cost)))
    facts.append(("Folder", str(result.run / "model")))
    return Facts(title="The model", facts=tuple(facts))


def _depth(result: FitResult) -> str:
    """Return how many stages of the best candidate trained."""
    best = result.selection.best
    name = None if best.candidate is None else best.candidate.backbone
    stages = next((row.stages for row in result.analysis.depths if row.backbone == name), None)
    if best.depth is None or stages is None:
        return "at an unknown depth"
    trained = stages - best.depth
    if not trained:
        return f"all {count_text(stages, 'stage')} frozen" if stages > 1 else "frozen"
    return f"{'all' if trained == stages else f'the last {trained} of'} {count_text(stages, 'stage')} trained"
