"""Recorded grids: what setups of image backbones reached on five data sets; see ``oracle.py``, ``record_forms.py``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotransfer.search.gain_prior import level_of

_SETUP = re.compile(
    r"(?P<backbone>\S+) \+ (?P<head>\w+)(?:\((?P<params>.*?)\))? \+ (?:frozen|depth\(depth=(?P<depth>\d+)\))"
    r"(?: \+ (?P<views>\d+) views)?(?:, (?P<epochs>\d+) epochs at (?P<rate>\S+))?"
)


@dataclass(frozen=True, kw_only=True)
class GridTask:
    """What is known of the task of a grid.

    Attributes:
        examples: Number of training examples.
        classes: Number of classes.
        majority: Share of the most frequent class.
        distant: Whether a fit takes the images to be unlike those of its backbones: they are so small that it screens
            all backbones at another resolution than their own.
        others: Names of the same images in other recorded runs.
    """

    examples: int
    classes: int
    majority: float
    distant: bool
    others: frozenset[str] = frozenset()


TASKS = {
    "ants_bees": GridTask(examples=244, classes=2, majority=0.504, distant=False),
    "covid_xray": GridTask(examples=215, classes=3, majority=0.423, distant=False),
    "dtd10": GridTask(examples=840, classes=10, majority=0.1, distant=False, others=frozenset({"dtd", "TEX_DTD"})),
    "sign_digits": GridTask(examples=1430, classes=10, majority=0.101, distant=True),
    "bccd_cells": GridTask(examples=1044, classes=3, majority=0.513, distant=True),
}
STAGES = {"mobilenetv1_100_224": 6, "mobilenetv2_100_224": 8}
STAGES |= dict.fromkeys(("mobilenetv2_100_inat_bird", "mobilenetv2_100_inat_insect"), 8)


@dataclass(frozen=True, kw_only=True)
class Setup:
    """A line of a grid.

    Attributes:
        data: Name of the data set.
        backbone: Name of the backbone, with its form.
        head: Name of the head.
        head_params: Settings of a closed-form head.
        trained: Number of last stages that train; 0 for none.
        views: Number of views.
        rate: Learning rate; None for closed forms.
        epochs: Number of epochs; 0 for closed forms.
        validation: Validation accuracy.
        test: Test accuracy.
        seconds: Seconds of both trainings.
    """

    data: str
    backbone: str
    head: str
    head_params: Mapping[str, float]
    trained: int
    views: int
    rate: float | None
    epochs: int
    validation: float
    test: float
    seconds: float

    @property
    def task(self) -> GridTask:
        """The task."""
        return TASKS[self.data]

    @property
    def share(self) -> float:
        """Share of the stages that train."""
        return self.trained / STAGES[self.backbone]

    @property
    def error(self) -> float:
        """Validation error, in shares of that of the most frequent class."""
        return (1 - self.validation) / (1 - self.task.majority)

    @property
    def level(self) -> float:
        """Mean of the levels in validation and test.

        Closed forms are validated on all folds and fine-tunings on the first, and the best of several is chosen by
        validation: its test is free of both.
        """
        return (level_of(self.error) + level_of((1 - self.test) / (1 - self.task.majority))) / 2


def read_grid(path: Path) -> list[Setup]:
    """Return the setups of a file of lines that ``oracle.py`` wrote."""
    return [_setup(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def read_forms(path: Path) -> list[Setup]:
    """Return the candidates of a file of lines that ``record_forms.py`` wrote."""
    common: dict[str, Any] = {"head_params": {}, "trained": 0, "rate": None, "epochs": 0}
    return [Setup(**common, **json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def _setup(line: Mapping[str, Any]) -> Setup:
    found = _SETUP.fullmatch(line["setup"])
    assert found is not None, line
    backbone, depth = found["backbone"], found["depth"]
    pairs: Sequence[str] = found["params"].split(", ") if found["params"] else ()
    return Setup(
        data=line["data"],
        backbone=backbone,
        head=found["head"],
        head_params={name: float(value) for name, value in (pair.split("=") for pair in pairs)},
        trained=0 if depth is None else STAGES[backbone] - int(depth),
        views=int(found["views"] or 1),
        rate=float(found["rate"]) if found["rate"] else None,
        epochs=int(found["epochs"] or 0),
        **{name: line[name] for name in ("validation", "test", "seconds")},
    )
