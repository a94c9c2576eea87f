"""Which candidate trains next, and for how long: a freeze-thaw schedule over learning curves.

Every candidate is an arm. A curve is read at a few rungs (epoch counts); the score at a rung is the best so far.
What is known before an arm starts is a mean and a standard deviation at each rung. In units of those deviations,
the curves of one task are taken to be Gaussian: ``z = shared + own``, where ``shared`` is common to all arms of
the task (the task is easier than thought) and ``own`` belongs to one arm. Two small covariance matrices over the
rungs say how far early epochs tell of later ones, and how far other arms do. Conditioning on the rungs seen so far
forecasts the rest of every curve, so evidence outweighs the prior at the rate that past curves say it should.

The arm that trains next is the one with the greatest expected improvement on the best score per second, over all
rungs that it could be trained to; it trains to its next rung only, then is paused and judged again.
Freeze-thaw: Swersky et al. 2014 (arXiv 1406.3896). Improvement per second, over pretrained models: Quick-Tune
(Pineda Arango et al., ICLR 2024).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from autotransfer.errors import ConfigError

__all__ = ["Arm", "CurveModel", "Scheduler", "Step"]

Array = npt.NDArray[np.float64]
JITTER = 1e-4  # keeps the small matrices invertible when two rungs almost agree


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A candidate as the schedule sees it.

    Attributes:
        name: What the caller knows it by.
        mean: Expected best score by each rung, before anything is seen; higher is better.
        std: Standard deviation of those scores, positive.
        seconds: Expected seconds per epoch.
    """

    name: str
    mean: Sequence[float]
    std: Sequence[float]
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Step:
    """An order: train arm ``name`` until it has ``epochs`` epochs in all."""

    name: str
    epochs: int


