"""Sets of labels, and intervals of values, that hold the truth at a rate that the user names: conformal prediction.

How wrong a prediction is for what is true has a score. The scores of examples that were held out say how large it gets:
a set takes every label whose score is no larger than what a share ``coverage`` of these scores is (cross-conformal,
Vovk 2015).

- One label for each example: the score is 1 less the probability of the label (least ambiguous sets, Sadinle et al.
  2019). Adaptive sets (Romano et al. 2020), with a penalty of their size or without, were larger on each of five data
  sets that the benchmark does not report.
- Several labels: the largest score among the labels of an example, so that a set holds all of them.
- Regression: the distance between value and prediction, for each target by itself.

Where scores tie, a number made of the content of an example decides, the same one each time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise
from typing import Any

import numpy as np

from autotransfer.errors import ConfigError, ModelFormatError
from autotransfer.tasks.task import Task

__all__ = ["Conformal", "QuantileTable", "require_conformal", "tie_breakers"]

# Most quantiles in a table. A rate is rounded up to a multiple of 1 / 500 where there are more scores.
MAX_QUANTILES = 500
# Decimals of scores of classes, and of what breaks ties.
SCORE_DECIMALS = 6


@dataclass(frozen=True, kw_only=True)
class QuantileTable:
    """The quantiles of scores of held-out examples.

    Attributes:
        levels: Shares of all examples, in increasing order, below 1.
        scores: The score that is exceeded by no more than the rest of the examples.
        ties: What breaks the tie among equal scores, from 0 to 1.
    """

    levels: tuple[float, ...] = ()
    scores: tuple[float, ...] = ()
    ties: tuple[float, ...] = ()

    @classmethod
    def of(cls, scores: np.ndarray, ties: np.ndarray, group_ids: np.ndarray | None = None) -> QuantileTable:
        """Take the quantiles of scores.

        A new example may score beyond all of them: it counts as one more group, so that n scores of K groups reach no
        level above K / (K + 1). Each group counts as much as any other, and is divided among its examples, since they
        do not tell more than one independent example would (Lee, Barber and Willett 2023).

        Args:
            scores: The scores (n,).
            ties: What breaks ties (n,).
            group_ids: Group (n,) of each example; None makes each example a group.
        """
        of = np.arange(len(scores)) if group_ids is None else np.unique(group_ids, return_inverse=True)[1]
        sizes = np.bincount(of, minlength=1)
        order = np.lexsort((ties, scores))
        levels = np.cumsum(1 / sizes[of[order]]) / (len(sizes) + 1) if len(scores) else np.empty(0)
        kept = np.arange(len(scores))
        if len(kept) > MAX_QUANTILES:
            wanted = np.arange(1, MAX_QUANTILES + 1) / MAX_QUANTILES
            kept = np.unique(np.searchsorted(levels, wanted - 1e-9))
            kept = kept[kept < len(scores)]
        columns = levels[kept], scores[order][kept], ties[order][kept]
        return cls(**dict(zip(("levels", "scores", "ties"), (tuple(c.tolist()) for c in columns), strict=True)))

    def quantile(self, coverage: float) -> tuple[float, float]:
        """Return score and tie at a rate; infinity where the scores are too few for it."""
        position = int(np.searchsorted(self.levels, coverage - 1e-9))
        return (self.scores[position], self.ties[position]) if position < len(self.levels) else (math.inf, 1.0)

    def to_json(self) -> dict[str, list[float]]:
        """Return the table as JSON."""
        return {"levels": list(self.levels), "scores": list(self.scores), "ties": list(self.ties)}

    @classmethod
    def from_json(cls, data: Any) -> QuantileTable:
        """Read what ``to_json`` wrote.

        Raises:
            ModelFormatError: It is damaged.
        """
        names = ("levels", "scores", "ties")
        if not isinstance(data, dict) or set(data) != set(names) or not all(map(_is_numbers, data.values())):
            raise ModelFormatError("Quantiles of a model are three lists of numbers: levels, scores and ties.")
        levels, scores, ties = (tuple(map(float, data[name])) for name in names)
        rising = all(a < b for a, b in pairwise((0.0, *levels, 1.0)))
        sorted_scores = all(a <= b for a, b in pairwise(scores))
        within = all(score >= 0 for score in scores[:1]) and all(0 <= tie <= 1 for tie in ties)
        if not (len(levels) == len(scores) == len(ties) <= MAX_QUANTILES and rising and sorted_scores and within):
            raise ModelFormatError(
                f"Quantiles of a model are at most {MAX_QUANTILES} levels that rise from 0 to 1, with scores that do "
                "not fall."
            )
        return cls(levels=levels, scores=scores, ties=ties)


@dataclass(frozen=True, kw_only=True)
class Conformal:
    """What a model needs for sets and intervals.

    Attributes:
        tables: One table of a classification; one for each target of a regression.
    """

    tables: tuple[QuantileTable, ...]

    @classmethod
    def of(
        cls,
        task: Task,
        targets: np.ndarray,
        predictions: np.ndarray,
        digests: Sequence[str],
        group_ids: np.ndarray | None = None,
    ) -> Conformal:
        """Take the scores of examples that were held out.

        Args:
            task: What is predicted.
            targets: Encoded targets (n, ...).
            predictions: Predictions (n, outputs) of networks that did not train on these examples.
            digests: Hash (n,) of each example's content.
            group_ids: Group (n,) of each example; None makes each example a group.
        """
        if task.kind == "regression":
            columns = np.abs(predictions - targets).T
        elif task.single_label:
            columns = _scores(predictions)[np.arange(len(targets)), targets][None]
        else:
            columns = np.where(targets > 0, _scores(predictions), 0.0).max(1, initial=0.0)[None]
        ties = tie_breakers(digests)
        return cls(tables=tuple(QuantileTable.of(scores, ties, group_ids) for scores in columns))

    def predict(
        self, task: Task, predictions: np.ndarray, digests: Sequence[str], coverage: float, *, allow_empty: bool = True
    ) -> np.ndarray:
        """Return sets (N,) of labels, the most probable first, as tuples; the ends of the intervals of a regression.

        Args:
            task: What is predicted.
            predictions: Predictions (N, outputs).
            digests: Hash (N,) of each example's content.
            coverage: Rate at which sets and intervals hold the truth.
            allow_empty: Whether a set of an example with one label may be empty, or has the most probable label.
        """
        if task.kind == "regression":
            ends = self.intervals(predictions, coverage)
            return ends[:, 0] if task.width == 1 else ends
        chosen = self.sets(task, predictions, tie_breakers(digests), coverage, allow_empty=allow_empty)
        sets = np.empty(len(predictions), dtype=object)
        order = np.argsort(-predictions, axis=1, kind="stable")
        sets[:] = [
            tuple(task.classes[label] for label in ranked if held[label])
            for ranked, held in zip(order, chosen, strict=True)
        ]
        return sets

    def sets(
        self, task: Task, predictions: np.ndarray, ties: np.ndarray, coverage: float, *, allow_empty: bool = True
    ) -> np.ndarray:
        """Return the labels that each set holds.

        Args:
            task: A classification.
            predictions: Probabilities (N, classes).
            ties: What ``tie_breakers`` returned (N,).
            coverage: Rate at which sets hold the truth.
            allow_empty: Whether a set of an example with one label may be empty, or has the most probable label.

        Returns:
            Truth values (N, classes).
        """
        score, tie = self.tables[0].quantile(coverage)
        scores = _scores(predictions)
        chosen: np.ndarray = (scores < score) | ((scores == score) & (ties <= tie)[:, None])
        if task.single_label and not allow_empty:
            empty = np.flatnonzero(~chosen.any(1))
            chosen[empty, predictions[empty].argmax(1)] = True
        return chosen

    def intervals(self, predictions: np.ndarray, coverage: float) -> np.ndarray:
        """Return the ends (N, targets, 2) of the intervals of a regression; infinite where examples were too few.

        Args:
            predictions: Values (N, targets).
            coverage: Rate at which the interval of a target holds its value.
        """
        reach = np.array([table.quantile(coverage)[0] for table in self.tables])
        return np.stack([predictions - reach, predictions + reach], axis=2)

    def to_json(self) -> list[dict[str, list[float]]]:
        """Return the tables as JSON."""
        return [table.to_json() for table in self.tables]

    @classmethod
    def from_json(cls, data: Any, task: Task) -> Conformal:
        """Read what ``to_json`` wrote.

        Raises:
            ModelFormatError: It is damaged.
        """
        count = task.width if task.kind == "regression" else 1
        if not isinstance(data, list) or len(data) != count:
            raise ModelFormatError(f"A model of this task has {count} tables of quantiles; got {data!r:.60}.")
        return cls(tables=tuple(map(QuantileTable.from_json, data)))


def require_conformal(conformal: Conformal | None, coverage: Any) -> Conformal:
    """Return what sets at a rate are made of.

    Raises:
        ConfigError: The coverage is no number between 0 and 1, or there is nothing to make sets of.
    """
    if isinstance(coverage, bool) or not isinstance(coverage, (int, float, np.number)) or not 0 < coverage < 1:
        raise ConfigError(f"The coverage is a number between 0 and 1, such as 0.9; got {coverage!r:.60}.")
    if conformal is None:
        raise ConfigError(
            "The model knows no scores of examples that were held out, so that it makes no sets: a model that fit or "
            "evaluate has trained knows them."
        )
    return conformal


def tie_breakers(digests: Sequence[str]) -> np.ndarray:
    """Return a number (N,) from 0 to 1 for each example, by the hash of its content: equal examples have equal ones."""
    hashes = (blake2b(digest.encode(), digest_size=8).digest() for digest in digests)
    return np.round([int.from_bytes(one, "big") / 2**64 for one in hashes], SCORE_DECIMALS)


def _scores(probabilities: np.ndarray) -> np.ndarray:
    """Return scores (N, classes), rounded as those in a file are, so that equal ones tie."""
    return np.asarray(np.round(1 - probabilities.astype(np.float64), SCORE_DECIMALS))


def _is_numbers(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) in (int, float) and math.isfinite(value) for value in values)
