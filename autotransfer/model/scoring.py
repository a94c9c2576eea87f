"""Labelled examples for a model to be scored on: one way for Python, for the command line and for a search."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from autotransfer.contract.modality import Store
from autotransfer.data.columns import TargetReader
from autotransfer.data.examples import Examples
from autotransfer.data.sources import load_examples
from autotransfer.data.split import assign_group_ids
from autotransfer.data.split_parts import select_split
from autotransfer.data.weights import weights_of, without_weightless
from autotransfer.errors import DataError, UnknownNameError
from autotransfer.tasks.metrics import refuse_weights
from autotransfer.tasks.score import Score
from autotransfer.tasks.task import Task

if TYPE_CHECKING:
    from autotransfer.model.transfer_model import TransferModel

__all__ = ["labelled_examples", "match_task", "score_predictions", "to_score"]

_READING = (
    "follow_links",
    "groups",
    "input_column",
    "label_separator",
    "path_column",
    "root",
    "sample_weight",
    "suffix",
    "target_column",
    "weight_column",
)


def labelled_examples(model: TransferModel, data: Any, targets: Any = None, **reading: Any) -> Examples:
    """Load the examples that a model is to be scored on; see ``TransferModel.score``.

    Raises:
        UnknownNameError: An argument says nothing of how they are read, or names no column.
        DataError: The data cannot be used, or hold labels that the model does not know.
        ConfigError: There are weights, and the metric takes none.
    """
    for name in reading:
        if name not in _READING:
            raise UnknownNameError("argument of score", name, _READING)
    examples = load_examples(
        data,
        targets,
        reader=TargetReader(kind=model.task.kind, separator=reading.pop("label_separator", None)),
        known=frozenset(map(str, model.task.classes)),
        modalities=(model.modality,),
        columns=model.columns,
        **reading,
    )
    return to_score(model.task, examples)


def to_score(task: Task, examples: Examples) -> Examples:
    """Return the examples to score a model on: of data that are divided, the test part; without those of weight 0.

    Raises:
        DataError: There are no targets, or the task does not know them.
        ConfigError: There are weights, and the metric takes none.
    """
    if examples.targets is None:
        raise DataError("The examples have no targets: give a folder for each class, a table, or targets.")
    examples = without_weightless(select_split(match_task(task, examples), "test"))
    task.encode(examples.targets or ())  # an unknown label is refused before anything is read
    if examples.weights is not None:
        refuse_weights(task.metric, task.scorer)
    return examples


def match_task(task: Task, examples: Examples) -> Examples:
    """Return examples whose target columns stand in the order of the task: columns of a table have any order.

    Raises:
        DataError: The columns are not those that the task predicts.
    """
    given = examples.reading.columns
    if examples.targets is None or len(given) < 2:
        return examples
    names = () if task.single_label else tuple(map(str, task.target_names or task.classes))
    if sorted(given) == sorted(names):
        order = [given.index(name) for name in names]
        targets = [row if row is None else [row[i] for i in order] for row in examples.targets]
        return replace(examples, targets=targets, reading=replace(examples.reading, columns=names))
    # Rows of an array that had no names are known by their positions alone.
    nameless = not task.single_label and task.classes in ((), tuple(range(task.outputs))) and not task.target_names
    if nameless and len(given) == task.outputs:
        return examples
    count = "one label" if task.single_label else "one value" if task.outputs == 1 else f"{task.outputs} values"
    predicted = list(names)[:20] if names and not nameless else count
    raise DataError(
        f"The targets are in the columns {list(given)[:20]}, but the model predicts {predicted}: give the columns of "
        "what it predicts."
    )


def score_predictions(task: Task, examples: Examples, store: Store, predictions: np.ndarray) -> Score:
    """Score predictions (n, outputs) for the examples that could be read.

    Those of one group, and copies, count together in the interval: they are right or wrong together.
    """
    assert examples.targets is not None  # refused before anything was read
    encoded = task.encode([examples.targets[i] for i in store.kept])
    groups = None if examples.groups is None else [examples.groups[i] for i in store.kept]
    group_ids = assign_group_ids(store.digests, groups)
    return Score.of(task, encoded, predictions, group_ids, weights_of(examples, store))
