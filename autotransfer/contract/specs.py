"""What goes through the doors: frozen descriptions of backbones, heads and freeze policies. Nothing here is heavy."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, get_args

from autotransfer.errors import PluginError

if TYPE_CHECKING:
    import numpy as np
    from optuna.distributions import BaseDistribution
    from torch import nn

    from autotransfer.candidate import Candidate
    from autotransfer.contract.backbone import Backbone
    from autotransfer.tasks.task import Task

__all__ = [
    "GRID",
    "BackboneSpec",
    "EpochRecord",
    "FreezePlan",
    "FreezePolicySpec",
    "HeadSpec",
    "Phase",
    "Preprocessing",
    "Takes",
]

CropMode = Literal["center", "squash"]
Takes = Literal["pooled", "map", "stages"]

# Sides of other sizes are multiples of what networks mostly reduce an image by.
GRID = 32
_NOT_SHOWN = ("load", "load_at", "check", "locate", "preprocessing", "origin")


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How a backbone wants its images; always taken from the model's own configuration.

    Attributes:
        size: Height and width of the input in pixels.
        mean: Mean of each channel, for values in 0..1.
        std: Standard deviation of each channel, for values in 0..1.
        interpolation: ``"bicubic"``, ``"bilinear"`` or ``"nearest"``.
        crop_fraction: Share of the resized image's side that the centre crop keeps.
        crop_mode: ``"center"`` resizes the shorter side, ``"squash"`` both sides without regard to aspect.
    """

    size: tuple[int, int]
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    interpolation: Literal["bicubic", "bilinear", "nearest"] = "bicubic"
    crop_fraction: float = 0.875
    crop_mode: CropMode = "center"

    @property
    def resized(self) -> int:
        """Side in pixels of the square that the centre crop is taken from; rounded down, as timm does."""
        return max(math.floor(max(self.size) / self.crop_fraction), *self.size)


