"""Evaluating candidates for real: training them on one part of the examples and scoring them on the other."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
import torch

from autotransfer.backbones.loaded import LoadedBackbone
from autotransfer.candidate import Candidate
from autotransfer.contract.registry import Registry
from autotransfer.data.folds import Fold
from autotransfer.errors import TrialError
from autotransfer.evaluation.checkpoints import Checkpoints
from autotransfer.evaluation.cost_model import CostModel
from autotransfer.evaluation.fold_correction import correct_for_fold
from autotransfer.evaluation.objective import compute_objective
from autotransfer.evaluation.setup import Setup
from autotransfer.evaluation.subsample import Features, Sample
from autotransfer.features.extractor import FeatureExtractor
from autotransfer.runtime.device import Device
from autotransfer.runtime.memory import release_freed_memory
from autotransfer.search.jobs import EpochScore, Evaluation, Report
from autotransfer.search.trials import TrialRecord, Trials
from autotransfer.tasks.bootstrap import standard_error
from autotransfer.tasks.score import Score
from autotransfer.training.network import Network
from autotransfer.training.trainer import Training

__all__ = ["Evaluator"]

# Leading trials whose outputs are made again when a search goes on.
_RECALLED = 10
# Backbones that stay loaded: enough for a portfolio, and a bound on memory.
_KEPT_LOADED = 8
# Examples that a network is asked for after its refit, at most.
_ASKED = 1000
# One fold says less than all: so many standard errors of its score are taken off before candidates are compared.
_DOUBT = 0.5


class _Stopped(Exception):
    """A trial was stopped when all that was known of it was its score on the sample."""

    def __init__(self, score: float) -> None:
        super().__init__(score)
        self.score = score


def _telling(training: Training, report: Report) -> Report:
    """Return a report of an epoch's score that tells its loss and learning rate, too."""
    return lambda epoch, score: report(epoch, EpochScore(score, training.loss, training.learning_rate))


