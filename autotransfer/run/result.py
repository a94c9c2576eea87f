"""What a search returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from autotransfer.analysis.summary import Insight
from autotransfer.candidate import Candidate
from autotransfer.data.examples import Examples, Skipped
from autotransfer.data.grouping import Grouping
from autotransfer.model.predictions import Prediction
from autotransfer.model.transfer_model import TransferModel
from autotransfer.runtime.text import escape
from autotransfer.search.trials import Trials
from autotransfer.selection.calibration import Calibration
from autotransfer.selection.ensemble import Ensemble
from autotransfer.selection.finals import Finals
from autotransfer.selection.soup import Soup
from autotransfer.tasks.score import Score
from autotransfer.warnings import FitWarning

__all__ = ["FitResult", "Leaderboard"]


class Leaderboard(tuple[dict[str, Any], ...]):
    """Rows of ``trials.csv`` that have a score, best first; prints as a table, and ``pandas.DataFrame`` takes it."""

    def __str__(self) -> str:
        columns = ("number", "state", "score", "objective", "backbone", "head", "freeze", "depth", "epochs", "seconds")
        cells = [columns] + [tuple(_cell(row.get(column)) for column in columns) for row in self]
        widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
        return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells)


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """What a search found.

    Attributes:
        best: The winning candidate.
        validation: Score on the validation examples of the winner, or of the ensemble or soup that is the model.
        test: Score of the model on the test examples; None without any.
        insight: How far its score is to be believed, and what made it.
        seconds: Wall time: total, decode, search, finals, refit, test, insight.
        trials: Every trial.
        finals: How the best of them compared on other folds and seeds; None where nothing was left to compare.
        ensemble: What ensembling them would bring, and whether the model is one; None where it was not tried.
        soup: What averaging their weights would bring, and whether the model is one; None where it was not tried.
        calibration: What scaling the probabilities brings; None where it was not tried.
        skipped: Examples that could not be used, and why.
        grouping: What the split kept together, and how much it would have flattered otherwise; None for nothing.
        decoded: Number of images that were decoded, the test images left out.
        fit_warnings: What a user should know; see ``warnings``.
        model: The refitted model.
        run: The run folder.
        examples: What was searched on, for what follows a search, such as ``distill``.
        test_examples: What the model was scored on; None for nothing.
    """

    best: Candidate
    validation: Score
    test: Score | None
    insight: Insight
    seconds: dict[str, float]
    trials: Trials
    finals: Finals | None = None
    ensemble: Ensemble | None = None
    soup: Soup | None = None
    calibration: Calibration | None = None
    skipped: tuple[Skipped, ...]
    grouping: Grouping | None
    decoded: int
    fit_warnings: tuple[FitWarning, ...] = ()
    model: TransferModel
    run: Path
    examples: Examples = field(repr=False, compare=False)
    test_examples: Examples | None = field(default=None, repr=False, compare=False)

    @property
    def warnings(self) -> list[dict[str, Any]]:
        """What a user should know, as JSON: ``{"code": ..., "message": ...}``, with details beside them."""
        return [warning.to_json() for warning in self.fit_warnings]

    def leaderboard(self) -> Leaderboard:
        """Return the trials that have a score, best first."""
        return Leaderboard(record.to_row() for record in self.trials.leaderboard())

    def predict(self, data: Any) -> np.ndarray:
        """Predict with the refitted model; see ``TransferModel.predict``."""
        return self.model.predict(data)

    def predict_proba(self, data: Any) -> np.ndarray:
        """Return probabilities of the refitted model; see ``TransferModel.predict_proba``."""
        return self.model.predict_proba(data)

    def predict_table(self, data: Any) -> list[Prediction]:
        """Predict with the refitted model, with the path of each image; see ``TransferModel.predict_table``."""
        return self.model.predict_table(data)

    def score(self, data: Any, targets: Any = None, **reading: Any) -> Score:
        """Score the refitted model on labelled examples; see ``TransferModel.score``."""
        return self.model.score(data, targets, **reading)

    def save(self, folder: str | Path) -> Path:
        """Write the model into a folder and return the folder."""
        return self.model.save(folder)

    def to_json(self) -> dict[str, Any]:
        """Return what ``result.json`` holds."""
        return {
            "best": self.best.to_json(),
            "validation": self.validation.to_json(),
            "test": self.test.to_json() if self.test else None,
            **self.insight.to_json(),
            "seconds": self.seconds,
            "trials": self.trials.counts(),
            "finals": [row.to_json() for row in self.finals.rows] if self.finals else [],
            "ensemble": self.ensemble.to_json() if self.ensemble else None,
            "soup": self.soup.to_json() if self.soup else None,
            "calibration": self.calibration.to_json() if self.calibration else None,
            "run": str(self.run),
            "grouping": self.grouping.to_json() if self.grouping else None,
            "decoded": self.decoded,
            "warnings": self.warnings,
            "skipped": [{"name": entry.name, "reason": entry.reason} for entry in self.skipped],
        }

    def __repr__(self) -> str:
        scores = f"validation {self.validation.metric} {self.validation.score:.4f}"
        scores += f", test {self.test.score:.4f}" if self.test else ""
        warnings = f", {len(self.fit_warnings)} warnings" if self.fit_warnings else ""
        return f"<FitResult: {self.best}, {scores}, {len(self.trials)} trials{warnings}, run {str(self.run)!r}>"

    def __str__(self) -> str:
        lines = [f"warning     {escape(warning)}" for warning in self.fit_warnings]
        lines.append(f"best        {self.best}")
        if self.insight.selected.kind != "single":
            lines.append(f"model       {self.insight.selected}, which the scores are of")
        lines.append(f"validation  {self.validation}")
        if self.test:
            lines.append(f"test        {self.test}")
        lines += str(self.insight).splitlines()
        if self.grouping:
            lines.append(f"split       {self.grouping}")
        if self.finals:
            lines.append(f"finals      {self.finals}")
        if self.ensemble and self.ensemble.pays:
            lines.append(f"ensemble    {self.ensemble}")
        if self.soup and self.soup.pays:
            lines.append(f"soup        {self.soup}")
        if self.calibration:
            lines.append(f"calibration {self.calibration}")
        counts = ", ".join(f"{count} {state}" for state, count in self.trials.counts().items())
        lines += [f"trials      {counts}", f"seconds     {self.seconds['total']:.1f}", f"run         {self.run}"]
        return "\n".join(lines)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    return "" if value is None else str(value)
