"""The outcome of the selection: the trained model, and why it is that one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from autotransfer.evaluation.inference_cost import InferenceCost
from autotransfer.model.transfer_model import TransferModel
from autotransfer.search.trials import TrialRecord
from autotransfer.selection.calibration import Calibration
from autotransfer.selection.ensemble import Ensemble
from autotransfer.selection.finals import Finals
from autotransfer.selection.out_of_fold import OutOfFold
from autotransfer.selection.selected_model import SelectedModel
from autotransfer.selection.thresholds import Thresholds
from autotransfer.settings import Limits
from autotransfer.tasks.score import Score

__all__ = ["SelectionResult"]


@dataclass(frozen=True, kw_only=True)
class SelectionResult:
    """The outcome of the selection.

    Attributes:
        best: The trial that won.
        selected: What the model is made of: that trial's candidate, or an ensemble.
        model: The trained model.
        validation: Score of what was selected, from out-of-fold predictions.
        finals: How the best candidates compared again; None where there was nothing, or no time, to compare.
        ensemble: What an ensemble brings, whether it became the model or not; None where none was tried.
        calibration: What a temperature brings; None where none was tried.
        thresholds: What thresholds bring; None where none were tried.
        out_of_fold: The examples that were held out, and how they were divided.
        out_of_fold_predictions: What networks of the selected kind, none of which trained on these examples, predict
            for them (n, outputs): at the model's temperature, so that probabilities are those of the model.
        decided_predictions: The same, shifted where the model has thresholds: decisions at one half are those of the
            model, each part of the examples by thresholds that the other parts chose.
        records: The trials, with the predictions that the finals have added.
        cost: What the saved model takes to predict, measured; None where it was not measured.
        limits: The limits on that.
        seconds: Wall time of the finals, with the choice that follows them, and of the refit.
    """

    best: TrialRecord
    selected: SelectedModel
    model: TransferModel
    validation: Score
    out_of_fold: OutOfFold = field(repr=False)
    out_of_fold_predictions: np.ndarray = field(repr=False)
    decided_predictions: np.ndarray = field(repr=False)
    finals: Finals | None = None
    ensemble: Ensemble | None = None
    calibration: Calibration | None = None
    thresholds: Thresholds | None = None
    records: tuple[TrialRecord, ...] = field(default=(), repr=False)
    cost: InferenceCost | None = None
    limits: Limits = field(default_factory=Limits)
    seconds: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return what was selected, and how, as JSON."""
        return {
            "model": self.selected.to_json(),
            "cost": None if self.cost is None else self.cost.to_json(),
            "limits": self.limits.to_json(),
            "finals": [row.to_json() for row in self.finals.rows] if self.finals else [],
            "ensemble": self.ensemble and {"used": self.selected.kind == "ensemble", **self.ensemble.to_json()},
            "calibration": self.calibration.to_json() if self.calibration else None,
            "thresholds": self.thresholds.to_json() if self.thresholds else None,
        }
