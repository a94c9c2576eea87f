"""Which source transfers best: a ranking of the backbones, with negative transfer named."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from autotransfer.insight.gain import TransferGain
from autotransfer.search.records import TrialRecord
from autotransfer.transfer.training import Lesson

__all__ = ["Source", "rank_sources"]


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
        negative: Whether even its best candidate is below random weights of the winner's architecture, on the same
            examples: negative transfer. None where that was not compared.
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
    lesson: Lesson,
    gain: TransferGain | None,
) -> tuple[Source, ...]:
    """Return the sources, the best first.

    Args:
        trials: The trials; the complete ones count, and of a backbone that has none, those given up on a sample.
        stages: Number of stages by backbone.
        words: What each backbone was trained on.
        lesson: The first fold.
        gain: What random weights reached on its validation examples.
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
    floor = None if gain is None else gain.floor
    rows = [_row(name, records, stages[name], words.get(name, ""), lesson, floor) for name, records in by_name.items()]
    return tuple(sorted(rows, key=lambda row: (-row.objective, row.trial)))


def _row(name: str, records: list[TrialRecord], stages: int, words: str, lesson: Lesson, floor: float | None) -> Source:
    best = max(records, key=lambda record: (record.objective or 0.0, -record.number))
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
        negative=None if floor is None else _first_fold(best, lesson) < floor,
        given_up=best.state == "pruned",
    )


def _first_fold(record: TrialRecord, lesson: Lesson) -> float:
    """Return a record's score on the validation examples of the first fold; on all where its outputs are gone."""
    assert record.score is not None
    if record.scores is None:
        return record.score
    rows = lesson.validation
    return (
        record.score
        if np.isnan(record.scores[rows]).any()
        else lesson.task.score(lesson.targets[rows], record.scores[rows])
    )
