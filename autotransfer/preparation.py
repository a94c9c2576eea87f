"""Before the search: from what the user gave to decoded, split examples and the backbones that can be searched."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b
from pathlib import Path

import numpy as np

from autotransfer.config import Budget, SearchConfig
from autotransfer.contract.registry import Registry
from autotransfer.contract.specs import BackboneSpec, CropMode, HeadSpec, Preprocessing
from autotransfer.data.contradictions import without_contradictions
from autotransfer.data.decode import decode
from autotransfer.data.examples import Examples, Images, Skipped
from autotransfer.data.left_out import with_labels
from autotransfer.data.small_classes import without_small_classes
from autotransfer.errors import AutoTransferError, DataError, PluginError, WeightsUnavailableError
from autotransfer.grouping import Grouping
from autotransfer.lessons import class_weights, divide, refuse_foreign_weights, refuse_undividable
from autotransfer.search.portfolio import choose_portfolio
from autotransfer.task import Task, infer_task
from autotransfer.transfer.blame import blamed
from autotransfer.transfer.cache import ActivationCache, default_cache_dir
from autotransfer.transfer.device import Device
from autotransfer.transfer.features import FeatureExtractor
from autotransfer.transfer.loaded import LoadedBackbone
from autotransfer.transfer.memory import memory_budget
from autotransfer.transfer.training import Lesson

__all__ = [
    "Folders",
    "Prepared",
    "available_backbones",
    "deal_again",
    "fingerprint",
    "load_first",
    "offered_heads",
    "prepare_data",
    "refuse_unreadable",
    "zoos_from",
]

Folders = str | Path | Sequence[str | Path]

# Multiply-accumulates a second (10^9) that a device is taken for, before anything is measured.
_SPEED = {"cpu": 30.0, "cuda": 3000.0, "mps": 300.0}
# Share of the time budget that one pass of a backbone over the images may take.
_PASS_SHARE = 0.1
# Share that the passes of all of them may take.
_SCREENING_SHARE = 0.3
# Most backbones that are looked at; fewer, if the trials would not suffice for as many each.
_MOST, _ALWAYS, _TRIALS_EACH = 64, 8, 8
# Up to so many examples, what early stages give is worth solving for; of more, training deeper makes more in that time.
_STAGED = 5000
# From so many images on, a pass of its own for each boundary costs more than cutting the backbone there.
_MANY = 500


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Examples, ready to be searched on.

    Attributes:
        extractor: The decoded images and the cache of their features.
        lessons: For each fold, the targets, and which rows train and which score.
        skipped: What could not be used, and why.
        grouping: What the split keeps together beside copies of an image; None for nothing.
        deal: Returns the lessons of another seed, which is so far from the seed of these.
        grey: Whether they came as one array (N, height, width).
    """

    extractor: FeatureExtractor
    lessons: tuple[Lesson, ...]
    skipped: tuple[Skipped, ...]
    grouping: Grouping | None = None
    deal: Callable[[int], tuple[Lesson, ...]]
    grey: bool = False

    @property
    def images(self) -> Images:
        """The decoded images."""
        return self.extractor.images

    def __str__(self) -> str:
        lesson = self.lessons[0]
        classes = f", {len(lesson.task.classes)} classes" if lesson.task.classes else ""
        skipped = f", {len(self.skipped)} skipped" if self.skipped else ""
        how = f"{len(self.lessons)} folds" if len(self.lessons) > 1 else f"{len(lesson.validation)} of them to score on"
        return f"{len(self.images)} examples, {how}{classes}{skipped}"


def zoos_from(zoo: Folders | None) -> tuple[Path, ...]:
    """Return the zoo folders: those given, else those of the environment variable ``AUTOTRANSFER_ZOO``."""
    if zoo is None:
        return tuple(Path(folder) for folder in os.environ.get("AUTOTRANSFER_ZOO", "").split(os.pathsep) if folder)
    return tuple(Path(folder) for folder in ([zoo] if isinstance(zoo, (str, Path)) else zoo))


