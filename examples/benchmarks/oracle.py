"""How near a fit of five minutes comes to an exhaustive grid of setups that were trained long.

    python oracle.py make --data ants_bees dtd10 --zoo zoo/timm --table oracle.jsonl
    python oracle.py compare --data ants_bees dtd10 --zoo zoo/timm --table oracle.jsonl

``make`` trains every setup of the grid twice: on the folds that a fit scores on, for its validation accuracy, and on
all of train/, for its test accuracy, both after the last epoch. Each result is a line of the table at once; a setup
that the table holds is not trained again. ``compare`` holds a fit's test accuracy against the grid's.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, product
from pathlib import Path
from typing import Any

import common
import numpy as np
from sklearn.model_selection import train_test_split

from autotransfer import Candidate
from autotransfer.backbones.loaded import LoadedBackbone
from autotransfer.contract.registry import Registry
from autotransfer.contract.specs import BackboneSpec
from autotransfer.data.examples import Examples, modality_of
from autotransfer.data.folds import Fold
from autotransfer.data.sources import load_examples
from autotransfer.evaluation.evaluator import Evaluator
from autotransfer.features.cache import ActivationCache
from autotransfer.features.extractor import FeatureExtractor
from autotransfer.pipeline.choose_backbones import available_backbones
from autotransfer.pipeline.prepare import prepare_data
from autotransfer.runtime.device import resolve_device
from autotransfer.runtime.memory import keep_freed_memory, memory_budget
from autotransfer.settings import Settings
from autotransfer_plugins.modalities.image.decode import decode

_STRENGTHS = [{"alpha": alpha, "early": early} for alpha in (30.0, 300.0, 3e3) for early in (0.1, 1.0)]
CLOSED_FORMS = [
    *({"head": "logistic", "head_params": {"C": c}} for c in (1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0)),
    *({"head": "ridge", "head_params": {"alpha": alpha}} for alpha in (10.0, 100.0, 1e3, 1e4)),
    *({"head": "knn", "head_params": {"k": k}} for k in (1, 5, 15)),
    {"head": "ncm"},
    *({"head": "stage_ridge", "head_params": p} for p in _STRENGTHS),
]
# A head alone bears higher rates than stages that train.
HEADS, HEAD_RATES, RATES = ("linear", "mlp"), (1e-3, 3e-3, 1e-2), (1e-4, 3e-4, 1e-3)

# What a fit is held against, and where it stands in the summary of a grid.
REFERENCES = {"highest": "highest test", "best validated": "test of the best validated"}


def grid(backbone: str, stages: int, given: argparse.Namespace) -> Iterator[Candidate]:
    """Yield every setup of a backbone."""
    epochs = {"epochs": given.epochs}
    for closed in CLOSED_FORMS:
        yield Candidate(backbone=backbone, **closed)
    for head, rate in product(HEADS, HEAD_RATES):
        yield Candidate(backbone=backbone, head=head, training={"lr": rate, **epochs})
    half, last = stages // 2, range(stages - 1, stages - 1 - given.last, -1)
    depths = dict.fromkeys((*last, half, 0) if given.full else last)
    for depth, head, rate in product(depths, given.tuned_heads, RATES):
        training = {"lr": rate, "backbone_lr": 1.0, **epochs} | ({"start": "logistic"} if head == "linear" else {})
        training |= {"views": 2} if depth else {}
        yield Candidate(backbone=backbone, head=head, freeze="depth", freeze_params={"depth": depth}, training=training)


def name_of(candidate: Candidate) -> str:
    how = candidate.training
    return f"{candidate}" + (f", {how['epochs']} epochs at {how['lr']:g}" if how else "")


# Returns backbones in the forms that are examined on some examples.
Forms = Callable[[Sequence[BackboneSpec], Examples], Sequence[BackboneSpec]]


def _as_they_are(backbones: Sequence[BackboneSpec], examples: Examples) -> Sequence[BackboneSpec]:
    return backbones


def some(examples: Examples, most: int | None) -> Examples:
    """Return so many examples at most, with the classes in their shares."""
    if most is None or len(examples) <= most:
        return examples
    rows, targets = np.arange(len(examples)), list(examples.targets or ())
    return examples.take(sorted(train_test_split(rows, train_size=most, stratify=targets, random_state=0)[0].tolist()))


class Exam:
    """One data set: what validates a setup, and what tests it; both share decoded images, boundaries and backbones."""

    def __init__(
        self, data: Path, zoo: Path, cache: Path, seed: int, *, forms: Forms = _as_they_are, images: int | None = None
    ) -> None:
        # With so many trials, no backbone is left out.
        settings = Settings(trials=10**6, zoo=zoo, metric="accuracy", seed=seed)
        device, registry = resolve_device("cpu"), Registry.load((zoo,))
        train, test = (some(load_examples(data / part), images) for part in ("train", "test"))
        found = available_backbones(registry, settings, device, len(train), print, modality=modality_of(train))
        self.backbones = forms(found, train)
        loaded = [LoadedBackbone(spec, device) for spec in self.backbones]
        prepared = prepare_data(train, self.backbones, settings, first=loaded[0])
        sides = {mode: squares.shape[1] for mode, squares in prepared.store.pixels.items()}
        images = decode(train.holding_out(test), sides, strict=True)
        task, split = prepared.folds[0].task, len(train)
        targets = task.encode([*train.targets, *test.targets])
        folds = [replace(fold, targets=targets) for fold in prepared.folds]
        final = Fold(
            task=task, targets=targets, train_rows=np.arange(split), validation_rows=np.arange(split, len(targets))
        )
        store = ActivationCache(cache, memory_limit=memory_budget(None))
        extractor = FeatureExtractor(store=images, cache=store, ahead=0, staged=True)  # one pass for all heads
        self.validating, self.testing = (
            Evaluator(registry, extractor, folds, device, seed=seed, loaded=loaded) for folds in (folds, [final])
        )

    def __call__(self, candidate: Candidate) -> dict[str, float]:
        """Train a setup twice; return both accuracies after the last epoch, and the seconds."""
        begin = time.perf_counter()
        scores = {
            name: last_score(evaluator, candidate)
            for name, evaluator in (("validation", self.validating), ("test", self.testing))
        }
        return {**scores, "seconds": round(time.perf_counter() - begin, 2)}


def last_score(evaluator: Evaluator, candidate: Candidate) -> float:
    result = evaluator(candidate, lambda epoch, score: False, lambda: False)
    return round(result.curve[-1] if result.curve else result.score, 5)


def read(table: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in table.read_text().splitlines()] if table.is_file() else []


def make(given: argparse.Namespace) -> list[dict[str, Any]]:
    """Train what the table lacks; return a summary of each data set."""
    done = {(line["data"], line["setup"]) for line in read(given.table)}
    for data in given.data:
        with tempfile.TemporaryDirectory() as cache, keep_freed_memory():
            exam = Exam(data, given.zoo, Path(cache), given.seed)
            grids = (grid(b.name, len(exam.testing.stages(b.name)), given) for b in exam.backbones)
            for candidate in chain.from_iterable(grids):
                if (data.name, name_of(candidate)) in done:
                    continue
                line = {"data": data.name, "setup": name_of(candidate), **exam(candidate)}
                with given.table.open("a") as file:
                    file.write(json.dumps(line) + "\n")
    return [summary(data.name, lines_of(given.table, data.name)) for data in given.data]


def lines_of(table: Path, data: str) -> list[dict[str, Any]]:
    return [line for line in read(table) if line["data"] == data]


def summary(data: str, lines: list[dict[str, Any]]) -> dict[str, Any]:
    best = max(line["validation"] for line in lines)
    return {
        "data": data,
        "setups": len(lines),
        "minutes": sum(line["seconds"] for line in lines) / 60,
        "highest test": max(line["test"] for line in lines),
        # The mean of those that validate alike: nothing says which of them one would take.
        "test of the best validated": statistics.mean(line["test"] for line in lines if line["validation"] == best),
    }


def compare(given: argparse.Namespace) -> list[dict[str, Any]]:
    """Return, for each data set, what a fit's test accuracy is beyond the grid's, in points."""
    rows: list[dict[str, Any]] = []
    for data in given.data:
        grid = summary(data.name, lines_of(given.table, data.name))
        ours = common.call_in_own_process(common.fit, data, given.zoo, time_budget=given.minutes * 60, seed=given.seed)
        common.note(
            rows,
            **{name: value for name, value in grid.items() if name != "minutes"},
            **{"our test": ours["test"]},
            **{f"to the {name} (points)": 100 * (ours["test"] - grid[key]) for name, key in REFERENCES.items()},
        )
    blank = dict.fromkeys(rows[0], "")
    for name, end in (("mean", statistics.mean), ("worst", min)):
        columns = [f"to the {compared} (points)" for compared in REFERENCES]
        rows.append({**blank, "data": name, **{c: end([row[c] for row in rows if row["setups"]]) for c in columns}})
    return rows


def main() -> None:
    arguments = common.parser(__doc__.splitlines()[0], several=True)
    arguments.add_argument("mode", choices=("make", "compare"))
    arguments.add_argument("--table", type=Path, required=True, help="one line of JSON for each setup and data set")
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--epochs", type=int, default=20, help="make: epochs of each training by gradient")
    arguments.add_argument(
        "--tuned-heads", nargs="+", choices=HEADS, default=["linear"], help="make: over trained stages"
    )
    arguments.add_argument("--last", type=int, default=4, help="make: number of last stages that train at most")
    arguments.add_argument("--full", action="store_true", help="make: train half of the stages and all, too")
    arguments.add_argument("--minutes", type=float, default=5.0, help="compare: the time budget of the fit")
    given = arguments.parse_args()
    common.finish({"make": make, "compare": compare}[given.mode](given), given.out)


if __name__ == "__main__":
    main()