class Evaluator:
    """Trains and scores candidates on one data set.

    Candidates with a frozen backbone cost next to nothing and are cross-validated over all folds. Those that train
    stages are scored on the first fold, and compared by what that comes to on all, as the same backbone's frozen
    candidates tell how hard it is.

    Args:
        registry: Where names are looked up.
        extractor: The images and the cache of their features.
        folds: One for each fold; a single one where there are examples enough.
        device: Where.
        seed: Seed of every training.
        loaded: Backbones that are loaded already.
        checkpoints: Where paused trainings are kept; None means a temporary folder.
        sample: By what closed forms are judged first, before all images pass through a backbone.
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
        self.registry, self.folds = registry, folds
        self.extractor = extractor if sample is None else replace(extractor, sample=sample.rows)
        self.task, self.targets = folds[0].task, folds[0].targets
        self.device, self.seed, self.sample = device, seed, sample
        self._loaded = OrderedDict((backbone.spec.name, backbone) for backbone in loaded)
        self.checkpoints = checkpoints or Checkpoints()
        self._stages: dict[str, tuple[str, ...]] = {}
        self._costs = CostModel(tuple(folds))
        self._references: dict[str, tuple[float, float]] = {}  # by backbone, a score on all folds and on the first

    def load(self, name: str) -> LoadedBackbone:
        """Return a backbone, loaded once."""
        if name not in self._loaded:
            self._loaded[name] = LoadedBackbone(self.registry.backbone(name), self.device)
            if len(self._loaded) > _KEPT_LOADED:
                self._loaded.popitem(last=False)
        self._loaded.move_to_end(name)
        return self._loaded[name]

    def stages(self, name: str) -> tuple[str, ...]:
        """Return the stages of a backbone, which is loaded once for that however many others are."""
        if name not in self._stages:
            self._stages[name] = self.load(name).backbone.stages
        return self._stages[name]

    def __call__(
        self, candidate: Candidate, report: Report, expired: Callable[[], bool], until: int | None = None
    ) -> Evaluation:
        """Train a candidate, score it on the examples that it was not trained on, and make that comparable.

        Raises:
            AutoTransferError: The candidate cannot be made, or its training failed.
        """
        return self.judge(candidate, self.measure(candidate, report, expired, until))

    def judge(self, candidate: Candidate, found: Evaluation) -> Evaluation:
        """Say what a candidate is compared by, after what others of its backbone have shown; and learn from it.

        Args:
            candidate: The candidate.
            found: What ``measure`` returned, here or in another process.
        """
        if found.predictions is None:  # it was stopped when all that was known of it was its score on the sample
            return found
        if math.isfinite(found.seconds):
            self._costs.learn(self._setup(candidate), self.extractor, found)
        scored = ~np.isnan(found.predictions).any(1)
        score = compute_objective(self.task, self.targets[scored], found.predictions[scored])
        fair, doubt, first, name = score, 0.0, self.folds[0].validation_rows, candidate.backbone
        if not all(scored[fold.validation_rows].all() for fold in self.folds):
            whole, known = self._references.get(name, (score, score))
            fair = correct_for_fold(
                score, first=known, whole=whole, examples=len(first), perfect_score=self.task.perfect_score
            )
            group_ids = self.folds[0].group_ids_of(np.flatnonzero(scored))
            doubt = _DOUBT * standard_error(self.task, self.targets[scored], found.predictions[scored], group_ids)
        elif len(self.folds) > 1 and score >= self._references.get(name, (-math.inf, 0.0))[0]:
            self._references[name] = (
                score,
                compute_objective(self.task, self.targets[first], found.predictions[first]),
            )
        return replace(found, objective=fair - doubt)

    def measure(
        self, candidate: Candidate, report: Report, expired: Callable[[], bool], until: int | None = None
    ) -> Evaluation:
        """Train a candidate and score it on the examples that it was not trained on.

        Raises:
            AutoTransferError: The candidate cannot be made, or its training failed.
        """
        setup = self._setup(candidate)
        if setup.closed_form:
            return self._solved(setup, report)
        if not setup.frozen:
            return self._tuned(setup, report, expired, min(until or setup.settings.epochs, setup.settings.epochs))
        return self._cross_validated(setup, report, expired)

    def _cross_validated(self, setup: Setup, report: Report, expired: Callable[[], bool]) -> Evaluation:
        """Train a head alone, on all folds if it is not stopped and time allows."""
        per_fold: list[list[np.ndarray]] = []
        seconds, done = 0.0, 0
        for fold in self.folds:
            epochs: list[np.ndarray] = []
            training = setup.training(self.extractor, fold, self.device, self.seed)
            tell = _telling(training, report) if not per_fold else lambda epoch, score: False

            def keep(
                epoch: int,
                score: float,
                predictions: np.ndarray,
                epochs: list[np.ndarray] = epochs,
                tell: Report = tell,
            ) -> bool:
                epochs.append(predictions)
                return tell(epoch, score)

            started = time.perf_counter()
            training.run(setup.settings.epochs, keep, expired)
            seconds += time.perf_counter() - started
            done += len(epochs)
            if len(epochs) < (len(per_fold[0]) if per_fold else 1):
                break  # the time ran out within this fold
            per_fold.append(epochs)
            if len(epochs) < setup.settings.epochs:
                break  # pruned, or out of time
        whole = len(self.folds) * setup.settings.epochs
        return replace(self._best_epoch(setup, per_fold), seconds=seconds * whole / max(done, 1))

    def _solved(self, setup: Setup, report: Report) -> Evaluation:
        """Score a closed form on all folds, unless it is to stop when its score on the sample is known."""

        def look() -> bool:
            if (features := self.extractor.sampled(setup.loaded, setup.head.features)) is None:
                return False
            if (score := self._sampled_score(setup, features)) is not None and report(0, score):
                raise _Stopped(score)
            return True

        try:
            if self.sample is not None and len(setup.views) == 1 and not look():
                self.extractor.pooled(setup.loaded, look=look)
        except _Stopped as stopped:
            return Evaluation(score=stopped.score, depth=setup.plan.depth)
        takes = setup.head.features
        known = Features({view: self.extractor.taken(setup.loaded, takes, view) for view in setup.views})
        started = time.perf_counter()  # the pass is no part of what solving takes
        found = self._evaluation(setup, [self._solved_predictions(setup, known, fold) for fold in self.folds])
        return replace(found, seconds=time.perf_counter() - started)

    def _sampled_score(self, setup: Setup, features: np.ndarray) -> float | None:
        """Return the score on the sample; None where it cannot be said."""
        assert self.sample is not None  # these are its features
        parts, rows = list[np.ndarray](), list[np.ndarray]()
        try:
            for fold in self.sample.folds:
                parts.append(self._solved_predictions(setup, Features({setup.views[0]: features}), fold))
                rows.append(fold.validation_rows)
            targets = self.sample.folds[0].targets[np.concatenate(rows)]
            return self.task.score(targets, np.concatenate(parts))
        except Exception:  # too few examples for the head or the metric say nothing of all of them
            return None

    def _tuned(self, setup: Setup, report: Report, expired: Callable[[], bool], until: int) -> Evaluation:
        """Train stages on the first fold until so many epochs are done, from where it was paused if it was."""
        epochs, trained, seconds = self._trained(setup, report, expired, until)
        release_freed_memory()
        return replace(self._best_epoch(setup, [epochs]), trained=trained, seconds=seconds)

    def _trained(
        self, setup: Setup, report: Report, expired: Callable[[], bool], until: int
    ) -> tuple[list[np.ndarray], int, float]:
        """Return the predictions of each epoch, how many are new, and their time; the network is not kept."""
        candidate, epochs = setup.candidate, list[np.ndarray]()
        state = self.checkpoints.load(candidate)
        if state is not None and "network" not in state and state["epoch"] < until:
            state = None  # it was cut within an epoch: only its best one is left, from which it cannot go on
        training = setup.training(self.extractor, self.folds[0], self.device, self.seed, paused=state)
        if state is not None:
            epochs.extend(state["epochs"].numpy())
        known, tell = len(epochs), _telling(training, report)

        def keep(epoch: int, score: float, predictions: np.ndarray) -> bool:
            epochs.append(predictions)
            return tell(epoch, score)

        if training.epoch < until:
            training.prepare()
        started = time.perf_counter()
        training.run(until, keep, expired)
        seconds = time.perf_counter() - started
        if len(epochs) > known:
            ended = training.interrupted or training.epoch == setup.settings.epochs
            state = training.state(ended=ended)
            self.checkpoints.save(candidate, {**state, "epochs": torch.from_numpy(np.stack(epochs))})
        whole = training.epoch == until
        return epochs, len(epochs) - known, seconds if whole else math.nan

    def restore(self, trials: Trials) -> None:
        """Learn again what is not written down of a search: its leaders' outputs, and what the first fold flatters.

        Of what trains stages, none but the best is trained again: checkpoints hold the outputs of their epochs.
        """
        best = trials.best
        ranked = [r for r in trials.leaderboard() if r.state in ("complete", "paused") and r.candidate is not None]
        frozen: dict[str, TrialRecord] = {}
        for record in ranked:
            assert record.candidate is not None
            if self._setup(record.candidate).frozen:
                frozen.setdefault(record.candidate.backbone, record)
        for record in {r.number: r for r in (*frozen.values(), *ranked[:_RECALLED])}.values():
            assert record.candidate is not None
            is_kept = self._setup(record.candidate).frozen or self.checkpoints.load(record.candidate) is not None
            if is_kept or (best is not None and record.number == best.number):
                result = self(record.candidate, lambda epoch, score: False, lambda: False, record.epochs or None)
                trials.add(replace(record, predictions=result.predictions))

    def refit(
        self,
        candidate: Candidate,
        epochs: int,
        expired: Callable[[], bool] = lambda: False,
        found: np.ndarray | None = None,
    ) -> Network:
        """Train a candidate on all examples for the number of epochs that validation asked for.

        Args:
            candidate: The candidate.
            epochs: The number.
            expired: Whether the time has run out.
            found: Predictions (N, outputs) of the search, NaN where there are none.

        Raises:
            TrialError: The time ran out before the last of them, and what was learned by then is no model; or the
                training diverged: its loss is not finite, or it knows some of the examples that it has learned from
                worse than the search's did, which had not seen them.
        """
        rows = np.arange(len(self.targets))
        fold = replace(self.folds[0], train_rows=rows, validation_rows=rows[:0])
        setup = self._setup(candidate)
        if setup.closed_form:
            return setup.solve(self.extractor, fold, self.device, self.seed)
        training = setup.training(self.extractor, fold, self.device, self.seed)
        training.run(epochs, lambda epoch, score, predictions: False, expired)
        if training.epoch < epochs:
            raise TrialError(f"the time ran out in epoch {training.epoch + 1} of {epochs}")
        if found is not None:
            self._refuse_worse(training, found)
        return training.network.eval()

    def _refuse_worse(self, training: Training, found: np.ndarray) -> None:
        rows = self.folds[0].validation_rows[:_ASKED]
        rows = rows[~np.isnan(found[rows]).any(1)]
        if not len(rows):
            return
        before = Score.of(self.task, self.targets[rows], found[rows], self.folds[0].group_ids_of(rows))
        after = self.task.score(self.targets[rows], training.predict_now(rows))
        if after < before.ci95[0]:
            raise TrialError(
                f"the training diverged: {after:.4f} on examples that it has seen, where it came to "
                f"{before.score:.4f} before it had"
            )

    def best_network(self, candidate: Candidate) -> tuple[Network, np.ndarray]:
        """Return the network of a candidate's best epoch on the first fold, and its predictions there.

        It is trained, unless a trial has left it behind.
        """
        setup, fold = self._setup(candidate), self.folds[0]
        if setup.closed_form:
            network = setup.solve(self.extractor, fold, self.device, self.seed)
            return network, setup.predict_from_features(network, self.extractor, self.task, fold.validation_rows)
        state = self.checkpoints.load(candidate)
        training = setup.training(self.extractor, fold, self.device, self.seed, paused=state)
        if state is None:
            training.run(setup.settings.epochs, lambda epoch, score, predictions: False, lambda: False)
        training.restore_best()
        assert training.best_predictions is not None  # every epoch was scored
        return training.network.eval(), training.best_predictions

    def predicted_seconds(self, candidate: Candidate, until: int | None = None, after: int = 0) -> float:
        """Return about how long ``__call__`` will take, from the backbone's measured speed.

        Args:
            candidate: The candidate.
            until: Epochs that it is trained to; None means all of them.
            after: Epochs that it was trained for before.
        """
        setup = self._setup(candidate)
        return self._costs.seconds(setup, self.extractor, setup.settings.epochs if until is None else until, after)

    def _setup(self, candidate: Candidate) -> Setup:
        return Setup.of(candidate, self.load(candidate.backbone), self.registry, self.task)

    def _solved_predictions(self, setup: Setup, known: Features, fold: Fold) -> np.ndarray:
        network = setup.solve(known, fold, self.device, self.seed)
        return setup.predict_from_features(network, known, self.task, fold.validation_rows)

    def _best_epoch(self, setup: Setup, per_fold: list[list[np.ndarray]]) -> Evaluation:
        """Choose the epoch that is best over all folds: one for each fold would flatter. Of a head alone, the last."""
        if not per_fold or not per_fold[0]:
            raise TrialError("the time ran out before the first epoch ended")
        curve = [self._score(list(parts)) for parts in zip(*per_fold, strict=False)]
        # Where rates are high, one epoch stands out by chance; refits that stopped there made 20 to 76% more errors.
        # Of equal epochs of others, the later one: over 35 fine-tunings, by 0.3 points better on test images.
        last = len(curve) - 1
        best = last if setup.frozen else last - int(np.argmax(curve[::-1]))
        found = self._evaluation(setup, [fold[best] for fold in per_fold])
        return replace(found, best_epoch=best + 1, curve=tuple(curve))

    def _evaluation(self, setup: Setup, per_fold: list[np.ndarray]) -> Evaluation:
        predictions = np.full((len(self.targets), self.task.outputs), np.nan, dtype=self.task.dtype)
        for fold, part in zip(self.folds, per_fold, strict=False):
            predictions[fold.validation_rows] = part
        return Evaluation(score=self._score(per_fold), depth=setup.plan.depth, predictions=predictions)

    def _score(self, per_fold: list[np.ndarray]) -> float:
        """Score the pooled predictions of the folds."""
        rows = np.concatenate([fold.validation_rows for fold, _ in zip(self.folds, per_fold, strict=False)])
        return self.task.score(self.targets[rows], np.concatenate(per_fold))

    def pass_seconds(self, name: str) -> float:
        """Return about how long one pass of a frozen backbone over all examples, in one view, takes."""
        return len(self.targets) * self._costs.forward_seconds(self.load(name), self.extractor)
