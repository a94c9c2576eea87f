"""Folds: which examples train and which score, in one split, in folds, or as the user has divided them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from autotransfer.data.examples import Examples, Images
from autotransfer.data.folds import Fold
from autotransfer.data.grouping import Grouping, GroupingOption, describe_given_groups, find_grouping_options
from autotransfer.data.near_duplicates import NearDuplicates, find_near_duplicates
from autotransfer.data.split import assign_group_ids, check_class_sizes, group_keys, possible_folds, split, split_folds
from autotransfer.data.train_test_overlap import count_overlap
from autotransfer.errors import ConfigError, DataError
from autotransfer.settings import Settings
from autotransfer.tasks.task import Task
from autotransfer.warnings import WarningList

__all__ = ["Split", "make_folds", "check_class_weights", "check_splittable"]

# Below so many examples, candidates that cost next to nothing are cross-validated.
_FEW, _FOLDS = 3000, 5


@dataclass(frozen=True, kw_only=True)
class Split:
    """Which examples train and which score.

    Attributes:
        folds: One for each fold, or a single one.
        grouping: What is kept together beside copies of an image; None for nothing.
        resplit: Returns the folds of another seed, which is so far from the seed of these.
        objects: Number (N,) of the object that each example shows, as far as that is known; None where it is not.
    """

    folds: tuple[Fold, ...]
    grouping: Grouping | None = None
    resplit: Callable[[int], tuple[Fold, ...]]
    objects: np.ndarray | None = None


def make_folds(
    task: Task,
    targets: Sequence[object],
    images: Images,
    settings: Settings,
    *,
    names: Sequence[str],
    groups: Sequence[Hashable] | None,
    held_out: np.ndarray | None,
    features: Callable[[], np.ndarray] | None,
    warnings: WarningList,
    step: Callable[[str], None] = lambda text: None,
) -> Split:
    """Divide the examples: as the user has, else so that what depends on each other stays together.

    Args:
        task: What is predicted.
        targets: One for each image.
        images: The images.
        settings: The settings.
        names: What each image is called.
        groups: What the user said belongs together; None for nothing.
        held_out: Which images the user wants candidates to be scored on; None leaves that to us.
        features: Returns features by which near-duplicates are told; None looks for none.
        warnings: Takes up what the user should know.
        step: Is told what is looked at.

    Raises:
        DataError: The examples cannot be divided.
    """
    encoded = task.encode(targets)
    if held_out is not None:
        known = None if features is None else features()
        alike = (
            None
            if known is None
            else find_near_duplicates(known, names, encoded if task.single_label else None, step=step)
        )
        if groups is None and alike is not None:
            groups = alike.groups.tolist()
        given = (_predefined_fold(task, targets, held_out, settings, assign_group_ids(images.digests, groups)),)
        _warn_of_repeats(images.digests, held_out, known, alike, warnings)
        return Split(folds=given, resplit=lambda further: given)
    choices = [GroupingOption()]
    if groups is not None:
        choices = [describe_given_groups(groups, encoded, task, images.digests, features)]
    elif features is not None:
        choices = find_grouping_options(features(), encoded, task, images.digests, names, warnings=warnings, step=step)
    step("dealing the examples into folds")
    chosen, folds = _split_by_first(choices, task, targets, images, settings, warnings)

    def resplit(further: int) -> tuple[Fold, ...]:
        seeded = replace(settings, seed=(settings.seed + further) % 2**32)
        return _split_once(task, targets, images, seeded, chosen.groups)

    return Split(folds=folds, grouping=chosen.grouping, resplit=resplit, objects=chosen.objects)


def _split_by_first(
    choices: Sequence[GroupingOption],
    task: Task,
    targets: Sequence[object],
    images: Images,
    settings: Settings,
    warnings: WarningList,
) -> tuple[GroupingOption, tuple[Fold, ...]]:
    """Resplit by the first choice that can be dealt; one that the user did not ask for is given up with a word."""
    *others, last = choices
    for choice in others:
        try:
            return choice, _split_once(task, targets, images, settings, choice.groups)
        except DataError as error:
            warnings.warn(
                "grouping_given_up",
                "Near-duplicates cannot all stay on one side of a split, and the validation score may flatter: give "
                f"groups, or validation examples of your own. {error}",
                reason=str(error),
            )
    return last, _split_once(task, targets, images, settings, last.groups)


def check_class_weights(settings: Settings, task: Task) -> None:
    """Refuse class weights that do not suit the task before anything is decoded."""
    if settings.search.class_weight is not None and not task.classes:
        raise ConfigError("A regression has no classes: leave class_weight out.")
    if isinstance(settings.search.class_weight, Mapping):
        task.class_weights_from(settings.search.class_weight)


def _split_once(
    task: Task,
    targets: Sequence[object],
    images: Images,
    settings: Settings,
    groups: Sequence[Hashable] | None = None,
) -> tuple[Fold, ...]:
    """Split into folds: several where examples are few, and one split would be a lottery."""
    encoded = task.encode(targets)
    count = settings.data_options.folds or (_FOLDS if len(encoded) < _FEW else 1)
    if count > 1:
        count = possible_folds(count, encoded, task, groups)
        parts = split_folds(encoded, task, images.digests, count=count, seed=settings.seed, groups=groups)
    else:
        share = settings.data_options.validation_share
        parts = [split(encoded, task, images.digests, share=share, seed=settings.seed, groups=groups)]
    group_ids = assign_group_ids(images.digests, groups)
    return tuple(
        Fold(
            task=task,
            targets=encoded,
            train_rows=train,
            validation_rows=validation,
            class_weight=settings.search.class_weight,
            group_ids=group_ids,
        )
        for train, validation in parts
    )


def _predefined_fold(
    task: Task, targets: Sequence[object], held_out: np.ndarray, settings: Settings, group_ids: np.ndarray
) -> Fold:
    """Return the split that the user made.

    Raises:
        DataError: One side is empty, or there are no images to train on of a class that is to be scored.
    """
    encoded, train, validation = task.encode(targets), np.flatnonzero(~held_out), np.flatnonzero(held_out)
    if not len(train) or not len(validation):
        side = "to score candidates on" if len(train) else "to train on"
        raise DataError(f"None of the images {side} can be used: give others.")
    _refuse_foreign_classes(task, encoded, held_out)
    return Fold(
        task=task,
        targets=encoded,
        train_rows=train,
        validation_rows=validation,
        class_weight=settings.search.class_weight,
        group_ids=group_ids,
    )


def check_splittable(examples: Examples, task: Task) -> None:
    """Refuse, before anything is decoded, examples that cannot be divided whatever their images hold.

    Raises:
        DataError: A class has too few images, or none to train on.
    """
    encoded = task.encode(examples.targets or ())
    if examples.held_out is not None:
        _refuse_foreign_classes(task, encoded, np.array(examples.held_out))
    elif examples.groups is None:
        check_class_sizes(encoded, task)
    else:
        keys = group_keys(examples.groups)
        numbers = {key: i for i, key in enumerate(dict.fromkeys(keys))}
        check_class_sizes(encoded, task, np.array([numbers[key] for key in keys]))


def _refuse_foreign_classes(task: Task, encoded: np.ndarray, held_out: np.ndarray) -> None:
    """Refuse classes that are to be scored and not trained."""
    if task.single_label and (foreign := sorted(set(encoded[held_out]) - set(encoded[~held_out]))):
        raise DataError(
            f"There are no images to train on of {', '.join(repr(task.classes[i]) for i in foreign[:10])}, which only "
            "the validation examples have. Add some, or leave these out."
        )


def _warn_of_repeats(
    digests: Sequence[str],
    held_out: np.ndarray,
    features: np.ndarray | None,
    alike: NearDuplicates | None,
    warnings: WarningList,
) -> None:
    """Say how many images that the user holds out repeat images to train on."""
    hashes, trained, objects, tied = np.array(digests), ~held_out, None, None
    if alike is not None:
        objects = alike.objects[trained]
        tied = np.isin(alike.groups[held_out], alike.groups[trained])
    repeats = count_overlap(
        hashes[held_out],
        hashes[trained],
        None if features is None else features[held_out],
        None if features is None else features[trained],
        objects=objects,
        tied=tied,
    )
    repeats.warn("validation", warnings)
