"""The folds of a search: one split, several folds, or the split of the user."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from autotransfer.contract.modality import Store
from autotransfer.data.examples import Examples
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

# Below this number of examples, frozen candidates are cross-validated, since they take seconds; else there is one
# split.
_MIN_EXAMPLES_FOR_ONE_SPLIT, _FOLDS = 3000, 5


@dataclass(frozen=True, kw_only=True)
class Split:
    """The folds of a search.

    Attributes:
        folds: The folds; a single one for a plain split.
        grouping: Groups that the split does not separate, beside copies of an example; None without groups.
        resplit: ``resplit(n)`` returns folds whose seed is ``n`` greater than the seed of ``folds``.
        objects: Number (N,) of the object that each example shows; None where objects are unknown.
    """

    folds: tuple[Fold, ...]
    grouping: Grouping | None = None
    resplit: Callable[[int], tuple[Fold, ...]]
    objects: np.ndarray | None = None


def make_folds(
    task: Task,
    examples: Examples,
    store: Store,
    settings: Settings,
    *,
    features: Callable[[], np.ndarray] | None,
    warnings: WarningList,
    report: Callable[[str], None] = lambda text: None,
) -> Split:
    """Make the folds: those of the user, else folds that keep dependent examples on one side.

    Args:
        task: The task.
        examples: The examples of the store, with their targets, groups and validation examples of the user.
        store: The store.
        settings: The settings.
        features: Returns features (N, width) by which near-duplicates are found; None skips the search for them.
        warnings: Collects warnings.
        report: Called with a line of text when a step begins.

    Raises:
        DataError: The examples cannot be divided.
    """
    targets, names, groups = examples.targets or (), examples.file_names, examples.groups

    def weighted(folds: Sequence[Fold]) -> tuple[Fold, ...]:
        weights = None if examples.weights is None else np.array(examples.weights)
        return tuple(replace(fold, weights=weights) for fold in folds)

    encoded = task.encode(targets)
    if examples.held_out is not None:
        known, held_out = None if features is None else features(), np.array(examples.held_out)
        given = weighted(
            _split_of_user(task, targets, store, settings, names, groups, held_out, known, warnings, report)
        )
        return Split(folds=given, resplit=lambda offset: given)
    options = [GroupingOption()]
    if groups is not None:
        options = [describe_given_groups(groups, encoded, task, store.digests, features)]
    elif features is not None:
        options = find_grouping_options(
            features(), encoded, task, store.digests, names, warnings=warnings, report=report
        )
    report("splitting the examples into folds")
    chosen, folds = _split_by_first(options, task, targets, store, settings, warnings)

    def resplit(offset: int) -> tuple[Fold, ...]:
        seeded = replace(settings, seed=(settings.seed + offset) % 2**32)
        return weighted(_split_once(task, targets, store, seeded, chosen.groups))

    return Split(folds=weighted(folds), grouping=chosen.grouping, resplit=resplit, objects=chosen.objects)


def _split_of_user(
    task: Task,
    targets: Sequence[object],
    store: Store,
    settings: Settings,
    names: Sequence[str],
    groups: Sequence[Hashable] | None,
    held_out: np.ndarray,
    features: np.ndarray | None,
    warnings: WarningList,
    report: Callable[[str], None],
) -> tuple[Fold, ...]:
    """Return the split of the user as a fold, and warn of validation examples that repeat training examples."""
    near_duplicates = None
    if features is not None:
        classes = task.encode(targets) if task.single_label else None
        near_duplicates = find_near_duplicates(features, names, classes, report=report)
    if groups is None and near_duplicates is not None:
        groups = near_duplicates.groups.tolist()
    fold = _predefined_fold(task, targets, held_out, settings, assign_group_ids(store.digests, groups))
    _warn_of_overlap(store.digests, held_out, features, near_duplicates, warnings)
    return (fold,)


def _split_by_first(
    options: Sequence[GroupingOption],
    task: Task,
    targets: Sequence[object],
    store: Store,
    settings: Settings,
    warnings: WarningList,
) -> tuple[GroupingOption, tuple[Fold, ...]]:
    """Split by the first option that allows a split; a warning names each option that does not."""
    *others, last = options
    for option in others:
        try:
            return option, _split_once(task, targets, store, settings, option.groups)
        except DataError as error:
            warnings.warn(
                "grouping_failed",
                "Near-duplicates cannot all stay on one side of a split, and the validation score may be too high: "
                f"give groups, or validation examples of your own. {error}",
                reason=str(error),
            )
    return last, _split_once(task, targets, store, settings, last.groups)


def check_class_weights(settings: Settings, task: Task) -> None:
    """Check the class weights against the task, before examples are read."""
    if settings.search.class_weight is not None and not task.classes:
        raise ConfigError("A regression has no classes: leave class_weight out.")
    if isinstance(settings.search.class_weight, Mapping):
        task.class_weights_from(settings.search.class_weight)


def _split_once(
    task: Task,
    targets: Sequence[object],
    store: Store,
    settings: Settings,
    groups: Sequence[Hashable] | None = None,
) -> tuple[Fold, ...]:
    """Split into five folds below 3,000 examples, since the score of one split is noisy there; else into one."""
    encoded = task.encode(targets)
    count = settings.data_options.folds or (_FOLDS if len(encoded) < _MIN_EXAMPLES_FOR_ONE_SPLIT else 1)
    if count > 1:
        count = possible_folds(count, encoded, task, groups)
        parts = split_folds(encoded, task, store.digests, count=count, seed=settings.seed, groups=groups)
    else:
        share = settings.data_options.validation_share
        parts = [split(encoded, task, store.digests, share=share, seed=settings.seed, groups=groups)]
    group_ids = assign_group_ids(store.digests, groups)
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
    """Return the split of the user as a fold.

    Raises:
        DataError: One side is empty, or the training examples lack a class of the validation examples.
    """
    encoded, train, validation = task.encode(targets), np.flatnonzero(~held_out), np.flatnonzero(held_out)
    if not len(train) or not len(validation):
        side = "to score candidates on" if len(train) else "to train on"
        raise DataError(f"None of the examples {side} can be used: give others.")
    _check_trained_classes(task, encoded, held_out)
    return Fold(
        task=task,
        targets=encoded,
        train_rows=train,
        validation_rows=validation,
        class_weight=settings.search.class_weight,
        group_ids=group_ids,
    )


def check_splittable(examples: Examples, task: Task) -> None:
    """Check, before examples are read, that the targets allow a split.

    Raises:
        DataError: A class has too few examples, or no example to train on.
    """
    encoded = task.encode(examples.targets or ())
    if examples.held_out is not None:
        _check_trained_classes(task, encoded, np.array(examples.held_out))
    elif examples.groups is None:
        check_class_sizes(encoded, task)
    else:
        keys = group_keys(examples.groups)
        numbers = {key: i for i, key in enumerate(dict.fromkeys(keys))}
        check_class_sizes(encoded, task, np.array([numbers[key] for key in keys]))


def _check_trained_classes(task: Task, encoded: np.ndarray, held_out: np.ndarray) -> None:
    """Check that every class of the validation examples has training examples."""
    if task.single_label and (foreign := sorted(set(encoded[held_out]) - set(encoded[~held_out]))):
        raise DataError(
            f"There are no examples to train on of {', '.join(repr(task.classes[i]) for i in foreign[:10])}, which "
            "only the validation examples have. Add some, or leave these out."
        )


def _warn_of_overlap(
    digests: Sequence[str],
    held_out: np.ndarray,
    features: np.ndarray | None,
    near_duplicates: NearDuplicates | None,
    warnings: WarningList,
) -> None:
    """Warn of validation examples of the user that are copies or near-duplicates of training examples."""
    hashes, trained, objects, same_group = np.array(digests), ~held_out, None, None
    if near_duplicates is not None:
        objects = near_duplicates.objects[trained]
        same_group = np.isin(near_duplicates.groups[held_out], near_duplicates.groups[trained])
    overlap = count_overlap(
        hashes[held_out],
        hashes[trained],
        None if features is None else features[held_out],
        None if features is None else features[trained],
        objects=objects,
        same_group=same_group,
    )
    overlap.warn("validation", warnings)
