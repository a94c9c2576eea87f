"""What the split keeps together, and how much a split that does not would flatter."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from autotransfer.transfer.training import Lesson

__all__ = ["Grouping"]


@dataclass(frozen=True, kw_only=True)
class Grouping:
    """Examples that no split tears apart.

    Attributes:
        source: Whether the user gave the groups, or they were found as near-duplicates.
        groups: Number of groups of two and more.
        examples: Number of examples in them.
        kept: Score of a probe of the first backbone that is split by these groups; NaN where it was not asked.
        torn: Its score where the split does not heed them: what a random split would have flattered.
    """

    source: Literal["given", "found"]
    groups: int
    examples: int
    kept: float = math.nan
    torn: float = math.nan

    @classmethod
    def of(cls, groups: Sequence[Hashable], source: Literal["given", "found"]) -> Grouping:
        """Count the groups (N,); None in them is an example by itself."""
        sizes = [size for group, size in Counter(groups).items() if group is not None and size > 1]
        return cls(source=source, groups=len(sizes), examples=sum(sizes))

    def scored(self, features: np.ndarray, *, kept: Sequence[Lesson], torn: Sequence[Lesson]) -> Grouping:
        """Return the same with the scores of a probe on features (N, width), split in either way."""
        return replace(self, kept=_probe(features, kept), torn=_probe(features, torn))

    def __str__(self) -> str:
        what = "groups" if self.source == "given" else "groups of near-duplicates"
        flattery = (
            "" if math.isnan(self.torn) else f"; torn apart, they score {self.torn:.3f} instead of {self.kept:.3f}"
        )
        return f"{self.groups} {what} of {self.examples} examples stay on one side of the split{flattery}"

    def to_json(self) -> dict[str, Any]:
        """Return the grouping as JSON."""
        scores = {name: None if math.isnan(v) else v for name, v in (("kept", self.kept), ("torn", self.torn))}
        return {"source": self.source, "groups": self.groups, "examples": self.examples, **scores}


def _probe(features: np.ndarray, lessons: Sequence[Lesson]) -> float:
    """Return the score of a ridge regression over the folds."""
    from sklearn.linear_model import Ridge
    from sklearn.preprocessing import StandardScaler

    task, targets = lessons[0].task, lessons[0].targets
    wanted = np.eye(task.outputs)[targets] if task.single_label else targets
    x = StandardScaler().fit_transform(features.astype(np.float64))  # targets would be cast to the type of x
    found, rows = [], []
    for lesson in lessons:
        ridge = Ridge(alpha=float(features.shape[1])).fit(x[lesson.train], wanted[lesson.train])
        found.append(ridge.predict(x[lesson.validation]).reshape(len(lesson.validation), -1))
        rows.append(lesson.validation)
    scores = np.concatenate(found)
    if task.kind != "regression":
        scores = np.clip(scores, 1e-6, 1.0)
        scores = scores / scores.sum(1, keepdims=True) if task.single_label else scores
    return task.score(targets[np.concatenate(rows)], scores)
