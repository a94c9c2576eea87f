"""What tests of whole searches share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from autotransfer.config import Budget
from autotransfer.search.growth import Growth
from autotransfer.search.schedule import CurveModel


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
