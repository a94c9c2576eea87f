"""Learn the schedule's prior from recorded learning curves.

python fit_prior.py CURVES.json.gz [--out autotransfer/search/prior.json]

Scores, and the log of the seconds per epoch, are boosted small trees on the encoded settings, log examples and log
classes. Their spread, and how curves of one task hang together, are measured on data sets left out of the fit.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.tree import DecisionTreeRegressor

from autotransfer.search.belief import CurveModel
from autotransfer.search.prior import LINEAR_PROBING, MIN_STD, Ensemble, Prior, Tree, encode

Array = npt.NDArray[np.float64]
RUNGS = (1, 3, 9, 27, 50)
FOLDS = 4
LEAVES = 16  # of a tree of scores or spreads; 8 tell less of tasks that the fit has not seen
UNKNOWN = {"n_train": 5000, "n_classes": 40}  # what is taken where a data set has no descriptors


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """The recorded runs of one data set."""

    settings: Mapping[str, Mapping[str, float | None]]
    scores: Mapping[str, Sequence[float]]
    seconds: Mapping[str, Sequence[float]]
    examples: int
    classes: int


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


def boost(rows: Array, targets: Array, *, trees: int, leaves: int, rate: float = 0.1, seed: int = 0) -> Ensemble:
    """Fit stochastic gradient boosting for squared error with several outputs (Friedman 2002)."""
    rng = np.random.default_rng(seed)
    base = targets.mean(axis=0)
    predicted = np.tile(base, (len(targets), 1))
    fitted = []
    for _ in range(trees):
        part = rng.permutation(len(rows))[: int(0.6 * len(rows))]
        tree = DecisionTreeRegressor(
            max_leaf_nodes=leaves, max_features=0.3, min_samples_leaf=5, random_state=int(rng.integers(2**31))
        ).fit(rows[part], (targets - predicted)[part])
        fitted.append(_plain(tree, rate))
        predicted += fitted[-1].predict(rows)
    return Ensemble(base=np.round(base, 4).tolist(), trees=fitted)


def _plain(tree: DecisionTreeRegressor, rate: float) -> Tree:
    """Turn a fitted tree into lists; thresholds and outputs are rounded, which keeps the file small."""
    inner = tree.tree_.children_left >= 0
    place = np.where(inner, np.cumsum(inner) - 1, -np.cumsum(~inner))
    columns, thresholds = tree.tree_.feature[inner], tree.tree_.threshold[inner]
    low, high = place[tree.tree_.children_left[inner]], place[tree.tree_.children_right[inner]]
    splits = [
        [int(c), float(f"{t:.4g}"), int(a), int(b)] for c, t, a, b in zip(columns, thresholds, low, high, strict=True)
    ]
    outputs = rate * tree.tree_.value[~inner][:, :, 0]
    return Tree(splits=splits, leaves=np.round(outputs, 4).tolist())


def fit(datasets: Mapping[str, Recorded], *, source: str = "", digest: str = "", seed: int = 0) -> Prior:
    """Learn a prior from the recorded runs of several data sets."""
    columns = tuple(sorted({column for d in datasets.values() for s in d.settings.values() for column in s}))
    names = list(datasets)
    rows = {
        name: encode(list(d.settings.values()), columns, examples=d.examples, classes=d.classes)
        for name, d in datasets.items()
    }
    scores = {name: _by_rung(datasets[name]) for name in names}
    score = _boost_scores(rows, scores, names, seed)
    errors = dict(_left_out_errors(rows, scores, seed))
    spread = boost(_stack(rows, names), np.abs(_stack(errors, names)), trees=40, leaves=LEAVES, seed=seed)
    costs = np.concatenate([_log_cost(datasets[name]) for name in names])[:, None]
    scaled = {}
    for name in names:
        going = np.array([len(curve) > 1 for curve in datasets[name].scores.values()])
        scaled[name] = (errors[name] / np.maximum(1.25 * spread.predict(rows[name]), MIN_STD))[going]
    return Prior(
        source=source,
        digest=digest,
        columns=columns,
        score=score,
        spread=spread,
        cost=boost(_stack(rows, names), costs, trees=120, leaves=10, rate=0.15, seed=seed),
        curves=_curves([z for z in scaled.values() if len(z) > 1], _stack(scores, names)),
    )


def _by_rung(data: Recorded) -> Array:
    return np.array([[max(curve[:rung]) for rung in RUNGS] for curve in data.scores.values()])


def _log_cost(data: Recorded) -> Array:
    whole = np.array([not s.get(LINEAR_PROBING) for s in data.settings.values()])
    per_epoch = np.array([np.mean(seconds) for seconds in data.seconds.values()])
    return np.asarray(np.log(per_epoch) - whole * np.log(data.examples))


def _stack(parts: Mapping[str, Array], names: Sequence[str]) -> Array:
    return np.concatenate([parts[name] for name in names])


def _boost_scores(rows: Mapping[str, Array], scores: Mapping[str, Array], names: Sequence[str], seed: int) -> Ensemble:
    return boost(_stack(rows, names), _stack(scores, names), trees=100, leaves=LEAVES, seed=seed)


def _left_out_errors(rows: Mapping[str, Array], scores: Mapping[str, Array], seed: int) -> Iterator[tuple[str, Array]]:
    """Yield, for each data set, the errors of trees that did not see it."""
    names = list(rows)
    for fold in range(FOLDS):
        out = names[fold::FOLDS]
        kept = [name for name in names if name not in out]
        trees = _boost_scores(rows, scores, kept, seed)
        for name in out:
            yield name, scores[name] - trees.predict(rows[name])


def _curves(scaled: Sequence[Array], scores: Array) -> CurveModel:
    """Measure the covariance of scaled errors over rungs, and how much of it the arms of a data set share."""
    whole = sum(z.T @ z for z in scaled) / sum(len(z) for z in scaled)
    # The mean product over pairs of different arms of one data set.
    pairs = [(np.outer(z.sum(0), z.sum(0)) - z.T @ z) / (len(z) * (len(z) - 1)) for z in scaled]
    share = float(np.clip(np.trace(np.mean(pairs, axis=0)) / np.trace(whole), 0.0, 0.9)) if pairs else 0.0
    growth = scores.mean(axis=0) / scores[:, -1].mean()
    return CurveModel(
        rungs=RUNGS, own=(1 - share) * whole, shared=share * whole, growth=tuple(np.round(growth, 4).tolist())
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("curves", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[2] / "autotransfer/search/prior.json")
    parser.add_argument("--source", default="Quick-Tune meta-dataset (Pineda Arango et al., ICLR 2024; BSD-3-Clause)")
    args = parser.parse_args()
    datasets, digest = read(args.curves)
    prior = fit(datasets, source=args.source, digest=digest)
    args.out.write_text(json.dumps(prior.to_json(), separators=(",", ":")) + "\n", encoding="utf-8")
    print(f"{args.out}: {args.out.stat().st_size / 1000:.0f} kB from {len(datasets)} data sets")


if __name__ == "__main__":
    main()
