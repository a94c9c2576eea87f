"""Learn from recorded learning curves what a setup will reach, how unsure that is, and what an epoch costs.

Small networks expect the levels by each rung, others the log of the seconds per epoch, from the settings, log examples
and log classes. Each network of levels leaves some data sets out; on those the deviations, and how curves of one task
hang together, are measured.
"""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize
from torch.nn import functional

from autotransfer.errors import DataError
from autotransfer.search.belief import CurveModel
from autotransfer.search.prior import (
    LINEAR_PROBING,
    Encoding,
    Networks,
    Prior,
    curve_levels,
    deviation_features,
    deviations,
)

Array = npt.NDArray[np.float64]
RUNGS = (1, 3, 9, 27, 50)
LEVEL_NETWORKS, COST_NETWORKS, HIDDEN = 8, 4, 32
STEPS, BATCH, RATE, DECAY = 300, 128, 1e-2, 0.3
# Examples and classes of a task say little of other tasks when few were recorded: their inputs are scaled down by this.
TASK_SCALE = 0.3
UNKNOWN = {"n_train": 5000, "n_classes": 40}  # what is taken where a data set has no descriptors
NORMAL_90 = 1.645  # half of the 90% interval of a Gaussian, in deviations


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """The recorded runs of one data set."""

    settings: Mapping[str, Mapping[str, float | None]]
    scores: Mapping[str, Sequence[float]]
    seconds: Mapping[str, Sequence[float]]
    examples: int
    classes: int


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """What networks that had not seen a data set expected of its runs that went on after the first epoch.

    Attributes:
        features: See ``deviation_features`` (runs, rungs, 4).
        errors: Levels minus what was expected (runs, rungs).
    """

    features: Array
    errors: Array


def read(path: Path) -> tuple[dict[str, Recorded], str]:
    """Read a file of curves; return its data sets by name, and a digest of its contents."""
    data: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))
    digest = hashlib.sha256(json.dumps([data["datasets"], data["configs"]], sort_keys=True).encode()).hexdigest()
    return {name: _recorded(part, data["configs"]) for name, part in data["datasets"].items()}, digest


def _recorded(part: Mapping[str, Any], configs: Mapping[str, Any]) -> Recorded:
    curves = {key: curve for key, curve in part["curves"].items() if curve["score"]}
    task = part["descriptors"] or UNKNOWN
    return Recorded(
        settings={key: configs[key] for key in curves},
        scores={key: [value / 100 for value in curve["score"]] for key, curve in curves.items()},
        seconds={key: curve["cost"] for key, curve in curves.items()},
        examples=task["n_train"],
        classes=task["n_classes"],
    )


def fit(datasets: Mapping[str, Recorded], *, source: str = "", digest: str = "", seed: int = 0) -> Prior:
    """Learn a prior from the recorded runs of several data sets.

    Raises:
        DataError: There is only one data set: nothing can be left out.
    """
    return fit_and_check(datasets, source=source, digest=digest, seed=seed)[0]


def fit_and_check(
    datasets: Mapping[str, Recorded], *, source: str = "", digest: str = "", seed: int = 0
) -> tuple[Prior, Array]:
    """Learn a prior; return it, and the share of levels in their 90% intervals by rung (data sets, rungs).

    The interval of a data set is that of networks and deviations that had not seen it.

    Raises:
        DataError: There is only one data set: nothing can be left out.
    """
    if len(datasets) < 2:
        raise DataError("A prior of learning curves needs the runs of two data sets at least.")
    encoding = Encoding.of([(list(d.settings.values()), d.examples, d.classes) for d in datasets.values()])
    encoding = replace(encoding, scale=encoding.scale / np.r_[np.ones(len(encoding.columns)), TASK_SCALE, TASK_SCALE])
    rows = [encoding.rows(list(d.settings.values()), examples=d.examples, classes=d.classes) for d in datasets.values()]
    scores = [_by_rung(d) for d in datasets.values()]
    levels = [curve_levels(s, d.classes) for s, d in zip(scores, datasets.values(), strict=True)]
    left_out = _folds(len(datasets), seed)
    level, cost = _train(rows, levels, [_log_cost(d) for d in datasets.values()], left_out, seed)
    seen = [
        _left_out(level.predict(rows[i]), left_out[:, i], levels[i], _goes_on(data))
        for i, data in enumerate(datasets.values())
    ]
    deviation, own, shared = fit_deviations(seen)
    every = np.concatenate(scores)
    growth = tuple(np.round(every.mean(axis=0) / every[:, -1].mean(), 4).tolist())
    prior = Prior(
        source=source,
        digest=digest,
        encoding=encoding,
        level=level,
        deviation=deviation,
        cost=cost,
        curves=CurveModel(rungs=RUNGS, own=own, shared=shared, growth=growth),
    )
    return prior, np.array([coverage(seen[i], *fit_deviations(seen[:i] + seen[i + 1 :])) for i in range(len(seen))])


