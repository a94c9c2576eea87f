"""Lessons: which examples train and which score, in one split, in folds, or as the user has divided them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from autotransfer.config import SearchConfig
from autotransfer.data.examples import Examples, Images
from autotransfer.data.likeness import find_alike
from autotransfer.data.split import folds, group_keys, refuse_tiny_classes, split
from autotransfer.errors import ConfigError, DataError
from autotransfer.grouping import Grouping
from autotransfer.task import Task
from autotransfer.transfer.training import Lesson

__all__ = ["Division", "class_weights", "divide", "refuse_foreign_weights", "refuse_undividable"]

log = logging.getLogger("autotransfer")

# Below so many examples, candidates that cost next to nothing are cross-validated.
_FEW, _FOLDS = 3000, 5


@dataclass(frozen=True, kw_only=True)
class Division:
    """Which examples train and which score.

    Attributes:
        lessons: One for each fold, or a single one.
        grouping: What is kept together beside copies of an image; None for nothing.
        deal: Returns the lessons of another seed, which is so far from the seed of these.
    """

    lessons: tuple[Lesson, ...]
    grouping: Grouping | None = None
    deal: Callable[[int], tuple[Lesson, ...]]


def divide(
    task: Task,
    targets: Sequence[object],
    images: Images,
    config: SearchConfig,
    *,
    names: Sequence[str],
    groups: Sequence[Hashable] | None,
    held_out: np.ndarray | None,
    features: Callable[[], np.ndarray] | None,
) -> Division:
    """Divide the examples: as the user has, else so that groups or near-duplicates stay together.

    Args:
        task: What is predicted.
        targets: One for each image.
        images: The images.
        config: The settings.
        names: What each image is called.
        groups: What the user said belongs together; None for nothing.
        held_out: Which images the user wants candidates to be scored on; None leaves that to us.
        features: Returns features by which near-duplicates are told; None looks for none.

    Raises:
        DataError: The examples cannot be divided.
    """
    classes = task.encode(targets) if task.single_label else None
    alike = None if features is None or groups is not None else find_alike(features(), names, classes)
    if held_out is not None:
        given = (_given_lesson(task, targets, held_out, config),)
        _warn_of_twins(images.digests, alike, held_out)
        return Division(lessons=given, deal=lambda further: given)
    together = alike if groups is None else groups
    try:
        lessons = _deal(task, targets, images, config, together)
    except DataError as error:
        if alike is None:
            raise
        log.warning("Near-duplicates are not kept together: %s", error)  # the user knows nothing of them
        together, lessons = None, _deal(task, targets, images, config)
    grouping = None
    if together is not None:
        grouping = Grouping.of(together, source="found" if groups is None else "given")
        if features is not None:
            torn = _deal(task, targets, images, config)
            grouping = grouping.scored(features(), kept=lessons, torn=torn)

    def deal(further: int) -> tuple[Lesson, ...]:
        return _deal(task, targets, images, replace(config, seed=(config.seed + further) % 2**32), together)

    return Division(lessons=lessons, grouping=grouping, deal=deal)


def class_weights(config: SearchConfig, task: Task, encoded: np.ndarray) -> np.ndarray | None:
    """Return the weights (classes,) of the loss on training examples; None for equal ones."""
    if config.class_weight is None:
        return None
    if isinstance(config.class_weight, str):
        return task.class_weights(encoded)
    # A class whose images cannot be read may be gone since the weights were checked.
    return task.listed_weights({label: w for label, w in config.class_weight.items() if label in task.classes})


def refuse_foreign_weights(config: SearchConfig, task: Task) -> None:
    """Refuse class weights that do not suit the task before anything is decoded."""
    if config.class_weight is not None and not task.classes:
        raise ConfigError("A regression has no classes: leave class_weight out.")
    if isinstance(config.class_weight, Mapping):
        task.listed_weights(config.class_weight)


def _deal(
    task: Task,
    targets: Sequence[object],
    images: Images,
    config: SearchConfig,
    groups: Sequence[Hashable] | None = None,
) -> tuple[Lesson, ...]:
    """Split into folds: several where examples are few, and one split would be a lottery."""
    encoded = task.encode(targets)
    count = config.folds or (_FOLDS if len(encoded) < _FEW else 1)
    if count > 1:
        count = _possible(count, encoded, task, groups)
        parts = folds(encoded, task, images.digests, count=count, seed=config.seed, groups=groups)
    else:
        parts = [split(encoded, task, images.digests, share=config.validation, seed=config.seed, groups=groups)]
    return tuple(
        Lesson(
            task=task,
            targets=encoded,
            train=train,
            validation=validation,
            class_weights=class_weights(config, task, encoded[train]),
        )
        for train, validation in parts
    )


def _given_lesson(task: Task, targets: Sequence[object], held_out: np.ndarray, config: SearchConfig) -> Lesson:
    """Return the split that the user made.

    Raises:
        DataError: One side is empty, or there are no images to train on of a class that is to be scored.
    """
    encoded, train, validation = task.encode(targets), np.flatnonzero(~held_out), np.flatnonzero(held_out)
    if not len(train) or not len(validation):
        side = "to score candidates on" if len(train) else "to train on"
        raise DataError(f"None of the images {side} can be used: give others.")
    _refuse_foreign_classes(task, encoded, held_out)
    weights = class_weights(config, task, encoded[train])
    return Lesson(task=task, targets=encoded, train=train, validation=validation, class_weights=weights)


def refuse_undividable(examples: Examples, task: Task) -> None:
    """Refuse, before anything is decoded, examples that cannot be divided whatever their images hold.

    Raises:
        DataError: A class has too few images, or none to train on.
    """
    encoded = task.encode(examples.targets or ())
    if examples.held_out is not None:
        _refuse_foreign_classes(task, encoded, np.array(examples.held_out))
    elif examples.groups is None:
        refuse_tiny_classes(encoded, task)
    else:
        keys = group_keys(examples.groups)
        numbers = {key: i for i, key in enumerate(dict.fromkeys(keys))}
        refuse_tiny_classes(encoded, task, np.array([numbers[key] for key in keys]))


def _refuse_foreign_classes(task: Task, encoded: np.ndarray, held_out: np.ndarray) -> None:
    """Refuse classes that are to be scored and not trained."""
    if task.single_label and (foreign := sorted(set(encoded[held_out]) - set(encoded[~held_out]))):
        raise DataError(
            f"There are no images to train on of {', '.join(repr(task.classes[i]) for i in foreign[:10])}, which only "
            "the validation examples have. Add some, or leave these out."
        )


def _warn_of_twins(digests: Sequence[str], alike: Sequence[Hashable] | None, held_out: np.ndarray) -> None:
    """Say how many images that the user holds out are copies or near-duplicates of images to train on."""
    ties = [digests] if alike is None else [digests, group_keys(alike)]
    trained = [{key for key, held in zip(tie, held_out, strict=True) if not held} for tie in ties]
    twins = sum(
        any(tie[i] in seen for tie, seen in zip(ties, trained, strict=True)) for i in np.flatnonzero(held_out).tolist()
    )
    if twins:
        log.warning(
            "%d of %d validation images are copies or near-duplicates of images to train on: their score flatters. "
            "Leave them out on one side.",
            twins,
            int(held_out.sum()),
        )


def _possible(count: int, encoded: np.ndarray, task: Task, groups: Sequence[Hashable] | None) -> int:
    """Return the number of folds that the smallest class, or the number of examples, allows; at least 2.

    Of a group, one example counts.
    """
    units = group_keys([None] * len(encoded) if groups is None else groups)
    if task.single_label:
        most = min(len({units[i] for i in np.flatnonzero(encoded == label)}) for label in np.unique(encoded))
    else:
        most = len(set(units)) // 2  # a regression is scored on two at least
    return max(2, min(count, most))