@dataclass(frozen=True, kw_only=True)
class BackboneSpec:
    """A backbone that can be searched. Making one loads nothing.

    Attributes:
        name: Unique name; users match it with patterns.
        load: Builds the backbone with its pretrained weights.
        modality: Kind of input.
        source: What the weights were trained on, in words.
        weights: Where the weights are or come from, in words.
        check: Raises ``WeightsUnavailableError`` or ``BackboneError``, quickly, when ``load`` could not work.
        locate: Raises ``WeightsUnavailableError``, within a millisecond, when the weights are neither here nor can be
            fetched; asked of all, so that only backbones that can be had are chosen from. None means that ``check`` is
            as quick; where there is a ``locate``, only what was chosen is checked.
        default: Searched when the user names no backbone.
        fallback: Searched when the user names none and no default one can be had.
        parameters: Number of parameters.
        gmacs: Multiply-accumulates of one forward pass, in 10^9.
        input_size: Height and width in pixels.
        accuracy: Published ImageNet top-1 accuracy, 0..1.
        preprocessing: How it wants its images, where that is known without loading it; it is loaded to ask otherwise.
        license: Licence of the weights.
        version: What its features depend on beside its weights, such as the version of a library that builds it;
            features that were cached under another are computed anew.
        origin: Distribution and version of the plugin that registered it; the registry fills it in.
        load_at: ``load_at(side)`` builds it for square images of another side in pixels, a multiple of 32; None where
            it takes one size only.
    """

    name: str
    load: Callable[[], Backbone]
    modality: Literal["image", "text", "audio"] = "image"
    source: str = ""
    weights: str = ""
    check: Callable[[], None] | None = None
    locate: Callable[[], None] | None = None
    default: bool = True
    fallback: bool = False
    parameters: int | None = None
    gmacs: float | None = None
    input_size: tuple[int, int] | None = None
    accuracy: float | None = None
    preprocessing: Preprocessing | None = None
    license: str = ""
    version: str = ""
    origin: str = ""
    load_at: Callable[[int], Backbone] | None = None

    def to_row(self) -> dict[str, Any]:
        """Return what is known of it without loading it, as JSON."""
        row = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _NOT_SHOWN}
        return {**row, "input_size": list(self.input_size) if self.input_size else None}

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width of its images in pixels, where that is known without loading it."""
        return self.input_size if self.preprocessing is None else self.preprocessing.size

    def at(self, side: int) -> BackboneSpec | None:
        """Return the same backbone for square images of another side in pixels; None where it does not take that."""
        if self.load_at is None or side < GRID or side % GRID:
            return None
        own, how = self.size, self.preprocessing
        return replace(
            self,
            name=f"{self.name}@{side}px",
            load=partial(self.load_at, side),
            default=False,
            fallback=False,
            gmacs=None if self.gmacs is None or own is None else self.gmacs * side**2 / math.prod(own),
            input_size=(side, side),
            accuracy=None,  # what is published is for its own size
            preprocessing=None if how is None else replace(how, size=(side, side)),
            load_at=None,
        )


@dataclass(frozen=True, kw_only=True)
class HeadSpec:
    """A head: turns features into outputs, trained by gradient or solved in closed form.

    Attributes:
        name: Unique name.
        build: ``build(shape, outputs, params)`` returns an untrained module. ``shape`` is ``(width,)`` for pooled
            features, ``(channels, height, width)`` for a map, and for stages the numbers that each gives, those of the
            pooled features last; the module maps a batch of them to ``(N, outputs)``: logits for classes, raw values
            for regression.
        solve: ``solve(module, features, targets, task, params, weights)`` fills ``module`` from features of shape
            ``(N, width)`` without gradients; targets come from ``Task.encode``. None for gradient heads.
        features: What the head takes: the pooled features, the last map, or what all stages of a frozen backbone give,
            side by side: ``(N, sum(shape))``.
        parameters: Distributions by short name.
        tasks: Kinds of task that it can do.
    """

    name: str
    build: Callable[[tuple[int, ...], int, Mapping[str, Any]], nn.Module]
    solve: Callable[[nn.Module, np.ndarray, np.ndarray, Task, Mapping[str, Any], np.ndarray | None], None] | None = None
    features: Takes = "pooled"
    parameters: Mapping[str, BaseDistribution] = field(default_factory=dict)
    tasks: frozenset[str] = frozenset({"binary", "multiclass", "multilabel", "regression"})

    def __post_init__(self) -> None:
        if self.features not in get_args(Takes):
            raise PluginError(f"Head {self.name!r} takes {self.features!r}; known: {', '.join(get_args(Takes))}.")
        if self.solve is not None and self.features == "map":
            raise PluginError(f"Head {self.name!r} solves on a map; closed forms take 'pooled' or 'stages'.")


@dataclass(frozen=True, kw_only=True)
class Phase:
    """From ``start`` (a fraction of the epochs, 0 <= start < 1) on, the first ``depth`` stages are frozen."""

    start: float
    depth: int


@dataclass(frozen=True, kw_only=True)
class FreezePlan:
    """What trains, and when.

    Attributes:
        phases: In order; the first starts at 0.
        trained: Which parameters of a stage that trains: all, or norms and biases only.
        learning_rates: Factor on the learning rate for each stage; empty means 1 for all.
    """

    phases: tuple[Phase, ...]
    trained: Literal["all", "norms_and_biases"] = "all"
    learning_rates: tuple[float, ...] = ()

    @property
    def depth(self) -> int:
        """Number of leading stages that never train: the boundary."""
        return min(phase.depth for phase in self.phases)


@dataclass(frozen=True, kw_only=True)
class FreezePolicySpec:
    """A rule that says which stages train, and when.

    Attributes:
        name: Unique name.
        parameters: ``parameters(stages)`` returns distributions by short name for a backbone with these stage names.
        plan: ``plan(stages, params)`` returns the plan.
    """

    name: str
    plan: Callable[[tuple[str, ...], Mapping[str, Any]], FreezePlan]
    parameters: Callable[[tuple[str, ...]], Mapping[str, BaseDistribution]] = lambda stages: {}


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """One epoch of a trial that trains by gradient.

    Attributes:
        trial: Number that the trial's record has, or will have; None for a new one while several are evaluated at a
            time: they get their numbers as they end, and are told apart by their candidates.
        candidate: What is trained.
        epoch: Number of epochs that are done.
        score: Score on the validation examples; of a cross-validated head, on the first fold.
        loss: Mean training loss over the epoch; NaN where a worker on another machine does not say.
        learning_rate: Rate of the head at the end of the epoch; NaN where a worker on another machine does not say.
    """

    trial: int | None
    candidate: Candidate
    epoch: int
    score: float
    loss: float
    learning_rate: float
