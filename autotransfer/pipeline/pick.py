"""Another candidate of a finished search as a model, because it takes less: trained on all examples, and measured."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autotransfer.analysis.pareto import ParetoPoint, pick_order, within
from autotransfer.candidate import Candidate
from autotransfer.contract.registry import Registry
from autotransfer.errors import ConfigError, SearchError
from autotransfer.evaluation.evaluator import Evaluator
from autotransfer.evaluation.inference_cost import InferenceCost
from autotransfer.evaluation.latency import LatencySample
from autotransfer.model.latency import measure_model
from autotransfer.model.transfer_model import TransferModel
from autotransfer.pipeline.finish import finish_model
from autotransfer.pipeline.model_cost import MAX_MEASUREMENTS, MEASURING_SECONDS
from autotransfer.pipeline.prepare import Prepared, prepare_data
from autotransfer.runtime.device import resolve_device
from autotransfer.runtime.library_defaults import default_settings
from autotransfer.search.trials import TrialRecord
from autotransfer.selection.refit import as_member
from autotransfer.settings import Limits, Settings
from autotransfer.settings.limits import format_bytes, format_seconds
from autotransfer.tasks.score import Score

if TYPE_CHECKING:
    from autotransfer.run.result import FitResult

__all__ = ["PickedModel", "pick_model"]

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

    def __str__(self) -> str:
        return f"trial {self.point.trial}: {self.candidate}, validation {self.validation}, {self.cost}"


@default_settings()
def pick_model(result: FitResult, limits: Limits) -> PickedModel:
    """Train the best candidate of a search that keeps limits; see ``FitResult.pick``.

    Raises:
        ConfigError: No limit is given, or no candidate keeps them.
        SearchError: Every candidate that should keep them was measured to exceed them.
    """
    if not limits.is_set:
        raise ConfigError('Say what the model may take: pick(latency="5ms"), pick(size="5MB") or both.')
    if result.settings is None:
        raise ConfigError("This result does not know how it was made: pick from the result that fit returned.")
    points = pick_order(result.selection.records)
    able = within(points, limits.latency_seconds, limits.size_bytes)
    if not able:
        raise ConfigError(f"No candidate of the search keeps the limits ({limits}): {_extremes(points)}.")
    measured = list[InferenceCost]()
    for point in able[:MAX_TRAINED]:
        picked = _train(result, result.settings, point, limits)
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


def _train(result: FitResult, settings: Settings, point: ParetoPoint, limits: Limits) -> PickedModel:
    """Train a candidate on all examples, as the selection of the search would have."""
    registry, candidate = Registry.load(settings.zoos), point.candidate
    data = prepare_data(
        result.data.train, [registry.backbone(candidate.backbone)], settings, reading=result.model.reading
    )
    evaluator = Evaluator(
        registry, data.extractor, data.folds, resolve_device(settings.compute.device), seed=settings.seed
    )
    record = next(record for record in result.selection.records if record.number == point.trial)
    predictions = _predictions(record, evaluator, candidate)
    network = evaluator.refit(candidate, record.best_epoch, predictions=predictions)
    finished = finish_model([as_member(network, candidate, evaluator)], predictions, data, evaluator, settings)
    return PickedModel(
        point=point,
        model=finished.model,
        validation=finished.validation,
        cost=_measured(finished.model, data, result, limits),
    )


def _predictions(record: TrialRecord, evaluator: Evaluator, candidate: Candidate) -> np.ndarray:
    """Return out-of-fold predictions (N, outputs) of a candidate: those of the search, if it has kept them."""
    if record.predictions is not None:
        return record.predictions
    found = evaluator(candidate, lambda epoch, score: False, lambda: False).predictions
    assert found is not None  # nothing has stopped it
    return found


def _measured(model: TransferModel, data: Prepared, result: FitResult, limits: Limits) -> InferenceCost:
    """Save a model into a temporary folder, and measure what it takes, again where that is more than the limit."""
    store, costs = data.store, list[InferenceCost]()
    sample = LatencySample.of(store.modality, result.data.train.items, store.kept.tolist(), store.reading, limits.batch)
    with tempfile.TemporaryDirectory(prefix="autotransfer-") as folder:
        model.write(Path(folder))
        while not costs or (costs[-1].latency_seconds > limits.latency_seconds and len(costs) < MAX_MEASUREMENTS):
            has_limit = limits.memory is not None
            costs.append(measure_model(model, sample, Path(folder), memory=has_limit, max_seconds=MEASURING_SECONDS))
    return min(costs, key=lambda cost: cost.latency_seconds)