def _by_rung(data: Recorded) -> Array:
    return np.array([[max(curve[:rung]) for rung in RUNGS] for curve in data.scores.values()])


def _goes_on(data: Recorded) -> npt.NDArray[np.bool_]:
    """Say of each run whether it went on after the first epoch; all where none did."""
    going = np.array([len(curve) > 1 for curve in data.scores.values()])
    return going if going.any() else np.ones_like(going)


def _log_cost(data: Recorded) -> Array:
    whole = np.array([not s.get(LINEAR_PROBING) for s in data.settings.values()])
    per_epoch = np.array([np.mean(seconds) for seconds in data.seconds.values()])
    return np.asarray(np.log(per_epoch) - whole * np.log(data.examples))


def _folds(datasets: int, seed: int) -> npt.NDArray[np.bool_]:
    """Say which data sets each network of levels leaves out: each is left out by one, or by several where few."""
    order = np.random.default_rng(seed).permutation(datasets)
    left_out = np.zeros((LEVEL_NETWORKS, datasets), dtype=bool)
    for i in range(max(datasets, LEVEL_NETWORKS)):
        left_out[i % LEVEL_NETWORKS, order[i % datasets]] = True
    return left_out


def _train(
    rows: Sequence[Array], levels: Sequence[Array], costs: Sequence[Array], left_out: npt.NDArray[np.bool_], seed: int
) -> tuple[Networks, Networks]:
    """Train all networks at a time: those of levels on the data sets that they do not leave out, the others on all."""
    targets = np.concatenate([np.c_[level, cost] for level, cost in zip(levels, costs, strict=True)])
    center, scale = targets.mean(axis=0), np.maximum(targets.std(axis=0), 1e-6)
    inputs = torch.tensor(np.concatenate(rows), dtype=torch.float32)
    outputs = torch.tensor((targets - center) / scale, dtype=torch.float32)
    of = np.repeat(np.arange(len(rows)), [len(each) for each in rows])
    taken = [np.flatnonzero(~out[of]) for out in left_out] + [np.arange(len(of))] * COST_NETWORKS
    weighs = torch.zeros(len(taken), 1, outputs.shape[1])
    weighs[:LEVEL_NETWORKS, :, :-1] = 1 / (outputs.shape[1] - 1)
    weighs[LEVEL_NETWORKS:, :, -1] = 1.0
    generator, rng = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    weights, biases = _initial((inputs.shape[1], HIDDEN, HIDDEN, outputs.shape[1]), len(taken), generator)
    optimizer = torch.optim.AdamW([*weights, *biases], lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=STEPS, pct_start=0.1)
    for _ in range(STEPS):
        chosen = torch.tensor(np.stack([each[rng.integers(0, len(each), BATCH)] for each in taken]))
        values = torch.baddbmm(biases[0], inputs[chosen], weights[0])
        for weight, bias in zip(weights[1:], biases[1:], strict=True):
            values = torch.baddbmm(bias, functional.silu(values), weight)
        loss = ((values - outputs[chosen]) ** 2 * weighs).sum(dim=2).mean(dim=1).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    found = [[p.detach().double().numpy() for p in each] for each in (weights, biases)]
    # The outputs are in their own units.
    found[0][-1], found[1][-1] = found[0][-1] * scale, found[1][-1] * scale + center
    level = _networks(found, slice(LEVEL_NETWORKS), slice(-1))
    return level, _networks(found, slice(LEVEL_NETWORKS, None), slice(-1, None))


