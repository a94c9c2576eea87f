"""What tests of searches, and of what evaluates their candidates, share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from autotransfer.config import Budget, SearchConfig
from autotransfer.contract.registry import Registry
from autotransfer.data.sources import load_examples
from autotransfer.preparation import prepare_data
from autotransfer.search.evaluate import Evaluator
from autotransfer.search.growth import Growth
from autotransfer.search.schedule import CurveModel
from autotransfer.transfer.device import resolve_device


@pytest.fixture
def curves() -> CurveModel:
    """Curves of three rungs."""
    return CurveModel(rungs=(1, 3, 6), own=np.eye(3) * 0.2 + 0.6, shared=np.full((3, 3), 0.1), growth=(1, 1, 1))


@pytest.fixture
def growth(curves: CurveModel) -> Callable[[str, Budget], Growth]:
    """Return a function that makes the schedule of backbones with names of a letter, whose worth is a formula."""

    def make(backbones: str, budget: Budget) -> Growth:
        return Growth(
            screening=[{"backbone": name, "freeze": "frozen", "x": 0.3} for name in backbones],
            tuning=lambda backbone, trained: (
                {"backbone": backbone, "freeze": "depth", "x": 0.4 + trained / 10} if trained < 4 else None
            ),
            probe="frozen",
            policies=("depth",),
            curves=curves,
            seconds=None if budget.seconds is None else lambda params, epochs: float(epochs),
        )

    return make


@pytest.fixture(scope="module")
def registry(tiny_zoo: Path) -> Registry:
    return Registry.load((tiny_zoo,))


@pytest.fixture(scope="module")
def make(registry: Registry, digits: tuple[np.ndarray, np.ndarray]) -> Callable[..., Evaluator]:
    """Return a function that makes an evaluator of two tiny backbones on ninety digits."""

    def make(*, noise: bool = False, seed: int = 0, folds: int | None = None) -> Evaluator:
        images, labels = digits[0][:90], digits[1][:90]
        if noise:  # labels that nothing in the images tells
            labels = np.random.default_rng(0).permutation(labels)
        specs = [registry.backbone(name) for name in ("test_resnet", "test_vit")]
        data = prepare_data(load_examples(images, labels), specs, SearchConfig(cache=False, folds=folds))
        return Evaluator(registry, data.extractor, data.lessons, resolve_device("cpu"), seed=seed)

    return make
