"""Read recorded runs of models on targets, and learn from them how the levels of models go together.

python fit_model_prior.py RUNS.csv [RUNS.csv ...] --models MODELS.csv [--out autotransfer/search/prior.safetensors]
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from autotransfer.search.gain_prior import ERROR_FLOOR
from autotransfer.search.model_prior import (
    BenchmarkBySize,
    LogErrorUnit,
    ModelPrior,
    PriorScales,
    RecordedModels,
    Task,
    level_covariance,
    shared_covariance,
)
from autotransfer.search.model_similarity import ModelInfo, Similarity
from autotransfer.search.prior_file import shipped_prior, write_part

Array = npt.NDArray[np.float64]
Array32 = npt.NDArray[np.float32]
# Scores of transferability that a file of runs may have; each is ranked and standardised within a target.
METRICS = ("log_me", "reg_h_score")
STEPS, RATE = 25, 0.15
# How far the logarithms of scales go from where they start is held by this share of its square.
DECAY = 0.003
# Parameters that may be negative; the others are variances.
FREE_OF_SIGN = frozenset({"benchmark", "weights"})
# Number of factors kept of what made the levels of models differ from target to target.
RANK = 4
# Fewest published accuracies from which is learned how they go with the number of parameters.
MIN_BENCHMARKS = 10
# No model has reached more on ImageNet: a greater accuracy of a model from ImageNet is one on other data.
MAX_IMAGENET_ACCURACY = 0.92
Z_OF_90_PERCENT = 1.645


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """Recorded runs of models on targets.

    Attributes:
        models: The models.
        targets: Names of the targets.
        accuracy: Accuracy of each model's fine-tuning on each target (targets, models); NaN where none was recorded.
        evidence: What was measured of each model on each target before any fine-tuning (targets, models, kinds), such
            as a transferability score: standardised within a target, 0 where it was not measured.
    """

    models: tuple[ModelInfo, ...]
    targets: tuple[str, ...]
    accuracy: Array
    evidence: Array

    def take(self, positions: Sequence[int]) -> Recorded:
        """Return some of the targets."""
        chosen = list(positions)
        targets = tuple(self.targets[i] for i in chosen)
        return replace(self, targets=targets, accuracy=self.accuracy[chosen], evidence=self.evidence[chosen])


@dataclass(frozen=True, kw_only=True)
class Runs:
    """A file of runs.

    Attributes:
        recorded: The runs.
        seconds: Seconds of each fine-tuning (targets, models); NaN where none was recorded.
        probe_seconds: Seconds of each model's scores of transferability (targets, models); NaN where not recorded.
        log_me: The score of that name (targets, models); NaN where not recorded.
    """

    recorded: Recorded
    seconds: Array
    probe_seconds: Array
    log_me: Array


def read_runs(path: Path, models: Path | None = None) -> Runs:
    """Read a file with the columns model, target, accuracy, seconds, and scores of transferability where there are.

    Args:
        path: The file.
        models: A file with a row for each model: model, architecture or model_type, source, parameters and the like.
    """
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = sorted({row["model"] for row in rows})
    targets = sorted({row["target"] for row in rows})

    def table(column: str) -> Array:
        found = np.full((len(targets), len(names)), np.nan)
        for row in rows:
            found[targets.index(row["target"]), position[row["model"]]] = _number(row.get(column))
        return found

    position = {name: i for i, name in enumerate(names)}
    accuracy, seconds = table("accuracy"), table("seconds")
    accuracy[np.isnan(seconds)] = np.nan
    metrics = {name: table(name) for name in METRICS if name in rows[0]}
    evidence = [_standardised(np.where(np.isnan(accuracy), np.nan, values)) for values in metrics.values()]
    about = _read_models(models, names)
    recorded = Recorded(
        models=tuple(about[name] for name in names),
        targets=tuple(targets),
        accuracy=accuracy,
        evidence=np.stack(evidence, -1) if evidence else np.zeros((*accuracy.shape, 0)),
    )
    nothing = np.full(accuracy.shape, np.nan)
    return Runs(
        recorded=recorded,
        seconds=seconds,
        probe_seconds=table("probe_seconds"),
        log_me=metrics.get("log_me", nothing),
    )


def learn_models(runs: Sequence[Path], models: Path) -> tuple[dict[str, Array32], dict[str, Any]]:
    """Learn the part ``models`` of the prior: a prior of the models of images, and one of those of texts.

    Args:
        runs: Files of runs; see ``read_runs``.
        models: What is known of the image models. A target on which none of these was trained is one of texts.

    Returns:
        Tensors and JSON of the part.
    """
    with models.open(newline="", encoding="utf-8") as file:
        of_images = {row["model"] for row in csv.DictReader(file)}
    read = [read_runs(path, models).recorded for path in runs]
    every = [(one, target) for one in read for target in range(len(one.targets))]
    found: dict[str, list[Recorded]] = {"image": [], "text": []}
    for one, target in every:
        trained = {one.models[i].name for i in np.flatnonzero(~np.isnan(one.accuracy[target]))}
        found["image" if trained & of_images else "text"].append(one.take([target]))
    tensors: dict[str, Array32] = {}
    metadata: dict[str, Any] = {}
    for modality, parts in found.items():
        own, metadata[modality] = learn_recorded(_joined(parts)).to_part()
        tensors |= {f"{modality}.{name}": values for name, values in own.items()}
    return tensors, metadata


def _joined(parts: Sequence[Recorded]) -> Recorded:
    """Return the runs of several files in one table, without scores of transferability: not all files have them."""
    about = {model.name: model for part in parts for model in part.models}
    names = sorted(about)
    accuracy = np.full((len(parts), len(names)), np.nan)
    for row, part in zip(accuracy, parts, strict=True):
        row[[names.index(model.name) for model in part.models]] = part.accuracy[0]
    targets = tuple(target for part in parts for target in part.targets)
    models = tuple(about[name] for name in names)
    return Recorded(models=models, targets=targets, accuracy=accuracy, evidence=np.zeros((*accuracy.shape, 0)))


def learn(recorded: Recorded, steps: int = STEPS) -> PriorScales:
    """Learn scales: those under which each target's levels are likeliest, given the other targets."""
    tasks = [_as_tensors(*task) for task in _tasks(recorded)]
    start = PriorScales.initial(recorded.evidence.shape[-1])
    first = {name: torch.as_tensor(value) for name, value in _free(start).items()}
    free = {name: value.clone().requires_grad_(True) for name, value in first.items()}
    optimizer = torch.optim.Adam(list(free.values()), lr=RATE)
    for _ in range(steps):
        optimizer.zero_grad()
        for task, levels in tasks:
            torch.autograd.backward([_surprise(_scales(free), task, levels) / len(tasks)])
        away = sum((((free[name] - first[name]) ** 2).sum() for name in free), torch.zeros(()))
        torch.autograd.backward([DECAY * away])
        optimizer.step()
    learned = {name: value.detach() for name, value in free.items()}
    return PriorScales(**{field.name: getattr(_scales(learned), field.name).numpy() for field in fields(PriorScales)})