def _networks(found: Sequence[Sequence[Array]], members: slice, outputs: slice) -> Networks:
    """Return some of the networks, with some of the outputs."""
    weights, biases = ([*(v[members] for v in each[:-1]), each[-1][members][..., outputs]] for each in found)
    return Networks(weights=tuple(weights), biases=tuple(biases))


def _initial(
    sizes: Sequence[int], networks: int, generator: torch.Generator
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    weights, biases = [], []
    for i, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        gain = 0.1 if i == len(sizes) - 2 else (2.0 if i else 1.0) ** 0.5
        weights.append(torch.randn(networks, inputs, outputs, generator=generator) * gain / inputs**0.5)
        biases.append(torch.zeros(networks, 1, outputs))
    for each in (*weights, *biases):
        each.requires_grad_(True)
    return weights, biases


# -- deviations -------------------------------------------------------------------------------------------------------


def _left_out(
    predicted: Array, left_out: npt.NDArray[np.bool_], levels: Array, going: npt.NDArray[np.bool_]
) -> LeftOut:
    mean = predicted[left_out].mean(axis=0)
    return LeftOut(features=deviation_features(mean, predicted.std(axis=0))[going], errors=(levels - mean)[going])


def fit_deviations(seen: Sequence[LeftOut]) -> tuple[Array, Array, Array]:
    """Return weights of log deviations, and the covariances own and shared of errors in their units.

    The weights are the likeliest ones. One factor then scales all deviations, so that 90% intervals hold 90% of the
    errors on the average data set.
    """
    rungs = seen[0].errors.shape[1]
    deviation = np.array([_likeliest(seen, rung) for rung in range(rungs)])
    scaled = [each.errors / deviations(each.features, deviation) for each in seen]
    whole = np.mean([z.T @ z / len(z) for z in scaled], axis=0)
    # The mean product over pairs of different runs of one data set is what the runs share.
    several = [z for z in scaled if len(z) > 1]
    pairs = [((z.sum(0) ** 2).sum() - (z**2).sum()) / (len(z) * (len(z) - 1)) for z in several]
    share = float(np.clip(np.mean(pairs) / np.trace(whole), 0.0, 0.9)) if pairs else 0.0
    relative = [np.quantile(np.abs(z) / np.sqrt(np.diag(whole)), 0.9) for z in scaled]
    deviation[:, 0] += np.log(np.mean(relative) / NORMAL_90)
    return deviation, (1.0 - share) * whole, share * whole


def _likeliest(seen: Sequence[LeftOut], rung: int) -> Array:
    """Return the weights under which the errors at a rung are likeliest; each data set weighs the same."""
    features = np.concatenate([each.features[:, rung] for each in seen])
    errors = np.concatenate([each.errors[:, rung] for each in seen])
    share = np.concatenate([np.full(len(each.errors), 1 / len(each.errors)) for each in seen]) / len(seen)
    center, scale = features.mean(axis=0), np.maximum(features.std(axis=0), 1e-9)
    center[0], scale[0] = 0.0, 1.0
    rows, ridge = (features - center) / scale, 1e-3 * (np.arange(features.shape[1]) > 0)

    def surprise(weights: Array) -> tuple[float, Array]:
        logs = np.clip(rows @ weights, -6.0, 3.0)
        squares = errors**2 * np.exp(-2 * logs)
        value = share @ (logs + squares / 2) + ridge @ weights**2
        return float(value), rows.T @ (share * (1 - squares)) + 2 * ridge * weights

    start = np.append(np.log(errors.std() + 1e-3), np.zeros(features.shape[1] - 1))
    found = minimize(surprise, start, jac=True).x / scale
    found[0] -= found[1:] @ center[1:]
    return np.asarray(found)


def coverage(seen: LeftOut, deviation: Array, own: Array, shared: Array) -> Array:
    """Return the share of errors that are in their 90% interval, by rung."""
    z = seen.errors / (deviations(seen.features, deviation) * np.sqrt(np.diag(own + shared)))
    return np.asarray((np.abs(z) < NORMAL_90).mean(axis=0))


def learn_curves(path: Path, source: str) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any], Array]:
    """Learn the part ``curves`` of the prior; return it as ``write_part`` takes it, and the coverage by rung."""
    datasets, digest = read(path)
    prior, covered = fit_and_check(datasets, source=source, digest=digest)
    return *prior.part(), covered.mean(axis=0)
