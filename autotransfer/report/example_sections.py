"""The parts of the page that show single examples: the worst errors, suspected label errors, and where it looks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from autotransfer.analysis.attention import Attention
from autotransfer.analysis.label_errors import LabelError, LabelErrors
from autotransfer.analysis.worst_errors import WorstError
from autotransfer.report.page import Block, Card, Gallery, Section, Text
from autotransfer.report.wording import score_text

if TYPE_CHECKING:
    from autotransfer.run.result import FitResult

__all__ = ["can_be_judged", "example_sections"]

# Examples that are open at once.
SHOWN_CARDS = 12
# Share of the labels above which the model is to be doubted, and not they.
MAX_DOUBTFUL_SHARE = 0.25


def example_sections(result: FitResult) -> tuple[Section, ...]:
    """Return the parts of the page that show single examples, as far as there are any."""
    found = (_worst_errors(result), _label_errors(result), _attention(result))
    return tuple(section for section in found if section is not None)


def can_be_judged(found: LabelErrors) -> bool:
    """Whether the model is good enough to judge labels: where it contradicts too many of them, it is not."""
    return found.estimated is None or found.estimated <= MAX_DOUBTFUL_SHARE * found.examined


def _worst_errors(result: FitResult) -> Section | None:
    rows = result.analysis.worst_errors
    if not rows:
        return None
    noun = result.model.modality.noun
    return Section(
        id="worst-errors",
        title="The worst errors",
        lead=f"The {noun}s that the model gets most wrong, the worst first. Networks that did not train on them "
        "predicted them.",
        blocks=(Gallery(cards=tuple(map(_card_of_error, rows)), shown=SHOWN_CARDS),),
    )


def _label_errors(result: FitResult) -> Section | None:
    found = result.analysis.label_errors
    if not found.worst or not can_be_judged(found):
        return None
    blocks: list[Block] = [
        Text(text="label_errors.csv in the run folder has all of them. Change those that are wrong, and fit again."),
        Gallery(cards=tuple(map(_card_of_label, found.worst)), shown=SHOWN_CARDS),
    ]
    return Section(
        id="label-errors",
        title="Labels in doubt" if found.estimated == 0 else "Labels that may be wrong",
        lead=_lead_of_labels(found),
        blocks=tuple(blocks),
    )


def _lead_of_labels(found: LabelErrors) -> str:
    """Say how many labels are estimated to be wrong, and why examples are shown where none is."""
    if found.estimated == 0:
        return (
            f"Confident learning estimates that none of {found.examined:,} labels is wrong. Networks that did not "
            "train on these examples predict another label for them; those whose label fits least come first."
        )
    count = "" if found.estimated is None else f" About {found.estimated:,} of {found.examined:,} labels may be wrong."
    each = " Each label or target of an example counts by itself." if found.worst[0].label is not None else ""
    return (
        f"Networks that did not train on these examples are sure of another label (confident learning).{count}"
        f"{each if count else ''}"
    )


def _attention(result: FitResult) -> Section | None:
    rows = result.analysis.attention
    if not rows:
        return None
    wrong = [row for row in rows if row.correct is False]
    right = [row for row in rows if row.correct is not False]
    parts = [
        (wrong, "Of the worst errors: what speaks for the wrong answer"),
        (right, "Of others: what speaks for the answer"),
    ]
    galleries = tuple(Gallery(cards=tuple(map(_card_of_attention, part)), title=title) for part, title in parts if part)
    is_text = any(row.preview.words for row in rows)
    how = (
        "Blue pieces speak for the answer, orange ones against it."
        if is_text
        else "The warmer a place, the more the answer rests on it."
    )
    how += " The saved model was asked, which has trained on all examples since."
    return Section(id="attention", title="Where it looks", lead=how, blocks=galleries)


def _card_of_error(row: WorstError) -> Card:
    sure = _sure(row.probability)
    lines = [("true", _value(row.true)), ("predicted", _value(row.predicted) + (sure if row.label is None else ""))]
    if row.label is not None:
        lines.append(("wrong label", _value(row.label) + sure))
    if row.probability is None:
        lines.append(("off by", f"{row.loss:.2f} standard deviations"))
    return Card(title=row.name, preview=row.preview, lines=tuple(lines), tone="bad")


def _card_of_label(row: LabelError) -> Card:
    lines = [
        ("labelled", _value(row.given) + _sure(row.probability_given)),
        ("looks like", _value(row.suggested) + _sure(row.probability_suggested)),
    ]
    if row.label is not None:
        lines.append(("label in doubt", _value(row.label)))
    return Card(title=row.name, preview=row.preview, lines=tuple(lines), tone="caution" if row.suspected else "plain")


def _card_of_attention(row: Attention) -> Card:
    lines = [] if row.true is None else [("true", _value(row.true))]
    if row.label is None:
        lines.append(("predicted", _value(row.predicted)))
    else:
        lines.append(("what speaks for", _value(row.label) + _sure(row.probability)))
    tone = "bad" if row.correct is False else "good" if row.correct else "plain"
    return Card(title=row.name, preview=row.preview, lines=tuple(lines), tone=tone)  # type: ignore[arg-type]


def _value(value: Any) -> str:
    """Return a label, several labels, or values."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(_value, value)) or "none"
    return score_text(value) if isinstance(value, float) else str(value)


def _sure(probability: float | None) -> str:
    return "" if probability is None else f" ({probability:.0%})"
