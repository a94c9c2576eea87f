"""What thresholds of decisions bring on unseen examples of a rare class.

    python thresholds.py --data dtd10 sign_digits --zoo zoo/timm --metric f1 --draws 3

Each of the data is as for modalities.py. Each class in turn is held against all others. A logistic regression is scored
by five folds of half of the examples, thresholds are chosen on that, and the other half is scored with and without.
"""

from __future__ import annotations

import argparse
import math
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import common
import numpy as np
from coverage import SHARE, Examples

from autotransfer import Candidate
from autotransfer.data.folds import Fold
from autotransfer.selection.out_of_fold import OutOfFold
from autotransfer.selection.thresholds import choose_thresholds
from autotransfer.tasks.task import Task


def gained(pool: Examples, positive: int, metric: str, seed: int) -> dict[str, float]:
    """Return the score of one class against all others, at one half and by thresholds."""
    task = Task(kind="binary", classes=("others", "one"), metric=metric, positive_class="one")
    targets = (pool.targets == positive).astype(np.int64)

    def of(fold: Fold) -> Fold:
        return replace(fold, task=task, targets=targets)

    inner, final = pool.draw(SHARE, seed)
    folds, last = [of(fold) for fold in inner], of(final)
    candidate = Candidate(backbone=pool.loaded[0].spec.name, head="logistic", head_params={"C": 1e-2})
    validated = pool.predictions(candidate, folds)
    held_out = OutOfFold.of(folds, validated)
    found = choose_thresholds(held_out, validated[held_out.rows])
    assert found is not None  # the metric is one that thresholds improve
    rows = last.validation_rows
    tested = pool.predictions(candidate, [last])[rows]
    tuned = replace(task, thresholds=found.thresholds)
    return {
        "one half": task.score(targets[rows], tested),
        "thresholds": tuned.score(targets[rows], tested),
        "promised": found.score_after,
    }


def measure(given: argparse.Namespace) -> list[dict[str, Any]]:
    """Return a row for each data set."""
    rows: list[dict[str, Any]] = []
    for data in given.data:
        pool = Examples(data, given.zoo, given.backbones, given.examples)
        found = [
            gained(pool, positive, given.metric, seed)
            for seed in range(given.draws)
            for positive in range(pool.task.outputs)
        ]
        gains = [one["thresholds"] - one["one half"] for one in found]
        error = statistics.stdev(gains) / math.sqrt(len(gains))
        means = {name: statistics.mean(one[name] for one in found) for name in found[0]}
        common.note(rows, data=data.name, metric=given.metric, **means, gain=statistics.mean(gains), error=error)
    return rows


def main() -> None:
    """Read the arguments, measure, print."""
    made = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    made.add_argument("--data", type=Path, nargs="+", required=True, help="folders or tar files, as for modalities.py")
    made.add_argument("--zoo", type=Path, nargs="+", required=True, help="folders of checkpoints")
    made.add_argument("--backbones", nargs="+", default=(), help="names of backbones, the first of which is taken")
    made.add_argument("--metric", default="f1", help="a metric that thresholds improve")
    made.add_argument("--examples", type=int, default=1000, help="most examples of a data set, half to train on")
    made.add_argument("--draws", type=int, default=3, help="random halves of each data set")
    made.add_argument("--out", type=Path, help="write the results here, as JSON")
    given = made.parse_args()
    common.finish(measure(given), given.out)


if __name__ == "__main__":
    main()
