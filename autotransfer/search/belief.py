"""What a search believes of its candidates: Gaussian levels, conditioned on what trials have shown.

The level of an arm at a rung is its expected one, and what it has of its own, and the sum of effects that it shares
with others: that training brings much on this task, that a backbone suits it, that all learning curves rise late. An
effect is a standard normal variable, which each arm carries with a weight of its own. What an arm has of its own hangs
together over rungs, as recorded learning curves do. Conditioning on the rungs seen so far forecasts the rest of every
curve and all arms that share an effect, so evidence outweighs the prior at the rate that recorded runs say it should.

Learning curves that are paused and resumed by their forecasts: Swersky et al. 2014 (arXiv 1406.3896).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from autotransfer.errors import ConfigError
from autotransfer.search.arm import Arm

__all__ = ["Belief", "CurveModel", "Forecast"]

Array = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]
JITTER = 1e-4  # on the diagonals: keeps the small matrices invertible when two rungs almost agree


@dataclass(frozen=True, kw_only=True)
class CurveModel:
    """How learning curves of one task hang together.

    Attributes:
        rungs: Epoch counts, rising.
        own: Covariance over rungs of an arm's own deviation, in units of its standard deviations.
        shared: Covariance over rungs of the deviation that all curves of a task share, in the same units.
        growth: Mean score at each rung as a share of the score at the last one.

    Raises:
        ConfigError: The rungs do not rise, or a matrix has another size.
    """

    rungs: tuple[int, ...]
    own: Array
    shared: Array
    growth: tuple[float, ...]

    def __post_init__(self) -> None:
        n = len(self.rungs)
        if not n or self.rungs[0] < 1 or any(a >= b for a, b in zip(self.rungs, self.rungs[1:], strict=False)):
            raise ConfigError(f"Rungs are epoch counts that rise from at least 1; got {self.rungs}.")
        if np.shape(self.own) != (n, n) or np.shape(self.shared) != (n, n) or len(self.growth) != n:
            raise ConfigError(f"{n} rungs need {n} x {n} covariances and {n} values of growth.")

    def scaled(self, epochs: int) -> CurveModel:
        """Return the model of trainings of another length: rungs at a quarter, a half and all of it.

        Sooner, a network that starts from a good head has only lost what the head was fitted to. Covariances are those
        at the same shares; between the shares that were measured, they are interpolated on a logarithmic scale.
        """
        return self._at(sorted({math.ceil(epochs / 4), math.ceil(epochs / 2), epochs}))

    def only_last(self, epochs: int) -> CurveModel:
        """Return the model of trainings of so many epochs that are seen at their end alone."""
        return self._at([epochs])

    def _at(self, rungs: Sequence[int]) -> CurveModel:
        known, asked = np.log(np.array(self.rungs) / self.rungs[-1]), np.log(np.array(rungs) / rungs[-1])
        weights = np.array([np.interp(asked, known, unit) for unit in np.eye(len(known))]).T
        return CurveModel(
            rungs=tuple(rungs),
            own=weights @ self.own @ weights.T,
            shared=weights @ self.shared @ weights.T,
            growth=tuple((weights @ np.array(self.growth)).tolist()),
        )


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """Forecast levels of some arms; those of rungs that were reached mean nothing.

    Attributes:
        mean: Expected levels (arms, rungs).
        std: Their standard deviations (arms, rungs).
    """

    mean: Array
    std: Array


class Belief:
    """Gaussian levels of arms.

    Args:
        curves: How learning curves hang together.
    """

    def __init__(self, curves: CurveModel) -> None:
        self.curves = curves
        rungs = len(curves.rungs)
        self._effects: dict[str, int] = {}
        self._places: dict[str, int] = {}
        self._begun = _Block.empty(rungs)
        self._seen = np.zeros((0, rungs))
        self._known = np.zeros(0, dtype=np.int64)  # a bit for each rung that was seen
        own = np.asarray(curves.own, dtype=float)
        # Of what does not train by epochs, a single level is seen, at what stands for the first rung.
        kinds = [_Conditionals.of(own), _Conditionals.of(np.ones((rungs, rungs)))]
        self._precision, self._carry, self._left = (
            np.stack([getattr(kind, part) for kind in kinds]) for part in ("precision", "carry", "left")
        )
        self._shared_root = np.linalg.cholesky(np.asarray(curves.shared, dtype=float) + JITTER * np.eye(rungs))
        self._posterior: tuple[Array, Array] | None = None

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def reached(self, name: str) -> int:
        """Return how many rungs an arm has reached; 0 for one that has not begun."""
        return int(self._known[self._places[name]]).bit_length() if name in self._places else 0

    def observe(self, arm: Arm, rung: int, level: float) -> None:
        """Learn the best level of an arm by a rung, counted from 0; earlier rungs that were not seen stay unknown."""
        if arm.name not in self._places:
            self._places[arm.name] = len(self._places)
            for effect in arm.effects:
                self._effects.setdefault(effect, len(self._effects))
            self._begun = self._begun.joined(self._block([arm]))
            self._seen = np.vstack([self._seen, np.zeros(self._seen.shape[1])])
            self._known = np.append(self._known, 0)
        place = self._places[arm.name]
        self._seen[place, rung] = level
        self._known[place] |= 1 << rung
        self._posterior = None

    def forecast(self, arms: Sequence[Arm]) -> Forecast:
        """Forecast the levels of arms, of which nothing or something has been seen."""
        if not arms:
            return Forecast(mean=self._seen[:0], std=self._seen[:0])
        new = [i for i, arm in enumerate(arms) if arm.name not in self._places]
        block, patterns = self._block(arms), np.zeros(len(arms), dtype=np.int64)
        seen = np.zeros_like(block.mean)
        for i in set(range(len(arms))) - set(new):
            place = self._places[arms[i].name]
            patterns[i], seen[i] = self._known[place], self._seen[place]
            block.mean[i], block.std[i] = self._begun.mean[place], self._begun.std[place]
        return self._conditioned(block, patterns, seen)

    def _conditioned(self, block: _Block, patterns: Places, seen: Array) -> Forecast:
        carry, left = self._carry[block.flat, patterns], self._left[block.flat, patterns]
        known = _rungs_of(patterns, block.mean.shape[1])
        loadings = self._loadings(block)
        centre, spread = self._padded(loadings.shape[2])
        common = loadings @ centre
        z = np.where(known, (seen - block.mean) / block.std - common, 0.0)
        mean = block.mean + block.std * (common + np.einsum("nkl,nl->nk", carry, z))
        rest = loadings - np.einsum("nkl,nlm->nkm", carry, loadings)
        variance = left + np.einsum("nkm,ml,nkl->nk", rest, spread, rest, optimize=True)
        floor = np.where(known, seen, -np.inf).max(axis=1)[:, None]  # the best so far cannot fall
        return Forecast(mean=np.maximum(mean, floor), std=block.std * np.sqrt(np.maximum(variance, JITTER)))

    def _padded(self, size: int) -> tuple[Array, Array]:
        """Return mean (size,) and covariance (size, size) of the effects; the last ones were not seen in any arm."""
        known, known_spread = self._common()
        centre, spread = np.zeros(size), np.eye(size)
        centre[: len(known)], spread[: len(known), : len(known)] = known, known_spread
        return centre, spread

    def _common(self) -> tuple[Array, Array]:
        """Return mean (effects,) and covariance (effects, effects) of the effects, given what was seen.

        What was forecast in between is not in it: a resumed search, which forecasts less, has the same belief.
        """
        if self._posterior is None:
            size, block = len(self._effects) + self._seen.shape[1], self._begun
            loadings = self._loadings(block)
            precision = self._precision[block.flat, self._known]
            known = _rungs_of(self._known, block.mean.shape[1])
            z = np.where(known, (self._seen - block.mean) / block.std, 0.0)
            weighted = np.matmul(precision, loadings).reshape(-1, size)
            spread = np.linalg.inv(np.eye(size) + loadings.reshape(-1, size).T @ weighted)
            self._posterior = spread @ (weighted.T @ z.reshape(-1)), spread
        return self._posterior

    def _block(self, arms: Sequence[Arm]) -> _Block:
        rungs, columns = self._seen.shape[1], dict(self._effects)
        for arm in arms:
            if len(arm.mean) not in (1, rungs):
                raise ConfigError(f"Arm {arm.name!r} needs 1 or {rungs} means; got {len(arm.mean)}.")
            for name in arm.effects:
                columns.setdefault(name, len(columns))
        effects = np.zeros((len(arms), len(columns)))
        for row, arm in zip(effects, arms, strict=True):
            for name, weight in arm.effects.items():
                row[columns[name]] = weight
        shape = (len(arms), rungs)
        return _Block(
            mean=np.array([np.broadcast_to(arm.mean, rungs) for arm in arms]).reshape(shape),
            std=np.array([np.broadcast_to(arm.std, rungs) for arm in arms]).reshape(shape),
            effects=effects,
            flat=np.array([int(not arm.is_curve) for arm in arms], dtype=np.int64),
        )

    def _loadings(self, block: _Block) -> Array:
        """Return the weights (n, rungs, effects) with which rungs carry effects, in units of their own deviations.

        What all curves share is the first of the effects, one for each rung.
        """
        shared = np.where(block.flat[:, None, None] == 1, 0.0, self._shared_root[None])
        return np.concatenate([shared, block.effects[:, None, :] / block.std[:, :, None]], axis=2)


@dataclass(frozen=True, kw_only=True)
class _Block:
    """Some arms: means, deviations (n, rungs), effects (n, effects), and which do not train by epochs (n,)."""

    mean: Array
    std: Array
    effects: Array
    flat: Places

    @classmethod
    def empty(cls, rungs: int) -> _Block:
        none = np.zeros((0, rungs))
        return cls(mean=none, std=none, effects=np.zeros((0, 0)), flat=np.zeros(0, dtype=np.int64))

    def joined(self, other: _Block) -> _Block:
        """Return the arms of both; the other one knows all effects."""
        effects = np.zeros((len(self.mean), other.effects.shape[1]))
        effects[:, : self.effects.shape[1]] = self.effects
        return _Block(
            mean=np.vstack([self.mean, other.mean]),
            std=np.vstack([self.std, other.std]),
            effects=np.vstack([effects, other.effects]),
            flat=np.append(self.flat, other.flat),
        )


@dataclass(frozen=True, kw_only=True)
class _Conditionals:
    """By the bits of the rungs seen: their precision, what they say of all rungs, and the variance that is left."""

    precision: Array
    carry: Array
    left: Array

    @classmethod
    def of(cls, own: Array) -> _Conditionals:
        k = len(own)
        own = own + JITTER * np.eye(k)
        precision = np.zeros((2**k, k, k))  # of the rungs seen, zero elsewhere
        for pattern, rungs in enumerate(_rungs_of(np.arange(2**k), k)):
            precision[pattern][np.ix_(rungs, rungs)] = np.linalg.inv(own[np.ix_(rungs, rungs)])
        carry = own @ precision
        return cls(precision=precision, carry=carry, left=np.diagonal(own - carry @ own, axis1=1, axis2=2))


def _rungs_of(patterns: Places, rungs: int) -> npt.NDArray[np.bool_]:
    """Return which rungs (n, rungs) the bits of patterns (n,) stand for."""
    return np.asarray((patterns[:, None] >> np.arange(rungs)) % 2, dtype=np.bool_)