def learn_recorded(recorded: Recorded, steps: int = STEPS) -> RecordedModels:
    """Learn all that recorded runs say of their models."""
    scales = learn(recorded, steps)
    return replace(summarise(recorded, scales), unit=_unit(recorded, scales))


def summarise(recorded: Recorded, scales: PriorScales) -> RecordedModels:
    """Return what recorded runs say of their models under known scales; models without any run are left out."""
    levels = np.stack([levels_of(row) for row in recorded.accuracy])
    seen = np.flatnonzero(~np.isnan(levels).all(0))
    levels, models = levels[:, seen], tuple(recorded.models[i] for i in seen)
    counts, means = (~np.isnan(levels)).sum(0).astype(float), np.nanmean(levels, 0)
    residuals = np.nan_to_num(levels - means) / np.sqrt(counts)
    left, values, _ = np.linalg.svd(residuals.T, full_matrices=False)
    benchmark = _benchmark(models)
    above = scales.benchmark * benchmark.of(models)[0]
    shared = shared_covariance(scales, Similarity(models).between(models, models))
    expected = shared @ np.linalg.solve(shared + np.diag(scales.run / counts), means - above) + above
    factors = (left * values)[:, :RANK]
    return RecordedModels(
        models=models, levels=expected, runs=counts, factors=factors, scales=scales, benchmark=benchmark
    )


