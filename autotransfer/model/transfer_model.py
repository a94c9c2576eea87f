"""The model that a search leaves behind: it predicts, saves and loads, and its files cannot run code."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autotransfer.contract.modality import Modality, Skipped, Store
from autotransfer.contract.registry import Registry
from autotransfer.data.examples import Examples
from autotransfer.data.sources import find_examples
from autotransfer.evaluation.inference_cost import held_bytes
from autotransfer.model.conformal import Conformal, require_conformal
from autotransfer.model.ensemble_member import EnsembleMember
from autotransfer.model.inference import MembersOfBackbone, Watched, group_by_backbone
from autotransfer.model.outliers import Outliers, mark_unknown, require_outliers
from autotransfer.model.saved_values import read_json
from autotransfer.model.scoring import labelled_examples, score_predictions, to_score
from autotransfer.model.temperature import temper
from autotransfer.model.write import write_model
from autotransfer.runtime.device import Device
from autotransfer.runtime.files import writing
from autotransfer.runtime.library_defaults import default_settings
from autotransfer.runtime.memory import memory_budget
from autotransfer.tasks.score import Score
from autotransfer.tasks.task import Task
from autotransfer.training.network import to_predictions
from autotransfer.warnings import ValueRangeWarning

if TYPE_CHECKING:
    from autotransfer.analysis.attention import Attention
    from autotransfer.model.export.export import ExportReport
    from autotransfer.model.predictions import Prediction

__all__ = ["TransferModel"]


@dataclass(frozen=True, kw_only=True)
class TransferModel:
    """A trained model with all that it needs to predict on new examples: one network, or an ensemble.

    Attributes:
        members: Its networks; each has a share of the prediction. A model that is no ensemble has one.
        task: What it predicts.
        modality: What kind of examples it takes.
        reading: How new examples are read: as those to train on were.
        device: Where it runs.
        columns: Columns of a table that held the examples to train on; empty where they came from no table.
        temperature: What the logits of a classifier are divided by.
        conformal: What sets and intervals are made of; None where no example was held out.
        outliers: What tells which examples are unlike anything seen; None where nothing does.
        card: Its model card, in Markdown; empty where it has none.
    """

    members: tuple[EnsembleMember, ...]
    task: Task
    modality: Modality
    reading: Mapping[str, Any]
    device: Device
    columns: tuple[str, ...] = ()
    temperature: float = 1.0
    conformal: Conformal | None = None
    outliers: Outliers | None = None
    card: str = field(default="", repr=False, compare=False)

    def predict(self, data: Any, *, unknown: Any = None) -> np.ndarray:
        """Predict for examples, in the order in which they are given.

        Args:
            data: A path, a folder, an example in memory, or several; a table with a column of examples or paths, such
                as a CSV file or DataFrame; a map-style Dataset.
            unknown: The label for examples that are unlike anything seen, such as ``"?"``; see ``outlier_scores``. None
                predicts a class for each. The values of a regression are NaN, whatever label is given.

        Returns:
            Labels (N,); an object array of label tuples for multilabel; float64 (N,) or (N, targets) for regression.

        Raises:
            ConfigError: A label for unknown examples is given, and the model cannot tell which are.
            DataError: An example cannot be read, or a row of a table names none.
        """
        if unknown is None:
            return self.task.predict(self.predict_proba(data))
        require_outliers(self.outliers)
        predictions, scores = self.predict_with_scores(self._read(data))
        return mark_unknown(self.task, self.task.predict(predictions), scores > 1, unknown)

    def outlier_scores(self, data: Any) -> np.ndarray:
        """Return how unlike the training examples each example is (N,), as float32; above 1 is unlike anything seen.

        One in a hundred training examples would score above 1, were it not among them. The score is the distance of the
        features that predictions are made of, so that it costs next to nothing.

        Args:
            data: As for ``predict``.

        Raises:
            ConfigError: The model cannot tell.
            DataError: An example cannot be read, or a row of a table names none.
        """
        require_outliers(self.outliers)
        return self.predict_with_scores(self._read(data))[1]

    def predict_proba(self, data: Any) -> np.ndarray:
        """Return probabilities (N, classes) as float32, or the values (N, targets) of a regression as float64.

        A ``ValueRangeWarning`` says where examples do not suit the values of the training examples.

        Raises:
            DataError: An example cannot be read, or a row of a table names none.
        """
        return self.predict_store(self._read(data))

    def predict_set(self, data: Any, coverage: float = 0.9, *, allow_empty: bool = True) -> np.ndarray:
        """Return the smallest set of labels, or the interval, that holds the truth at a rate.

        The rate holds on average over examples of the kind that the model was trained on. With too few of them, a set
        holds every label, and an interval has no end. A model that is right more often than the rate leaves the sets of
        some examples empty: those where it is least certain.

        Args:
            data: As for ``predict``.
            coverage: The rate.
            allow_empty: Whether a set may be empty. Where not, it has the most probable label, and the rate is higher.

        Returns:
            An object array of label tuples (N,), the most probable label first. Of several labels, a set holds all that
            an example has, at the rate. Of a regression, the ends of intervals (N, 2), or (N, targets, 2) where
            each interval for itself holds its target at the rate.

        Raises:
            ConfigError: The coverage is no number between 0 and 1, or no example was held out for this model.
            DataError: An example cannot be read, or a row of a table names none.
        """
        conformal = require_conformal(self.conformal, coverage)
        store = self._read(data)
        predictions = self.predict_store(store)
        return conformal.predict(self.task, predictions, store.digests, coverage, allow_empty=allow_empty)

    def _read(self, data: Any) -> Store:
        """Read examples to predict on, and warn where they do not suit the values of the training examples.

        Raises:
            DataError: An example cannot be read, or a row of a table names none.
        """
        examples = self.find_examples(data, strict=True)
        store = self.decode(examples, strict=True)
        if store.remarks:
            warnings.warn(ValueRangeWarning.of(store.remarks, examples.names), stacklevel=3)
        return store

    def find_examples(self, data: Any, **where: Any) -> Examples:
        """Collect examples to predict on; what can be read in two ways is read as the training examples tell.

        Raises:
            DataError: There is no example, or something that is none.
        """
        known: dict[str, Any] = {"modalities": (self.modality,), "columns": self.columns}
        return find_examples(data, reading=self.reading, **known, **where)

    def predict_table(
        self, data: Any, *, coverage: float | None = None, unknown: Any = None, **reading: Any
    ) -> list[Prediction]:
        """Predict for examples, and for those in folders, with the path, label and probabilities of each.

        With ``coverage``, each has a set or an interval, as of ``predict_set``; with ``unknown``, an outlier score.

        Returns:
            One for each example that was found; one that cannot be read says why.

        Raises:
            DataError: There is no example, or none can be read.
        """
        from autotransfer.model.predictions import predict_by_name

        return predict_by_name(self, data, coverage=coverage, unknown=unknown, **reading)

    def explain(self, data: Any) -> tuple[Attention, ...]:
        """Say where the model looks, in each example of which that can be said; see ``explain_data``."""
        from autotransfer.analysis.attention import explain_data

        return explain_data(self, data)

    def score(self, data: Any, targets: Any = None, **reading: Any) -> Score:
        """Score the model on labelled examples, in any form that ``fit`` takes, as ``autotransfer score`` does.

        Of data that are divided into parts, the test part alone is scored. Several target columns may stand in any
        order. Examples that cannot be read are left out.

        Args:
            data: The examples.
            targets: One target for each, where ``data`` does not hold them.
            reading: How they are read: ``input_column``, ``path_column``, ``target_column``, ``label_separator``,
                ``weight_column``, ``sample_weight``, ``groups``, ``root``, ``suffix`` and ``follow_links``, as of
                ``DataOptions``. Examples of one of the ``groups``, and copies, count together in the interval.

        Returns:
            The value of the metric that the search used, with its 95% interval.

        Raises:
            DataError: The data cannot be used, hold labels or target columns that the model does not know, or no
                example can be read.
            ConfigError: There are weights, and the metric takes none, or ``reading`` holds something else.
        """
        return self.score_examples(labelled_examples(self, data, targets, **reading))[0]

    def score_examples(self, examples: Examples) -> tuple[Score, tuple[Skipped, ...]]:
        """Return the score on labelled examples, and which of them cannot be read; see ``score``."""
        examples = to_score(self.task, examples)
        store = self.decode(examples)
        score = score_predictions(self.task, examples, store, self.predict_store(store))
        return score, examples.skipped + store.skipped

    def decode(self, examples: Examples, *, strict: bool = False) -> Store:
        """Read examples as the search did."""
        return self.modality.load(
            examples.items,
            examples.names,
            [member.network.backbone.preprocessing for member in self.members],
            options={},
            reading=self.reading,
            strict=strict,
            memory_limit=memory_budget(None),
        )

    @default_settings()
    def predict_store(self, store: Store) -> np.ndarray:
        """Like ``predict_proba``, for examples that were read.

        Each backbone sees each view of an example once, however many members share the backbone.
        """
        return self._predict(store, None)

    @default_settings()
    def predict_with_scores(self, store: Store) -> tuple[np.ndarray, np.ndarray]:
        """Return predictions as ``predict_store`` does, and the outlier scores (N,) of the same pass.

        Raises:
            ConfigError: The model cannot tell outliers.
        """
        outliers, scores = require_outliers(self.outliers), np.zeros(len(store), dtype=np.float32)
        return self._predict(store, Watched(look=outliers.detector, found=scores)), scores

    def _predict(self, store: Store, watched: Watched | None) -> np.ndarray:
        mean = np.zeros((len(store), self.task.outputs), dtype=self.task.dtype)
        for group in self._groups:
            own = watched is not None and self.outliers is not None and group.holds(self.members[self.outliers.member])
            for member, outputs in group.outputs(store, watched if own else None):
                mean += member.weight * to_predictions(self.task, outputs)
        return temper(self.task, mean, self.temperature)

    def pooled_features(self, store: Store, rows: np.ndarray, member: int = 0) -> np.ndarray:
        """Return what the backbone of a member makes of some examples (rows, width), as predictions have it."""
        (group,) = (group for group in self._groups if group.holds(self.members[member]))
        return group.pooled_features(store, rows)

    @property
    def held_bytes(self) -> int:
        """Bytes of memory that the weights take as they are held to predict."""
        networks = [member.network for member in self.members]
        return held_bytes([*networks, *(module for group in self._groups for module in group.backbone.held)])

    @staticmethod
    def files_of(folder: Path) -> list[Path]:
        """Return the files of a saved model that loading it reads."""
        named = read_json(folder / "model.json").get("files", {})
        return [folder / name for name in ("model.safetensors", "model.json", *named)]

    @cached_property
    def _groups(self) -> list[MembersOfBackbone]:
        return group_by_backbone(self.members, self.device)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is made again when needed."""
        return {name: value for name, value in self.__dict__.items() if name != "_groups"}

    def __repr__(self) -> str:
        several = f"an ensemble of {len(self.members)} with " if len(self.members) > 1 else ""
        classes = f" of {len(self.task.classes)} classes" if self.task.classes else ""
        setup = f"{several}{self.members[0].candidate}"
        return f"<TransferModel: {self.task.kind}{classes}, {setup}, on {self.device.torch}>"

    def save(self, folder: str | Path) -> Path:
        """Write ``model.safetensors``, ``model.json`` and what input formats need beside them, each file at once.

        Returns:
            The folder.

        Raises:
            OutputError: The disk is full, or the folder cannot be written.
        """
        with writing(folder, "Save the model again once there is room."):
            return self.write(Path(folder))

    def write(self, folder: Path) -> Path:
        """Like ``save``; what goes wrong with the disk is not put in words."""
        return write_model(self, folder)

    def export(
        self,
        path: str | Path,
        *,
        format: str = "onnx",
        check_data: Any,
        trained_on: Mapping[str, Any] | None = None,
        overwrite: bool = False,
        quantize: bool = False,
        scored: Examples | None = None,
    ) -> ExportReport:
        """Write the model in the format of other programs, with the preprocessing inside.

        What is written predicts as the model does on some examples, or is not written.

        Args:
            path: The file, such as ``model.onnx`` or ``model.pt2``, or the folder of a format that is one.
            format: ``"onnx"``, ``"torch"``, or another one of ``autotransfer.model.export.exporters.EXPORTERS``.
            check_data: Examples to compare on, in any form that ``predict`` takes; of many, a few hundred are taken.
            trained_on: What the file is to say of the training examples, as JSON.
            overwrite: Replace a file that is there; in a folder, the files of an earlier export.
            quantize: Write ONNX in 8 bits, where that costs at most half a point of accuracy.
            scored: Labelled examples to measure this loss on; None takes ``check_data``, which then has labels.

        Returns:
            The files, and how far they predict as the model does.

        Raises:
            ConfigError: There is no such format, or the place cannot be used.
            DataError: No example can be read.
            ExportError: The format has no form for the model, a package is missing, or the predictions do not agree.
            OutputError: The disk is full, or cannot be written.
        """
        from autotransfer.model.export.export import export_model

        examples = check_data if isinstance(check_data, Examples) else self.find_examples(check_data)
        more: dict[str, Any] = {"overwrite": overwrite, "quantize": quantize, "scored": scored}
        return export_model(self, path, format=format, examples=examples, trained_on=trained_on, **more)

    @staticmethod
    @default_settings()
    def load(folder: str | Path, *, device: str = "auto", registry: Registry | None = None) -> TransferModel:
        """Read what ``save`` wrote, or the model of a run folder.

        Raises:
            DataNotFoundError: There is no model in this folder.
            ModelFormatError: The files are damaged, or not a model.
        """
        from autotransfer.model.load import load_model

        return load_model(Path(folder), device=device, registry=registry)
