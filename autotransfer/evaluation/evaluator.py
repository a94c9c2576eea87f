"""Evaluating candidates by training them on one part of the examples and scoring them on the other."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np

from autotransfer.backbones.loaded import LoadedBackbone
from autotransfer.candidate import Candidate
from autotransfer.contract.loading import PLUGIN_ERRORS
from autotransfer.contract.registry import Registry
from autotransfer.data.folds import Fold
from autotransfer.evaluation.checkpoints import Checkpoints
from autotransfer.evaluation.closed_form import evaluate_closed_form, predict_closed_form
from autotransfer.evaluation.context import EvaluationContext
from autotransfer.evaluation.cost_model import CostModel
from autotransfer.evaluation.cross_validation import cross_validate
from autotransfer.evaluation.loaded_backbones import LoadedBackbones
from autotransfer.evaluation.objective_estimator import ObjectiveEstimator
from autotransfer.evaluation.refit import best_network, refit
from autotransfer.evaluation.setup import Setup
from autotransfer.evaluation.stage_training import train_stages
from autotransfer.evaluation.subsample import Sample
from autotransfer.features.extractor import FeatureExtractor
from autotransfer.runtime.device import Device
from autotransfer.search.jobs import Evaluation, Report
from autotransfer.search.trials import Trials
from autotransfer.tasks.task import Task
from autotransfer.training.network import Network

__all__ = ["Evaluator"]

log = logging.getLogger("autotransfer")

# The closed form of the reference of each backbone: it suits every kind of task, and takes milliseconds.
REFERENCE_HEAD = "ridge"
# Leading trials whose predictions are made again when a search is resumed.
MAX_RESTORED_LEADERS = 10


class Evaluator:
    """Trains and scores candidates on one data set.

    Candidates with a frozen backbone cost little and are cross-validated over all folds. Those that train stages are
    scored on the first fold; their objective on all folds is estimated (see ``ObjectiveEstimator``).

    Args:
        registry: Where names are looked up.
        extractor: The examples and the cache of their features.
        folds: The folds; a single one where there are examples enough.
        device: Where trainings run.
        seed: Seed of every training.
        loaded: Backbones that are loaded already.
        checkpoints: Where paused trainings are kept; None means a temporary folder.
        sample: The examples that score closed forms first, before all examples pass through a backbone.
    """

    def __init__(
        self,
        registry: Registry,
        extractor: FeatureExtractor,
        folds: Sequence[Fold],
        device: Device,
        *,
        seed: int,
        loaded: Iterable[LoadedBackbone] = (),
        checkpoints: Checkpoints | None = None,
        sample: Sample | None = None,
    ) -> None:
        self.registry = registry
        self.context = EvaluationContext(
            extractor=extractor if sample is None else replace(extractor, sample=sample.rows),
            folds=folds,
            device=device,
            seed=seed,
            checkpoints=checkpoints or Checkpoints(),
            sample=sample,
        )
        self._backbones = LoadedBackbones(registry, device, self.task, loaded)
        self._costs = CostModel(tuple(folds))
        self._objectives = ObjectiveEstimator(self.context, self._reference)

    @property
    def extractor(self) -> FeatureExtractor:
        """The examples and the cache of their features."""
        return self.context.extractor

    @property
    def folds(self) -> Sequence[Fold]:
        """The folds."""
        return self.context.folds

    @property
    def task(self) -> Task:
        """The task."""
        return self.context.task

    @property
    def targets(self) -> np.ndarray:
        """The encoded targets of all examples (N, ...)."""
        return self.context.targets

    @property
    def device(self) -> Device:
        """Where trainings run."""
        return self.context.device

    @property
    def seed(self) -> int:
        """Seed of every training."""
        return self.context.seed

    @property
    def checkpoints(self) -> Checkpoints:
        """Where paused trainings are kept."""
        return self.context.checkpoints

    @property
    def sample(self) -> Sample | None:
        """The examples that score closed forms first; None where all examples do."""
        return self.context.sample

    def load(self, name: str) -> LoadedBackbone:
        """Return a backbone, loaded once."""
        return self._backbones.load(name)

    def is_loaded(self, name: str) -> bool:
        """Whether a backbone is loaded now."""
        return self._backbones.is_loaded(name)

    def has_measured(self, name: str) -> bool:
        """Whether the speed of a frozen backbone was measured."""
        return self._costs.measured_seconds(name) is not None

    def measure_training(self, name: str) -> bool:
        """Measure a training step of a backbone, where it is not known; return whether it was measured now."""
        return self._costs.measure_training(self.load(name), self.extractor)

    def stages(self, name: str) -> tuple[str, ...]:
        """Return the stages of a backbone."""
        return self._backbones.stages(name)

    def setup(self, candidate: Candidate) -> Setup:
        """Return a candidate with everything that it names looked up and checked, once.

        Raises:
            AutoTransferError: The candidate names what is not there, or what does not go together.
        """
        return self._backbones.setup(candidate)

    def __call__(
        self, candidate: Candidate, report: Report, expired: Callable[[], bool], until: int | None = None
    ) -> Evaluation:
        """Train and score a candidate, and compute its objective.

        Args:
            candidate: The candidate.
            report: Called after each epoch, and with the score on a sample; returns whether to stop.
            expired: Whether the time has run out.
            until: Epochs after which a training of stages is paused; None trains it to its end.

        Raises:
            AutoTransferError: The candidate cannot be made, or its training failed.
        """
        evaluation = self.measure(candidate, report, expired, until)
        self.learn(candidate, evaluation)
        return evaluation

    def measure(
        self, candidate: Candidate, report: Report, expired: Callable[[], bool], until: int | None = None
    ) -> Evaluation:
        """Train and score a candidate as ``__call__`` does, without learning from its seconds.

        Raises:
            AutoTransferError: The candidate cannot be made, or its training failed.
        """
        setup = self.setup(candidate)
        if setup.closed_form:
            evaluation = evaluate_closed_form(self.context, setup, report)
            if evaluation.predictions is None:  # its score on the sample stopped it
                return evaluation
            objective = self._objectives.objective(candidate.backbone, evaluation.predictions)
            return replace(evaluation, objective=objective)
        if setup.frozen:
            return cross_validate(self.context, setup, self._objectives, report, expired)
        return train_stages(self.context, setup, self._objectives, report, expired, until)

    def learn(self, candidate: Candidate, evaluation: Evaluation) -> None:
        """Learn from the seconds of a candidate that ``measure`` has scored, here or in another process.

        This may load its backbone. An error costs no more than what would have been learned: the candidate is scored.
        """
        if not math.isfinite(evaluation.seconds):
            return
        try:
            self._costs.learn(self.setup(candidate), self.extractor, evaluation)
        except PLUGIN_ERRORS as error:  # code of plugins; the next trial of the backbone meets the error, too
            log.debug("The seconds of %s are not learned", candidate, exc_info=error)

    def _reference(self, backbone: str) -> np.ndarray:
        """Return the predictions (N, outputs) of a backbone's reference, which objectives are estimated by."""
        setup = self.setup(Candidate(backbone=backbone, head=REFERENCE_HEAD))
        return predict_closed_form(self.context, setup)

    def restore(self, trials: Trials) -> None:
        """Evaluate again what no file holds of an interrupted search: the predictions of its leaders.

        Of the candidates that train stages, only the best is trained again: checkpoints hold the others.
        """
        ranked = [r for r in trials.leaderboard() if r.state in ("complete", "paused") and r.candidate is not None]
        for record in ranked[:MAX_RESTORED_LEADERS]:
            assert record.candidate is not None
            is_kept = self.setup(record.candidate).frozen or self.checkpoints.load(record.candidate) is not None
            if is_kept or record is ranked[0]:
                found = self(record.candidate, lambda epoch, score: False, lambda: False, record.epochs or None)
                trials.add(replace(record, predictions=found.predictions))

    def refit(
        self,
        candidate: Candidate,
        epochs: int,
        expired: Callable[[], bool] = lambda: False,
        predictions: np.ndarray | None = None,
    ) -> Network:
        """Train a candidate on all examples; see ``autotransfer.evaluation.refit``.

        Raises:
            TrialError: The time ran out, or the training diverged.
        """
        return refit(self.context, self.setup(candidate), epochs, expired, predictions)

    def best_network(self, candidate: Candidate) -> tuple[Network, np.ndarray]:
        """Return the network of a candidate's best epoch on the first fold, and its predictions there.

        A network is trained where no trial has left one.
        """
        return best_network(self.context, self.setup(candidate))

    def predicted_seconds(self, candidate: Candidate, until: int | None = None, after: int = 0) -> float:
        """Return the predicted seconds of an evaluation, from the measured speed of the backbone.

        Args:
            candidate: The candidate.
            until: Epochs that it is trained to; None means all of them.
            after: Epochs that it was trained for before.
        """
        setup = self.setup(candidate)
        return self._costs.seconds(setup, self.extractor, setup.settings.epochs if until is None else until, after)

    def pass_seconds(self, name: str) -> float:
        """Return the predicted seconds of one pass of all examples, in one view, through a frozen backbone."""
        known = self._costs.measured_seconds(name)
        each = self._costs.forward_seconds(self.load(name), self.extractor) if known is None else known
        return len(self.targets) * each

    def epoch_seconds(self, name: str) -> float:
        """Return the predicted seconds of an epoch that trains all stages of a backbone, without its evaluation."""
        return len(self.folds[0].train_rows) * self._costs.training_seconds(self.load(name), self.extractor)
