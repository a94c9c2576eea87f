"""The examples of a call: those to train and score candidates on, and those to test the model on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from numbers import Real
from pathlib import Path
from typing import Any

from autotransfer.contract.modality import Modality
from autotransfer.data.columns import TargetReader
from autotransfer.data.examples import Examples
from autotransfer.data.file_lookup import Places
from autotransfer.data.recognition import modality_named
from autotransfer.data.skipped import warnings_of
from autotransfer.data.small_classes import small_classes, without_classes
from autotransfer.data.sources import is_folder, is_table, load_examples
from autotransfer.data.split_parts import divide_by_split, select_split, split_used
from autotransfer.data.weights import without_weightless
from autotransfer.errors import ConfigError, DataError, UnknownNameError
from autotransfer.settings import DataArguments, DataOptions

__all__ = ["file_finder", "load_data"]


def load_data(arguments: DataArguments, options: DataOptions) -> tuple[Examples, Examples | None]:
    """Return the examples of a call to ``fit`` or ``evaluate``, and those to test on, if any.

    Those to score candidates on are among the former, held out. Where the data are divided into parts, these are used
    as such, unless others are given.

    Raises:
        ConfigError: What is given of the data does not go together.
        DataError: The data cannot be used.
    """
    data = _load(
        arguments.data,
        arguments.targets,
        options,
        targets_argument="targets",
        groups=options.groups,
        sample_weight=options.sample_weight,
    )
    share = isinstance(options.validation, Real)
    if share and options.validation_sample_weight is not None:
        raise ConfigError(
            f"validation_sample_weight needs examples in validation; it is {options.validation}, a share."
        )
    if share and options.validation_targets is not None:
        raise ConfigError(f"validation_targets need examples in validation; it is {options.validation}, a share.")
    if not share and options.groups is not None:
        raise ConfigError("Groups say how to split the examples, and validation is the split: leave one of them out.")
    train, own_validation, own_test = divide_by_split(data)
    validation = own_validation if share else _load_validation(options, train)
    test = own_test if arguments.test is None else _load_test(arguments.test, options, train)
    if data.parts is not None and len(set(data.parts)) > 1:
        own = {"validation": (own_validation, validation), "test": (own_test, test)}
        replaced = [part for part, (ours, used) in own.items() if ours is not None and ours is not used]
        said = split_used(data, replaced, groups=options.groups is not None)
        train = replace(train, warnings=(*train.warnings, said))
    examples = train if validation is None else train.holding_out(validation)
    examples, test = without_weightless(examples), None if test is None else without_weightless(test)
    if options.min_examples is not None:
        small = small_classes(examples, options.min_examples)
        examples = without_classes(examples, small)
        test = None if test is None else without_classes(test, small)
    if test is not None:
        said_of_test = warnings_of(test.skipped, test.targets or (), what="the test data", advice=test.advice)
        test = replace(test, warnings=(*test.warnings, *said_of_test))
    return examples, test


def _load_others(data: Any, targets: Any, options: DataOptions, **how: Any) -> Examples:
    """Return examples to score on; see ``_load``. Their table may lack the column of weights."""
    if options.weight_column is None or how["sample_weight"] is not None:
        return _load(data, targets, options, weighted=False, **how)
    with contextlib.suppress(UnknownNameError):
        return _load(data, targets, options, **how)
    return _load(data, targets, options, weighted=False, **how)


def _load_validation(options: DataOptions, train: Examples) -> Examples:
    """Return the examples to score candidates on; of data that are divided into parts, the part for that."""
    loaded = _load_others(
        options.validation,
        options.validation_targets,
        options,
        targets_argument="validation_targets",
        train=train,
        sample_weight=options.validation_sample_weight,
    )
    return select_split(loaded, "validation")


def _load_test(test: Any, options: DataOptions, train: Examples) -> Examples:
    """Return the test examples, in groups where those name a column or an expression that they have, too."""

    def load(groups: str | None) -> Examples:
        loaded = _load_others(
            test,
            options.test_targets,
            options,
            targets_argument="test_targets",
            train=train,
            groups=groups,
            sample_weight=options.test_sample_weight,
        )
        return select_split(loaded, "test").match_targets(train)

    if isinstance(options.groups, str):
        with contextlib.suppress(DataError):
            return load(options.groups)
    return load(None)


def _load(
    data: Any,
    targets: Any,
    options: DataOptions,
    *,
    targets_argument: str,
    train: Examples | None = None,
    groups: Any = None,
    sample_weight: Any = None,
    weighted: bool = True,
) -> Examples:
    """Return the examples that an argument names.

    Args:
        data: The examples.
        targets: Their targets, where ``data`` does not hold them.
        options: How the data are read.
        targets_argument: Name of the argument that gave the targets, for messages.
        train: The examples to train on, where the others are loaded; what is said of them may not suit the others.
        groups: What stays on one side of every split.
        sample_weight: Their weights, where no column holds them.
        weighted: Whether a table has the column of weights.
    """
    columns = train is None or is_table(data)
    places = train is None or not is_folder(data)
    return load_examples(
        data,
        targets,
        groups=groups,
        sample_weight=sample_weight,
        weight_column=options.weight_column if weighted and columns else None,
        reader=TargetReader(
            kind=options.task,
            separator=options.label_separator,
            train_format=None if train is None else train.reading,
        ),
        follow_links=options.follow_links,
        known=frozenset(map(str, train.targets or ())) if train is not None and is_folder(data) else (),
        argument=targets_argument,
        input_column=options.input_column if columns else None,
        path_column=options.path_column if columns else None,
        target_column=options.target_column if columns else None,
        root=options.root if places else None,
        suffix=options.suffix if places else None,
        columns=() if train is None else train.columns,
        modalities=modality_named(options.modality, options.modality_options)
        if train is None
        else _modalities_like(train, data, options),
    )


def _modalities_like(train: Examples, data: Any, options: DataOptions) -> tuple[Modality, ...] | None:
    """Return what examples in memory may be, beside examples to train on; files say themselves what they are."""
    if options.modality is not None or train.modality is None or is_folder(data):
        return modality_named(options.modality, options.modality_options)
    return (train.modality,)


def file_finder(examples: Examples, options: DataOptions) -> Callable[[str | Path], Path] | None:
    """Return what finds the file that an entry of a list of data names; None where the entries are texts."""
    # Examples that are no list are fetched one by one when they are read, and are no files.
    is_of_files = isinstance(examples.items, list) and any(isinstance(item, Path) for item in examples.items)
    return Places.of(Path(), options.root, options.suffix).find if is_of_files else None
