"""How often conformal sets hold the truth, over random parts of data sets.

    python coverage.py --data ants_bees banking77 spoken_digits.tar --zoo zoo/timm zoo/text --draws 5

Each of the data is as for modalities.py. All closed forms are scored by five folds of half of the examples, as in a
fit; the best one, or an ensemble around it, is calibrated, and its sets are made for the other half. ``--backbones``
names the backbones that are tried.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import common
import numpy as np
from modalities import parts
from oracle import CLOSED_FORMS
from pools import Pool

from autotransfer import Candidate
from autotransfer.backbones.loaded import LoadedBackbone
from autotransfer.contract.registry import Registry
from autotransfer.data.examples import modality_of
from autotransfer.data.sources import load_examples
from autotransfer.errors import ConfigError
from autotransfer.evaluation.objective import compute_objective
from autotransfer.model.conformal import Conformal
from autotransfer.model.temperature import temper
from autotransfer.pipeline.choose_backbones import available_backbones
from autotransfer.pipeline.prepare import offered_heads, prepare_data
from autotransfer.runtime.device import resolve_device
from autotransfer.search.trials import TrialRecord
from autotransfer.selection.calibration import calibrate
from autotransfer.selection.ensemble import choose_ensemble, ensemble_candidates
from autotransfer.selection.out_of_fold import OutOfFold
from autotransfer.settings import Compute, Settings

# Share of the examples that is drawn.
SHARE = 0.5
HEADS = ("logistic", "ridge", "ncm")


def suiting(names: Sequence[str], zoos: Sequence[Path], modality: str) -> list[str]:
    """Return the names of those backbones that take examples of a modality."""
    registry, found = Registry.load(tuple(zoos)), []
    for name in names:
        with contextlib.suppress(ConfigError):
            found.append(registry.backbone(name, modality=modality).name)
    return found


class Examples(Pool):
    """A random part of the examples of a data set, with the features of some backbones."""

    def __init__(self, data: Path, zoos: Sequence[Path], backbones: Sequence[str], most: int) -> None:
        with parts(data) as (train, test):
            found = load_examples(train).holding_out(load_examples(test))
            drawn = np.sort(np.random.default_rng(0).permutation(len(found))[:most])
            examples = found.take(drawn.tolist())
            settings = Settings(
                trials=10**6,
                zoo=list(zoos),
                backbones=suiting(backbones, zoos, modality_of(examples).name),
                metric="accuracy",
                compute=Compute(cache=False),
            )
            self.registry, self.device = Registry.load(settings.zoos), resolve_device("cpu")
            specs = available_backbones(
                self.registry, settings, self.device, len(examples), print, modality=modality_of(examples)
            )
            self.loaded = [LoadedBackbone(spec, self.device) for spec in specs]
            heads = partial(offered_heads, self.registry, settings)
            prepared = prepare_data(examples, specs, settings, heads=heads)
            self.extractor, self.store = prepared.extractor, prepared.store
            self.task, self.targets = prepared.folds[0].task, prepared.folds[0].targets
            for loaded in self.loaded:
                self.extractor.pooled(loaded)
        forms = [form for form in CLOSED_FORMS if form["head"] in HEADS][::2]
        self.candidates = [Candidate(backbone=spec.name, **form) for spec in specs for form in forms]


def covered(pool: Examples, seed: int, coverage: float) -> dict[str, float]:
    """Return accuracy, coverage and mean size of the sets on the other half."""
    inner, final = pool.draw(SHARE, seed)
    validated = [pool.predictions(candidate, inner) for candidate in pool.candidates]
    rows, others, task = final.train_rows, final.validation_rows, pool.task
    values = [compute_objective(task, pool.targets[rows], found[rows]) for found in validated]
    records = [
        TrialRecord(number=i, state="complete", candidate=candidate, objective=value, predictions=found)
        for i, (candidate, value, found) in enumerate(zip(pool.candidates, values, validated, strict=True))
    ]
    best = int(np.argmax(values))
    held_out = OutOfFold.of(inner, validated[best])
    ensemble = choose_ensemble(ensemble_candidates(records[best], records), held_out)
    shares, out_of_fold = {best: 1.0}, validated[best][held_out.rows]
    if ensemble is not None and ensemble.is_better:
        shares = {member.trial: member.weight for member in ensemble.members}
        out_of_fold = ensemble.predictions
    tested = sum(
        share * pool.predictions(pool.candidates[i], [final])[others].astype(np.float64) for i, share in shares.items()
    )
    calibration = calibrate(held_out, out_of_fold)
    temperature = 1.0 if calibration is None else calibration.temperature
    names = [pool.store.digests[row] for row in held_out.rows]
    conformal = Conformal.of(task, held_out.targets, temper(task, out_of_fold, temperature), names)
    probabilities = temper(task, np.asarray(tested, dtype=np.float32), temperature)
    sets = conformal.predict(task, probabilities, [pool.store.digests[row] for row in others], coverage)
    truth = [task.classes[label] for label in pool.targets[others]]
    return {
        "accuracy": task.score(pool.targets[others], probabilities),
        "coverage": float(np.mean([label in found for label, found in zip(truth, sets, strict=True)])),
        "size": float(np.mean([len(found) for found in sets])),
        "empty": float(np.mean([not found for found in sets])),
    }


def measure(given: argparse.Namespace) -> list[dict[str, Any]]:
    """Return a row for each data set, and their means."""
    rows: list[dict[str, Any]] = []
    for data in given.data:
        pool = Examples(data, given.zoo, given.backbones, given.examples)
        found = [covered(pool, seed, given.coverage) for seed in range(given.draws)]
        means = {name: statistics.mean(one[name] for one in found) for name in found[0]}
        spread = statistics.stdev([one["coverage"] for one in found]) if len(found) > 1 else 0.0
        common.note(rows, data=data.name, examples=len(pool.targets), classes=pool.task.outputs, **means, spread=spread)
    numbers = ("accuracy", "coverage", "size", "empty", "spread")
    mean = {name: statistics.mean(row[name] for row in rows) for name in numbers}
    common.note(rows, data="mean", examples="", classes="", **mean)
    return rows


def main() -> None:
    """Read the arguments, measure, print."""
    made = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    made.add_argument("--data", type=Path, nargs="+", required=True, help="folders or tar files, as for modalities.py")
    made.add_argument("--zoo", type=Path, nargs="+", required=True, help="folders of checkpoints")
    made.add_argument("--backbones", nargs="+", default=(), help="names or patterns of backbones; all by default")
    made.add_argument("--examples", type=int, default=2000, help="most examples of a data set, half to train on")
    made.add_argument("--draws", type=int, default=5, help="random halves of each data set")
    made.add_argument("--coverage", type=float, default=0.9, help="the rate that is asked for")
    made.add_argument("--out", type=Path, help="write the results here, as JSON")
    given = made.parse_args()
    common.finish(measure(given), given.out)


if __name__ == "__main__":
    main()
