"""What the result says beside the winner: all answers in one place, for people and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from autotransfer.config import SearchConfig
from autotransfer.insight.depths import DepthScore, best_by_depth
from autotransfer.insight.gain import TransferGain, measure_gain
from autotransfer.insight.importance import measure_importance
from autotransfer.insight.inflation import Inflation, estimate_inflation
from autotransfer.insight.sources import Source, rank_sources
from autotransfer.search.budget import Purse
from autotransfer.search.evaluate import Evaluator
from autotransfer.search.records import TrialRecord, Trials
from autotransfer.text import escape

__all__ = ["Insight", "explain"]

# Sources and depths that are printed; JSON has all.
_SHOWN = 5
# Smallest share that is printed.
_WORTH = 0.005


@dataclass(frozen=True, kw_only=True)
class Insight:
    """How far the winner's score is to be believed, and what made it.

    Attributes:
        inflation: How much choosing the best of many candidates flatters it; None where there was no choice.
        gain: The winner against its own architecture from random weights; None where that was not asked for.
        sources: The backbones by how well what they were trained on transfers, the best first.
        importance: Share of the differences between candidates that each choice accounts for, the largest first; None
            where too few trials say.
        depths: The best candidate of each backbone at each freeze depth, those that train fewest stages first.
    """

    inflation: Inflation | None
    gain: TransferGain | None
    sources: tuple[Source, ...]
    importance: Mapping[str, float] | None
    depths: tuple[DepthScore, ...]

    def to_json(self) -> dict[str, Any]:
        """Return all of it as JSON."""
        return {
            "inflation": self.inflation.to_json() if self.inflation else None,
            "gain": self.gain.to_json() if self.gain else None,
            "sources": [source.to_json() for source in self.sources],
            "importance": dict(self.importance) if self.importance else None,
            "depths": [row.to_json() for row in self.depths],
        }

    def __str__(self) -> str:
        lines = [
            ("corrected", _inflation(self.inflation)),
            ("gain", _gain(self.gain)),
            ("sources", _sources(self.sources)),
            ("depths", _depths(self.depths)),
            ("mattered", _importance(self.importance)),
        ]
        return "\n".join(f"{title:<12}{escape(text)}" for title, text in lines if text)


def explain(
    best: TrialRecord,
    trials: Trials,
    evaluator: Evaluator,
    purse: Purse,
    config: SearchConfig,
    stages: Callable[[str], tuple[str, ...]],
) -> Insight:
    """Answer what the trials can answer, and compare the winner with random weights in the time that is left.

    Args:
        best: The winner.
        trials: All trials.
        evaluator: What scored them.
        purse: The budget.
        config: The settings.
        stages: Returns the stages of a backbone that was tried.
    """
    lesson = evaluator.lessons[0]
    names = dict.fromkeys(r.candidate.backbone for r in trials if r.candidate and r.depth is not None)
    counts = {name: len(stages(name)) for name in names}
    inflation = estimate_inflation(best, trials, lesson.task, lesson.targets, seed=config.seed)
    importance = measure_importance(trials, counts, seed=config.seed)
    gain = measure_gain(best, evaluator, purse, config.epochs) if config.compare_scratch else None
    words = {name: evaluator.registry.backbone(name).source for name in names}
    return Insight(
        inflation=inflation,
        gain=gain,
        sources=rank_sources(trials, counts, words, lesson, gain),
        importance=importance,
        depths=best_by_depth(trials, counts),
    )


def _inflation(found: Inflation | None) -> str:
    if found is None:
        return ""
    among = f"{found.candidates} of {found.tried}" if found.candidates < found.tried else f"{found.tried}"
    return f"{found.corrected:.4f}: choosing the best of {among} candidates flatters by {found.inflation:.4f}"


def _gain(found: TransferGain | None) -> str:
    if found is None:
        return ""
    frozen = "" if found.untrained is None else f"{found.untrained:.4f} (frozen, {found.head})"
    if found.scratch is None or found.gain is None:
        beside = f"{found.transfer:.4f} against {frozen} from random weights; " if frozen else ""
        return f"{beside}training them was left out: {found.reason}"
    trained = f"{found.scratch:.4f} ({found.epochs} epochs, {found.seconds:.1f} s)"
    others = f"{trained} or {frozen}" if frozen else trained
    return f"{found.gain:+.4f} over random weights: {found.transfer:.4f} against {others}; {found.examples} examples"


def _sources(found: tuple[Source, ...]) -> str:
    notes = {s.backbone: " (negative transfer)" * bool(s.negative) + " (on a sample)" * s.given_up for s in found}
    shown = [f"{s.backbone} {s.score:.4f}{notes[s.backbone]}" for s in found[:_SHOWN]]
    return ", ".join(shown) + _more(len(found))


def _depths(found: tuple[DepthScore, ...]) -> str:
    best: dict[int, DepthScore] = {}
    for row in found:  # the first of a number of trained stages is the best one
        best.setdefault(row.trained, row)
    shown = [f"{row.trained} trained {row.score:.4f}" for row in list(best.values())[:_SHOWN]]
    return ", ".join(shown) + _more(len(best))


def _importance(found: Mapping[str, float] | None) -> str:
    return ", ".join(f"{name} {share:.0%}" for name, share in (found or {}).items() if share >= _WORTH)


def _more(count: int) -> str:
    return f", and {count - _SHOWN} more" if count > _SHOWN else ""
