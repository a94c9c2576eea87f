"""Drive the schedule over recorded learning curves with a virtual clock.

python replay.py CURVES.json.gz [--budgets 900,3600,14400,57600] [--seeds 1] [--json]

Prints the normalised regret, (best possible - best seen) / (best possible - worst configuration's best), averaged
over data sets. The prior never saw the data set under test: where the file is the one that the committed prior was
learned from (known by its digest), a prior is fitted for each data set on the others; else the committed one is used.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from fit_prior import Recorded, fit, read

from autotransfer.search.prior import Prior
from autotransfer.search.schedule import Scheduler


def replay(data: Recorded, prior: Prior, budget: float) -> float:
    """Return the normalised regret after ``budget`` recorded seconds."""
    arms = prior.arms(data.settings, examples=data.examples, classes=data.classes)
    scheduler = Scheduler(arms, model=prior.curves, seconds=budget)
    done = dict.fromkeys(data.settings, 0)
    while (step := scheduler.next()) is not None:
        scores, seconds = data.scores[step.name], data.seconds[step.name]
        start, stop, spent = done[step.name], min(step.epochs, len(scores)), 0.0
        # The clock is charged what was recorded; an evaluation that the budget cuts keeps the epochs that finished.
        while done[step.name] < stop and scheduler.spent + spent + seconds[done[step.name]] <= budget:
            spent += seconds[done[step.name]]
            done[step.name] += 1
        cut = done[step.name] < stop
        if done[step.name] > start or not cut:
            scheduler.observe(step.name, scores[: done[step.name]], spent)
        if cut:
            break
    finals = [max(curve) for curve in data.scores.values()]
    low, high = min(finals), max(finals)
    return (high - max(scheduler.best, low)) / max(high - low, 1e-12)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("curves", type=Path)
    parser.add_argument("--budgets", default="900,3600,14400,57600", help="recorded seconds, comma-separated")
    parser.add_argument("--seeds", type=int, default=1, help="fits to average over, where priors are fitted here")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    budgets = args.budgets.split(",")
    datasets, digest = read(args.curves)
    prior = Prior.load()
    result: dict[str, dict[str, float]] = {}
    for name, data in datasets.items():
        priors = [prior]
        if digest == prior.digest:
            others = {other: recorded for other, recorded in datasets.items() if other != name}
            priors = [fit(others, seed=seed) for seed in range(args.seeds)]
        result[name] = {b: float(np.mean([replay(data, p, float(b)) for p in priors])) for b in budgets}
        if not args.json:
            print(f"{name:10s}", *(f"{value:8.3f}" for value in result[name].values()), flush=True)
    regret = {b: float(np.mean([row[b] for row in result.values()])) for b in budgets}
    if args.json:
        print(json.dumps({"regret": regret, "datasets": result}))
    else:
        print(f"{'mean':10s}", *(f"{value:8.3f}" for value in regret.values()))


if __name__ == "__main__":
    main()
