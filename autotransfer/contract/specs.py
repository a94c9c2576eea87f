"""What goes through the doors: frozen descriptions of backbones, heads and freeze policies. Nothing here is heavy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, get_args

from autotransfer.errors import PluginError

if TYPE_CHECKING:
    import numpy as np
    from optuna.distributions import BaseDistribution
    from torch import nn

    from autotransfer.candidate import Candidate
    from autotransfer.contract.backbone import Backbone
    from autotransfer.contract.modality import InputFormat
    from autotransfer.tasks.task import Task

__all__ = [
    "BackboneSpec",
    "EpochRecord",
    "FreezePlan",
    "FreezePolicySpec",
    "HeadSpec",
    "Phase",
    "Takes",
]

Takes = Literal["pooled", "map", "stages"]

_NOT_SHOWN = ("load", "load_at", "check", "locate", "preprocessing", "origin")


@dataclass(frozen=True, kw_only=True)
class BackboneSpec:
    """A backbone that can be searched. Making one loads nothing.

    Attributes:
        name: Unique name; users match it with patterns.
        modality: Name of the modality whose examples it takes.
        load: Builds the backbone with its pretrained weights.
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
        input_size: Size of an input in the unit of its modality, such as height and width in pixels.
        accuracy: Published accuracy on a usual benchmark of its modality, such as ImageNet top-1, 0..1.
        preprocessing: How it wants its inputs, where that is known without loading it; it is loaded to ask otherwise.
        license: Licence of the weights.
        version: What its features depend on beside its weights, such as the version of a library that builds it;
            features that were cached under another are computed anew.
        origin: Distribution and version of the plugin that registered it; the registry fills it in.
        load_at: ``load_at(form)`` builds another form of it with the same weights, such as one for another resolution;
            what a form is, its modality knows. None where it has one form only.
    """

    name: str
    modality: str
    load: Callable[[], Backbone]
    source: str = ""
    weights: str = ""
    check: Callable[[], None] | None = None
    locate: Callable[[], None] | None = None
    default: bool = True
    fallback: bool = False
    parameters: int | None = None
    gmacs: float | None = None
    input_size: tuple[int, ...] | None = None
    accuracy: float | None = None
    preprocessing: InputFormat | None = None
    license: str = ""
    version: str = ""
    origin: str = ""
    load_at: Callable[[Any], Backbone] | None = None

    def to_row(self) -> dict[str, Any]:
        """Return what is known of it without loading it, as JSON."""
        row = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _NOT_SHOWN}
        return {**row, "input_size": list(self.input_size) if self.input_size else None}


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
