"""Read recorded runs of models on targets, and learn from them how the levels of models go together."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from autotransfer.search.model_prior import (
    Known,
    ModelInfo,
    PriorScales,
    Recorded,
    known_of,
    level_covariance,
    levels_of,
    similarities,
    with_knowledge,
)

Array = npt.NDArray[np.float64]
# Scores of transferability that a file of runs may have; each is ranked and standardised within a target.
METRICS = ("log_me", "reg_h_score")
STEPS, RATE = 25, 0.15
# How far the logarithms of scales go from where they start is held by this share of its square.
DECAY = 0.003


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


def learn(recorded: Recorded, steps: int = STEPS) -> PriorScales:
    """Learn scales: those under which each target's levels are likeliest, given the other targets."""
    similarity = torch.from_numpy(similarities(recorded.models))
    levels = np.stack([levels_of(row) for row in recorded.accuracy])
    tasks = [_task(recorded, levels, target) for target in range(len(recorded.targets))]
    start = PriorScales.initial(len(similarity), recorded.evidence.shape[-1])
    first = {name: torch.as_tensor(value) for name, value in _free(start).items()}
    free = {name: value.clone().requires_grad_(True) for name, value in first.items()}
    optimizer = torch.optim.Adam(list(free.values()), lr=RATE)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = sum((_surprise(_scales(free), similarity, *task) for task in tasks), torch.zeros(())) / len(tasks)
        away = sum((((free[name] - first[name]) ** 2).sum() for name in free), torch.zeros(()))
        (loss + DECAY * away).backward()
        optimizer.step()
    learned = {name: value.detach() for name, value in free.items()}
    return PriorScales(**{field.name: getattr(_scales(learned), field.name).numpy() for field in fields(PriorScales)})


def _task(recorded: Recorded, levels: Array, target: int) -> tuple[Known, torch.Tensor]:
    """Return what the other targets say of the models of a target, and the levels there."""
    rows = np.flatnonzero(~np.isnan(levels[target]))
    others = np.delete(levels, target, 0)
    models = [recorded.models[i] for i in rows]
    evidence = with_knowledge(recorded.evidence[target][rows], recorded.targets[target], models)
    known = known_of(others, rows, evidence)
    as_tensors = {name: torch.from_numpy(getattr(known, name)) for name in ("counts", "means", "profile", "evidence")}
    return replace(known, **as_tensors), torch.from_numpy(levels[target][rows])


def _surprise(scales: PriorScales, similarity: torch.Tensor, known: Known, levels: torch.Tensor) -> torch.Tensor:
    """Return minus the log likelihood of levels, a model."""
    mean, covariance = level_covariance(torch, scales, similarity, known)
    root = torch.linalg.cholesky(covariance + 1e-4 * torch.eye(len(levels), dtype=levels.dtype))
    white = torch.linalg.solve_triangular(root, (levels - mean)[:, None], upper=False)
    return (white**2).sum() / 2 / len(levels) + torch.log(torch.diagonal(root)).mean()


def _free(scales: PriorScales) -> dict[str, Array]:
    """Return the parameters that are learned: logarithms of variances, and weights as they are."""
    values = {field.name: np.asarray(getattr(scales, field.name)) for field in fields(scales)}
    return {name: value if name == "weights" else np.log(value) for name, value in values.items()}


def _scales(free: Mapping[str, torch.Tensor]) -> PriorScales:
    return PriorScales(**{name: value if name == "weights" else torch.exp(value) for name, value in free.items()})


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
    return ModelInfo(
        name=name,
        source=row.get("source", ""),
        architecture=row.get("model_type", row.get("architecture", "")),
        **{field: None if math.isnan(value) else value for field, value in found.items()},
    )


def _number(text: str | None) -> float:
    try:
        return float(text) if text else math.nan
    except ValueError:
        return math.nan
