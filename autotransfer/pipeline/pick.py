"""Another candidate of a finished search as a model, because it takes less: trained on all examples, and measured."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autotransfer.analysis.pareto import ParetoPoint, pick_order, within
from autotransfer.candidate import Candidate
from autotransfer.contract.registry import Registry
from autotransfer.data.examples import Examples
from autotransfer.errors import ConfigError, RunFormatError, SearchError
from autotransfer.evaluation.evaluator import Evaluator
from autotransfer.evaluation.inference_cost import InferenceCost
from autotransfer.evaluation.latency import LatencySample
from autotransfer.model.saved_cost import measure_saved_model
from autotransfer.model.transfer_model import TransferModel
from autotransfer.pipeline.finish import finish_model
from autotransfer.pipeline.prepare import Prepared, load_first, prepare_data
from autotransfer.run.folder import RunFolder
from autotransfer.run.training_data import training_examples
from autotransfer.runtime.device import resolve_device
from autotransfer.runtime.library_defaults import default_settings
from autotransfer.selection.refit import as_member
from autotransfer.settings import Limits, Settings
from autotransfer.settings.limits import format_bytes, format_seconds
from autotransfer.settings.serialization import call_from_json
from autotransfer.tasks.score import Score

if TYPE_CHECKING:
    from autotransfer.run.result import FitResult

__all__ = ["PickedModel", "pick_from_run", "pick_model"]

# Candidates that are trained until one is measured to keep the limits.
MAX_TRAINED = 5


@dataclass(frozen=True, kw_only=True)
class PickedModel:
    """A candidate of a search, trained on all examples.

    Attributes:
        point: The candidate, and what the search knows of it.
        model: The trained model.
        validation: Its score from out-of-fold predictions of the search.
        cost: What the model takes, measured.
    """

    point: ParetoPoint
    model: TransferModel
    validation: Score
    cost: InferenceCost

    @property
    def candidate(self) -> Candidate:
        """The candidate."""
        return self.point.candidate

    def predict(self, data: Any) -> np.ndarray:
        """Predict with the model; see ``TransferModel.predict``."""
        return self.model.predict(data)

    def save(self, folder: str | Path) -> Path:
        """Write the model into a folder and return the folder."""
        return self.model.save(folder)

    def to_json(self) -> dict[str, Any]:
        """Return what was picked as JSON."""
        return {**self.point.to_json(), "validation": self.validation.to_json(), "cost": self.cost.to_json()}

    def __str__(self) -> str:
        return f"trial {self.point.trial}: {self.candidate}, validation {self.validation}, {self.cost}"


@dataclass(frozen=True, kw_only=True)
class _Source:
    """What is known of a finished search."""

    settings: Settings
    points: Sequence[ParetoPoint]
    examples: Examples
    reading: Mapping[str, Any]
    predictions: Mapping[int, np.ndarray | None]


@default_settings()
def pick_model(result: FitResult, limits: Limits) -> PickedModel:
    """Train the best candidate of a search that keeps limits; see ``FitResult.pick``.

    Raises:
        ConfigError: No limit is given, or no candidate keeps them.
        SearchError: Every candidate that should keep them was measured to exceed them.
    """
    if result.settings is None:
        raise ConfigError("This result does not know how it was made: pick from the result that fit returned.")
    records = result.selection.records
    source = _Source(
        settings=result.settings,
        points=pick_order(records),
        examples=result.data.train,
        reading=result.model.reading,
        predictions={record.number: record.predictions for record in records},
    )
    return _pick(source, limits)


@default_settings()
def pick_from_run(run: Path, limits: Limits) -> PickedModel:
    """Train the best candidate of a run's front that keeps limits; its data are read again from where they were.

    Raises:
        DataError: The data were in memory, or are gone.
        ConfigError: No limit is given, or no candidate of the front keeps them.
        RunFormatError: The run did not end, or its files are damaged.
        SearchError: Every candidate that should keep them was measured to exceed them.
    """
    examples, recorded = training_examples(run), RunFolder(path=run).read()
    try:
        settings = call_from_json(recorded["call"])[1]
        compute = replace(settings.compute, cache_dir=recorded["folders"]["cache_dir"])
        settings = replace(settings, zoo=recorded["folders"]["zoo"], compute=compute)
        result = json.loads((run / "result.json").read_text(encoding="utf-8"))
        points = [ParetoPoint.from_json(point) for point in result["pareto"]]
        limits = replace(limits, batch=result["limits"]["batch"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunFormatError(
            f"The front of the run in {run} cannot be read: {type(error).__name__}: {error}."
        ) from error
    model = TransferModel.load(run, device=settings.compute.device)
    return _pick(
        _Source(settings=settings, points=points, examples=examples, reading=model.reading, predictions={}), limits
    )


def _pick(source: _Source, limits: Limits) -> PickedModel:
    if not limits.is_set:
        raise ConfigError('Say what the model may take: pick(latency="5ms"), pick(size="5MB") or both.')
    able = within(source.points, limits.latency_seconds, limits.size_bytes)
    if not able:
        raise ConfigError(f"No candidate of the search keeps the limits ({limits}): {_extremes(source.points)}.")
    measured = list[InferenceCost]()
    for point in able[:MAX_TRAINED]:
        picked = _train(source, point, limits)
        if not picked.cost.exceeds(limits):
            return picked
        measured.append(picked.cost)
    costs = "; ".join(map(str, measured))
    raise SearchError(
        f"{len(measured)} candidates that should keep the limits ({limits}) were measured to take: {costs}."
    )


def _extremes(points: Sequence[ParetoPoint]) -> str:
    """Return what the fastest and the smallest candidate take, in words."""
    if not points:
        return "what they take was not measured"
    fastest = min(points, key=lambda point: point.latency_seconds)
    smallest = min(points, key=lambda point: point.size_bytes)
    return (
        f"the fastest, {fastest.candidate}, takes {format_seconds(fastest.latency_seconds)}, and the smallest, "
        f"{smallest.candidate}, has {format_bytes(smallest.size_bytes)}"
    )


def _train(source: _Source, point: ParetoPoint, limits: Limits) -> PickedModel:
    """Train a candidate on all examples, as the selection of the search would have."""
    settings, candidate = source.settings, point.candidate
    registry, device = Registry.load(settings.zoos), resolve_device(settings.compute.device)
    spec = registry.backbone(candidate.backbone)
    first = load_first([spec], device)  # near-duplicates stay together, as in the search
    data = prepare_data(source.examples, [spec], settings, first=first, reading=source.reading)
    loaded = [] if first is None else [first]
    evaluator = Evaluator(registry, data.extractor, data.folds, device, seed=settings.seed, loaded=loaded)
    predictions = source.predictions.get(point.trial)
    if predictions is None:  # the search has not kept them: they are made again
        predictions = evaluator(candidate, lambda epoch, score: False, lambda: False).predictions
    assert predictions is not None  # nothing has stopped it
    network = evaluator.refit(candidate, point.epochs, predictions=predictions)
    finished = finish_model([as_member(network, candidate, evaluator)], predictions, data, evaluator, settings)
    return PickedModel(
        point=point,
        model=finished.model,
        validation=finished.validation,
        cost=_measured(finished.model, data, source.examples, limits),
    )


def _measured(model: TransferModel, data: Prepared, examples: Examples, limits: Limits) -> InferenceCost:
    """Save a model into a temporary folder, and measure what it takes."""
    store = data.store
    sample = LatencySample.of(store.modality, examples.items, store.kept.tolist(), store.reading, limits.batch)
    with tempfile.TemporaryDirectory(prefix="autotransfer-") as folder:
        return measure_saved_model(model, sample, model.write(Path(folder)), limits)
