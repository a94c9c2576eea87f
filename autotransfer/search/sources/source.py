"""What a source of proposals is, and what it is given."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from autotransfer.search.proposal import Proposal, SourceName
from autotransfer.search.strategy_context import StrategyContext
from autotransfer.search.strategy_settings import StrategySettings
from autotransfer.search.trials import TrialRecord, Trials

__all__ = ["FROZEN", "TRAINING", "FrozenForm", "SearchState", "Source", "expected_level", "form_of"]

# Sources of candidates none of whose stages train.
FROZEN: tuple[SourceName, ...] = ("screening", "variants", "frozen_heads")
# Sources of candidates some of whose stages train.
TRAINING: tuple[SourceName, ...] = ("fine_tuning", "sampled_tuning")

FrozenForm = tuple[str, int]
"""A backbone in one of its forms, and the number of views that it takes."""


@dataclass(frozen=True, kw_only=True)
class SearchState:
    """How far a search has come.

    Attributes:
        trials: The trials.
        left: Seconds that the search may still take.
        best: The best level so far; 0, that of the trivial predictor, before there is any.
        running: The proposals that are being carried out.
        frozen: Levels of frozen candidates by their form, and by their heads the best one of each.
    """

    trials: Trials
    left: float
    best: float
    running: Sequence[Proposal]
    frozen: Mapping[FrozenForm, Mapping[str, float]]

    @classmethod
    def of(
        cls, trials: Trials, left: float, running: Sequence[Proposal], levels: Callable[[float], float]
    ) -> SearchState:
        """Return the state of a search with these trials."""
        best = trials.best
        level = 0.0 if best is None or best.objective is None else levels(best.objective)
        return cls(trials=trials, left=left, best=level, running=running, frozen=_frozen_levels(trials, levels))

    def fits(self, seconds: float) -> bool:
        """Whether so many seconds are left; before there is a result, anything may be tried."""
        return seconds <= self.left or self.trials.best is None

    @property
    def running_arms(self) -> set[str]:
        """Names of the arms that are being tried."""
        return {proposal.arm.name for proposal in self.running if proposal.arm is not None}

    @property
    def busy(self) -> set[str]:
        """Backbones whose features are being computed: two trials side by side would wait for the same ones."""
        return {str(p.params.get("backbone")) for p in self.running if p.source in ("screening", "variants")}

    def best_of(self, form: FrozenForm) -> float:
        """Return the best level of a frozen backbone in a form; minus infinity where it has none."""
        return max(self.frozen.get(form, {}).values(), default=-math.inf)


class Source(Protocol):
    """A part of the search that offers what it would like to try."""

    def proposals(self, state: SearchState) -> Iterable[Proposal]:
        """Yield proposals with their expected levels, deviations and seconds."""
        ...

    def observe(self, proposal: Proposal, record: TrialRecord | None) -> None:
        """Learn what came of a proposal of any source; None says that it was not carried out."""
        ...


def form_of(params: Mapping[str, Any]) -> FrozenForm:
    """Return the form that parameters of a trial name."""
    return str(params["backbone"]), int(params.get("views", 1))


def expected_level(
    context: StrategyContext, settings: StrategySettings, backbone: str
) -> tuple[float, dict[str, float]]:
    """Return the level of a backbone that is expected before it is tried, and the effects that are in it."""
    root = context.root(backbone)
    effects = {"task": settings.task_deviation, **context.backbone_effects.get(root, {})}
    return settings.task_level + context.backbone_levels.get(root, 0.0), effects


def _frozen_levels(trials: Trials, levels: Callable[[float], float]) -> dict[FrozenForm, dict[str, float]]:
    """Return levels of candidates that trained no epoch of a backbone, by form and head.

    What was scored on a sample of the examples alone is left out; a form whose candidates failed has no levels.
    """
    found: dict[FrozenForm, dict[str, float]] = {}
    for record in trials:
        candidate = record.candidate
        if candidate is None or record.source not in FROZEN or record.state == "pruned":
            continue
        by_head = found.setdefault((candidate.backbone, candidate.views), {})
        if record.objective is not None:
            by_head[candidate.head] = max(levels(record.objective), by_head.get(candidate.head, -math.inf))
    return found
