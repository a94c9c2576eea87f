"""Learn what each kind of candidate brings from recorded runs, and print how it does on tasks that were left out.

    python fit_gain_prior.py [--grids oracle.jsonl] [--forms forms.jsonl] [--full F --head F] [--curves F] [--out FILE]

Of a fine-tuning: a Bayesian linear model, with an effect of each task and of each source of runs. Its variances are
those under which the recorded gains are likeliest. Of the other kinds: a mean, and variances between and within tasks.
All deviations are scaled on tasks left out, so that nine in ten gains lie within their intervals of 90%.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from recorded_grid import TASKS, Setup, read_forms, read_grid
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize
from scipy.stats import norm

from autotransfer.search.gain_prior import Gain, level_of, tuning_features
from autotransfer.search.prior_file import shipped_prior, write_part

Array = npt.NDArray[np.float64]
Apart = tuple[Array, Array, npt.NDArray[np.int64], Array]
CONSTANT, DEPTH = 0, 1  # places of two features of fine-tunings
HERE = Path(__file__).parent
GRIDS, FORMS = HERE / "oracle.jsonl", HERE / "forms.jsonl"
COVERED, Z_OF_90_PERCENT = 0.9, 1.645
# Examples and classes of the targets of the tables. SUN397 is left out: its heads alone are said to reach what no such
# network reaches.
TABLE_TASKS = {
    "aircraft": (6667, 100),
    "caltech101": (3030, 101),
    "cars": (8144, 196),
    "cifar10": (50000, 10),
    "cifar100": (50000, 100),
    "dtd": (3760, 47),
    "flowers": (2040, 102),
    "food": (75750, 101),
    "pets": (3680, 37),
    "voc2007": (5011, 20),
}
# Targets of the tables, and data sets of the curves, whose images are unlike those of ImageNet, or far smaller.
DISTANT = {"cifar10", "cifar100", "MED_LF", "BCT", "PRT", "RESISC", "RSD", "TEX"}
# The settings of heads that are nearest to those that a screening tries; where there are two, their mean.
SCREENED: Mapping[str, Sequence[Mapping[str, float]]] = {
    "logistic": [{"C": 0.1}],
    "ridge": [{"alpha": 100.0}, {"alpha": 1000.0}],
    "stage_ridge": [{"alpha": 300.0, "early": 0.1}, {"alpha": 300.0, "early": 1.0}],
    "knn": [{"k": 5.0}],
    "ncm": [{}],
}
# The rate nearest to that of a fit's first fine-tunings.
FIRST_RATE = 3e-4
# Runs of so many recorded epochs at least, and draws of so many settings for each depth: their best is compared.
MIN_EPOCHS, DRAWS = 5, 6


# What is taken of forms where none was recorded.
UNKNOWN_FORMS = {
    "resolution": Gain(mean=0.0, task_deviation=0.2, own_deviation=0.2),
    "framing": Gain(mean=0.0, task_deviation=0.2, own_deviation=0.2),
    "views": Gain(mean=0.05, task_deviation=0.15, own_deviation=0.15),
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A recorded gain.

    Attributes:
        source: Kind of recorded runs.
        task: Name of the task.
        gain: The gain.
        features: Features of a fine-tuning; empty for other kinds.
    """

    source: str
    task: str
    gain: float
    features: tuple[float, ...] = ()


def learn_gains(
    grids: Path = GRIDS,
    forms: Path | None = None,
    full: Path | None = None,
    head: Path | None = None,
    curves: Path | None = None,
    *,
    without: str = "",
) -> tuple[dict[str, Array], dict[str, Any]]:
    """Learn the part ``gains`` of the prior.

    Args:
        grids: Lines that ``oracle.py`` wrote.
        forms: Lines that ``record_forms.py`` wrote.
        full: Table of accuracies in percent, networks by targets, all stages trained.
        head: The same, with only the head trained.
        curves: Recorded learning curves.
        without: Name of a data set of the grids that is left out, in whatever runs it appears.

    Returns:
        Tensors and metadata, as ``write_part`` takes them.
    """
    left_out = {without, *(TASKS[without].others if without else ())}
    setups = [setup for setup in read_grid(grids) if setup.data not in left_out]
    cases = [*tuning_cases(setups)]
    if full is not None and head is not None:
        cases += table_cases(full, head)
    if curves is not None:
        cases += curve_cases(curves)
    cases = [case for case in cases if case.task not in left_out]
    deviations = likeliest_deviations(cases)
    scale = scale_of([error for _, error in left_out_errors(cases, deviations)])
    model = fit_tuning(cases, deviations, scale)
    scored = [] if forms is None else [setup for setup in read_forms(forms) if setup.data not in left_out]
    gains = {"heads": fit_kinds(head_cases(setups)), "forms": fit_kinds(form_cases(scored), UNKNOWN_FORMS)}
    gains["drawn"] = fit_drawn(setups)
    about = {kind: {name: asdict(gain) for name, gain in found.items()} for kind, found in gains.items()}
    tensors = {"weights": model.weights, "covariance": model.covariance}
    return tensors, {"gains": about, "own_deviation": model.own_deviation}


