"""Examples with predictions of networks that did not see them: what every choice after a search is made on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from autotransfer.search.worth import worth
from autotransfer.task import Task
from autotransfer.transfer.training import Lesson

__all__ = ["HeldOut"]

# Parts that examples are dealt into where the search has scored them in one piece.
_PARTS = 5


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Examples that were scored, in parts to cross-fit over: what is chosen on the others is judged on each part.

    Attributes:
        task: What is predicted.
        rows: Their positions (n,) among all examples.
        targets: Their encoded targets (n, ...).
        parts: Positions in ``rows``, disjoint, all of them together.
    """

    task: Task
    rows: np.ndarray
    targets: np.ndarray
    parts: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, lessons: Sequence[Lesson], scores: np.ndarray, seed: int = 0) -> HeldOut:
        """Take the examples that have scores (N, outputs), those of one fold in one part.

        Folds keep groups together; within one, examples are dealt at random.
        """
        rows = np.flatnonzero(~np.isnan(scores).any(1))
        parts = [np.flatnonzero(np.isin(rows, lesson.validation)) for lesson in lessons]
        parts = [part for part in parts if len(part)]
        if len(parts) < 2:
            parts = np.array_split(np.random.default_rng(seed).permutation(len(rows)), min(_PARTS, len(rows)))
        task, targets = lessons[0].task, lessons[0].targets
        return cls(task=task, rows=rows, targets=targets[rows], parts=tuple(np.sort(part) for part in parts))

    def only(self, chosen: np.ndarray) -> HeldOut:
        """Return some of the examples, as one part."""
        rows, targets = self.rows[chosen], self.targets[chosen]
        return replace(self, rows=rows, targets=targets, parts=(np.arange(len(rows)),))

    def but(self, part: np.ndarray) -> np.ndarray:
        """Return the positions that are not in a part."""
        return np.setdiff1d(np.arange(len(self.rows)), part)

    def score(self, scores: np.ndarray) -> float:
        """Return the metric of scores (n, outputs)."""
        return self.task.score(self.targets, scores)

    def loss(self, scores: np.ndarray) -> float:
        """Return the log loss of scores (n, outputs); of a regression, the squared error as a share of the variance."""
        if self.task.kind == "regression":
            variance = self.targets.var(0)
            return float((((scores - self.targets) ** 2).mean(0) / np.where(variance > 0, variance, 1.0)).mean())
        return self.task.log_loss(self.targets, scores)

    def worth(self, scores: np.ndarray) -> float:
        """Return the metric less a trace of the log loss, which decides between equal ones."""
        return worth(self.task, self.targets, scores)
