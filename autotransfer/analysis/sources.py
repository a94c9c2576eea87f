"""Which source transfers best: a ranking of the backbones, with negative transfer named."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from autotransfer.analysis.transfer_gain import TransferGain
from autotransfer.data.folds import Fold
from autotransfer.search.trials import TrialRecord
from autotransfer.tasks.bootstrap import significantly_better

__all__ = ["Source", "rank_sources"]

# Probability with which one of all sources is named where none does harm.
_LEVEL = 0.025


@dataclass(frozen=True, kw_only=True)
class Source:
    """A backbone with what it was trained on, and how well that transfers.

    Attributes:
        backbone: Its name.
        source: What its weights were trained on, in words.
        score: Score of its best candidate.
        objective: What candidates are compared by: what the score is worth, made fair, less its doubt.
        frozen: Best score with the backbone frozen as a whole; None where that was not tried.
        trial: Number of the best candidate's trial.
        negative: Whether even its best candidate is worse than the random weights that the gain is told against, by a
            paired test on the same examples: negative transfer. None where that was not compared.
        given_up: Whether it was given up on a sample of the images: its scores are those on the sample.
    """

    backbone: str
    source: str
    score: float
    objective: float
    frozen: float | None
    trial: int
    negative: bool | None
    given_up: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the row as JSON."""
        return asdict(self)


def rank_sources(
    trials: Iterable[TrialRecord],
    stages: Mapping[str, int],
    words: Mapping[str, str],
    fold: Fold,
    gain: TransferGain | None,
) -> tuple[Source, ...]:
    """Return the sources, the best first.

    Args:
        trials: The trials; the complete ones count, and of a backbone that has none, those given up on a sample.
        stages: Number of stages by backbone.
        words: What each backbone was trained on.
        fold: The first fold.
        gain: What random weights predict for its validation examples.
    """
    by_name: dict[str, list[TrialRecord]] = {}
    given_up: dict[str, list[TrialRecord]] = {}
    for record in trials:
        if record.candidate is None or record.objective is None:
            continue
        if record.stands:
            by_name.setdefault(record.candidate.backbone, []).append(record)
        elif record.sampled is not None:
            given_up.setdefault(record.candidate.backbone, []).append(record)
    by_name = {**given_up, **by_name}
    baseline, level = None if gain is None else gain.baseline, _LEVEL / max(len(by_name), 1)
    rows = [
        _row(name, records, stages[name], words.get(name, ""), _does_harm(_best(records), fold, baseline, level))
        for name, records in by_name.items()
    ]
    return tuple(sorted(rows, key=lambda row: (-row.objective, row.trial)))


def _best(records: list[TrialRecord]) -> TrialRecord:
    return max(records, key=lambda record: (record.objective or 0.0, -record.number))


def _row(name: str, records: list[TrialRecord], stages: int, words: str, negative: bool | None) -> Source:
    best = _best(records)
    frozen = [record.score for record in records if record.depth == stages and record.score is not None]
    assert best.score is not None  # a complete trial has one
    assert best.objective is not None
    return Source(
        backbone=name,
        source=words,
        score=best.score,
        objective=best.objective,
        frozen=max(frozen, default=None),
        trial=best.number,
        negative=negative,
        given_up=best.state == "pruned",
    )


def _does_harm(record: TrialRecord, fold: Fold, baseline: np.ndarray | None, level: float) -> bool | None:
    """Whether a record is worse than random weights on the first fold; None where its outputs there are not known."""
    rows = fold.validation_rows
    if baseline is None or record.predictions is None or np.isnan(record.predictions[rows]).any():
        return None
    return significantly_better(
        fold.task, fold.targets[rows], baseline, record.predictions[rows], fold.group_ids_of(rows), level=level
    )