# -- fine-tuning ------------------------------------------------------------------------------------------------------


def by_backbone(setups: Sequence[Setup]) -> Iterator[list[Setup]]:
    """Yield the setups of each backbone on each task."""
    ordered = sorted(setups, key=lambda setup: (setup.data, setup.backbone))
    for _, group in groupby(ordered, key=lambda setup: (setup.data, setup.backbone)):
        yield list(group)


def screened(setups: Sequence[Setup]) -> dict[str, list[Setup]]:
    """Return, by head, the setups that are nearest to those that a screening tries."""
    frozen = [s for s in setups if not s.trained]
    return {name: [s for s in frozen if s.head == name and s.head_params in near] for name, near in SCREENED.items()}


def best_screened(setups: Sequence[Setup]) -> Setup:
    """Return the best of them, as a search would choose it."""
    return max(chain.from_iterable(screened(setups).values()), key=lambda setup: setup.validation)


def is_first(setup: Setup) -> bool:
    """Whether a fine-tuning is nearest to the first one that a fit tries of its depth."""
    return bool(setup.trained) and setup.rate == FIRST_RATE and (setup.share == 1 or setup.views == 2)


def tuning_cases(setups: Sequence[Setup]) -> Iterator[Case]:
    for group in by_backbone(setups):
        before = best_screened(group)
        for setup in filter(is_first, group):
            task = setup.task
            features = tuning_features(
                share=setup.share,
                examples=task.examples,
                outputs=task.classes,
                error=before.error,
                distant=task.distant,
            )
            yield Case(source="grid", task=setup.data, gain=setup.level - before.level, features=tuple(features))


def table_cases(full: Path, head: Path) -> Iterator[Case]:
    trained, frozen = _table(full), _table(head)
    for target, (examples, classes) in TABLE_TASKS.items():
        for network, accuracy in trained.get(target, {}).items():
            error, before = (_error(value, classes) for value in (accuracy, frozen[target][network]))
            features = tuning_features(
                share=1.0, examples=examples, outputs=classes, error=before, distant=target in DISTANT
            )
            yield Case(source="table", task=target, gain=level_of(error) - level_of(before), features=tuple(features))


def _table(path: Path) -> dict[str, dict[str, float]]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {row["target"]: {k: float(v) / 100 for k, v in row.items() if k != "target"} for row in rows}


def _error(accuracy: float, classes: int) -> float:
    return (1 - accuracy) / (1 - 1 / classes)


def curve_cases(curves: Path) -> Iterator[Case]:
    """Yield, for each data set, the best of a few settings that train some stages, and of as many that train none."""
    recorded = json.loads(gzip.decompress(curves.read_bytes()))
    for name, part in recorded["datasets"].items():
        if part["descriptors"] is None:
            continue
        examples, classes = part["descriptors"]["n_train"], part["descriptors"]["n_classes"]
        reached: dict[float, list[float]] = {}
        for key, curve in part["curves"].items():
            settings = recorded["configs"][key]
            if not settings.get("linear_probing") and len(curve["score"]) >= MIN_EPOCHS:
                share = round(1 - settings["pct_to_freeze"], 1)
                reached.setdefault(share, []).append(_error(max(curve["score"]) / 100, classes))
        if len(reached.get(0.0, ())) < DRAWS:
            continue
        before = best_of_draws(reached.pop(0.0))
        for share, errors in reached.items():
            if len(errors) >= DRAWS:
                error = best_of_draws(errors)
                features = tuning_features(
                    share=share, examples=examples, outputs=classes, error=before, distant=name in DISTANT
                )
                gain = level_of(error) - level_of(before)
                yield Case(source="curves", task=name, gain=gain, features=tuple(features))


