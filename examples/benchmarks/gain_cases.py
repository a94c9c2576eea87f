"""Recorded gains of candidates of each kind over what they are compared with, from grids and public runs."""

from __future__ import annotations

import csv
import gzip
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from pathlib import Path

import numpy as np
from recorded_grid import Setup

from autotransfer.search.gain_prior import level_of, tuning_features

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
# Relative validation error below which one image of a hundred changes a level by a third.
MIN_ERROR_OF_FORMS = 0.04
# Runs of so many recorded epochs at least, and draws of so many settings for each depth: their best is compared.
MIN_EPOCHS, DRAWS = 5, 6


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
    found: dict[str, list[Case]] = {}
    for (data, backbone, head, views), setup in by_form.items():
        kind, before = form_before(backbone, views, distant=setup.task.distant)
        known = by_form.get((data, before[0], head, before[1]))
        if known is not None and min(setup.error, known.error) >= MIN_ERROR_OF_FORMS:
            found.setdefault(kind, []).append(Case(source="forms", task=data, gain=setup.level - known.level))
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
