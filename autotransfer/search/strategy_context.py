"""What a strategy may propose, and what it knows of the task before anything is tried."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from autotransfer.search.freeze_thaw import CurveModel
from autotransfer.search.tta import TtaViews

__all__ = ["StrategyContext", "Tuning"]


class Tuning(Protocol):
    """Returns the parameters of a trial that trains the last stages of a backbone; None where that is impossible."""

    def __call__(self, backbone: str, trained: int, *, distant: bool = False) -> dict[str, Any] | None:
        """Return the parameters.

        Args:
            backbone: The backbone.
            trained: Number of last stages that train.
            distant: Whether the task is far from what the backbone was pretrained on.
        """
        ...


def _never(backbone: str) -> int:
    return 0


@dataclass(frozen=True, kw_only=True)
class StrategyContext:
    """What a strategy may propose, and what it knows of the task before anything is tried.

    Attributes:
        screening: Parameters of the trials that come first.
        tuning: Returns the parameters of a trial that trains so many last stages.
        frozen_policy: The freeze policy that freezes all stages; without one, the sampler chooses freely instead.
        tuning_policies: The freeze policies that train stages; within a time budget, sampled trials take turns.
        curves: The covariances of learning curves.
        seconds: ``seconds(params, epochs)`` predicts the seconds of a trial to so many epochs; None without a time
            budget.
        perfect_score: The best score that the metric has.
        first_trained: Number of last stages that train first; fewer where the time left is too short.
        half_depth: Returns the number of last stages that are half of a backbone; 0 never trains half of it.
        min_epochs: Epochs that have to fit into the budget.
        variants: By the name of a form of a backbone that is not screened first, the name of the form before it.
        distant: Backbones that were pretrained on examples unlike those of the task.
        views: The number of views that each backbone takes.
        frozen_only: Backbones none of whose stages train.
        backbones: Names of all backbones, at all resolutions: a resumed search forgets others. None forgets nothing.
    """

    screening: Sequence[dict[str, Any]]
    tuning: Tuning
    frozen_policy: str | None
    tuning_policies: Sequence[str]
    curves: CurveModel
    seconds: Callable[[dict[str, Any], int], float] | None = None
    perfect_score: float = 1.0
    first_trained: int = 1
    half_depth: Callable[[str], int] = _never
    min_epochs: int = 3
    variants: Mapping[str, str] = field(default_factory=dict)
    distant: Collection[str] = ()
    views: TtaViews = field(default_factory=TtaViews)
    frozen_only: Collection[str] = ()
    backbones: Collection[str] | None = None

    @property
    def is_timed(self) -> bool:
        """Whether there is a time budget."""
        return self.seconds is not None

    def knows(self, backbone: str) -> bool:
        """Whether a backbone takes part in the search."""
        return self.backbones is None or backbone in self.backbones
