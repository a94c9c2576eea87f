"""Specs that plugins register: frozen descriptions of backbones, heads and freeze policies, without torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, get_args

from autotransfer.errors import PluginError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from torch import nn

    from autotransfer.candidate import Candidate
    from autotransfer.contract.backbone import Backbone
    from autotransfer.contract.modality import InputFormat

__all__ = [
    "Adapters",
    "BackboneSpec",
    "EpochRecord",
    "FreezePlan",
    "FreezePolicySpec",
    "HeadSpec",
    "Phase",
    "Takes",
]

Takes = Literal["pooled", "map", "stages"]

_FIELDS_NOT_IN_ROWS = ("load", "load_at", "check", "locate", "preprocessing", "origin")


@dataclass(frozen=True, kw_only=True)
class BackboneSpec:
    """A backbone that can be searched. A spec loads nothing.

    Attributes:
        name: Unique name; users match it with patterns.
        modality: Name of the modality whose examples it takes.
        load: Builds the backbone with its pretrained weights.
        source: Description of the data that the weights were trained on.
        weights: Description of where the weights are.
        check: Raises ``WeightsUnavailableError`` or ``BackboneError`` if ``load`` would fail; takes less than a second.
        locate: Raises ``WeightsUnavailableError``, within a millisecond, if the weights are neither here nor can be
            fetched. The search calls ``locate`` for all backbones, and ``check`` then for the chosen ones. None calls
            ``check`` for all backbones.
        default: Whether the backbone is searched when the user names none.
        fallback: Whether the backbone is searched when the user names none and no default backbone is available.
        parameters: Number of parameters.
        gmacs: Multiply-accumulates of one forward pass, in 10^9.
        input_size: Size of an input in the unit of its modality, such as height and width in pixels.
        accuracy: Published accuracy on a usual benchmark of its modality, such as ImageNet top-1, 0..1.
        preprocessing: How the backbone wants its inputs; None if the backbone must be loaded to know it.
        license: Licence of the weights.
        version: Version of everything but the weights that the features depend on, such as a library. Cached features
            of another version are not used.
        origin: Distribution and version of the plugin that registered the backbone; set by the registry.
        distant: Whether the weights were trained on examples of another modality.
        load_at: ``load_at(form)`` builds another form of the backbone with the same weights, such as one for another
            resolution; its modality knows what a form is. None for a backbone with a single form.
        heads: Names of the only heads that suit the backbone, all of them solved in closed form; they are offered to no
            other backbone. Such a backbone has no weights: it stays frozen, is not compared with random weights, and
            may pool to sparse features (COO). None where any head suits it.
        tells_near_duplicates: Whether examples with nearly equal features are nearly equal. They are not where features
            leave out the order of an example's parts, or the parts that the backbone does not know.
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
    distant: bool = False
    load_at: Callable[[Any], Backbone] | None = None
    heads: tuple[str, ...] | None = None
    tells_near_duplicates: bool = True

    def to_row(self) -> dict[str, Any]:
        """Return the known properties as JSON, without loading the backbone."""
        row = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _FIELDS_NOT_IN_ROWS}
        return {**row, "input_size": list(self.input_size) if self.input_size else None}


@dataclass(frozen=True, kw_only=True)
class HeadSpec:
    """A head: maps features to outputs, trained by gradient descent or solved in closed form.

    Attributes:
        name: Unique name.
        build: ``build(shape, outputs, params)`` returns an untrained module. ``shape`` is ``(width,)`` for pooled
            features, ``(channels, height, width)`` for a map, and the widths of all stages for stages, the pooled
            features last. The module maps a batch of features to ``(N, outputs)``: logits for classes, values for
            regression.
        solve: ``solve(module, features, targets, task, params, weights)`` fills ``module`` from features of shape
            ``(N, width)`` without gradients; targets are from ``Task.encode``. Sparse features are a scipy CSR matrix.
            None for heads that train by gradient.
        takes_sample_weight: Whether ``solve`` also takes ``sample_weight=``: a positive weight of each example, float64
            (N,) with a mean of 1, or None. A closed form that takes none is left out where examples have weights.
        features: Features that the head takes: pooled features, the last feature map, or the concatenated features of
            all stages of a frozen backbone ``(N, sum(shape))``.
        parameters: Distributions by short name.
        tasks: Kinds of task that the head supports.
    """

    name: str
    build: Callable[[tuple[int, ...], int, Mapping[str, Any]], nn.Module]
    solve: Callable[..., None] | None = None
    takes_sample_weight: bool = False
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
class Adapters:
    """Low-rank adapters of the linear layers of training stages (Hu et al., ICLR 2022).

    Attributes:
        rank: Rank of what is added to a weight.
        matrices: Which layers have one: those of attention that make queries and values, or all linear layers.
    """

    rank: int
    matrices: Literal["attention", "all"] = "attention"


@dataclass(frozen=True, kw_only=True)
class FreezePlan:
    """Which stages train in which epochs.

    Attributes:
        phases: Phases in ascending order of their start; the first one starts at 0.
        trained: Which parameters of a training stage train: all, norms and biases only, or adapters only.
        learning_rates: Factor on the learning rate of each stage; empty for a factor of 1.
        adapters: The adapters, where they train.
    """

    phases: tuple[Phase, ...]
    trained: Literal["all", "norms_and_biases", "adapters"] = "all"
    learning_rates: tuple[float, ...] = ()
    adapters: Adapters | None = None

    @property
    def depth(self) -> int:
        """Number of leading stages that never train: the boundary."""
        return min(phase.depth for phase in self.phases)


@dataclass(frozen=True, kw_only=True)
class FreezePolicySpec:
    """A rule that determines which stages train in which epochs.

    Attributes:
        name: Unique name.
        parameters: ``parameters(stages)`` returns distributions by short name for a backbone with these stage names.
        plan: ``plan(stages, params)`` returns the plan.
        default: Whether a search uses the policy when the user names none.
    """

    name: str
    plan: Callable[[tuple[str, ...], Mapping[str, Any]], FreezePlan]
    parameters: Callable[[tuple[str, ...]], Mapping[str, BaseDistribution]] = lambda stages: {}
    default: bool = True


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """One epoch of a trial that trains by gradient.

    Attributes:
        trial: Number of the trial. None for a new trial while several trials are evaluated at a time, since a trial
            gets its number when it ends; ``candidate`` identifies the trial then.
        candidate: The candidate that trains.
        epoch: Number of finished epochs.
        score: Score on the validation examples; on the first fold in cross-validation.
        loss: Mean training loss of the epoch; NaN where a worker does not report it.
        learning_rate: Learning rate of the head at the end of the epoch; NaN where a worker does not report it.
    """

    trial: int | None
    candidate: Candidate
    epoch: int
    score: float
    loss: float
    learning_rate: float
