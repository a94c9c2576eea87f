"""Drive the product's own strategy over recorded grids with a virtual clock; see ``replay.py grid``.

A setup costs its recorded seconds, and returns its recorded validation accuracy. Whoever is first to try a setup that
needs the features of a backbone pays for their pass. A training is seen at its end alone; its rate is a setting.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import median
from typing import Any

import numpy as np
import optuna
from fit_gain_prior import learn_gains
from gain_cases import FIRST_RATE, SCREENED
from recorded_grid import STAGES, TASKS, GridTask, Setup, read_grid
from scipy.stats import rankdata

from autotransfer.candidate import Candidate
from autotransfer.errors import TrialError
from autotransfer.search.belief import CurveModel
from autotransfer.search.budget import TimeBudget
from autotransfer.search.gain_prior import GainPrior
from autotransfer.search.jobs import Evaluation, Report
from autotransfer.search.levels import Levels
from autotransfer.search.loop import search
from autotransfer.search.strategy import make_strategy
from autotransfer.search.strategy_context import StrategyContext
from autotransfer.search.study import make_study
from autotransfer.search.trials import Trials
from autotransfer.settings import Budget

# What a setup needs that others need, too: a backbone, the kind of its features, and the number of stages that train.
Features = tuple[str, str, int]
RANDOM_ORDERS = 50
MAX_PASS_SECONDS = 60.0
MIN_SECONDS = 0.02


def features_of(setup: Setup) -> Features:
    own = setup.head if setup.head in ("stage_ridge", "mlp") and not setup.trained else ""
    return setup.backbone, own, setup.trained


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The setups of one data set: of trained depths that were recorded in one view and in two, those in two.

    Attributes:
        data: Name of the data set.
        setups: The setups by name.
        passes: Seconds of a pass, by what needs it.
        seconds: Seconds of each setup without the pass, by name.
    """

    data: str
    setups: Mapping[str, Setup]
    passes: Mapping[Features, float]
    seconds: Mapping[str, float]

    @classmethod
    def of(cls, data: str, setups: Sequence[Setup]) -> Grid:
        """Return the grid of a data set; the first setup of a kind in the file has paid for the pass."""
        kept = [s for s in setups if s.data == data and (s.views == 2) == (0 < s.trained < STAGES[s.backbone])]
        groups: dict[tuple[Features, str], list[Setup]] = {}
        for setup in kept:
            groups.setdefault((features_of(setup), setup.head), []).append(setup)
        passes, seconds = dict[Features, float](), dict[str, float]()
        for (features, _), group in groups.items():
            typical = median(setup.seconds for setup in group)
            for setup in group:
                is_first = features not in passes
                if is_first:
                    # Recorded seconds have outliers, by a factor of fifty.
                    passes[features] = min(max(setup.seconds - typical, 0.0), MAX_PASS_SECONDS)
                seconds[name_of(setup)] = max(min(setup.seconds, typical) if is_first else setup.seconds, MIN_SECONDS)
        return cls(data=data, setups={name_of(s): s for s in kept}, passes=passes, seconds=seconds)

    @property
    def task(self) -> GridTask:
        """The task."""
        return TASKS[self.data]

    @cached_property
    def backbones(self) -> list[str]:
        """Names of the backbones."""
        return sorted({setup.backbone for setup in self.setups.values()})

    @cached_property
    def best(self) -> float:
        """The best validation accuracy."""
        return max(setup.validation for setup in self.setups.values())


def name_of(setup: Setup) -> str:
    """Return what tells a setup from others of its data set."""
    params = ",".join(f"{key}={value:g}" for key, value in setup.head_params.items())
    return f"{setup.backbone}/{setup.head}({params})/{setup.trained}/{setup.rate or 0:g}"