def best_of_draws(errors: Sequence[float]) -> float:
    """Return the expected least of some errors drawn without replacement."""
    ordered, total = sorted(errors), math.comb(len(errors), DRAWS)
    weights = [math.comb(len(ordered) - 1 - i, DRAWS - 1) / total for i in range(len(ordered))]
    return float(np.dot(ordered, weights))


@dataclass(frozen=True, kw_only=True)
class TuningModel:
    """What fine-tunings bring: weights of their features on a new task, and deviation of one candidate."""

    weights: Array
    covariance: Array
    own_deviation: float

    def predict(self, features: Sequence[float]) -> tuple[float, float]:
        """Return the expected gain of a candidate on a new task, and its deviation."""
        row = np.array(features)
        return float(row @ self.weights), math.hypot(self.own_deviation, math.sqrt(row @ self.covariance @ row))


def likeliest_deviations(cases: Sequence[Case]) -> Array:
    """Return the deviations of weights, sources, tasks and their slopes by depth, and candidates of each source."""
    start = np.log([0.3, 0.3, 0.4, 0.2, *[0.2] * len(_sources(cases))])
    bounds, options = [(-4.0, 1.0)] * len(start), {"maxiter": 40}
    features, gains = np.array([case.features for case in cases]), np.array([case.gain for case in cases])
    apart = _apart(cases)

    def surprise(free: Array) -> float:
        """Return minus the log likelihood of the gains, with a weak prior of the deviations."""
        covariance = _noise(apart, np.exp(free)) + np.exp(2 * free[0]) * features @ features.T
        root = cho_factor(covariance, lower=True, check_finite=False)
        fit = gains @ cho_solve(root, gains, check_finite=False) / 2
        return float(fit + np.log(np.diag(root[0])).sum() + ((free + 1.0) ** 2).sum() / 2)

    return np.exp(minimize(surprise, start, method="L-BFGS-B", bounds=bounds, options=options).x)


def fit_tuning(cases: Sequence[Case], deviations: Array, scale: float = 1.0) -> TuningModel:
    """Fit the linear model of fine-tunings.

    Args:
        cases: The recorded gains; the deviation of a candidate is that of the grids, whose frozen heads are a fit's.
        deviations: See ``likeliest_deviations``.
        scale: Factor of the deviations.
    """
    sources = _sources(cases)
    features = np.array([case.features for case in cases])
    prior = np.full(features.shape[1], deviations[0] ** 2)
    inner = _noise(_apart(cases), deviations) + (features * prior) @ features.T
    solved = np.linalg.solve(inner, np.column_stack([[case.gain for case in cases], features * prior]))
    covariance = np.diag(prior) - (features * prior).T @ solved[:, 1:]
    _, _, task, slope, *own = deviations
    # What a task shares is unsure like a weight of all its candidates, and so is how it changes with depth.
    covariance[CONSTANT, CONSTANT] += task**2
    covariance[DEPTH, DEPTH] += slope**2
    return TuningModel(
        weights=(features * prior).T @ solved[:, 0],
        covariance=covariance * scale**2,
        own_deviation=float(own[sources.index("grid")] * scale),
    )


def left_out_errors(cases: Sequence[Case], deviations: Array) -> Iterator[tuple[Case, float]]:
    """Yield the cases of the grids, each with its error in deviations under a model that has not seen its task."""
    for name in sorted({case.task for case in cases if case.source == "grid"}):
        model = fit_tuning([case for case in cases if case.task not in {name, *TASKS[name].others}], deviations)
        for case in (case for case in cases if case.task == name and case.source == "grid"):
            mean, deviation = model.predict(case.features)
            yield case, (case.gain - mean) / deviation


def _sources(cases: Sequence[Case]) -> list[str]:
    return sorted({case.source for case in cases})


def _apart(cases: Sequence[Case]) -> Apart:
    """Return which cases share a source other than the grids, which share a task; the source of each, and the depth."""
    kinds, tasks = (np.array([getattr(case, name) for case in cases]) for name in ("source", "task"))
    shared = (kinds[:, None] == kinds) & (kinds != "grid")
    numbers = np.searchsorted(np.array(_sources(cases)), kinds)
    depths = np.array([case.features[DEPTH] for case in cases])
    return shared.astype(float), (tasks[:, None] == tasks).astype(float), numbers, depths


