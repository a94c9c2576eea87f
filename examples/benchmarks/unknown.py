"""How well models tell examples of another data set from examples like those that they were trained on.

    python unknown.py --pairs ants_bees covid_xray --pairs ag_news banking77 --zoo zoo/timm zoo/text

Each data set is as for modalities.py. A model is fitted on the training examples of one data set of a pair, and scores
test examples of both: the area under the curve, how many labels of known examples change where unlike ones get a label
of their own, and what that costs.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import common
import numpy as np
from coverage import suiting
from modalities import parts
from sklearn.metrics import roc_auc_score

import autotransfer
from autotransfer import Compute, RunOptions, SearchOptions, TransferModel
from autotransfer.data.examples import Examples, modality_of
from autotransfer.data.sources import load_examples

REPEATS = 5


def drawn(data: Path, most: int, seed: int) -> Examples:
    """Return a random part of examples."""
    found = load_examples(data)
    return found.take(np.sort(np.random.default_rng(seed).permutation(len(found))[:most]).tolist())


def fitted(train: Examples, given: argparse.Namespace, folder: str) -> TransferModel:
    """Return a model of frozen backbones."""
    return autotransfer.fit(
        list(train.items),
        list(train.targets or ()),
        zoo=given.zoo,
        trials=given.trials,
        backbones=suiting(given.backbones, given.zoo, modality_of(train).name),
        heads=("logistic", "ridge"),
        out=f"{folder}/run",
        search=SearchOptions(freeze="frozen", compare_scratch=False, views=1),
        compute=Compute(cache=False),
        run=RunOptions(progress=False),
    ).model


def measured(model: TransferModel, known: Examples, unlike: Examples) -> dict[str, Any]:
    """Return what scores tell of known and of unlike examples, and what they cost."""
    stores = [model.decode(model.find_examples(list(examples.items))) for examples in (known, unlike)]
    (predictions, scores), (_, others) = (model.predict_with_scores(store) for store in stores)
    taken: dict[str, list[float]] = {"plain": [], "scored": []}
    for _ in range(REPEATS):
        for name, run in (("plain", model.predict_store), ("scored", model.predict_with_scores)):
            started = time.process_time()
            run(stores[0])
            taken[name].append(time.process_time() - started)
    truth = [known.targets[i] for i in stores[0].kept] if known.targets else []
    right = np.array([a == b for a, b in zip(model.task.predict(predictions), truth, strict=True)])
    assert model.outliers is not None  # fits of dense features have a detector
    return {
        "detector": model.outliers.detector.kind,
        "AUROC": roc_auc_score(np.r_[np.zeros(len(scores)), np.ones(len(others))], np.r_[scores, others]),
        "unlike found": float((others > 1).mean()),
        "known changed": float((scores > 1).mean()),
        "accuracy": float(right.mean()),
        "with a label for unknown": float((right & (scores <= 1)).mean()),
        "extra time": min(taken["scored"]) / min(taken["plain"]) - 1,
    }


def measure(given: argparse.Namespace) -> list[dict[str, Any]]:
    """Return a row for each data set of each pair, and their means."""
    rows: list[dict[str, Any]] = []
    for pair in given.pairs:
        for first, second in (pair, pair[::-1]):
            with parts(first) as own, parts(second) as other, tempfile.TemporaryDirectory() as folder:
                model = fitted(drawn(own[0], given.examples, 0), given, folder)
                found = measured(model, drawn(own[1], given.examples, 1), drawn(other[1], given.examples, 1))
            common.note(rows, trained=first.name, unlike=second.name, **found)
    numbers = [name for name, value in rows[0].items() if isinstance(value, float)]
    mean = {name: statistics.mean(row[name] for row in rows) for name in numbers}
    common.note(rows, trained="mean", unlike="", detector="", **mean)
    return rows


def main() -> None:
    """Read the arguments, measure, print."""
    made = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    made.add_argument("--pairs", type=Path, nargs=2, action="append", required=True, help="two data sets; repeatable")
    made.add_argument("--zoo", type=Path, nargs="+", required=True, help="folders of checkpoints")
    made.add_argument("--backbones", nargs="+", default=(), help="names or patterns of backbones; all by default")
    made.add_argument("--examples", type=int, default=1000, help="most examples to train on, and to score of each set")
    made.add_argument("--trials", type=int, default=4, help="trials of each fit")
    made.add_argument("--out", type=Path, help="write the results here, as JSON")
    given = made.parse_args()
    common.finish(measure(given), given.out)


if __name__ == "__main__":
    main()
