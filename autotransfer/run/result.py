"""What a fit returns."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autotransfer.analysis.attention import Attention
from autotransfer.analysis.pareto import ParetoPoint, find_front
from autotransfer.analysis.result import Analysis
from autotransfer.candidate import Candidate
from autotransfer.contract.modality import Skipped
from autotransfer.data.examples import Examples
from autotransfer.data.grouping import Grouping
from autotransfer.model.export.export import ExportReport
from autotransfer.model.predictions import Prediction
from autotransfer.model.transfer_model import TransferModel
from autotransfer.report.card_usage import CARD
from autotransfer.run.summary import summarize
from autotransfer.run.training_data import trained_on
from autotransfer.search.trials import Trials
from autotransfer.selection.result import SelectionResult
from autotransfer.settings import Limits, Settings
from autotransfer.tasks.score import Score, format_score
from autotransfer.warnings import FitWarning

if TYPE_CHECKING:
    from autotransfer.pipeline.pick import PickedModel

__all__ = ["FitData", "FitResult", "Leaderboard"]


class Leaderboard(tuple[dict[str, Any], ...]):
    """Rows of ``trials.csv`` that have a score, best first; prints as a table, and ``pandas.DataFrame`` takes it."""

    def __str__(self) -> str:
        columns = ("number", "state", "score", "objective", "backbone", "head", "freeze", "depth", "epochs", "seconds")
        cells = [columns] + [tuple(_cell(row.get(column)) for column in columns) for row in self]
        widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
        return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells)


@dataclass(frozen=True, kw_only=True)
class FitData:
    """The examples of a fit.

    Attributes:
        train: What was searched on.
        test: What the model was scored on; None without test examples.
        decoded: Number of examples that were decoded, test examples left out.
        skipped: Examples that could not be used, and why.
        grouping: What the split keeps together; None for nothing but copies.
    """

    train: Examples = field(repr=False)
    test: Examples | None = field(default=None, repr=False)
    decoded: int = 0
    skipped: tuple[Skipped, ...] = ()
    grouping: Grouping | None = None

    def to_json(self) -> dict[str, Any]:
        """Return what was used and what was left out as JSON."""
        return {
            "decoded": self.decoded,
            "skipped": [{"name": entry.name, "reason": entry.reason} for entry in self.skipped],
            "groups": self.grouping.to_json() if self.grouping else None,
        }


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """What a fit found.

    Attributes:
        selection: The trained model, and why it is that one.
        test: Score of the model on the test examples; None without any.
        analysis: Selection bias, transfer gain, importance, and rankings of backbones and freeze depths.
        trials: Every trial of the search.
        data: The examples, and which of them could not be used.
        seconds: Wall time by step: decode, search, finals, refit, test, analysis, total.
        warnings: What a user should know; see ``autotransfer.warnings``.
        run: The run folder.
        settings: What the fit was asked for; None where this is not known.
    """

    selection: SelectionResult
    test: Score | None
    analysis: Analysis
    trials: Trials
    data: FitData = field(compare=False)
    seconds: dict[str, float]
    warnings: tuple[FitWarning, ...] = ()
    run: Path
    settings: Settings | None = field(default=None, compare=False, repr=False)

    @property
    def best(self) -> Candidate:
        """The winning candidate."""
        return self.model.members[0].candidate

    @property
    def model(self) -> TransferModel:
        """The trained model."""
        return self.selection.model

    @property
    def validation(self) -> Score:
        """Score of the model from out-of-fold predictions."""
        return self.selection.validation

    @property
    def pareto(self) -> tuple[ParetoPoint, ...]:
        """The best candidates for what they take to predict, the best first: no other one is better and takes less."""
        return find_front(self.trials)

    def pick(
        self,
        *,
        latency: str | float | None = None,
        size: str | int | None = None,
        memory: str | int | None = None,
    ) -> PickedModel:
        """Train the best candidate of the search that keeps limits on all examples; nothing is searched again.

        Example:
            >>> result.pick(latency="5ms").save("small_model")  # doctest: +SKIP

        Args:
            latency: Most time of a prediction; see ``Limits``.
            size: Most bytes of the files.
            memory: Most bytes of memory.

        Raises:
            ConfigError: No limit is given, none of the candidates keeps the limits, or the result was loaded from a
                file that does not hold the examples.
            SearchError: Every candidate that should keep the limits was measured to exceed them.
        """
        from autotransfer.pipeline.pick import pick_model  # which needs all steps of a fit

        batch = self.selection.limits.batch
        return pick_model(self, Limits(latency=latency, size=size, memory=memory, batch=batch))

    @property
    def report(self) -> Path:
        """The page of the fit: one HTML file, to open in a browser and to send."""
        return self.run / "report.html"

    def leaderboard(self) -> Leaderboard:
        """Return the trials that have a score, best first."""
        return Leaderboard(record.to_row() for record in self.trials.leaderboard())

    def predict(self, data: Any, *, unknown: Any = None) -> np.ndarray:
        """Predict with the model; see ``TransferModel.predict``."""
        return self.model.predict(data, unknown=unknown)

    def predict_proba(self, data: Any) -> np.ndarray:
        """Return probabilities of the model; see ``TransferModel.predict_proba``."""
        return self.model.predict_proba(data)

    def predict_set(self, data: Any, coverage: float = 0.9, *, allow_empty: bool = True) -> np.ndarray:
        """Return sets of labels, or intervals, that hold the truth at a rate; see ``TransferModel.predict_set``."""
        return self.model.predict_set(data, coverage, allow_empty=allow_empty)

    def outlier_scores(self, data: Any) -> np.ndarray:
        """Return how unlike the training examples each example is; see ``TransferModel.outlier_scores``."""
        return self.model.outlier_scores(data)

    def predict_table(self, data: Any, *, coverage: float | None = None, unknown: Any = None) -> list[Prediction]:
        """Predict with the model, with the path of each example; see ``TransferModel.predict_table``."""
        return self.model.predict_table(data, coverage=coverage, unknown=unknown)

    def explain(self, data: Any) -> tuple[Attention, ...]:
        """Say where the model looks in each example; see ``TransferModel.explain``."""
        return self.model.explain(data)

    def score(self, data: Any, targets: Any = None, **reading: Any) -> Score:
        """Score the model on labelled examples; see ``TransferModel.score``."""
        return self.model.score(data, targets, **reading)

    def save(self, folder: str | Path) -> Path:
        """Write the model into a folder, with the model card of the run, and return the folder.

        Raises:
            OutputError: The disk is full, or the folder cannot be written.
        """
        return self._model_with_card().save(folder)

    def export(
        self,
        path: str | Path,
        *,
        format: str = "onnx",
        check_data: Any = None,
        overwrite: bool = False,
        quantize: bool = False,
    ) -> ExportReport:
        """Write the model in the format of other programs, with the preprocessing inside.

        Args:
            path: The file, such as ``model.onnx`` or ``model.pt2``, or the folder of a format that is one.
            format: ``"onnx"``, ``"torch"``, or another format; see ``TransferModel.export``.
            check_data: Examples to compare the export with the model on; None takes training examples.
            overwrite: Replace a file that is there; in a folder, the files of an earlier export.
            quantize: Write ONNX in 8 bits, where that costs at most half a point of accuracy on the test examples, or
                without any on the training examples.

        Raises:
            ConfigError: There is no such format, or the place cannot be used.
            ExportError: The format has no form for the model, a package is missing, or the predictions do not agree.
            OutputError: The disk is full, or cannot be written.
        """
        compared = self.data.train if check_data is None else check_data
        about = trained_on(self.data.train)
        return self._model_with_card().export(
            path,
            format=format,
            check_data=compared,
            trained_on=about,
            overwrite=overwrite,
            quantize=quantize,
            scored=self.data.test,
        )

    def _model_with_card(self) -> TransferModel:
        """Return the model with the card that the run folder holds."""
        file = self.run / "model" / CARD
        return replace(self.model, card=file.read_text(encoding="utf-8")) if file.is_file() else self.model

    def to_json(self) -> dict[str, Any]:
        """Return what ``result.json`` holds."""
        return {
            "best": self.best.to_json(),
            "validation": self.validation.to_json(),
            "test": self.test.to_json() if self.test else None,
            **self.selection.to_json(),
            **self.analysis.to_json(),
            "pareto": [point.to_json() for point in self.pareto],
            "trials": self.trials.counts(),
            **self.data.to_json(),
            "warnings": [warning.to_json() for warning in self.warnings],
            "seconds": self.seconds,
            "run": str(self.run),
        }

    def __repr__(self) -> str:
        scores = f"validation {self.validation.metric} {format_score(self.validation.score)}"
        scores += f", test {format_score(self.test.score)}" if self.test else ""
        warnings = f", {len(self.warnings)} warnings" if self.warnings else ""
        return f"<FitResult: {self.best}, {scores}, {len(self.trials)} trials{warnings}, run {str(self.run)!r}>"

    def __str__(self) -> str:
        return summarize(self)

    def _repr_html_(self) -> str:
        from autotransfer.report.assemble import assemble_summary  # what draws is loaded by those who look
        from autotransfer.report.render import render_summary

        return render_summary(assemble_summary(self), self.report)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return format_score(value)
    return "" if value is None else str(value)