@dataclass(frozen=True, kw_only=True)
class CurveModel:
    """How learning curves of one task hang together.

    Attributes:
        rungs: Epoch counts, rising.
        own: Covariance over rungs of an arm's own deviation, in units of its standard deviations.
        shared: Covariance over rungs of the deviation that all arms of a task share.
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

    def arm(self, name: str, *, score: float, std: float, seconds: float) -> Arm:
        """Make an arm from one number: the score expected at the last rung, with its standard deviation."""
        return Arm(
            name=name,
            mean=[score * share for share in self.growth],
            std=[std * share for share in self.growth],
            seconds=seconds,
        )


@dataclass
class Scheduler:
    """Share a time budget among arms: ``next`` gives an order, ``observe`` takes what came of it.

    Deterministic. It trains nothing and reads no clock: seconds are what ``observe`` is told.

    Example:
        >>> scheduler = Scheduler(arms, model=CurveModel(...), seconds=600.0)
        >>> while (step := scheduler.next()) is not None:
        ...     scores, seconds = train(step.name, until=step.epochs)
        ...     scheduler.observe(step.name, scores, seconds)

    Args:
        arms: The candidates; names are unique.
        model: How curves hang together.
        seconds: The budget.

    Raises:
        ConfigError: Two arms have one name, or an arm does not fit the rungs.
    """

    arms: Iterable[Arm]
    model: CurveModel
    seconds: float
    spent: float = field(default=0.0, init=False)
    best: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        arms = list(self.arms)
        self._names = [arm.name for arm in arms]
        self._index = {name: row for row, name in enumerate(self._names)}
        n, k = len(arms), len(self.model.rungs)
        if len(self._index) < n:
            raise ConfigError("Two arms have the same name; names are unique.")
        for arm in arms:
            if len(arm.mean) != k or len(arm.std) != k or min(arm.std) <= 0 or not arm.seconds > 0:
                raise ConfigError(f"Arm {arm.name!r} needs {k} means, {k} positive deviations and positive seconds.")
        self._mean = np.array([arm.mean for arm in arms], dtype=float).reshape(n, k)
        self._std = np.array([arm.std for arm in arms], dtype=float).reshape(n, k)
        self._cost = np.array([arm.seconds for arm in arms], dtype=float)
        self._spent = np.zeros(n)
        self._state = np.zeros(n, dtype=int)  # rungs reached
        self._open = np.ones(n, dtype=bool)
        self._seen = np.zeros((n, k))  # best score by each rung reached
        self._rungs = np.array([0, *self.model.rungs])
        self._conditionals()

    def next(self) -> Step | None:
        """Return what to train next, or ``None`` when no open arm can finish an epoch in time or improve."""
        rate = self._improvement_per_second()
        if not rate.size or rate.max() <= 0:
            return None
        row = int(rate.max(axis=1).argmax())
        return Step(name=self._names[row], epochs=int(self._rungs[self._state[row] + 1]))

    def observe(self, name: str, scores: Sequence[float], seconds: float) -> None:
        """Take in what came of an order.

        Args:
            name: The arm.
            scores: Its whole curve so far, one score per epoch. A curve shorter than what was asked for says that
                the arm can not be continued (it ended or failed): it is closed.
            seconds: The time that this order took.
        """
        row = self._index[name]
        self.spent += seconds
        self._spent[row] += seconds
        rung = self._state[row]
        self._open[row] = len(scores) >= self._rungs[rung + 1] and rung + 1 < len(self.model.rungs)
        if not scores:
            return
        self.best = max(self.best, *scores)
        self._seen[row, rung] = max(scores[: self._rungs[rung + 1]])
        self._cost[row] = self._spent[row] / len(scores)
        self._state[row] = rung + 1

    def forecast(self) -> tuple[Array, Array]:
        """Return the mean and standard deviation of every arm's score at every rung, given all that was seen.

        Two arrays ``[arms, rungs]``. Rungs already reached are not meaningful.
        """
        reached = np.arange(len(self.model.rungs)) < self._state[:, None]
        z = np.where(reached, (self._seen - self._mean) / self._std, 0.0)
        common, spread = self._common(z)
        carry = self._carry[self._state]
        shift = common + np.einsum("nkl,nl->nk", carry, np.where(reached, z - common, 0.0))
        rest = np.eye(len(common)) - self._carry
        variance = self._left + np.einsum("jkl,lm,jkm->jk", rest, spread, rest)
        floor = self._seen.max(axis=1, initial=0.0)[:, None]  # the best so far cannot fall
        mean = np.maximum(self._mean + self._std * shift, floor)
        return mean, self._std * np.sqrt(np.maximum(variance, JITTER))[self._state]

    def _conditionals(self) -> None:
        """Prepare, for each number of rungs reached, what they say of an arm's whole curve."""
        k = len(self.model.rungs)
        own = np.asarray(self.model.own, dtype=float) + JITTER * np.eye(k)
        self._precision = np.zeros((k + 1, k, k))  # of the rungs seen, zero elsewhere
        for j in range(1, k + 1):
            self._precision[j, :j, :j] = np.linalg.inv(own[:j, :j])
        self._carry = own @ self._precision  # [rungs reached, rung, rung seen]
        self._left = np.diagonal(own - self._carry @ own, axis1=1, axis2=2)
        self._shared_precision = np.linalg.inv(np.asarray(self.model.shared, dtype=float) + JITTER * np.eye(k))

    def _common(self, z: Array) -> tuple[Array, Array]:
        """Return mean [rungs] and covariance [rungs, rungs] of what the arms share, given what was seen."""
        precision = self._precision[self._state]
        spread = np.linalg.inv(self._shared_precision + precision.sum(axis=0))
        return spread @ np.einsum("nkl,nl->k", precision, z), spread

    def _improvement_per_second(self) -> Array:
        """Return expected improvement per second, ``[arms, rungs]``; zero where nothing can be gained in time."""
        mean, std = self.forecast()
        u = (mean - self.best) / std
        gain = std * (u * ndtr(u) + np.exp(-u * u / 2) / math.sqrt(2 * math.pi))
        epochs = self._rungs[1:] - self._rungs[self._state][:, None]
        time = epochs * self._cost[:, None]
        left = self.seconds - self.spent
        # A rung counts if it can be reached in time; the next one counts as soon as one epoch can.
        upcoming = np.arange(len(self.model.rungs)) == self._state[:, None]
        possible = (epochs > 0) & ((time <= left) | (upcoming & (self._cost <= left)[:, None])) & self._open[:, None]
        return np.where(possible, gain / np.where(possible, time, 1.0), 0.0)
