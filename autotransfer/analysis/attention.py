"""Where a model looks: which part of an example its prediction rests on."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from autotransfer.analysis.example_values import ShownExamples, predicted_values, target_name
from autotransfer.contract.modality import Store
from autotransfer.contract.preview import Occlusions, Preview, Words
from autotransfer.data.examples import Examples
from autotransfer.model.inference import outputs_of_network
from autotransfer.model.relevance import relevance
from autotransfer.training.network import Network

if TYPE_CHECKING:
    from autotransfer.model.transfer_model import TransferModel

__all__ = ["Attention", "Question", "answer", "explain_data"]

log = logging.getLogger("autotransfer")

# Changes below this share of a logit or value are none.
_MIN_CHANGE = 1e-4


@dataclass(frozen=True, kw_only=True)
class Attention:
    """Where the model looks in one example.

    Attributes:
        row: Row of the example among those that were read.
        name: Its path, or its position.
        true: Its label; a list of labels, a number or a list of numbers; None where it is not known.
        predicted: What the model predicts for it, of the same kind.
        label: The label, or the name of the target, that the model is asked for; None for the only target. For an error
            it is the label that was predicted while the example was held out.
        probability: Probability of ``label``; None for a regression.
        correct: Whether the prediction is right; None where that is not known, and for a regression.
        preview: The example with what matters marked: a heatmap over it, or words with weights.
    """

    row: int
    name: str
    true: Any = None
    predicted: Any
    label: Any = None
    probability: float | None = None
    correct: bool | None = None
    preview: Preview

    def to_json(self, *, previews: bool = True) -> dict[str, Any]:
        """Return it as JSON, with what to show of it or without."""
        about = {key: value for key, value in self.__dict__.items() if key != "preview"}
        return about | ({"preview": self.preview.to_json()} if previews else {})

    @classmethod
    def from_json(cls, about: Mapping[str, Any]) -> Attention:
        """Read what ``to_json`` returned.

        Raises:
            RunFormatError: What is shown of it is damaged.
            KeyError: Nothing is shown of it.
            TypeError: A value is missing.
        """
        return cls(**{**about, "preview": Preview.from_json(about["preview"])})


@dataclass(frozen=True, kw_only=True)
class Question:
    """An example, and the output of the model that is asked for.

    Attributes:
        row: Row of the example in the store.
        output: Number of the output; None for the predicted class, the most probable label or the first target.
        true: What is true of the example; None where that is not known.
        correct: Whether what was predicted for it is right; None where that is not known.
    """

    row: int
    output: int | None = None
    true: Any = None
    correct: bool | None = None


def explain_data(model: TransferModel, data: Any) -> tuple[Attention, ...]:
    """Say where a model looks in each example: a heatmap over it, or weights of its words or parts.

    Args:
        model: The model. Of an ensemble, the network with the greatest weight is asked.
        data: What ``TransferModel.predict`` takes.

    Returns:
        One for each example of which that can be said, for the label with the greatest probability.

    Raises:
        DataError: An example cannot be read, or a row of a table names none.
    """
    examples = model.find_examples(data, strict=True)
    shown = ShownExamples(examples=examples, store=model.decode(examples, strict=True))
    return answer(model, shown, [Question(row=row) for row in range(len(shown.store))])


def answer(model: TransferModel, shown: ShownExamples, questions: Sequence[Question]) -> tuple[Attention, ...]:
    """Return where a model looks, from the model alone; examples of which that cannot be said are left out.

    Of an ensemble, the network with the greatest weight is asked.

    Args:
        model: The model.
        shown: The examples.
        questions: Which of them, and which output of each.
    """
    if not questions or shown.expired():
        return ()
    rows = np.array([question.row for question in questions])
    store = shown.store.take(rows)
    predictions = model.predict_store(store)
    values = predicted_values(model.task, predictions)
    first = _first_choice(model, predictions)
    outputs = [own if one.output is None else one.output for one, own in zip(questions, first, strict=True)]
    marked = _occluded(model, shown, rows, outputs) or _heated(model, shown, rows, outputs)
    regression = model.task.kind == "regression"
    return tuple(
        Attention(
            row=question.row,
            name=shown.name(question.row),
            true=question.true,
            predicted=values[i],
            label=target_name(model.task, outputs[i]),
            probability=None if regression else float(predictions[i, outputs[i]]),
            correct=question.correct,
            preview=marked[i],
        )
        for i, question in enumerate(questions)
        if i in marked
    )


def _first_choice(model: TransferModel, predictions: np.ndarray) -> list[int]:
    """Return the output of each example that is asked for where the question names none."""
    if model.task.kind == "regression":
        return [0] * len(predictions)
    said = model.task.decide(predictions) if model.task.single_label else predictions.argmax(1)
    return [int(output) for output in said]


def _heaviest(model: TransferModel) -> Network:
    return max(model.members, key=lambda member: member.weight).network


def _heated(model: TransferModel, shown: ShownExamples, rows: np.ndarray, outputs: Sequence[int]) -> dict[int, Preview]:
    """Return the examples with a heatmap over them, by position."""
    network = _heaviest(model)
    how, device = network.backbone.preprocessing, model.device.torch
    inputs = shown.store.inputs(rows, how, device)
    signed = model.task.kind != "regression"
    heats = relevance(network, inputs, outputs, signed=signed, expired=shown.expired)
    found: dict[int, Preview] = {}
    for i, (row, heat) in enumerate(zip(rows.tolist(), heats, strict=True)):
        if heat is None:
            continue
        try:
            preview = model.modality.overlay(shown.item(row), model.reading, how, heat)
        except Exception as error:  # a file may be gone, and a data set is the user's code
            log.info("no heatmap of %s: %s", shown.name(row), error)
            continue
        if preview is not None:
            found[i] = preview
    return found


def _occluded(
    model: TransferModel, shown: ShownExamples, rows: np.ndarray, outputs: Sequence[int]
) -> dict[int, Preview]:
    """Return the examples with a weight for each of their parts, by position."""
    found: dict[int, Preview] = {}
    for i, row in enumerate(rows.tolist()):
        if shown.expired():
            break
        try:
            parts = model.modality.occlusions(shown.item(row), model.reading)
            if parts is not None and parts.items:
                found[i] = _weighted(model, shown.store.take(np.array([row])), parts, outputs[i])
        except Exception as error:  # a file may be gone, and an example without a part may be none
            log.info("no weights of the parts of %s: %s", shown.name(row), error)
    return found


def _weighted(model: TransferModel, whole: Store, parts: Occlusions, output: int) -> Preview:
    """Return what to show of an example, with how much each part adds to an output."""
    names = tuple(f"part {number}" for number in range(len(parts.items)))
    without = model.decode(Examples(items=list(parts.items), names=names), strict=True)
    said = np.concatenate([_said(model, whole, output), _said(model, without, output)])
    change = said[0] - said[1:]
    scale = np.abs(change).max()
    weights = change / scale if scale > _MIN_CHANGE * np.abs(said).max() else np.zeros_like(change)
    words = (Words(text=text, weight=float(weight)) for text, weight in zip(parts.parts, weights, strict=True))
    return replace(parts.preview, words=tuple(words))


def _said(model: TransferModel, store: Store, output: int) -> np.ndarray:
    """Return the logit (n,) of an output, compared with those of other classes, or its value in a regression.

    Probabilities near 0 and 1 would say nothing: all changes of them are small.
    """
    found = outputs_of_network(_heaviest(model), store, model.device)
    return found[:, output] - found.mean(1) if model.task.single_label else found[:, output]
