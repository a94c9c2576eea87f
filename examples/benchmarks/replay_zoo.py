"""Drive the strategy of a search over recorded model zoos with a virtual clock; see ``replay.py zoo``."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
from fit_model_prior import Z_OF_90_PERCENT, Runs, learn_recorded, log_error_levels, read_runs
from scipy.stats import rankdata, weightedtau

from autotransfer.search.model_prior import ModelPrior
from autotransfer.search.proposal import Proposal
from autotransfer.search.sources.source import SearchState
from autotransfer.search.strategy import Strategy
from autotransfer.search.trials import TrialRecord, Trials

Array = npt.NDArray[np.float64]
# A model is good enough where its accuracy is this close to the best one's.
CLOSE = 0.01
# Deviation of the log error of two equal trainings.
SEEN_DEVIATION = 0.05
RANDOM_ORDERS = 100


def main(args: argparse.Namespace) -> None:
    """Print the weighted tau of the ranking before any fine-tuning, and what it takes until a good model is trained."""
    runs = read_runs(args.runs, args.models)
    given = None if args.prior is None else read_runs(args.prior, args.models)
    targets: dict[str, dict[str, float]] = {}
    bars: dict[str, dict[str, dict[str, float]]] = {}
    for position, target in enumerate(runs.recorded.targets):
        others = [i for i in range(len(runs.recorded.targets)) if i != position]
        known = given or Runs(
            recorded=runs.recorded.take(others),
            seconds=runs.seconds[others],
            probe_seconds=runs.probe_seconds[others],
            log_me=runs.log_me[others],
        )
        targets[target] = replay(runs, position, known)
        bars[target] = trivial(runs, position, known)
        if not args.json:
            print(_line(target, targets[target]), flush=True)
    names = ("weighted_tau", "models", "hours", "covered_90")
    mean = {name: float(np.mean([row[name] for row in targets.values()])) for name in names}
    median = {"hours": float(np.median([row["hours"] for row in targets.values()]))}
    if args.json:
        print(json.dumps({"mean": mean, "median": median, "targets": targets, "bars": bars}))
        return
    print(_line("mean", mean), f"median {median['hours']:.2f} h")
    for name in sorted({name for row in bars.values() for name in row}):
        rows = [row[name] for row in bars.values() if name in row]
        tau = np.mean([row["weighted_tau"] for row in rows])
        hours = [row["hours"] for row in rows]
        shown = f"{np.mean(hours):8.2f} h, median {np.median(hours):.2f} h, {len(rows)} targets"
        print(f"{name:32s} tau {tau:6.3f}   {shown}")


def replay(runs: Runs, position: int, known: Runs) -> dict[str, float]:
    """Replay one target under a prior that was learned from other runs.

    Returns:
        The weighted tau of the ranking before any fine-tuning, by scores of transferability where they are recorded;
        the models and hours until a good one is trained, without such scores: to compute them takes longer than they
        save; and the share of log errors, less their median distance, that lie within their 90% intervals.
    """
    prior = ModelPrior(learn_recorded(known.recorded))
    rows = _rows(runs, position)
    target, models = runs.recorded.targets[position], [runs.recorded.models[i] for i in rows]
    accuracy, seconds = runs.recorded.accuracy[position][rows], runs.seconds[position][rows]
    kinds = known.recorded.evidence.shape[-1]
    evidence = runs.recorded.evidence[position][rows]
    ranked, _ = prior.rank(models, target, evidence if evidence.shape[1] == kinds else None)
    mean, covariance = prior.expect(models, target)
    levels = log_error_levels(accuracy)
    away = levels - mean
    covered = np.abs(away - np.median(away)) < Z_OF_90_PERCENT * np.sqrt(np.diag(covariance))
    source = FineTunings(mean, covariance, prior.recorded.unit.level, seconds)
    strategy, trials, spent = Strategy([source], float), Trials(), 0.0
    while (proposal := strategy.next(trials, math.inf)) is not None:
        chosen = int(proposal.params["model"])
        spent += seconds[chosen]
        record = TrialRecord(number=len(trials), state="complete", candidate=None, objective=float(levels[chosen]))
        trials.add(record)
        strategy.observe(proposal, record)
        if accuracy[chosen] >= accuracy.max() - CLOSE:
            break
    tau = float(weightedtau(accuracy, ranked).statistic)
    return {"weighted_tau": tau, "models": len(trials), "hours": spent / 3600, "covered_90": float(covered.mean())}


class FineTunings:
    """A source that offers to train each model, and learns from what others have shown on the target.

    How hard the target is, is not known: a level that all models share, as unsure as it is large.

    Args:
        mean: Expected level of the log error (n,) of each model.
        covariance: Covariance (n, n) of these levels.
        usual: Level that is usual on any target.
        seconds: Recorded seconds (n,) of each fine-tuning.
    """

    def __init__(self, mean: Array, covariance: Array, usual: float, seconds: Array) -> None:
        self._mean, self._covariance = mean + usual, covariance + usual**2
        self._seconds = seconds
        self._levels: dict[int, float] = {}

    def proposals(self, state: SearchState) -> Iterator[Proposal]:
        """Yield a proposal for each model that was not trained."""
        seen = list(self._levels)
        inner = self._covariance[np.ix_(seen, seen)] + SEEN_DEVIATION**2 * np.eye(len(seen))
        outer = self._covariance[:, seen]
        above = np.array(list(self._levels.values())) - self._mean[seen]
        solved = np.linalg.solve(inner, np.column_stack([above, outer.T]))
        mean = self._mean + outer @ solved[:, 0]
        variance = np.diag(self._covariance) - np.einsum("ij,ji->i", outer, solved[:, 1:])
        deviation = np.sqrt(np.maximum(variance, 1e-9))
        for model in sorted(set(range(len(mean))) - self._levels.keys()):
            known = {"expected": float(mean[model]), "deviation": float(deviation[model])}
            yield Proposal(params={"model": model}, source="fine_tuning", seconds=float(self._seconds[model]), **known)

    def observe(self, proposal: Proposal, record: TrialRecord | None) -> None:
        """Learn the level that a model reached."""
        if record is not None and record.objective is not None:
            self._levels[int(proposal.params["model"])] = record.objective


def trivial(runs: Runs, position: int, known: Runs) -> dict[str, dict[str, float]]:
    """Return what orders that need no model reach."""
    rows = _rows(runs, position)
    accuracy, seconds = runs.recorded.accuracy[position][rows], runs.seconds[position][rows]
    elsewhere = _mean_rank(runs, rows, known)
    orders: dict[str, Array] = {
        "mean rank": elsewhere,
        "mean rank - 0.1 log seconds": elsewhere - 0.1 * np.log(seconds),
        "cheapest first": -seconds,
    }
    metric = runs.log_me[position][rows]
    if np.isfinite(metric).any():
        ranks = np.where(np.isfinite(metric), rankdata(np.where(np.isfinite(metric), metric, -np.inf)), 0) / len(rows)
        orders |= {"LogME": ranks, "LogME + mean rank": ranks + elsewhere}
    found = {name: _of_order(accuracy, seconds, values) for name, values in orders.items()}
    rng = np.random.default_rng(0)
    draws = [_of_order(accuracy, seconds, rng.random(len(rows))) for _ in range(RANDOM_ORDERS)]
    random: Mapping[str, float] = {name: float(np.mean([one[name] for one in draws])) for name in draws[0]}
    return {**found, "random": dict(random)}


def _of_order(accuracy: Array, seconds: Array, values: Array) -> dict[str, float]:
    order = np.argsort(-values, kind="stable")
    first = int(np.argmax(accuracy[order] >= accuracy.max() - CLOSE))
    tau = float(weightedtau(accuracy, values).statistic)
    return {"weighted_tau": tau, "models": first + 1, "hours": float(seconds[order][: first + 1].sum() / 3600)}


def _mean_rank(runs: Runs, rows: npt.NDArray[np.int64], known: Runs) -> Array:
    """Return the mean share of models below each on the known targets; one half for a model that was not there."""
    shares = np.full(known.recorded.accuracy.shape, np.nan)
    for row, accuracy in zip(shares, known.recorded.accuracy, strict=True):
        there = np.flatnonzero(~np.isnan(accuracy))
        row[there] = rankdata(accuracy[there]) / len(there)
    counts = (~np.isnan(shares)).sum(0)
    means = np.nansum(shares, 0) / np.maximum(counts, 1)
    by_name = {m.name: means[i] for i, m in enumerate(known.recorded.models) if counts[i]}
    return np.array([by_name.get(runs.recorded.models[i].name, 0.5) for i in rows])


def _rows(runs: Runs, position: int) -> npt.NDArray[np.int64]:
    return np.flatnonzero(~np.isnan(runs.recorded.accuracy[position]))


def _line(name: str, row: Mapping[str, float]) -> str:
    shown = f"tau {row['weighted_tau']:6.3f}   {row['hours']:8.2f} h, {row['models']:5.1f} models"
    return f"{name:32s} {shown}, {row['covered_90']:.2f} in 90%"
