"""Which backbone transfers best: a ranking by the best candidate of each, in which negative transfer is marked."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from autotransfer.data.folds import Fold
from autotransfer.search.trials import TrialRecord
from autotransfer.tasks.bootstrap import significantly_better
from autotransfer.tasks.score import format_score
from autotransfer.warnings import FitWarning

__all__ = ["BackboneScore", "pretraining_warning", "rank_backbones"]

# Probability with which any backbone is marked as negative transfer where none is.
SIGNIFICANCE_LEVEL = 0.025


@dataclass(frozen=True, kw_only=True)
class BackboneScore:
    """A backbone with what it was trained on, and how well that transfers.

    Attributes:
        backbone: Its name.
        trained_on: What its weights were trained on, in words.
        score: Score of its best candidate.
        objective: Objective of its best candidate, by which backbones are ranked.
        frozen: Best objective with all stages frozen; None where that was not tried.
        trial: Number of the best candidate's trial.
        negative_transfer: Whether even its best candidate is worse than random weights in the winner's architecture,
            by a paired test on the same examples; None where that was not compared.
        on_subsample: Whether it was stopped on a subsample of the examples: its scores are those on the subsample.
    """

    backbone: str
    trained_on: str
    score: float
    objective: float
    frozen: float | None
    trial: int
    negative_transfer: bool | None
    on_subsample: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the row as JSON."""
        return asdict(self)


def rank_backbones(
    trials: Iterable[TrialRecord],
    stages: Mapping[str, int],
    trained_on: Mapping[str, str],
    fold: Fold,
    baseline: np.ndarray | None,
) -> tuple[BackboneScore, ...]:
    """Return the backbones, the best first.

    Args:
        trials: The trials. The complete ones count; of a backbone without any, those stopped on a subsample.
        stages: Number of stages by backbone.
        trained_on: What each backbone was trained on, in words.
        fold: The first fold.
        baseline: Predictions (n, outputs) of random weights for the fold's validation examples; None without any.
    """
    complete: dict[str, list[TrialRecord]] = {}
    stopped: dict[str, list[TrialRecord]] = {}
    for record in trials:
        if record.candidate is None or record.objective is None:
            continue
        if record.can_win:
            complete.setdefault(record.candidate.backbone, []).append(record)
        elif record.sample_score is not None:
            stopped.setdefault(record.candidate.backbone, []).append(record)
    by_name = {**stopped, **complete}
    level = SIGNIFICANCE_LEVEL / max(len(by_name), 1)  # Bonferroni: one test for each backbone
    rows = [
        _row(name, records, stages[name], trained_on.get(name, ""), _is_worse(_best(records), fold, baseline, level))
        for name, records in by_name.items()
    ]
    return tuple(sorted(rows, key=lambda row: (-row.objective, row.trial)))


def pretraining_warning(
    winner: str, ranking: Sequence[BackboneScore], baselines: Collection[str], metric: str
) -> FitWarning | None:
    """Return the warning that the winner knows no pretrained model; None where it knows one.

    Args:
        winner: The backbone of the best candidate.
        ranking: All backbones, the best first.
        baselines: Names of the backbones that have no pretrained weights.
        metric: The metric of the scores.
    """
    if winner not in baselines:
        return None
    own = next((row.objective for row in ranking if row.backbone == winner), None)
    other = next((row for row in ranking if row.backbone not in baselines), None)
    scores = {"winner": winner, "score": own, "pretrained": other and other.backbone, "best": other and other.objective}
    if other is None or own is None:
        beside = "No pretrained backbone was scored beside it."
    else:
        beside = f"The best pretrained backbone, {other.backbone}, reaches {format_score(other.objective)}."
    reached = "" if own is None else f" with an estimated {metric} of {format_score(own)}"
    message = (
        f"Transfer does not pay here: the best candidate is {winner!r}{reached}, which knows no pretrained model. "
        f"{beside} Give other backbones or a larger budget, or keep the simpler model."
    )
    return FitWarning(code="transfer_does_not_pay", message=message, details=scores)


def _best(records: Sequence[TrialRecord]) -> TrialRecord:
    return max(records, key=lambda record: (record.objective or 0.0, -record.number))


def _row(
    name: str, records: Sequence[TrialRecord], stages: int, trained_on: str, negative_transfer: bool | None
) -> BackboneScore:
    best = _best(records)
    frozen = [record.objective for record in records if record.depth == stages and record.objective is not None]
    assert best.score is not None  # a complete trial has one
    assert best.objective is not None
    return BackboneScore(
        backbone=name,
        trained_on=trained_on,
        score=best.score,
        objective=best.objective,
        frozen=max(frozen, default=None),
        trial=best.number,
        negative_transfer=negative_transfer,
        on_subsample=best.state == "pruned",
    )


def _is_worse(record: TrialRecord, fold: Fold, baseline: np.ndarray | None, level: float) -> bool | None:
    """Return whether a trial is worse than random weights on the first fold; None where one has no predictions."""
    rows = fold.validation_rows
    if baseline is None or record.predictions is None or np.isnan(record.predictions[rows]).any():
        return None
    known = fold.group_ids_of(rows), fold.weights_of(rows)
    return significantly_better(fold.task, fold.targets[rows], baseline, record.predictions[rows], *known, level=level)