def available_backbones(
    registry: Registry, config: SearchConfig, device: Device, images: int, say: Callable[[str], None]
) -> list[BackboneSpec]:
    """Return the backbones to search, the cheapest first.

    Those whose weights cannot be had, or whose plugin is broken, are left out, with a word; a broken checkpoint is an
    error: the user put it there. Where none is named and none can be had, the fallbacks are searched.

    Raises:
        UnknownNameError: A pattern matches nothing.
        BackboneError: A backbone is broken.
        WeightsUnavailableError: No backbone is left.
        PluginError: The same, and the plugin of the first is broken.
    """
    chosen = registry.select_backbones(config.backbones)
    if not chosen:
        raise WeightsUnavailableError("No backbone is registered: give a zoo with --zoo, or names with --backbones.")
    chosen.sort(key=lambda spec: (spec.gmacs or 0.0, spec.parameters or 0, spec.name))
    found, named = len(chosen), registry.named_in_full(config.backbones)
    chosen = _cut(chosen, named, config.budget, partial(_pass_seconds, device=device, images=images))
    if len(chosen) < found:
        say(
            f"{found - len(chosen)} of {found} backbones are left out: the budget allows no look at all of them, and "
            "the others promise more for their cost; one that --backbones names in full is always searched"
        )
    usable: list[BackboneSpec] = []
    problems: list[AutoTransferError] = []
    for spec in chosen:
        try:
            with blamed(f"The backbone {spec.name!r}"):
                if spec.check is not None:
                    spec.check()
                how = spec.preprocessing or spec.load().preprocessing
                if not isinstance(how, Preprocessing):
                    raise TypeError(f"its preprocessing is a {type(how).__name__}; expected a Preprocessing")
                usable.append(replace(spec, preprocessing=how))
        except (WeightsUnavailableError, PluginError) as error:
            problems.append(error)
    if not usable:
        usable = [] if config.backbones else registry.fallbacks()
        if not usable:
            raise problems[0]
        say(f"left out, like all others: {problems[0]}")
        say(f"searching the {len(usable)} small backbones that come with the package instead")
        return usable
    for problem in problems:
        say(f"left out: {problem}")
    return usable


def offered_heads(registry: Registry, config: SearchConfig, task: Task, examples: int) -> list[HeadSpec]:
    """Return the heads to search: those named, or all that this kind and number of examples suits.

    Raises:
        UnknownNameError: A pattern matches none.
    """
    heads = registry.select_heads(config.heads, task.kind)
    if config.heads or examples <= _STAGED:
        return heads
    return [head for head in heads if head.features != "stages"] or heads


def load_first(backbones: Sequence[BackboneSpec], device: Device) -> LoadedBackbone | None:
    """Load the first backbone; None where it fails, which costs its trials and nothing else."""
    try:
        return LoadedBackbone(backbones[0], device)
    except Exception:  # its trials say why
        return None


def prepare_data(
    examples: Examples,
    backbones: Sequence[BackboneSpec],
    config: SearchConfig,
    *,
    ahead: int = 0,
    first: LoadedBackbone | None = None,
    heads: Callable[[Task, int], Sequence[HeadSpec]] = lambda task, examples: (),
    step: Callable[[str], None] = lambda text: None,
) -> Prepared:
    """Infer the task, decode every image once, and split.

    Args:
        examples: What the user gave.
        backbones: What is searched.
        config: The settings.
        ahead: Number of last boundaries at which trials are likely to train on.
        first: The backbone whose features tell near-duplicates, where the user gave no groups; None looks for none.
        heads: Returns the heads that are searched, for the task and the number of examples; see ``offered_heads``.
        step: Is told how far decoding is.

    Raises:
        DataError: The examples cannot be used.
        ConfigError: The task or the metric does not suit them.
    """
    if examples.targets is None:
        raise DataError("The images have no labels: give a folder per class, or targets.")
    task = infer_task(examples.targets, config.task, config.metric)
    refuse_foreign_weights(config, task)
    refuse_undividable(examples, task)
    images = decode(
        examples,
        _sides(backbones),
        strict=config.strict,
        memory_limit=memory_budget(config.memory_limit),
        progress=lambda done, total: step(f"decoding images: {done} of {total}"),
    )
    if task.single_label:
        images = without_contradictions(images, examples.names, examples.targets)
    if config.min_images is not None:
        images = without_small_classes(images, examples, config.min_images)
    targets = [examples.targets[i] for i in images.kept]
    if images.skipped:
        task = infer_task(targets, config.task, config.metric)  # a class may be gone with its images
    cache = ActivationCache(
        (config.cache_dir or default_cache_dir()) if config.cache else None,
        memory_limit=memory_budget(config.memory_limit),
    )
    extractor = FeatureExtractor(
        images=images,
        cache=cache,
        ahead=ahead if len(images) >= _MANY else 0,
        staged=any(head.features == "stages" for head in heads(task, len(images))),
    )
    division = divide(
        task,
        targets,
        images,
        config,
        names=[examples.names[i] for i in images.kept],
        groups=None if examples.groups is None else [examples.groups[i] for i in images.kept],
        held_out=None if examples.held_out is None else np.array(examples.held_out)[images.kept],
        features=None if first is None else partial(extractor.pooled, first),
    )
    return Prepared(
        extractor=extractor,
        lessons=division.lessons,
        skipped=(*examples.skipped, *with_labels(images.skipped, examples)),
        grouping=division.grouping,
        deal=division.deal,
        grey=examples.grey,
    )


