"""Drive the project's own search loop over recorded learning curves with a virtual clock; see ``replay.py curves``.

Prints the normalised regret, (best possible - best seen) / (best possible - worst configuration's best), averaged
over data sets, beside that of a random order and of the cheapest first. The prior never saw the data set under test:
where the file is the one that the committed prior was learned from (known by its digest), a prior is fitted for each
data set on the others; else the committed one is used. With ``--halves``, priors are fitted on random halves of the
data sets and tested on the other halves.
"""

from __future__ import annotations

import argparse
import json
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import optuna
from fit_curve_prior import RUNGS, Recorded, fit, read

from autotransfer.candidate import Candidate
from autotransfer.errors import TrialError
from autotransfer.search.arm import Arm
from autotransfer.search.belief import Belief, CurveModel
from autotransfer.search.budget import TimeBudget
from autotransfer.search.levels import Levels
from autotransfer.search.loop import Evaluation, Report, search
from autotransfer.search.prior import Prior, accuracy_levels
from autotransfer.search.proposal import Proposal
from autotransfer.search.sources.source import SearchState
from autotransfer.search.sources.trainings import Trainings
from autotransfer.search.strategy import Strategy
from autotransfer.search.study import make_study
from autotransfer.search.trials import TrialRecord
from autotransfer.settings import Budget

KINDS = ("ours", "random", "cheapest first")
RANDOM_ORDERS = 10
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


class RecordedTrainings(Trainings):
    """Trainings by recorded curves: all were planned with all epochs, however little time is left."""

    def epochs_planned(self, record: TrialRecord) -> int:
        """Return the epochs that a training was planned to take."""
        return RUNGS[-1]

    def epochs_to_plan(self, arm: Arm, state: SearchState) -> int:
        """Return the epochs that a training is planned with."""
        return RUNGS[-1]


class Planned:
    """Offers given arms.

    Args:
        arms: The arms.
        trainings: Knows how far each has come.
        pauses: Whether they are paused at rungs, and judged again.
    """

    def __init__(self, arms: Sequence[Arm], trainings: Trainings, *, pauses: bool) -> None:
        self._arms, self._trainings, self._pauses = arms, trainings, pauses

    def proposals(self, state: SearchState) -> Iterator[Proposal]:
        """Yield what could be trained next."""
        for offers in (
            self._trainings.begin(self._arms, "planned", state),
            self._trainings.resume("planned", state),
        ):
            yield from (offer if self._pauses else replace(offer, until=None) for offer in offers)

    def observe(self, proposal: Proposal, record: TrialRecord | None) -> None:
        """Learn how far a training came."""
        self._trainings.observe(proposal, record)


def strategy(arms: Sequence[Arm], curves: CurveModel, levels: Levels, without: Sequence[str]) -> Strategy:
    """Return the strategy of a search over setups, without these of ``PARTS``."""
    alike: dict[str, Any] = {}
    if "scores" in without:
        means, deviations = (np.array([getattr(arm, part) for arm in arms]) for part in ("mean", "std"))
        spread = np.sqrt((deviations**2).mean(0) + means.var(0))  # of a setup that is drawn blindly
        alike |= {"mean": means.mean(0).tolist(), "std": spread.tolist()}
    if "costs" in without:
        alike |= {"seconds": float(np.exp(np.mean([np.log(arm.seconds) for arm in arms])))}
    if "curves" in without:
        rungs = len(curves.rungs)
        curves = replace(curves, own=np.eye(rungs), shared=np.zeros((rungs, rungs)))
    setups = [replace(arm, params={"setup": arm.name}, **alike) for arm in arms]
    trainings = RecordedTrainings(Belief(curves), levels)
    return Strategy([Planned(setups, trainings, pauses="pruning" not in without)], levels)


