"""What recorded fine-tuning runs tell of a setup before it is tried: expected curve, its spread, cost per epoch.

The prior is a small table of regression trees in JSON (``prior.json``, nothing that can run code), learned from the
Quick-Tune meta-dataset (Pineda Arango et al., ICLR 2024; BSD-3-Clause) by ``examples/benchmarks/fit_prior.py``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from autotransfer.errors import ModelFormatError
from autotransfer.search.arm import Arm
from autotransfer.search.belief import CurveModel

__all__ = ["Ensemble", "Prior", "Tree", "encode"]

Array = npt.NDArray[np.float64]
LINEAR_PROBING = (
    "linear_probing"  # such runs were recorded for a few batches only: their cost does not grow with the data
)
MIN_STD = 0.02  # two points of accuracy: what one curve wobbles by, however sure the trees are


def encode(
    settings: Sequence[Mapping[str, float | None]], columns: Sequence[str], *, examples: int, classes: int
) -> Array:
    """Encode setups for the trees, ``[setups, columns + 2]``: the columns, then log examples and log classes."""
    task = [np.log(examples), np.log(classes)]
    return np.array([[float(s.get(c) or 0.0) for c in columns] + task for s in settings], dtype=float)


@dataclass(frozen=True, kw_only=True)
class Tree:
    """One regression tree.

    Attributes:
        splits: ``[column, threshold, low, high]`` for each inner node, the root first; ``low`` is taken where the
            value is at most the threshold. A child below zero is a leaf: -1 is the first.
        leaves: Outputs of each leaf, ``[leaves, outputs]``.
    """

    splits: Sequence[Sequence[float]]
    leaves: Sequence[Sequence[float]]

    def predict(self, rows: Array) -> Array:
        """Return the outputs ``[n, outputs]`` of rows ``[n, columns]``."""
        node = np.full(len(rows), 0 if self.splits else -1)
        splits = np.array(self.splits, dtype=float).reshape(-1, 4)
        while (inner := np.flatnonzero(node >= 0)).size:
            column, threshold, low, high = splits[node[inner]].T
            below = rows[inner, column.astype(int)] <= threshold
            node[inner] = np.where(below, low, high).astype(int)
        outputs: Array = np.asarray(self.leaves, dtype=float)[-1 - node]
        return outputs


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """A sum of trees on top of a constant."""

    base: Sequence[float]
    trees: Sequence[Tree]

    def predict(self, rows: Array) -> Array:
        """Return the outputs ``[n, outputs]`` of rows ``[n, columns]``."""
        total: Array = np.tile(np.asarray(self.base, dtype=float), (len(rows), 1))
        for tree in self.trees:
            total += tree.predict(rows)
        return total

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {"base": list(self.base), "trees": [[tree.splits, tree.leaves] for tree in self.trees]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Ensemble:
        """Read what ``to_json`` wrote."""
        return cls(base=data["base"], trees=[Tree(splits=s, leaves=v) for s, v in data["trees"]])


@dataclass(frozen=True, kw_only=True)
class Prior:
    """Expected learning curves and costs of setups.

    Attributes:
        source: What it was learned from, in words.
        digest: SHA-256 of the data that it was learned from.
        columns: Names of the settings that it reads; a setting that is not given counts as 0.
        score: Trees for the best score (0 to 1) by each rung.
        spread: Trees for the mean absolute error of ``score`` on tasks that it had not seen.
        cost: Trees for the log of seconds per epoch; per training example, except for linear probes.
        curves: How curves of one task hang together, measured on tasks that the trees had not seen.
    """

    source: str
    digest: str
    columns: tuple[str, ...]
    score: Ensemble
    spread: Ensemble
    cost: Ensemble
    curves: CurveModel

    def arms(self, settings: Mapping[str, Mapping[str, float | None]], *, examples: int, classes: int) -> list[Arm]:
        """Make an arm of each setup.

        Args:
            settings: Encoded settings by the name of the setup.
            examples: Training examples of the task.
            classes: Classes of the task.
        """
        if not settings:
            return []
        rows = encode(list(settings.values()), self.columns, examples=examples, classes=classes)
        mean = np.clip(self.score.predict(rows), 0.0, 1.0)
        # A Gaussian's standard deviation is 1.25 times its mean absolute error.
        std = np.maximum(1.25 * self.spread.predict(rows), MIN_STD)
        log_cost = self.cost.predict(rows)[:, 0]
        whole = np.array([not s.get(LINEAR_PROBING) for s in settings.values()])
        seconds = np.exp(log_cost + whole * np.log(examples))
        return [
            Arm(name=name, mean=m.tolist(), std=s.tolist(), seconds=float(c))
            for name, m, s, c in zip(settings, mean, std, seconds, strict=True)
        ]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "source": self.source,
            "digest": self.digest,
            "columns": list(self.columns),
            "rungs": list(self.curves.rungs),
            "growth": list(self.curves.growth),
            "own": np.round(self.curves.own, 4).tolist(),
            "shared": np.round(self.curves.shared, 4).tolist(),
            "score": self.score.to_json(),
            "spread": self.spread.to_json(),
            "cost": self.cost.to_json(),
        }

    @classmethod
    def load(cls, path: Path | None = None) -> Prior:
        """Read a prior: the file at ``path``, or the one that ships with this package.

        Raises:
            ModelFormatError: The file is not a prior.
        """
        file = path or resources.files("autotransfer.search") / "prior.json"
        try:
            data = json.loads(file.read_text(encoding="utf-8"))
            return cls(
                source=data["source"],
                digest=data["digest"],
                columns=tuple(data["columns"]),
                **{part: Ensemble.from_json(data[part]) for part in ("score", "spread", "cost")},
                curves=CurveModel(
                    rungs=tuple(data["rungs"]),
                    own=np.array(data["own"]),
                    shared=np.array(data["shared"]),
                    growth=tuple(data["growth"]),
                ),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelFormatError(f"{file} is not a prior ({error!r}); fit one with fit_prior.py.") from error