def log_error_levels(accuracy: Array) -> Array:
    """Return the level of each log error on one target: NaN stays NaN.

    The trivial predictor is taken to be as good as the worst of all models: some training always fails.
    """
    return np.asarray(-np.log((1 - accuracy) / (1 - np.nanmin(accuracy)) + ERROR_FLOOR))


def _tasks(recorded: Recorded) -> Iterator[tuple[Task, Array, Array]]:
    """Yield what the other targets say of the models of each target, and their levels there: ranking and log error."""
    start = PriorScales.initial(recorded.evidence.shape[-1])
    for target, name in enumerate(recorded.targets):
        accuracy = recorded.accuracy[target]
        rows = np.flatnonzero(~np.isnan(accuracy))
        others = summarise(
            recorded.take([i for i, other in enumerate(recorded.targets) if not same(other, name)]), start
        )
        models, evidence = [recorded.models[i] for i in rows], recorded.evidence[target][rows]
        task = ModelPrior(others).task(models, name, evidence)
        yield task, levels_of(accuracy[rows]), log_error_levels(accuracy[rows])


def _as_tensors(task: Task, levels: Array, _: Array) -> tuple[Task, torch.Tensor]:
    tensors = {field.name: torch.as_tensor(getattr(task, field.name)) for field in fields(task)}
    return Task(**tensors), torch.from_numpy(levels)


def _unit(recorded: Recorded, scales: PriorScales) -> LogErrorUnit:
    """Learn how levels of the ranking become levels of the log error, from targets that were not seen."""
    tasks = list(_tasks(recorded))
    slopes = [_median_slope(levels, errors) for _, levels, errors in tasks if len(set(levels)) > 1]
    variance = float(np.var(slopes, ddof=1)) if len(slopes) > 2 else LogErrorUnit.variance
    level = float(np.mean([np.median(errors) for _, _, errors in tasks]))
    unit, off, weights = LogErrorUnit(slope=float(np.mean(slopes)), variance=variance, level=level), [], []
    for task, _, errors in tasks:
        mean, covariance = unit.log_error(*level_covariance(np, scales, task))
        away = errors - mean
        off.append(np.abs(away - np.median(away)) / np.sqrt(np.diag(covariance)))
        weights.append(np.full(len(away), 1 / len(away)))
    distance, weight = np.concatenate(off), np.concatenate(weights)
    order = distance.argsort()
    share = weight[order].cumsum() / weight.sum()
    reached = distance[order][np.searchsorted(share, 0.9)]
    return replace(unit, factor=float((reached / Z_OF_90_PERCENT) ** 2))


def _median_slope(levels: Array, errors: Array) -> float:
    """Return the median slope of all pairs (Theil and Sen): failed trainings hardly change it."""
    first, second = np.triu_indices(len(levels), 1)
    apart = levels[first] != levels[second]
    first, second = first[apart], second[apart]
    return float(np.median((errors[first] - errors[second]) / (levels[first] - levels[second])))


def _benchmark(models: Sequence[ModelInfo]) -> BenchmarkBySize:
    """Learn what is expected of the log error on the usual benchmark by the number of parameters."""
    known = [model for model in models if model.benchmark is not None and model.parameters]
    if len(known) < MIN_BENCHMARKS:
        return BenchmarkBySize()
    levels, _ = BenchmarkBySize(mean=0.0).of(known)
    sizes = np.log(np.array([model.parameters for model in known], dtype=float))
    slope, level = np.polyfit(sizes - sizes.mean(), levels, 1)
    residual = np.var(levels - level - slope * (sizes - sizes.mean()), ddof=2)
    return BenchmarkBySize(
        mean=float(level),
        variance=float(levels.var()),
        log_parameters=float(sizes.mean()),
        slope=float(slope),
        residual=float(residual),
    )


