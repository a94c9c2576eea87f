"""What a strategy may propose, and what it knows of the task before anything is tried."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from autotransfer.search.belief import CurveModel
from autotransfer.search.gain_prior import Gain, TuningGain
from autotransfer.search.levels import Levels

__all__ = ["Gains", "StrategyContext", "Tuning"]

# Predictions of seconds below this do not differ: it takes that long to ask for a trial, and to write down what came
# of it.
MIN_SECONDS = 0.02


class Tuning(Protocol):
    """Returns the parameters of a trial that trains the last stages of a backbone; None where that is impossible."""

    def __call__(self, backbone: str, trained: int, *, views: int = 1, distant: bool = False) -> dict[str, Any] | None:
        """Return the parameters.

        Args:
            backbone: The backbone.
            trained: Number of last stages that train.
            views: Number of views of each example.
            distant: Whether the task is far from what the backbone was pretrained on.
        """
        ...


class Gains(Protocol):
    """What kinds of candidates bring, as far as recorded runs say; see ``GainPrior``."""

    def tuning(self, *, share: float, examples: int, outputs: int, error: float, distant: bool) -> TuningGain:
        """Return what training the last share of the stages brings over the best frozen candidate."""
        ...

    def head(self, name: str) -> Gain:
        """Return what a closed-form head brings over a logistic regression."""
        ...

    def drawn(self, kind: Literal["frozen_heads", "sampled_tuning"]) -> Gain:
        """Return what a candidate that a sampler draws brings over the best one of its backbone."""
        ...

    def form(self, kind: Literal["resolution", "framing", "views"]) -> Gain:
        """Return what another form of a backbone brings over the form before it."""
        ...


@dataclass(frozen=True, kw_only=True)
class StrategyContext:
    """What a strategy may propose, and what it knows of the task before anything is tried.

    Attributes:
        screening: Parameters of frozen candidates under closed-form heads, each backbone in its first form.
        tuning: Returns the parameters of a trial that trains so many last stages.
        stages: Returns the number of stages of a backbone.
        frozen_policy: The freeze policy that freezes all stages; None where there is none.
        tuning_policies: The freeze policies that train stages.
        curves: How learning curves hang together.
        seconds: ``seconds(params, epochs)`` predicts the seconds of a trial to so many epochs; None for a budget of
            trials, each of which costs one.
        drawn_heads: Names of the heads of a frozen backbone whose settings a sampler draws.
        drawn_seconds: Predicts the seconds of a frozen candidate of a backbone in so many views whose head is drawn.
        tuned_seconds: Predicts the seconds before the first epoch of a training whose settings are drawn, and of each.
        measure_training: Times a training step of the backbone that parameters name, on which predicted seconds rest,
            where that was not done; returns whether it was done now.
        levels: Turns objectives into levels.
        gains: What kinds of candidates bring.
        backbone_levels: By the name of a backbone in its first form, its expected level beyond those of others.
        backbone_effects: By that name, the weights of the effects that backbones share.
        variants: By the name of a form of a backbone that is not screened first, the name of the form before it.
        kind_of_form: Returns what tells a form from the one before it.
        views: Numbers of views that are offered, rising from 1.
        admits_views: Whether a backbone may take so many views, whatever they bring.
        distant: Backbones that were pretrained on examples unlike those of the task.
        frozen_only: Backbones none of whose stages train.
        backbones: Names of all backbones, in all forms; None where they do not matter.
        min_epochs: Epochs that have to fit into the seconds left.
        examples: Number of examples to train on.
        outputs: Number of classes, labels or values.
    """

    screening: Sequence[dict[str, Any]]
    tuning: Tuning
    stages: Callable[[str], int]
    frozen_policy: str | None
    tuning_policies: Sequence[str]
    curves: CurveModel
    gains: Gains
    seconds: Callable[[dict[str, Any], int], float] | None = None
    drawn_heads: Callable[[str], Sequence[str]] = lambda backbone: ("linear",)
    drawn_seconds: Callable[[str, int], float] = lambda backbone, views: 1.0
    tuned_seconds: Callable[[str], tuple[float, float]] = lambda backbone: (0.0, 1.0)
    measure_training: Callable[[Mapping[str, Any]], bool] = lambda params: False
    levels: Levels = field(default_factory=Levels)
    backbone_levels: Mapping[str, float] = field(default_factory=dict)
    backbone_effects: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    variants: Mapping[str, str] = field(default_factory=dict)
    kind_of_form: Callable[[str], Literal["resolution", "framing"]] = lambda form: "resolution"
    views: Sequence[int] = (1,)
    admits_views: Callable[[str, int], bool] = lambda backbone, views: True
    distant: Collection[str] = ()
    frozen_only: Collection[str] = ()
    backbones: Collection[str] | None = None
    min_epochs: int = 1
    examples: int = 1000
    outputs: int = 2

    @property
    def is_timed(self) -> bool:
        """Whether there is a time budget."""
        return self.seconds is not None

    def knows(self, backbone: str) -> bool:
        """Whether a backbone takes part in the search."""
        return self.backbones is None or backbone in self.backbones

    def seconds_of(self, params: dict[str, Any]) -> float:
        """Return the predicted seconds of a frozen candidate; positive."""
        return MIN_SECONDS if self.seconds is None else max(self.seconds(params, 0), MIN_SECONDS)

    def epoch_seconds(self, params: dict[str, Any]) -> tuple[float, float]:
        """Return the predicted seconds of a training before its first epoch, and of each epoch."""
        if self.seconds is None:
            return 0.0, MIN_SECONDS
        start, first = self.seconds(params, 0), self.seconds(params, 1)
        return start, max(first - start, MIN_SECONDS)

    def root(self, form: str) -> str:
        """Return the name of the form of a backbone that is screened first."""
        while form in self.variants:
            form = self.variants[form]
        return form