def _noise(apart: Apart, deviations: Array) -> Array:
    """Return the covariance of gains given the weights: each source but the grids differs by a constant."""
    by_source, by_task, numbers, depths = apart
    _, source, task, slope, *own = deviations**2
    by_depth = np.outer(depths, depths)
    return np.asarray(source * by_source + (task + slope * by_depth) * by_task + np.diag(np.array(own)[numbers]))


def scale_of(errors: Sequence[float]) -> float:
    """Return the factor of deviations with which nine in ten errors lie within 90%; none is made surer by it."""
    return max(1.0, float(np.quantile(np.abs(errors), COVERED)) / Z_OF_90_PERCENT) if len(errors) else 1.0


# -- heads and forms --------------------------------------------------------------------------------------------------


def head_cases(setups: Sequence[Setup]) -> dict[str, list[Case]]:
    """Return, by head, its gains beyond ``logistic`` on the same features."""
    found: dict[str, list[Case]] = {}
    for group in by_backbone(setups):
        levels = {name: float(np.mean([s.level for s in near])) for name, near in screened(group).items() if near}
        for name, level in levels.items():
            if name != "logistic":
                case = Case(source="grid", task=group[0].data, gain=level - levels["logistic"])
                found.setdefault(name, []).append(case)
    return found


def form_cases(setups: Sequence[Setup]) -> dict[str, list[Case]]:
    """Return, by kind of form, the gains of forms of a backbone beyond the form before it, under the same head."""
    by_form = {(s.data, s.backbone, s.head, s.views): s for s in setups}
    found: dict[str, list[Case]] = {kind: [] for kind in UNKNOWN_FORMS}
    for (data, backbone, head, views), setup in by_form.items():
        kind, before = form_before(backbone, views, distant=setup.task.distant)
        if kind and (known := by_form.get((data, before[0], head, before[1]))) is not None:
            found[kind].append(Case(source="forms", task=data, gain=setup.level - known.level))
    return found


