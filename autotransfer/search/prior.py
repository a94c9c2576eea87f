"""What recorded fine-tuning runs say of a setup before it is tried: expected curve, its deviation, cost per epoch.

Small networks, whose weights are the part ``curves`` of ``prior.safetensors``, expect the level of a setup by each rung
and the seconds of its epochs. A level is minus the log of the error as a share of the error without any training, so
that a gain is the same at every level of difficulty. The deviations, and how curves of one task hang together, were
measured on data sets that the networks had not seen. Learned from the Quick-Tune meta-dataset (Pineda Arango et al.,
ICLR 2024; BSD-3-Clause) by ``examples/benchmarks/fit_prior.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from autotransfer.errors import ModelFormatError
from autotransfer.search.arm import Arm
from autotransfer.search.belief import CurveModel
from autotransfer.search.gain_prior import ERROR_FLOOR
from autotransfer.search.levels import Levels
from autotransfer.search.prior_file import read_part, shipped_prior

__all__ = ["Encoding", "Networks", "Prior", "accuracy_levels", "curve_levels", "deviation_features", "deviations"]

Array = npt.NDArray[np.float64]
# Such runs were recorded for a few batches only: their cost does not grow with the data.
LINEAR_PROBING = "linear_probing"
# What a network that has diverged may fall to: an error of twice that without any training.
MIN_LEVEL = -0.7
# The least deviation of a level: what one curve wobbles by, however sure the networks are.
MIN_DEVIATION = 0.03
# Log deviations are held to this range, beyond which no recorded data set is evidence.
LOG_DEVIATIONS = (-4.0, 1.0)
# A value is held to so many standard deviations of the recorded ones: networks guess beyond.
MAX_STANDARDISED = 5.0


def accuracy_levels(classes: int) -> Levels:
    """Return what turns accuracies of a task with so many classes into levels; the trivial predictor draws one."""
    return Levels(perfect=1.0, trivial=1.0 / max(classes, 2))


def curve_levels(accuracy: npt.ArrayLike, classes: int) -> Array:
    """Return the levels of accuracies (0 to 1) of a task with so many classes, in the shape of the accuracies."""
    levels = accuracy_levels(classes)
    return np.asarray(np.vectorize(levels, otypes=[float])(accuracy), dtype=float)


def deviation_features(mean: Array, spread: Array) -> Array:
    """Return what the log of a deviation is linear in, ``[n, rungs, 4]``.

    Args:
        mean: Expected levels ``[n, rungs]``.
        spread: Standard deviations of the networks about them ``[n, rungs]``.
    """
    return np.stack([np.ones_like(mean), mean, mean**2, np.log(spread + MIN_DEVIATION)], axis=-1)


def deviations(features: Array, weights: Array) -> Array:
    """Return the deviations of levels ``[n, rungs]`` from their features and the weights ``[rungs, 4]``."""
    logs = np.clip(np.einsum("nrf,rf->nr", features, weights), *LOG_DEVIATIONS)
    return np.asarray(np.maximum(np.exp(logs), MIN_DEVIATION), dtype=float)


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """Turns settings into inputs of networks.

    Attributes:
        columns: Names of the settings; one that is not given counts as its mean.
        floors: For settings that span decades their least positive value, else 0. ``[columns]``
        center: Means of the inputs ``[columns + 2]``; the last two are log examples and log classes.
        scale: Their standard deviations ``[columns + 2]``.
    """

    columns: tuple[str, ...]
    floors: Array
    center: Array
    scale: Array

    @classmethod
    def of(cls, tasks: Sequence[tuple[Sequence[Mapping[str, float | None]], int, int]]) -> Encoding:
        """Make the encoding of recorded settings: of each task its settings, examples and classes."""
        columns = tuple(sorted({column for settings, _, _ in tasks for each in settings for column in each}))
        values = np.concatenate([_values(settings, columns) for settings, _, _ in tasks])
        floors = np.zeros(len(columns))
        for i, column in enumerate(values.T):
            positive = column[column > 0]
            if positive.size and positive.max() >= 100 * positive.min():
                floors[i] = positive.min()
        plain = cls(columns=columns, floors=floors, center=np.zeros(1), scale=np.ones(1))
        rows = np.concatenate([plain._raw(settings, examples, classes) for settings, examples, classes in tasks])
        scale = np.nanstd(rows, axis=0)
        return cls(
            columns=columns, floors=floors, center=np.nanmean(rows, axis=0), scale=np.where(scale > 0, scale, 1.0)
        )

    def rows(self, settings: Sequence[Mapping[str, float | None]], *, examples: int, classes: int) -> Array:
        """Return the standardised inputs of settings on a task, ``[settings, columns + 2]``."""
        rows = (self._raw(settings, examples, classes) - self.center) / self.scale
        return np.clip(np.nan_to_num(rows), -MAX_STANDARDISED, MAX_STANDARDISED)

    def _raw(self, settings: Sequence[Mapping[str, float | None]], examples: int, classes: int) -> Array:
        values = _values(settings, self.columns)
        logs = np.log10(np.maximum(values, np.where(self.floors > 0, self.floors, 1.0) / 10))
        task = np.tile([np.log(examples), np.log(classes)], (len(settings), 1))
        return np.hstack([np.where(self.floors > 0, logs, values), task])


def _values(settings: Sequence[Mapping[str, float | None]], columns: Sequence[str]) -> Array:
    """Return settings by column; NaN where one is not given. None says that a setting does not apply, which is 0."""
    return np.array([[float(each[c] or 0.0) if c in each else np.nan for c in columns] for each in settings])


@dataclass(frozen=True, kw_only=True)
class Networks:
    """Small networks of one shape, with sigmoid-weighted linear units between their layers.

    Attributes:
        weights: Of each layer, ``[networks, inputs, outputs]``.
        biases: Of each layer, ``[networks, 1, outputs]``.
    """

    weights: tuple[Array, ...]
    biases: tuple[Array, ...]

    def predict(self, rows: Array) -> Array:
        """Return the outputs ``[networks, n, outputs]`` of rows ``[n, inputs]``."""
        values = rows @ self.weights[0] + self.biases[0]
        for weight, bias in zip(self.weights[1:], self.biases[1:], strict=True):
            values = (values * expit(values)) @ weight + bias
        return np.asarray(values, dtype=float)

    def tensors(self, name: str) -> dict[str, npt.NDArray[np.float32]]:
        """Return the weights and biases by name, as a file holds them."""
        layers = {"weight": self.weights, "bias": self.biases}
        return {f"{name}.{i}.{k}": v.astype(np.float32) for k, values in layers.items() for i, v in enumerate(values)}

    @classmethod
    def read(cls, tensors: Mapping[str, Any], name: str, layers: int) -> Networks:
        """Read what ``tensors`` returned."""
        weights, biases = (
            tuple(tensors[f"{name}.{i}.{kind}"].astype(float) for i in range(layers)) for kind in ("weight", "bias")
        )
        return cls(weights=weights, biases=biases)


@dataclass(frozen=True, kw_only=True)
class Prior:
    """Expected learning curves and costs of setups.

    Attributes:
        source: What it was learned from, in words.
        digest: SHA-256 of the data that it was learned from.
        encoding: Turns settings into inputs.
        level: Networks that expect the best level by each rung.
        deviation: Weights of the log of the deviation of a level, ``[rungs, 4]``; see ``deviation_features``.
        cost: Networks that expect the log of seconds per epoch; per training example, except for linear probes.
        curves: How curves of one task hang together, in units of the deviations.
    """

    source: str
    digest: str
    encoding: Encoding
    level: Networks
    deviation: Array
    cost: Networks
    curves: CurveModel

    def arms(self, settings: Mapping[str, Mapping[str, float | None]], *, examples: int, classes: int) -> list[Arm]:
        """Make an arm of each setup; its means and deviations are those of levels.

        Args:
            settings: Encoded settings by the name of the setup.
            examples: Training examples of the task.
            classes: Classes of the task.
        """
        if not settings:
            return []
        rows = self.encoding.rows(list(settings.values()), examples=examples, classes=classes)
        predicted = self.level.predict(rows)
        mean = np.clip(predicted.mean(axis=0), MIN_LEVEL, -np.log(ERROR_FLOOR))
        deviation = deviations(deviation_features(mean, predicted.std(axis=0)), self.deviation)
        whole = np.array([not s.get(LINEAR_PROBING) for s in settings.values()])
        seconds = np.exp(self.cost.predict(rows)[..., 0].mean(axis=0) + whole * np.log(examples))
        return [
            Arm(name=name, mean=m.tolist(), std=s.tolist(), seconds=float(c))
            for name, m, s, c in zip(settings, mean, deviation, seconds, strict=True)
        ]

    def part(self) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
        """Return tensors and metadata as ``write_part`` takes them."""
        tensors = {"floors": self.encoding.floors, "center": self.encoding.center, "scale": self.encoding.scale}
        tensors |= {"deviation": self.deviation, "own": self.curves.own, "shared": self.curves.shared}
        metadata = {
            "source": self.source,
            "digest": self.digest,
            "columns": list(self.encoding.columns),
            "rungs": list(self.curves.rungs),
            "growth": list(self.curves.growth),
            "layers": len(self.level.weights),
        }
        return {**tensors, **self.level.tensors("level"), **self.cost.tensors("cost")}, metadata

    @classmethod
    def load(cls, path: Path | None = None) -> Prior:
        """Read a prior: the file at ``path``, or the one that ships with this package.

        Raises:
            ModelFormatError: The file is not a prior.
        """
        tensors, data = read_part("curves", path)
        try:
            return cls(
                source=data["source"],
                digest=data["digest"],
                encoding=Encoding(
                    columns=tuple(data["columns"]), **{k: tensors[k] for k in ("floors", "center", "scale")}
                ),
                deviation=tensors["deviation"],
                **{name: Networks.read(tensors, name, data["layers"]) for name in ("level", "cost")},
                curves=CurveModel(
                    rungs=tuple(data["rungs"]),
                    own=tensors["own"],
                    shared=tensors["shared"],
                    growth=tuple(data["growth"]),
                ),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            file = path or shipped_prior()
            raise ModelFormatError(f"{file} is not a prior ({error!r}); write one with fit_prior.py.") from error