@dataclass(kw_only=True)
class Recordings:
    """Evaluates candidates by their recorded accuracies; only recorded seconds move its clock.

    Attributes:
        grid: The grid.
        budget: Seconds that there are.
        now: Seconds that are spent.
        paid: Passes that were made.
    """

    grid: Grid
    budget: float
    now: float = 0.0
    paid: set[Features] = field(default_factory=set)

    def pass_seconds(self, name: str) -> float:
        """Return the seconds of the pass that a setup still needs."""
        features = features_of(self.grid.setups[name])
        return 0.0 if features in self.paid else self.grid.passes[features]

    def seconds(self, name: str) -> float:
        """Return the seconds that a setup takes now, with its pass."""
        return self.pass_seconds(name) + self.grid.seconds[name]

    def run(self, name: str) -> bool:
        """Spend the seconds of a setup; return whether the budget held out."""
        self.now += self.seconds(name)
        self.paid.add(features_of(self.grid.setups[name]))
        return self.now <= self.budget

    def __call__(
        self, candidate: Candidate, report: Report, expired: Callable[[], bool], until: int | None = None
    ) -> Evaluation:
        """Return the recorded score of a candidate, if the budget lasts until its end."""
        name = str(candidate.freeze_params["setup"])
        if not self.run(name):
            expired()
            raise TrialError("the time ran out before the end")
        setup = self.grid.setups[name]
        if not setup.trained:
            return Evaluation(score=setup.validation)
        report(1, setup.validation)
        return Evaluation(score=setup.validation, best_epoch=1, curve=(setup.validation,))

    def predicted_seconds(self, candidate: Candidate, until: int | None = None, after: int = 0) -> float:
        """Return the seconds of a candidate: a live search predicts them by what it has measured."""
        return self.seconds(str(candidate.freeze_params["setup"]))

    def restore(self, trials: Trials) -> None:
        """Nothing is kept between searches."""

    def setup_of(self, params: dict[str, Any]) -> str:
        """Return the name of the setup that parameters fix in full; an empty one where it was not recorded."""
        try:
            candidate = self.suggest(optuna.trial.FixedTrial(params))
        except ValueError:  # no such setting
            return ""
        return str(candidate.freeze_params["setup"])

    def suggest(self, trial: optuna.trial.BaseTrial) -> Candidate:
        """Choose a setup of the grid."""
        setups = self.grid.setups.values()
        backbone = trial.suggest_categorical("backbone", self.grid.backbones)
        is_frozen = trial.suggest_categorical("freeze", ["frozen", "depth"]) == "frozen"
        suited = [s for s in setups if s.backbone == backbone and (s.trained == 0) == is_frozen]
        if is_frozen:
            head = trial.suggest_categorical("head", sorted({s.head for s in setups if not s.trained}))
            suited, key = [s for s in suited if s.head == head], f"setting.{head}"
        else:
            depths = sorted({s.trained for s in suited})
            depth = trial.suggest_categorical(f"trained@{STAGES[backbone]}", depths)
            suited, key = [s for s in suited if s.trained == depth], "rate"
        settings = [setting_of(setup.head_params, setup.rate) for setup in suited]
        setup = suited[settings.index(trial.suggest_categorical(key, settings))]
        return Candidate(
            backbone=backbone,
            head=setup.head,
            freeze="frozen" if is_frozen else "depth",
            freeze_params={"setup": name_of(setup)},
            training={"epochs": 1} if setup.trained else {},
        )


def setting_of(params: Mapping[str, float], rate: float | None = None) -> str:
    """Return the settings of a setup but for backbone, head and depth, in words."""
    return ", ".join(f"{name}={value:g}" for name, value in params.items()) or f"{rate or 0:g}"


# -- the strategy -----------------------------------------------------------------------------------------------------


def replay(grid: Grid, prior: GainPrior, budget: float, seed: int) -> dict[str, float]:
    """Return what the product's search has found when the budget is spent."""
    recordings = Recordings(grid=grid, budget=budget)
    trials = search(
        make_study(seed=seed, curves=0),
        recordings.suggest,
        recordings,
        TimeBudget(Budget(seconds=budget), clock=lambda: recordings.now),
        make_strategy(context_of(recordings, prior)),
        refit_factor=0.0,
        observe=lambda record: None,
    )
    best = trials.best
    name = None if best is None or best.candidate is None else str(best.candidate.freeze_params["setup"])
    return outcome(grid, name)


