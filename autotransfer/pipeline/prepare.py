"""Before the search: from what the user gave to decoded, split examples and the backbones that can be searched."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from autotransfer.backbones.loaded import LoadedBackbone
from autotransfer.contract.modality import InputFormat, Modality, Skipped, Store
from autotransfer.contract.registry import Registry
from autotransfer.contract.specs import BackboneSpec, HeadSpec
from autotransfer.data.examples import Examples, modality_of
from autotransfer.data.folds import Fold
from autotransfer.data.grouping import Grouping
from autotransfer.data.label_conflicts import without_label_conflicts
from autotransfer.data.skipped import with_labels
from autotransfer.data.small_classes import without_small_classes
from autotransfer.data.splitting import check_class_weights, check_splittable, make_folds
from autotransfer.errors import ConfigError, DataError
from autotransfer.features.cache import ActivationCache, default_cache_dir
from autotransfer.features.extractor import FeatureExtractor
from autotransfer.runtime.device import Device
from autotransfer.runtime.memory import memory_budget
from autotransfer.settings import Settings
from autotransfer.tasks.task import Task, infer_task
from autotransfer.warnings import WarningList

__all__ = [
    "Prepared",
    "fingerprint",
    "load_first",
    "offered_heads",
    "prepare_data",
    "refuse_unreadable",
    "task_of",
]

_NO_LABELS = "The examples have no labels: give a folder per class, or targets."

# Most examples for which heads on all stages are tried; with more, training deeper gains more in the same time.
_STAGED = 20_000
# From so many examples on, a pass of its own for each boundary costs more than cutting the backbone there.
_MIN_EXAMPLES_TO_COLLECT_AHEAD = 500


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Examples, ready to be searched on.

    Attributes:
        extractor: The examples that were read and the cache of their features.
        folds: For each fold, the targets, and which rows train and which score.
        skipped: What could not be used, and why.
        grouping: What the split keeps together beside copies of an example; None for nothing.
        resplit: Returns the folds of another seed, which is so far from the seed of these.
        first: The backbone whose features showed near-duplicates; None where the search for them is off.
        columns: Columns of a table that held the examples.
        objects: Number (N,) of the object that each example shows, as far as that is known; None where it is not.
    """

    extractor: FeatureExtractor
    folds: tuple[Fold, ...]
    skipped: tuple[Skipped, ...]
    grouping: Grouping | None = None
    resplit: Callable[[int], tuple[Fold, ...]]
    first: str | None = None
    columns: tuple[str, ...] = ()
    objects: np.ndarray | None = None

    @property
    def store(self) -> Store:
        """The examples that were read."""
        return self.extractor.store

    def __str__(self) -> str:
        fold = self.folds[0]
        classes = f", {len(fold.task.classes)} classes" if fold.task.classes else ""
        skipped = f", {len(self.skipped)} skipped" if self.skipped else ""
        how = f"{len(self.folds)} folds" if len(self.folds) > 1 else f"{len(fold.validation_rows)} of them to score on"
        return f"{len(self.store)} examples, {how}{classes}{skipped}"


def offered_heads(
    registry: Registry,
    settings: Settings,
    task: Task,
    examples: int,
    backbones: Sequence[BackboneSpec] = (),
    weighted: bool = False,
) -> list[HeadSpec]:
    """Return the heads to search: those named, or all that this kind and number of examples suits.

    A head of certain backbones is offered where one of them is searched. Where examples have weights, closed forms
    that take none are left out.

    Raises:
        UnknownNameError: A pattern matches none.
        ConfigError: Examples have weights, and none of the heads takes them.
    """
    named = {name for spec in backbones for name in spec.heads or ()}
    heads = registry.select_heads(settings.heads, task.kind)
    heads = [head for head in heads if head.name in named or head.name not in registry.own_heads]
    heads = _taking_weights(heads) if weighted else heads
    if settings.heads or examples <= _STAGED:
        return heads
    return [head for head in heads if head.features != "stages"] or heads


def _taking_weights(heads: Sequence[HeadSpec]) -> list[HeadSpec]:
    """Return the heads that take a weight of each example: those trained by gradient do.

    Raises:
        ConfigError: There is none.
    """
    found = [head for head in heads if head.solve is None or head.takes_sample_weight]
    if heads and not found:
        names = ", ".join(repr(head.name) for head in heads)
        raise ConfigError(f"No weights of examples are taken by {names}: name other heads, or leave the weights out.")
    return found


def load_first(backbones: Sequence[BackboneSpec], device: Device) -> LoadedBackbone | None:
    """Load the first pretrained backbone that tells near-duplicates; None where there is none, or where it fails."""
    pretrained = [spec for spec in backbones if spec.heads is None and spec.tells_near_duplicates]
    if not pretrained:
        return None
    try:
        return LoadedBackbone(pretrained[0], device)
    except Exception:  # its trials say why
        return None