def fingerprint(data: Prepared) -> str:
    """Return a hash of the images and their targets, in order."""
    targets = np.ascontiguousarray(data.lessons[0].targets)
    digest = blake2b(f"{data.images.fingerprint}{targets.dtype}{targets.shape}".encode(), digest_size=16)
    digest.update(targets.tobytes())
    return digest.hexdigest()


def deal_again(data: Prepared, validation: Sequence[np.ndarray], config: SearchConfig) -> tuple[Lesson, ...]:
    """Return the lessons of folds that were dealt elsewhere.

    Args:
        data: The examples.
        validation: For each fold, the rows that score; all others train.
        config: The settings.
    """
    lesson, lessons = data.lessons[0], list[Lesson]()
    for rows in validation:
        train = np.setdiff1d(np.arange(len(lesson.targets)), rows)
        weights = class_weights(config, lesson.task, lesson.targets[train])
        lessons.append(replace(lesson, train=train, validation=rows, class_weights=weights))
    return tuple(lessons)


def refuse_unreadable(test: Examples) -> None:
    """Read every test image, in small, so that a strict run ends before the search and not after it.

    Raises:
        UnreadableImageError: One cannot be decoded.
    """
    decode(test, {"center": 1}, strict=True)


def _pass_seconds(spec: BackboneSpec, device: Device, images: int) -> float:
    """Return about how long one pass over the images takes, before anything is measured; 0 for unknown."""
    return (spec.gmacs or 0.0) * images / _SPEED[device.torch.type]


def _cut(
    specs: list[BackboneSpec], named: Collection[str], budget: Budget, seconds: Callable[[BackboneSpec], float]
) -> list[BackboneSpec]:
    """Return the backbones that the budget allows a look at, the cheapest first; those named in full always."""
    always = [spec for spec in specs if spec.name in named]
    others = [spec for spec in specs if spec.name not in named]
    allowed = math.inf
    if budget.seconds is not None:
        allowed = budget.seconds * _SCREENING_SHARE
        others = [spec for spec in others if seconds(spec) <= budget.seconds * _PASS_SHARE] or others[:1]
    most = _MOST if budget.trials is None else max(_ALWAYS, budget.trials // _TRIALS_EACH)
    chosen = [*always, *choose_portfolio(others, seconds, allowed, min(most, _MOST))]
    return sorted(chosen, key=lambda spec: (spec.gmacs or 0.0, spec.parameters or 0, spec.name))


def _sides(backbones: Sequence[BackboneSpec]) -> dict[CropMode, int]:
    """Return, for each crop mode, the side of the stored squares that the largest input needs."""
    sides: dict[CropMode, int] = {}
    for spec in backbones:
        how = spec.preprocessing or spec.load().preprocessing  # loaded to be asked by evaluate() alone
        sides[how.crop_mode] = max(how.resized, sides.get(how.crop_mode, 0))
    return sides
