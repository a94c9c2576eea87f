"""What the result says beside the winner: all answers in one place, for people and as JSON."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autotransfer.analysis.depths import DepthScore, best_by_depth
from autotransfer.analysis.importance import measure_importance
from autotransfer.analysis.selection_bias import SelectionBias, estimate_selection_bias
from autotransfer.analysis.sources import Source, rank_sources
from autotransfer.analysis.transfer_gain import TransferGain, measure_gain
from autotransfer.evaluation.evaluator import Evaluator
from autotransfer.pipeline.select import Ending
from autotransfer.runtime.text import escape
from autotransfer.search.budget import TimeBudget
from autotransfer.search.trials import Trials
from autotransfer.selection.selected import Selected
from autotransfer.settings import Settings
from autotransfer.warnings import WarningList

__all__ = ["Insight", "explain"]

# Sources and depths that are printed; JSON has all.
_SHOWN = 5
# Smallest share that is printed.
_WORTH = 0.005


@dataclass(frozen=True, kw_only=True)
class Insight:
    """How far the model's score is to be believed, and what made it.

    Attributes:
        selected: What the model is: one trial's candidate, or an ensemble or soup of several.
        inflation: How much choosing the best of many candidates flatters it; None where there was no choice.
        gain: The model against the winner's architecture from random weights; None where that was not asked for.
        sources: The backbones by how well what they were trained on transfers, the best first.
        importance: Share of the differences between candidates that each choice accounts for, the largest first; None
            where too few trials say.
        depths: The best candidate of each backbone at each freeze depth, those that train fewest stages first.
    """

    selected: Selected
    inflation: SelectionBias | None
    gain: TransferGain | None
    sources: tuple[Source, ...]
    importance: Mapping[str, float] | None
    depths: tuple[DepthScore, ...]

    def to_json(self) -> dict[str, Any]:
        """Return all of it as JSON."""
        return {
            "model": self.selected.to_json(),
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
    ending: Ending,
    trials: Trials,
    evaluator: Evaluator,
    budget: TimeBudget,
    settings: Settings,
    stages: Callable[[str], tuple[str, ...]],
    warnings: WarningList,
) -> Insight:
    """Answer what the trials can answer, and compare the model with random weights in the time that is left.

    Args:
        ending: The winner, and the model that it became.
        trials: All trials.
        evaluator: What scored them.
        budget: The budget.
        settings: The settings.
        stages: Returns the stages of a backbone that was tried.
        warnings: Takes what a user should know of the comparison.
    """
    fold = evaluator.folds[0]
    names = dict.fromkeys(r.candidate.backbone for r in trials if r.candidate and r.depth is not None)
    counts = {name: len(stages(name)) for name in names}
    averages = ending.soup.tried if ending.soup is not None and ending.selected.kind == "soup" else ()
    inflation = estimate_selection_bias(ending.selected, ending.records, fold, averages=averages, seed=settings.seed)
    importance = measure_importance(trials, counts, seed=settings.seed)
    gain = None
    if settings.search.compare_scratch:
        gain = measure_gain(ending.best, ending.selected, trials, evaluator, budget, settings.search.epochs)
    words = {name: evaluator.registry.backbone(name).source for name in names}
    sources = rank_sources(trials, counts, words, fold, gain)
    if gain is not None:
        _warn_of(gain, sources, warnings)
    return Insight(
        selected=ending.selected,
        inflation=inflation,
        gain=gain,
        sources=sources,
        importance=importance,
        depths=best_by_depth(trials, counts),
    )


def _inflation(found: SelectionBias | None) -> str:
    if found is None:
        return ""
    among = f"{found.candidates} of {found.tried}" if found.candidates < found.tried else f"{found.tried}"
    how = f"choosing the best of {among} candidates flatters by {found.inflation:.4f}"
    return f"{found.corrected:.4f} for {found.of}: {how}"


def _gain(found: TransferGain | None) -> str:
    if found is None:
        return ""
    if found.gain is None:
        return f"not compared with random weights: {found.reason}"
    if found.scratch is None and found.verdict == "too_little_training":
        beside = f"{found.of} {found.transfer:.4f} against {found.untrained:.4f} (frozen, {found.head})"
        return f"not known: {beside} from random weights, which were not trained: {found.reason}"
    error = "" if found.error is None or not math.isfinite(found.error) else f" (standard error {found.error:.4f})"
    said = {
        "gain": f"{found.gain:+.4f}{error} over random weights",
        "negative_transfer": f"{found.gain:+.4f}{error}, worse than random weights: negative transfer",
        "none": f"no measurable difference from random weights{error}",
    }.get(found.verdict, "not known, since random weights had too little training")
    return f"{said}: {found.of} {found.transfer:.4f} against {_baselines(found)}; {found.examples} examples"


def _baselines(found: TransferGain) -> str:
    """Return what random weights came to, and in how much training."""
    frozen = "" if found.untrained is None else f"{found.untrained:.4f} (frozen, {found.head})"
    if found.scratch is None:
        return frozen
    trained = f"{found.scratch:.4f} ({_training(found)})"
    return f"{trained} or {frozen}" if frozen else trained


def _training(found: TransferGain) -> str:
    """Return how much training random weights had."""
    epochs = f"{found.epochs} epoch{'' if found.epochs == 1 else 's'}"
    return f"{epochs}, {found.steps} steps, {found.seconds:.1f} s"


def _warn_of(gain: TransferGain, sources: Sequence[Source], warnings: WarningList) -> None:
    """Say which backbones do harm, and where the comparison came too late to say anything."""
    harmful, details = [source.backbone for source in sources if source.negative], gain.to_json()
    if harmful or gain.verdict == "negative_transfer":
        names = ", ".join(harmful) or gain.of
        warnings.warn(
            "negative_transfer",
            f"Worse than random weights of the winner's architecture, by a paired test on {gain.examples} examples: "
            f"{names}. What these backbones were trained on does harm here: try others, or pretrain one on your data.",
            backbones=harmful,
            gain=details,
        )
    elif gain.verdict == "too_little_training" and gain.scratch is not None:
        warnings.warn(
            "compared_late",
            f"What transfer gains is not known: random weights had too little training, {_training(gain)}. A larger "
            "budget gives them more; compare_scratch=False (--no-compare-scratch) leaves the comparison out.",
            gain=details,
        )


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