def prepare_data(
    examples: Examples,
    backbones: Sequence[BackboneSpec],
    settings: Settings,
    *,
    ahead: int = 0,
    first: LoadedBackbone | None = None,
    heads: Callable[[Task, int], Sequence[HeadSpec]] = lambda task, examples: (),
    report: Callable[[str], None] = lambda text: None,
    warnings: WarningList | None = None,
    reading: Mapping[str, Any] | None = None,
) -> Prepared:
    """Infer the task, read every example once, and split.

    Args:
        examples: What the user gave.
        backbones: What is searched.
        settings: The settings.
        ahead: Number of last boundaries at which trials are likely to train on.
        first: The backbone whose features tell near-duplicates, where the user gave no groups; None looks for none.
        heads: Returns the heads that are searched, for the task and the number of examples; see ``offered_heads``.
        report: Called with a line of text about decoding and the steps after it.
        warnings: Takes up what the user should know of the examples; None drops it.
        reading: How they were read before; None decides it.

    Raises:
        DataError: The examples cannot be used.
        ConfigError: The task or the metric does not suit them.
    """
    if examples.targets is None:
        raise DataError(_NO_LABELS)
    task = task_of(examples, settings)
    check_class_weights(settings, task)
    heads(task, len(examples))  # a head that does not suit the task is refused before examples are read
    check_splittable(examples, task)
    store = _load(examples, backbones, settings, task, report, reading)
    used = examples.take(store.kept.tolist())
    if store.skipped:
        task = task_of(used, settings)  # a class may be gone with its examples
    extractor = _extractor(store, settings, ahead, heads(task, len(store)))
    features = None if first is None else partial(_pooled, extractor, first, report)
    said = WarningList() if warnings is None else warnings
    division = make_folds(task, used, store, settings, features=features, warnings=said, report=report)
    return Prepared(
        extractor=extractor,
        folds=division.folds,
        skipped=(*examples.skipped, *with_labels(store.skipped, examples)),
        grouping=division.grouping,
        resplit=division.resplit,
        first=None if first is None else first.spec.name,
        columns=examples.columns,
        objects=division.objects,
    )


def _load(
    examples: Examples,
    backbones: Sequence[BackboneSpec],
    settings: Settings,
    task: Task,
    report: Callable[[str], None],
    reading: Mapping[str, Any] | None,
) -> Store:
    """Read every example once, and leave out label conflicts and small classes."""
    modality, options = modality_of(examples), settings.data_options
    store = modality.load(
        examples.items,
        examples.names,
        _formats(backbones, modality),
        options=modality.read_options(options.modality_options),
        reading=reading,
        strict=options.strict,
        memory_limit=memory_budget(settings.compute.memory_limit),
        progress=lambda done, total: report(f"reading {modality.noun}s: {done} of {total}"),
    )
    assert examples.targets is not None  # those without targets are refused before
    if task.single_label:
        store = without_label_conflicts(store, examples.names, examples.targets)
    if options.min_examples is not None:
        store = without_small_classes(store, examples, options.min_examples)
    return store


def _extractor(store: Store, settings: Settings, ahead: int, heads: Sequence[HeadSpec]) -> FeatureExtractor:
    """Return what computes features of the examples, with its cache."""
    compute = settings.compute
    cache = ActivationCache(
        Path(compute.cache_dir or default_cache_dir()) if compute.cache else None,
        memory_limit=memory_budget(compute.memory_limit),
    )
    return FeatureExtractor(
        store=store,
        cache=cache,
        ahead=ahead if len(store) >= _MIN_EXAMPLES_TO_COLLECT_AHEAD else 0,
        staged=any(head.features == "stages" for head in heads),
    )


def task_of(
    examples: Examples, settings: Settings, targets: Sequence[object] | None = None, *, weighted: bool = False
) -> Task:
    """Return the task that examples make, or those of them that have these targets.

    The metric has to take weights where the examples have any, and where ``weighted`` says so.

    Raises:
        DataError: There are no targets, or they make no task.
        ConfigError: The task or the metric does not suit them.
    """
    if examples.targets is None:
        raise DataError(_NO_LABELS)
    return infer_task(
        examples.targets if targets is None else targets,
        settings.data_options.task or examples.reading.kind,
        settings.metric,
        positive_class=settings.data_options.positive_class,
        names=examples.reading.columns,
        weighted=weighted or examples.weights is not None,
    )


def _pooled(extractor: FeatureExtractor, first: LoadedBackbone, report: Callable[[str], None]) -> np.ndarray:
    """Return the features (N, width) by which near-duplicates are found; the search uses them again."""
    report(f"computing features of {len(extractor.store)} examples with {first.spec.name}")
    return extractor.pooled(first)


def fingerprint(data: Prepared) -> str:
    """Return a hash of the examples, their targets and their weights, in order."""
    targets = np.ascontiguousarray(data.folds[0].targets)
    digest = blake2b(f"{data.store.fingerprint}{targets.dtype}{targets.shape}".encode(), digest_size=16)
    digest.update(targets.tobytes())
    if (weights := data.folds[0].weights) is not None:
        digest.update(weights.tobytes())
    return digest.hexdigest()


def refuse_unreadable(test: Examples, reading: Mapping[str, Any]) -> None:
    """Read every test example, at the least cost, so that a strict run ends before the search and not after it.

    Args:
        test: The test examples.
        reading: How the training examples were read.

    Raises:
        DataError: One cannot be read.
    """
    modality_of(test).check(test.items, test.names, reading)


def _formats(backbones: Sequence[BackboneSpec], modality: Modality) -> list[InputFormat]:
    """Return how backbones want their inputs.

    Raises:
        ConfigError: One takes examples of another modality.
    """
    for spec in backbones:
        if spec.modality != modality.name:
            raise ConfigError(
                f"The backbone {spec.name!r} takes examples of the modality {spec.modality!r}; the data are "
                f"{modality.noun}s, of the modality {modality.name!r}."
            )
    return [spec.preprocessing or spec.load().preprocessing for spec in backbones]  # loaded by evaluate() alone
