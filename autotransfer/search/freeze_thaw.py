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

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from autotransfer.errors import ConfigError
from autotransfer.search.arm import Arm
from autotransfer.search.belief import CurveModel
from autotransfer.search.proposal import Proposal
from autotransfer.search.trials import TrialRecord, Trials

__all__ = ["Arm", "CurveModel", "FreezeThaw"]

Array = npt.NDArray[np.float64]
JITTER = 1e-4  # on the diagonals: keeps the small matrices invertible when two rungs almost agree


class FreezeThaw:
    """ListedProposals the arm that promises the greatest improvement per second to train to its next rung.

    Deterministic. It trains nothing and reads no clock: seconds are what records say.

    Args:
        model: How curves hang together.
        arms: The candidates to begin with.

    Raises:
        ConfigError: Two arms have one name, or an arm does not fit the rungs.
    """

    def __init__(self, model: CurveModel, arms: Iterable[Arm] = ()) -> None:
        self.model = model
        self.arms: list[Arm] = []
        self._index: dict[str, int] = {}
        self._rungs = np.array([0, *model.rungs])
        self._mean = self._std = self._seen = np.zeros((0, len(model.rungs)))
        self._cost = self._start = np.zeros(0)
        self._state = np.zeros(0, dtype=int)  # rungs reached
        self._done = np.zeros(0, dtype=int)  # epochs
        self._open = np.zeros(0, dtype=bool)
        self._trial: dict[int, int] = {}
        self._conditionals()
        self.add(*arms)

    def add(self, *arms: Arm) -> None:
        """Add arms."""
        k = len(self.model.rungs)
        for arm in arms:
            if arm.name in self._index:
                raise ConfigError(f"Two arms have the name {arm.name!r}; names are unique.")
            if len(arm.mean) != k or len(arm.std) != k or min(arm.std) <= 0 or not arm.seconds > 0:
                raise ConfigError(f"Arm {arm.name!r} needs {k} means, {k} positive deviations and positive seconds.")
            self._index[arm.name] = len(self._index)
            self.arms.append(arm)
        new, shape = len(arms), (-1, k)
        self._mean = np.vstack([self._mean, np.array([arm.mean for arm in arms], dtype=float).reshape(shape)])
        self._std = np.vstack([self._std, np.array([arm.std for arm in arms], dtype=float).reshape(shape)])
        self._seen = np.vstack([self._seen, np.zeros((new, k))])
        self._cost = np.append(self._cost, [arm.seconds for arm in arms])
        self._start = np.append(self._start, [arm.start for arm in arms])
        self._state = np.append(self._state, np.zeros(new, dtype=int))
        self._done = np.append(self._done, np.zeros(new, dtype=int))
        self._open = np.append(self._open, np.ones(new, dtype=bool))

    def has_shown(self, name: str, rungs: int = 2) -> bool:
        """Whether an arm has reached so many rungs, or its end; True for an unknown arm."""
        row = self._index.get(name)
        return row is None or not self._open[row] or self._state[row] >= rungs

    def has_arm(self, name: str) -> bool:
        """Whether there is an arm of that name."""
        return name in self._index

    def next(self, trials: Trials, left: float, running: Sequence[Proposal] = ()) -> Proposal | None:
        """Return what to train next; None when no open arm that rests can finish an epoch in time, or improve."""
        best = trials.best
        rate = self._improvement_per_second(None if best is None else best.objective, left)
        rate[[self._index[p.arm.name] for p in running if p.arm is not None and p.arm.name in self._index]] = 0.0
        if not rate.size or rate.max() <= 0:
            return None
        row = int(rate.max(axis=1).argmax())
        # A first epoch says what one takes.
        arm, until = self.arms[row], int(self._rungs[self._state[row] + 1]) if self._done[row] else 1
        return Proposal(params=arm.params, source="planned", resumes=self._trial.get(row), until=until, arm=arm)

    def observe(self, proposal: Proposal, record: TrialRecord | None) -> None:
        """Learn the outcome of a proposal; an arm that was not run, failed or ended is closed."""
        if proposal.arm is None:
            return
        row = self._index[proposal.arm.name]
        if record is None or record.objective is None or not record.curve:
            self._open[row] = False
            return
        rung = self._state[row]
        self._trial[row], self._done[row] = record.number, len(record.curve)
        self._cost[row] = max(record.seconds - self._start[row], 0.1 * record.seconds) / len(record.curve)
        if record.state == "paused" and len(record.curve) < self._rungs[rung + 1]:
            return
        self._open[row] = record.state in ("paused", "pruned") and rung + 1 < len(self.model.rungs)
        # The correction that makes objectives comparable shifts the whole curve.
        self._seen[row, rung] = max(record.curve[: self._rungs[rung + 1]]) + record.objective - max(record.curve)
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
        floor = np.where(reached, self._seen, -np.inf).max(axis=1)[:, None]  # the best so far cannot fall
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

    def _improvement_per_second(self, best: float | None, left: float) -> Array:
        """Return expected improvement per second, ``[arms, rungs]``; zero where nothing can be gained in time."""
        mean, std = self.forecast()
        if best is None:
            best = float(np.minimum(self._mean.min(initial=0.0), 0.0))
        u = (mean - best) / std
        gain = std * (u * ndtr(u) + np.exp(-u * u / 2) / math.sqrt(2 * math.pi))
        epochs = self._rungs[1:] - self._done[:, None]
        start = np.where(self._done == 0, self._start, 0.0)
        time = epochs * self._cost[:, None] + start[:, None]
        # A rung counts if it can be reached in time; the next one counts as soon as one epoch can.
        upcoming = np.arange(len(self.model.rungs)) == self._state[:, None]
        begun = (self._cost + start <= left)[:, None]
        possible = (epochs > 0) & ((time <= left) | (upcoming & begun)) & self._open[:, None]
        return np.where(possible, gain / np.where(possible, time, 1.0), 0.0)
