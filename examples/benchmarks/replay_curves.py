"""Drive the project's own search loop over recorded learning curves with a virtual clock; see ``replay.py curves``.

Prints the normalised regret, (best possible - best seen) / (best possible - worst configuration's best), averaged
over data sets. The prior never saw the data set under test: where the file is the one that the committed prior was
learned from (known by its digest), a prior is fitted for each data set on the others; else the committed one is used.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import optuna
from fit_prior import Recorded, fit, read

from autotransfer.candidate import Candidate
from autotransfer.errors import TrialError
from autotransfer.search.arm import Arm
from autotransfer.search.belief import Belief, CurveModel
from autotransfer.search.budget import TimeBudget
from autotransfer.search.loop import Evaluation, Report, search
from autotransfer.search.prior import Prior
from autotransfer.search.proposal import Proposal
from autotransfer.search.sources.source import SearchState
from autotransfer.search.sources.trainings import Trainings
from autotransfer.search.strategy import Strategy
from autotransfer.search.study import make_study
from autotransfer.search.trials import TrialRecord
from autotransfer.settings import Budget

PARTS = {
    "scores": "no setup is expected to do better than another",
    "costs": "no setup is expected to take longer than another",
    "curves": "what a training shows early says nothing of its end, nor of others",
    "pruning": "every training goes to its end",
}


@dataclass
class Recordings:
    """Evaluates candidates by their recorded curves; only recorded seconds move its clock.

    The loop sees what it would see of real training: scores epoch by epoch, and the time that they took.
    """

    data: Recorded
    budget: float
    now: float = 0.0
    done: dict[str, int] = field(default_factory=dict)

    def __call__(
        self, candidate: Candidate, report: Report, expired: Callable[[], bool], until: int | None = None
    ) -> Evaluation:
        """Go on with a recorded curve until so many epochs, or until the recorded time is spent."""
        name = candidate.backbone
        scores, seconds, done = self.data.scores[name], self.data.seconds[name], self.done.get(name, 0)
        for epoch in range(done + 1, min(until or len(scores), len(scores)) + 1):
            self.now += seconds[epoch - 1]
            if self.now > self.budget:
                expired()
                break  # an epoch that the budget cuts does not count
            self.done[name] = epoch
            if report(epoch, scores[epoch - 1]):
                break
        if not self.done.get(name):
            raise TrialError("the time ran out before the first epoch ended")
        curve = tuple(scores[: self.done[name]])
        return Evaluation(score=max(curve), best_epoch=int(np.argmax(curve)) + 1, curve=curve)

    def predicted_seconds(self, candidate: Candidate, until: int | None = None, after: int = 0) -> float:
        """The schedule predicts by its prior: nothing recorded is looked up before it is paid for."""
        return 0.0

    def suggest(self, trial: optuna.trial.Trial) -> Candidate:
        """Return the setup that the schedule ordered."""
        name = trial.suggest_categorical("setup", list(self.data.scores))
        return Candidate(backbone=name, training={"epochs": len(self.data.scores[name])})


class Planned:
    """Offers given arms.

    Args:
        arms: The arms.
        curves: How their curves hang together.
        pauses: Whether trainings are paused at rungs.
    """

    def __init__(self, arms: Sequence[Arm], curves: CurveModel, *, pauses: bool = True) -> None:
        self._arms, self._pauses = arms, pauses
        self._trainings = Trainings(Belief(curves), float)

    def proposals(self, state: SearchState) -> Iterator[Proposal]:
        """Yield how far each arm can go."""
        for offers in (self._trainings.begin(self._arms, "planned", state), self._trainings.resume("planned", state)):
            yield from offers if self._pauses else (replace(offer, until=None) for offer in offers)

    def observe(self, proposal: Proposal, record: TrialRecord | None) -> None:
        """Learn how far an arm came."""
        self._trainings.observe(proposal, record)


def strategy(arms: Sequence[Arm], curves: CurveModel, without: Sequence[str]) -> Strategy:
    """Return the strategy without these of ``PARTS``."""
    alike: dict[str, object] = {}
    if "scores" in without:
        means, deviations = (np.array([getattr(arm, part) for arm in arms]) for part in ("mean", "std"))
        spread = np.sqrt((deviations**2).mean(0) + means.var(0))  # of a setup that is drawn blindly
        alike |= {"mean": means.mean(0).tolist(), "std": spread.tolist()}
    if "costs" in without:
        alike |= {"seconds": float(np.exp(np.mean([np.log(arm.seconds) for arm in arms])))}
    if "curves" in without:
        rungs = len(curves.rungs)
        curves = replace(curves, own=np.eye(rungs), shared=np.zeros((rungs, rungs)))
    planned = [replace(arm, params={"setup": arm.name}, **alike) for arm in arms]
    return Strategy([Planned(planned, curves, pauses="pruning" not in without)], float)


def replay(data: Recorded, prior: Prior, budget: float, without: Sequence[str] = ()) -> float:
    """Return the normalised regret of the search after ``budget`` recorded seconds."""
    recordings = Recordings(data, budget)
    arms = prior.arms(data.settings, examples=data.examples, classes=data.classes)
    trials = search(
        make_study(seed=0, curves=len(arms), startup=len(arms)),
        recordings.suggest,
        recordings,
        TimeBudget(Budget(seconds=budget), clock=lambda: recordings.now),
        strategy(arms, prior.curves, without),
        refit_factor=0.0,
        observe=lambda record: None,
    )
    finals = [max(curve) for curve in data.scores.values()]
    low, high = min(finals), max(finals)
    best = max((record.score for record in trials if record.score is not None), default=low)
    return (high - max(best, low)) / max(high - low, 1e-12)


def main(args: argparse.Namespace) -> None:
    """Print the regret after each budget."""
    budgets = args.budgets.split(",")
    datasets, digest = read(args.curves)
    prior = Prior.load()
    result: dict[str, dict[str, float]] = {}
    for name, data in datasets.items():
        priors = [prior]
        if digest == prior.digest:
            others = {other: recorded for other, recorded in datasets.items() if other != name}
            priors = [fit(others, seed=seed) for seed in range(args.seeds)]
        result[name] = {b: float(np.mean([replay(data, p, float(b), args.without) for p in priors])) for b in budgets}
        if not args.json:
            print(f"{name:10s}", *(f"{value:8.3f}" for value in result[name].values()), flush=True)
    regret = {b: float(np.mean([row[b] for row in result.values()])) for b in budgets}
    if args.json:
        print(json.dumps({"regret": regret, "datasets": result}))
    else:
        print(f"{'mean':10s}", *(f"{value:8.3f}" for value in regret.values()))