def replay(data: Recorded, prior: Prior, budget: float, without: Sequence[str] = ()) -> float:
    """Return the normalised regret of the search after ``budget`` recorded seconds."""
    recordings = Recordings(data, budget)
    arms = prior.arms(data.settings, examples=data.examples, classes=data.classes)
    search(
        make_study(seed=0, curves=len(arms), startup=len(arms)),
        recordings.suggest,
        recordings,
        TimeBudget(Budget(seconds=budget), clock=lambda: recordings.now),
        strategy(arms, prior.curves, accuracy_levels(data.classes), without),
        refit_factor=0.0,
        observe=lambda record: None,
    )
    best = max((max(data.scores[name][:done]) for name, done in recordings.done.items()), default=-math.inf)
    return regret_of(data, best)


def in_order(data: Recorded, order: Sequence[str], budget: float) -> float:
    """Return the normalised regret of trainings to the end, one after the other."""
    left, best = budget, -math.inf
    for name in order:
        for score, seconds in zip(data.scores[name], data.seconds[name], strict=True):
            left -= seconds
            if left < 0:
                return regret_of(data, best)
            best = max(best, score)
    return regret_of(data, best)


def bars(data: Recorded, prior: Prior, budget: float) -> dict[str, float]:
    """Return the normalised regret of what anybody would try: a random order, and the cheapest setups first."""
    orders = [random.Random(seed).sample(list(data.scores), len(data.scores)) for seed in range(RANDOM_ORDERS)]
    arms = prior.arms(data.settings, examples=data.examples, classes=data.classes)
    cheapest = [arm.name for arm in sorted(arms, key=lambda arm: arm.seconds)]
    return {
        "random": float(np.mean([in_order(data, order, budget) for order in orders])),
        "cheapest first": in_order(data, cheapest, budget),
    }


def regret_of(data: Recorded, best: float) -> float:
    """Return how far the best score is from the best possible, as a share of the range of the setups' best scores."""
    finals = [max(curve) for curve in data.scores.values()]
    low, high = min(finals), max(finals)
    return (high - max(best, low)) / max(high - low, 1e-12)


def replays(args: argparse.Namespace) -> Iterator[tuple[str, Recorded, Prior]]:
    """Yield the name of a data set or half, a data set, and a prior that has not seen it."""
    datasets, digest = read(args.curves)
    names = list(datasets)
    for half in range(args.halves):
        known = random.Random(half).sample(names, len(names))[: len(names) // 2]
        prior = fit({name: datasets[name] for name in known}, seed=half)
        yield from ((f"half {half}", data, prior) for name, data in datasets.items() if name not in known)
    if args.halves:
        return
    shipped = Prior.load()
    for name, data in datasets.items():
        others = {other: recorded for other, recorded in datasets.items() if other != name}
        priors = [fit(others, seed=seed) for seed in range(args.seeds)] if digest == shipped.digest else [shipped]
        yield from ((name, data, prior) for prior in priors)


def main(args: argparse.Namespace) -> None:
    """Print the regret after each budget, that of the bars, and the standard errors of ours."""
    budgets = args.budgets.split(",")
    found: dict[str, list[dict[str, dict[str, float]]]] = {}
    for name, data, prior in replays(args):
        row = {b: {"ours": replay(data, prior, float(b), args.without), **bars(data, prior, float(b))} for b in budgets}
        found.setdefault(name, []).append(row)
        if not args.json:
            print(f"{name:14s}", *(f"{row[b]['ours']:8.3f}" for b in budgets), flush=True)
    means = {name: {b: _mean(rows, b) for b in budgets} for name, rows in found.items()}
    table = {kind: {b: float(np.mean([row[b][kind] for row in means.values()])) for b in budgets} for kind in KINDS}
    errors = {b: float(np.std([row[b]["ours"] for row in means.values()]) / len(means) ** 0.5) for b in budgets}
    if args.json:
        ours = {name: {b: row[b]["ours"] for b in budgets} for name, row in means.items()}
        others = {kind: table[kind] for kind in KINDS[1:]}
        print(json.dumps({"regret": table["ours"], "standard_error": errors, "bars": others, "datasets": ours}))
        return
    for kind, row in {**table, "standard error": errors}.items():
        print(f"{kind:14s}", *(f"{row[b]:8.3f}" for b in budgets))


def _mean(rows: Sequence[dict[str, dict[str, float]]], budget: str) -> dict[str, float]:
    return {kind: float(np.mean([row[budget][kind] for row in rows])) for kind in KINDS}