def context_of(recordings: Recordings, prior: GainPrior) -> StrategyContext:
    """Return what a strategy may propose on a grid, and what it knows of the task."""
    grid = recordings.grid

    def tuning(backbone: str, trained: int, *, views: int = 1, distant: bool = False) -> dict[str, Any] | None:
        params = {"backbone": backbone, "freeze": "depth", f"trained@{STAGES[backbone]}": trained}
        params["rate"] = f"{FIRST_RATE:g}"
        return params if recordings.setup_of(params) else None

    def seconds(params: dict[str, Any], epochs: int) -> float:
        name = recordings.setup_of(params)
        is_whole = epochs > 0 or not grid.setups[name].trained
        return recordings.seconds(name) if is_whole else recordings.pass_seconds(name)

    def typical(backbone: str, *, is_frozen: bool) -> float:
        kept = [n for n, s in grid.setups.items() if s.backbone == backbone and (s.trained == 0) == is_frozen]
        return median(map(recordings.seconds, kept))

    return StrategyContext(
        screening=screening(grid),
        tuning=tuning,
        stages=STAGES.__getitem__,
        frozen_policy="frozen",
        tuning_policies=("depth",),
        # Trainings are seen at their end alone, and hang together by what they share of their gains.
        curves=CurveModel(rungs=(1,), own=np.ones((1, 1)), shared=np.zeros((1, 1)), growth=(1.0,)),
        gains=prior,
        seconds=seconds,
        drawn_seconds=lambda backbone, views: typical(backbone, is_frozen=True),
        tuned_seconds=lambda backbone: (0.0, typical(backbone, is_frozen=False)),
        levels=Levels(trivial=grid.task.majority),
        distant=grid.backbones if grid.task.distant else (),
        examples=grid.task.examples,
        outputs=grid.task.classes,
    )


def screening(grid: Grid) -> list[dict[str, Any]]:
    """Return the parameters of what is screened: each backbone under each closed-form head."""
    params = []
    for head, near in SCREENED.items():
        for backbone in grid.backbones:
            setting = setting_of(near[-1])
            params.append({"backbone": backbone, "freeze": "frozen", "head": head, f"setting.{head}": setting})
    return params


# -- trivial bars -----------------------------------------------------------------------------------------------------


def follow(grid: Grid, budget: float, order: Sequence[str]) -> dict[str, float]:
    """Return what an order has found when the budget is spent; what does not fit into the rest is left out."""
    recordings, tried = Recordings(grid=grid, budget=budget), list[str]()
    for name in order:
        if recordings.now + recordings.seconds(name) <= budget and recordings.run(name):
            tried.append(name)
    return outcome(grid, max(tried, key=lambda name: grid.setups[name].validation) if tried else None)


def outcome(grid: Grid, name: str | None) -> dict[str, float]:
    """Return the regret and the test accuracy of what was chosen; those of the trivial predictor, if nothing was."""
    if name is None:
        return {"regret": grid.best - grid.task.majority, "test": grid.task.majority}
    return {"regret": grid.best - grid.setups[name].validation, "test": grid.setups[name].test}


def orders(grid: Grid, others: Sequence[Grid]) -> dict[str, list[list[str]]]:
    """Return, by the name of a bar, the orders that it is averaged over."""
    names, rng, fresh = list(grid.setups), np.random.default_rng(0), Recordings(grid=grid, budget=0.0)
    ranks = dict[str, list[float]]()
    for other in others:
        share = rankdata([setup.validation for setup in other.setups.values()]) / len(other.setups)
        for name, value in zip(other.setups, share, strict=True):
            ranks.setdefault(name, []).append(float(value))
    mean = {name: float(np.mean(ranks.get(name, [0.5]))) for name in names}
    return {
        "random": [list(rng.permutation(names)) for _ in range(RANDOM_ORDERS)],
        "cheapest first": [sorted(names, key=fresh.seconds)],
        "mean rank": [sorted(names, key=lambda name: -mean[name])],
    }


def mean_of(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of each number."""
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def main(args: argparse.Namespace) -> None:
    """Print regret and test accuracy after each budget, of the search and of trivial orders, on sets not seen."""
    setups = read_grid(args.grid)
    grids = {data: Grid.of(data, setups) for data in TASKS}
    given = {name: getattr(args, name) for name in ("forms", "full", "head", "curves")}
    found: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    for data in args.data or grids:
        grid = grids[data]
        others = [other for other in grids.values() if other is not grid]
        prior = GainPrior.of(*learn_gains(args.grid, **given, without=data))
        ranked = orders(grid, others)
        for budget in args.budgets.split(","):
            rows = {"search": [replay(grid, prior, float(budget), seed) for seed in range(args.seeds)]}
            for name, several in ranked.items():
                rows[name] = [follow(grid, float(budget), order) for order in several]
            for name, each in rows.items():
                found.setdefault(budget, {}).setdefault(name, {})[data] = mean_of(each)
    mean = {b: {name: mean_of([*of.values()]) for name, of in rows.items()} for b, rows in found.items()}
    if args.json:
        print(json.dumps({"mean": mean, "datasets": found}))
        return
    for budget, rows in mean.items():
        for name, row in rows.items():
            regret, test = 100 * row["regret"], 100 * row["test"]
            print(f"{budget:>6s} s  {name:15s} regret {regret:6.2f} points   test {test:6.2f}%")
