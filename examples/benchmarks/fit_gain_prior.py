"""Learn what each kind of candidate brings from recorded runs, and print how it does on tasks that were left out.

    python fit_gain_prior.py [--grids oracle.jsonl] [--forms forms.jsonl] [--full F --head F] [--curves F] [--out FILE]

Of a fine-tuning: a Bayesian linear model, with an effect of each task and of each source of runs. Its variances are
those under which the recorded gains are likeliest. Of the other kinds: a mean, and variances between and within tasks.
All deviations are scaled on tasks left out, so that nine in ten gains lie within their intervals of 90%.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from gain_cases import (
    Case,
    by_backbone,
    curve_cases,
    form_cases,
    head_cases,
    is_first,
    screened,
    table_cases,
    tuning_cases,
)
from recorded_grid import TASKS, Setup, read_forms, read_grid
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize
from scipy.stats import norm

from autotransfer.search.gain_prior import Gain
from autotransfer.search.prior_file import shipped_prior, write_part

Array = npt.NDArray[np.float64]
Apart = tuple[Array, Array, npt.NDArray[np.int64], Array]
CONSTANT, DEPTH = 0, 1  # places of two features of fine-tunings
HERE = Path(__file__).parent
GRIDS, FORMS = HERE / "oracle.jsonl", HERE / "forms.jsonl"
COVERED, Z_OF_90_PERCENT = 0.9, 1.645
MIN_DEVIATION = 0.05  # equal candidates differ by as much
# What is taken of forms that were recorded on fewer tasks than this.
MIN_TASKS = 3
UNKNOWN_FORMS = {
    "resolution": Gain(mean=0.0, task_deviation=0.2, own_deviation=0.2),
    "framing": Gain(mean=0.0, task_deviation=0.2, own_deviation=0.2),
    "views": Gain(mean=0.05, task_deviation=0.15, own_deviation=0.15),
}


def learn_gains(
    grids: Path = GRIDS,
    forms: Path | None = FORMS,
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
    errors = {"tuning": [error for _, error in left_out_errors(cases, deviations)]}
    model = fit_tuning(cases, deviations, scale_of(errors["tuning"]))
    heads, scored = head_cases(setups), [] if forms is None else read_forms(forms)
    changed = form_cases([setup for setup in scored if setup.data not in left_out])
    changed = {kind: gains for kind, gains in changed.items() if len({gain.task for gain in gains}) >= MIN_TASKS}
    errors |= {"heads": left_out_errors_of_kinds(heads), "forms": left_out_errors_of_kinds(changed)}
    gains = {
        "heads": with_unknown(fit_kinds(heads, scale_of(errors["heads"]))),
        "forms": {**UNKNOWN_FORMS, **of_one_backbone(fit_kinds(changed, scale_of(errors["forms"])))},
        "drawn": fit_drawn(setups),
    }
    about = {kind: {name: asdict(gain) for name, gain in found.items()} for kind, found in gains.items()}
    tensors = {"weights": model.weights, "covariance": model.covariance}
    covered = {kind: [coverage(found), coverage(found, scale_of(found))] for kind, found in errors.items() if found}
    return tensors, {"gains": about, "own_deviation": model.own_deviation, "covered_90": covered}


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


def coverage(errors: Sequence[float], scale: float = 1.0) -> float:
    """Return the share of errors within the interval of 90% of scaled deviations."""
    return float(np.mean(np.abs(errors) <= Z_OF_90_PERCENT * scale + 1e-9))


# -- heads and forms --------------------------------------------------------------------------------------------------


def fit_kinds(cases: Mapping[str, Sequence[Case]], scale: float) -> dict[str, Gain]:
    """Return the gain of each kind.

    Args:
        cases: The recorded gains by kind.
        scale: Factor of the deviations.
    """
    found = {kind: components(gains) for kind, gains in cases.items()}
    return {
        kind: replace(gain, task_deviation=gain.task_deviation * scale, own_deviation=gain.own_deviation * scale)
        for kind, gain in found.items()
    }


def of_one_backbone(forms: Mapping[str, Gain]) -> dict[str, Gain]:
    """Return gains of forms with the deviations of one backbone: those of views were recorded as means of four."""
    deviations = {kind: gain.own_deviation * (2 if kind == "views" else 1) for kind, gain in forms.items()}
    return {kind: replace(gain, own_deviation=deviations[kind]) for kind, gain in forms.items()}


def with_unknown(heads: Mapping[str, Gain]) -> dict[str, Gain]:
    """Return the gains of heads with that of ``logistic``, which is what they are compared with, and of any other."""
    gains = [*heads.values()]
    means = [gain.mean for gain in gains]
    task, own = (
        math.sqrt(np.mean([getattr(gain, f"{part}_deviation") ** 2 for gain in gains])) for part in ("task", "own")
    )
    unknown = Gain(
        mean=float(np.mean(means)), task_deviation=math.hypot(task, float(np.std(means, ddof=1))), own_deviation=own
    )
    none = Gain(mean=0.0, task_deviation=0.0, own_deviation=MIN_DEVIATION)
    return {**heads, "logistic": none, "any": unknown}


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


def left_out_errors_of_kinds(cases: Mapping[str, Sequence[Case]]) -> list[float]:
    """Return the errors of gains in deviations of their kind, as the other tasks say."""
    errors = list[float]()
    for gains in cases.values():
        for task in {case.task for case in gains}:
            others = [case for case in gains if case.task != task]
            if len({case.task for case in others}) > 1:
                known = components(others)
                deviation = max(known.deviation, MIN_DEVIATION)
                errors += [(case.gain - known.mean) / deviation for case in gains if case.task == task]
    return errors


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
    tensors, about = learn_gains(**given)
    for kind, gains in about["gains"].items():
        for name, gain in gains.items():
            print(f"{kind:8s} {name:15s}", "  ".join(f"{field} {value:6.3f}" for field, value in gain.items()))
    for kind, (before, after) in about["covered_90"].items():
        print(f"{kind:8s} {before:.2f} of the tasks left out lie within 90%, with scaled deviations {after:.2f}")
    print("tuning weights", tensors["weights"].round(3), "own deviation", round(about["own_deviation"], 3))
    if out is not None:
        write_part(out, "gains", tensors, about)


if __name__ == "__main__":
    main()