def _surprise(scales: PriorScales, task: Task, levels: torch.Tensor) -> torch.Tensor:
    """Return minus the log likelihood of levels, a model."""
    mean, covariance = level_covariance(torch, scales, task)
    root: torch.Tensor = torch.linalg.cholesky(covariance + 1e-4 * torch.eye(len(levels), dtype=levels.dtype))
    white: torch.Tensor = torch.linalg.solve_triangular(root, (levels - mean)[:, None], upper=False)
    return (white**2).sum() / 2 / len(levels) + torch.log(torch.diagonal(root)).mean()


def _free(scales: PriorScales) -> dict[str, Array]:
    """Return the parameters that are learned: logarithms of variances, and weights as they are."""
    values = {field.name: np.asarray(getattr(scales, field.name)) for field in fields(scales)}
    return {name: value if name in FREE_OF_SIGN else np.log(value) for name, value in values.items()}


def _scales(free: Mapping[str, torch.Tensor]) -> PriorScales:
    return PriorScales(**{name: value if name in FREE_OF_SIGN else torch.exp(value) for name, value in free.items()})


def same(target: str, other: str) -> bool:
    """Return whether two names of targets are of one data set, such as svhn and svhn_cropped."""
    return _data_set(target) == _data_set(other)


def _data_set(target: str) -> str:
    return target.rpartition("/")[2].partition("_")[0]


def levels_of(accuracy: Array) -> Array:
    """Return minus the log of each model's share of the ranking on one target, 0 on average; NaN stays NaN."""
    levels = np.full(len(accuracy), np.nan)
    recorded = np.flatnonzero(~np.isnan(accuracy))
    values = accuracy[recorded]
    above = (values[None, :] > values[:, None]).sum(1)
    equal = (values[None, :] == values[:, None]).sum(1)
    levels[recorded] = -np.log((above + (equal + 1) / 2) / max(len(recorded), 1)) - 1
    return levels


def _standardised(values: Array) -> Array:
    """Return ranks within each target, 0 on average with a deviation of 1; 0 where there is no value."""
    found = np.zeros_like(values)
    for row, given in zip(found, values, strict=True):
        there = np.flatnonzero(~np.isnan(given))
        if len(there) > 1:
            ranks = given[there].argsort().argsort().astype(float)
            row[there] = (ranks - ranks.mean()) / ranks.std()
    return found


def _read_models(path: Path | None, names: Sequence[str]) -> dict[str, ModelInfo]:
    rows: dict[str, dict[str, str]] = {}
    if path is not None:
        with path.open(newline="", encoding="utf-8") as file:
            rows = {row["model"]: row for row in csv.DictReader(file)}
    return {name: _info(name, rows.get(name, {})) for name in names}


def _info(name: str, row: Mapping[str, str]) -> ModelInfo:
    numbers = {"parameters": "parameters", "input_size": "input_size", "accuracy": "source_accuracy"}
    found = {field: _number(row.get(column)) for field, column in {**numbers, "classes": "source_classes"}.items()}
    known = {field: None if math.isnan(value) else value for field, value in found.items()}
    accuracy, source = known["accuracy"], row.get("source", "")
    is_benchmark = source.startswith("imagenet") and (accuracy or 0.0) <= MAX_IMAGENET_ACCURACY
    architecture = row.get("model_type", row.get("architecture", ""))
    benchmark = accuracy if is_benchmark else None
    return ModelInfo(name=name, source=source, architecture=architecture, benchmark=benchmark, **known)


def _number(text: str | None) -> float:
    try:
        return float(text) if text else math.nan
    except ValueError:
        return math.nan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="columns: model, target, accuracy, seconds")
    parser.add_argument("--models", type=Path, required=True, help="what is known of the image models, a row for each")
    parser.add_argument("--out", type=Path, default=shipped_prior())
    args = parser.parse_args()
    write_part(args.out, "models", *learn_models(args.runs, args.models))


if __name__ == "__main__":
    main()
