"""What ensembles and views bring, over many random parts of data sets.

    python choosing.py ensembles --data ants_bees dtd10 --zoo zoo/timm --examples 100 400 --draws 8
    python choosing.py views --data ants_bees dtd10 --zoo zoo/timm --examples 400 --draws 8

A fit says little where a test image is a point. Here every closed-form setup of every backbone is scored by five folds
of so many examples, as in a fit, and on all the other images of train/ and test/, many times over. ``ensembles`` holds
the one that a fit would choose against the best candidate alone, ``views`` the same setups in one view, two and four.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import common
import numpy as np
from oracle import CLOSED_FORMS
from pools import Pool

from autotransfer import Candidate
from autotransfer.backbones.loaded import LoadedBackbone
from autotransfer.contract.registry import Registry
from autotransfer.data.examples import modality_of
from autotransfer.data.sources import load_examples
from autotransfer.evaluation.objective import compute_objective
from autotransfer.model.temperature import fit_temperature, temper
from autotransfer.pipeline.choose_backbones import available_backbones
from autotransfer.pipeline.prepare import offered_heads, prepare_data
from autotransfer.runtime.device import resolve_device
from autotransfer.runtime.memory import keep_freed_memory
from autotransfer.search.trials import TrialRecord
from autotransfer.selection.ensemble import choose_ensemble, ensemble_candidates
from autotransfer.selection.out_of_fold import OutOfFold
from autotransfer.settings import Compute, Settings

_VIEWS = (1, 2, 4)


class Images(Pool):
    """All images of a data set, train/ and test/, and every closed form on every backbone."""

    def __init__(self, data: Path, zoo: Path, cache: Path) -> None:
        # With so many trials, no backbone is left out.
        settings = Settings(trials=10**6, zoo=zoo, metric="accuracy", compute=Compute(cache_dir=cache))
        self.registry, self.device = Registry.load((zoo,)), resolve_device("cpu")
        examples = load_examples(data / "train").holding_out(load_examples(data / "test"))
        backbones = available_backbones(
            self.registry, settings, self.device, len(examples), print, modality=modality_of(examples)
        )
        self.loaded = [LoadedBackbone(spec, self.device) for spec in backbones]
        heads = partial(offered_heads, self.registry, settings)
        prepared = prepare_data(examples, backbones, settings, heads=heads)
        self.extractor, self.store = prepared.extractor, prepared.store
        self.task, self.targets = prepared.folds[0].task, prepared.folds[0].targets
        self.candidates = [Candidate(backbone=spec.name, **form) for spec in backbones for form in CLOSED_FORMS]


def choose(pool: Pool, examples: int, seed: int) -> dict[str, float]:
    """Return the accuracy on the other images of what is chosen: the best alone, and an ensemble around it."""
    inner, final = pool.draw(examples / len(pool.targets), seed)
    validated = [pool.predictions(candidate, inner) for candidate in pool.candidates]
    tested = [pool.predictions(candidate, [final])[final.validation_rows] for candidate in pool.candidates]
    rows, task, targets = final.train_rows, pool.task, pool.targets[final.validation_rows]
    values = [compute_objective(task, pool.targets[rows], predictions[rows]) for predictions in validated]
    records = [
        TrialRecord(number=i, state="complete", candidate=candidate, objective=value, predictions=predictions)
        for i, (candidate, value, predictions) in enumerate(zip(pool.candidates, values, validated, strict=True))
    ]
    best = int(np.argmax(values))
    together = tested[best]
    ensemble = choose_ensemble(ensemble_candidates(records[best], records), OutOfFold.of(inner, validated[best]))
    if ensemble is not None and ensemble.is_better:
        together = sum(member.weight * tested[member.trial] for member in ensemble.members)  # type: ignore[assignment]
    return {
        "best alone": task.score(targets, tested[best]),
        "ensemble": task.score(targets, together),
        "best on them": max(task.score(targets, predictions) for predictions in tested),
    }


def ensembles(given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield, for each data set and number of examples, what an ensemble comes to beside the best alone."""
    for data, pool in pools(given):
        for examples in sizes(pool, given.examples):
            found = [choose(pool, examples, seed) for seed in range(given.draws)]
            gains = [100 * (one["ensemble"] - one["best alone"]) for one in found]
            error = statistics.stdev(gains) / math.sqrt(len(gains)) if len(gains) > 1 else math.nan
            means = {name: statistics.mean(one[name] for one in found) for name in found[0]}
            gain = {"gain (points)": statistics.mean(gains), "its standard error": error}
            yield {"data": data, "examples": examples, **means, **gain}


def views(given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield, for each data set, number of examples and head, what its setups come to by the number of views."""
    for data, pool in pools(given):
        for examples in sizes(pool, given.examples):
            found = defaultdict[tuple[str, int], list[tuple[float, float]]](list)
            for seed in range(given.draws):
                final = pool.draw(examples / len(pool.targets), seed)[1]
                targets = pool.targets[final.validation_rows]
                for candidate in pool.candidates:
                    for count in _VIEWS:
                        predictions = pool.predictions(replace(candidate, training={"views": count}), [final])[
                            final.validation_rows
                        ]
                        tempered = temper(pool.task, predictions, fit_temperature(pool.task, targets, predictions))
                        measured = pool.task.score(targets, predictions), pool.task.log_loss(targets, tempered)
                        found[candidate.head, count].append(measured)
            for head in dict.fromkeys(head for head, _ in found):
                means = {count: np.mean(found[head, count], axis=0) for count in _VIEWS}
                accuracies = {f"accuracy, {count} views": float(mean[0]) for count, mean in means.items()}
                losses_of = {f"log loss, {count}": float(mean[1]) for count, mean in means.items()}
                yield {"data": data, "examples": examples, "head": head, **accuracies, **losses_of}


def pools(given: argparse.Namespace) -> Iterator[tuple[str, Pool]]:
    for data in given.data:
        with tempfile.TemporaryDirectory() as cache, keep_freed_memory():
            yield data.name, Images(data, given.zoo, Path(cache))


def sizes(pool: Pool, wanted: Sequence[int]) -> list[int]:
    """Return the numbers of examples that leave as many to test on."""
    return [number for number in wanted if 2 * number <= len(pool.targets)]


def main() -> None:
    arguments = common.parser(__doc__.splitlines()[0], several=True)
    arguments.add_argument("mode", choices=("ensembles", "views"))
    arguments.add_argument("--examples", type=int, nargs="+", default=[100, 400], help="drawn each time; half at most")
    arguments.add_argument("--draws", type=int, default=8, help="random parts of each data set")
    given = arguments.parse_args()
    rows: list[dict[str, Any]] = []
    for row in {"ensembles": ensembles, "views": views}[given.mode](given):
        common.note(rows, **row)
    common.finish(rows, given.out)


if __name__ == "__main__":
    main()