def form_before(backbone: str, views: int, *, distant: bool) -> tuple[str, tuple[str, int]]:
    """Return of what kind a form is, and the name and number of views of the form before it; nothing of the first."""
    name, *marks = backbone.split("@")
    framing = next((mark for mark in marks if not mark.endswith("px")), "")
    is_own_side = not any(mark.endswith("px") for mark in marks)
    if views > 1:
        return "views", (backbone, views // 2)
    if is_own_side == distant:  # small images are screened at the smaller side first
        before = next((mark for mark in marks if not mark.endswith("px")), "")
        side = "@128px" if is_own_side else ""
        return "resolution", (name + side + (f"@{before}" if before else ""), 1)
    return ("framing", (backbone.replace(f"@{framing}", ""), 1)) if framing else ("", ("", 0))


def fit_kinds(cases: Mapping[str, Sequence[Case]], unknown: Mapping[str, Gain] | None = None) -> dict[str, Gain]:
    """Return the gain of each kind, and as ``any`` that of a kind that was not recorded.

    Args:
        cases: The recorded gains by kind.
        unknown: Gains of kinds of which nothing was recorded.
    """
    scale = scale_of([error for gains in cases.values() for error in _left_out(gains)])
    fitted = {kind: _scaled(components(gains), scale) for kind, gains in cases.items() if gains}
    if unknown is not None:
        return {**unknown, **fitted}
    means = [gain.mean for gain in fitted.values()]
    squares = {
        name: np.mean([getattr(gain, name) ** 2 for gain in fitted.values()])
        for name in ("task_deviation", "own_deviation")
    }
    spread = float(np.var(means, ddof=1)) if len(means) > 1 else 0.0
    among = {
        "task_deviation": math.sqrt(squares["task_deviation"] + spread),
        "own_deviation": math.sqrt(squares["own_deviation"]),
    }
    return {
        **fitted,
        "logistic": Gain(mean=0.0, task_deviation=0.0, own_deviation=0.0),
        "any": Gain(mean=float(np.mean(means)), **among),
    }


def components(cases: Sequence[Case]) -> Gain:
    """Return the mean of gains, and their deviations between tasks and within them (Henderson's first method).

    The deviation of a task includes what is unsure of the mean.
    """
    tasks = sorted({case.task for case in cases})
    groups = [np.array([case.gain for case in cases if case.task == task]) for task in tasks]
    sizes, means = np.array([len(group) for group in groups]), np.array([group.mean() for group in groups])
    within = sum(float(((group - group.mean()) ** 2).sum()) for group in groups) / max(sizes.sum() - len(groups), 1)
    between = float(means.var(ddof=1)) if len(groups) > 1 else within
    task = max(between - within * float(np.mean(1 / sizes)), 0.0)
    unsure = (task + within * float(np.mean(1 / sizes))) / len(groups)
    return Gain(mean=float(means.mean()), task_deviation=math.sqrt(task + unsure), own_deviation=math.sqrt(within))


def _left_out(cases: Sequence[Case]) -> Iterator[float]:
    """Yield the errors of gains in deviations of those of the other tasks."""
    for task in {case.task for case in cases}:
        others = [case for case in cases if case.task != task]
        if others:
            known = components(others)
            yield from ((case.gain - known.mean) / max(known.deviation, 1e-6) for case in cases if case.task == task)


def _scaled(gain: Gain, factor: float) -> Gain:
    return replace(gain, task_deviation=gain.task_deviation * factor, own_deviation=gain.own_deviation * factor)


# -- what a sampler draws ---------------------------------------------------------------------------------------------


def fit_drawn(setups: Sequence[Setup]) -> dict[str, Gain]:
    """Return what drawn candidates bring beyond the best known one of their backbone.

    Most are far worse, which is of no consequence: a Gaussian is fitted to how often one is better, and by how much.
    """
    found: dict[str, list[tuple[str, float]]] = {"frozen_heads": [], "sampled_tuning": []}
    for group in by_backbone(setups):
        known = list(chain.from_iterable(screened(group).values()))
        _add_drawn(found["frozen_heads"], known, [s for s in group if not s.trained])
        known += filter(is_first, group)
        _add_drawn(found["sampled_tuning"], known, [s for s in group if s.trained])
    return {kind: _upper(gains) for kind, gains in found.items()}


def _add_drawn(found: list[tuple[str, float]], known: Sequence[Setup], drawn: Sequence[Setup]) -> None:
    best = max(known, key=lambda setup: setup.validation)
    found += [(setup.data, setup.level - best.level) for setup in drawn if setup not in known]


def _upper(gains: Sequence[tuple[str, float]]) -> Gain:
    """Return the Gaussian whose share above 0, and whose mean improvement, are those of some gains (task, gain)."""
    tasks = sorted({task for task, _ in gains})
    by_task = [np.array([gain for task, gain in gains if task == name]) for name in tasks]
    # One better candidate is added to each: that none was seen does not say that there is none.
    shares = np.array([((gain > 0).sum() + 0.5) / (len(gain) + 1) for gain in by_task])
    share, improvement = float(shares.mean()), float(np.mean([np.maximum(gain, 0).mean() for gain in by_task]))
    u = float(norm.ppf(share))
    deviation = improvement / (float(norm.pdf(u)) + u * share)
    task = min(float(norm.ppf(shares).std(ddof=1)) if len(shares) > 1 else 0.0, 0.9) * deviation
    return Gain(mean=u * deviation, task_deviation=task, own_deviation=math.sqrt(deviation**2 - task**2))


def main() -> None:
    """Learn, print, and write where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grids", type=Path, default=GRIDS)
    parser.add_argument("--forms", type=Path, default=FORMS)
    for name in ("full", "head", "curves"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--without", choices=TASKS, default="", help="leave out a data set, as a replay on it does")
    parser.add_argument("--out", type=Path, help=f"write the prior, such as to {shipped_prior().name}")
    given = vars(parser.parse_args())
    out = given.pop("out")
    tensors, about = learn_gains(**{**given, "forms": given["forms"] if given["forms"].is_file() else None})
    for kind, gains in about["gains"].items():
        for name, gain in gains.items():
            print(f"{kind:8s} {name:15s}", "  ".join(f"{field} {value:6.3f}" for field, value in gain.items()))
    print("tuning weights", tensors["weights"].round(3), "own deviation", round(about["own_deviation"], 3))
    if out is not None:
        write_part(out, "gains", tensors, about)


if __name__ == "__main__":
    main()
