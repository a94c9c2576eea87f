"""Evaluating a candidate for real: from its description to a trained network and its score."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from autotransfer.candidate import Candidate
from autotransfer.contract.registry import Registry
from autotransfer.contract.specs import FreezePlan, HeadSpec
from autotransfer.errors import ConfigError, PluginError, TrialError
from autotransfer.search.loop import Evaluation, Report
from autotransfer.transfer.device import Device
from autotransfer.transfer.features import FeatureExtractor, LoadedBackbone, measure_seconds_per_image
from autotransfer.transfer.feeds import BoundaryFeed, FeatureFeed, Feed, PixelFeed
from autotransfer.transfer.freezing import check_plan
from autotransfer.transfer.network import Network, to_scores
from autotransfer.transfer.pixels import VIEWS
from autotransfer.transfer.settings import TrainingSettings
from autotransfer.transfer.training import Lesson, Training

__all__ = ["Evaluator"]

# Backbones that stay loaded: enough for a portfolio, and a bound on memory.
_KEPT_LOADED = 8
# A training step costs about three forward passes: forward, gradients of activations, gradients of weights.
_STEP_COST = 3.0


@dataclass(frozen=True, kw_only=True)
class _Setup:
    """A candidate with everything that it names looked up."""

    candidate: Candidate
    loaded: LoadedBackbone
    head: HeadSpec
    plan: FreezePlan

    @property
    def closed_form(self) -> bool:
        return self.head.solve is not None

    @property
    def cacheable(self) -> bool:
        """Whether the prefix can be computed apart from the rest."""
        depth = self.plan.depth
        return depth == self.loaded.depths or (depth > 0 and self.loaded.cut(depth).exact)


class Evaluator:
    """Trains and scores candidates on one data set.

    Args:
        registry: Where names are looked up.
        extractor: The images and the cache of their features.
        lesson: Targets, and which rows train and which score.
        device: Where.
        seed: Seed of every training.
    """

    def __init__(
        self, registry: Registry, extractor: FeatureExtractor, lesson: Lesson, device: Device, *, seed: int
    ) -> None:
        self.registry, self.extractor, self.lesson = registry, extractor, lesson
        self.device, self.seed = device, seed
        self._loaded: OrderedDict[str, LoadedBackbone] = OrderedDict()
        self._seconds_per_image: dict[str, float] = {}

    def load(self, name: str) -> LoadedBackbone:
        """Return a backbone, loaded once."""
        if name not in self._loaded:
            self._loaded[name] = LoadedBackbone(self.registry.backbone(name), self.device)
            if len(self._loaded) > _KEPT_LOADED:
                self._loaded.popitem(last=False)
        self._loaded.move_to_end(name)
        return self._loaded[name]

    def stages(self, name: str) -> tuple[str, ...]:
        """Return the stages of a backbone."""
        return self.load(name).backbone.stages

    def __call__(self, candidate: Candidate, report: Report, expired: Callable[[], bool]) -> Evaluation:
        """Train a candidate on the training rows and score it on the validation rows.

        Raises:
            AutoTransferError: The candidate cannot be made, or its training failed.
        """
        setup = self._set_up(candidate)
        if setup.closed_form:
            network = self._solve(setup, self.lesson)
            scores = self._head_scores(setup, network, self.lesson.validation)
            score = self.lesson.task.score(self.lesson.targets[self.lesson.validation], scores)
            return Evaluation(score=score, depth=setup.plan.depth, scores=scores)
        training = self._training(setup, self.lesson)
        curve: list[float] = []

        def keep(epoch: int, score: float) -> bool:
            curve.append(score)
            return report(epoch, score)

        training.run(training.settings.epochs, keep, expired)
        if not curve:
            raise TrialError("the time ran out before the first epoch ended")
        return Evaluation(
            score=training.best_score,
            depth=setup.plan.depth,
            best_epoch=training.best_epoch,
            curve=tuple(curve),
            scores=training.best_scores,
        )

    def refit(self, candidate: Candidate, epochs: int) -> Network:
        """Train a candidate on all rows for the number of epochs that validation asked for."""
        everything = np.sort(np.concatenate([self.lesson.train, self.lesson.validation]))
        lesson = replace(self.lesson, train=everything, validation=everything[:0])
        setup = self._set_up(candidate)
        if setup.closed_form:
            return self._solve(setup, lesson)
        training = self._training(setup, lesson)
        training.run(epochs, lambda epoch, score: False, lambda: False)
        return training.network.eval()

    def best_network(self, candidate: Candidate) -> tuple[Network, np.ndarray]:
        """Train a candidate as ``__call__`` does; return the network of the best epoch and its validation scores."""
        setup = self._set_up(candidate)
        if setup.closed_form:
            network = self._solve(setup, self.lesson)
            return network, self._head_scores(setup, network, self.lesson.validation)
        training = self._training(setup, self.lesson)
        training.run(training.settings.epochs, lambda epoch, score: False, lambda: False)
        training.restore_best()
        assert training.best_scores is not None  # at least one epoch was scored
        return training.network.eval(), training.best_scores

    def predicted_seconds(self, candidate: Candidate) -> float:
        """Return about how long ``__call__`` will take, from the backbone's measured speed."""
        setup = self._set_up(candidate)
        views = 1 if setup.closed_form else TrainingSettings.from_candidate(candidate.training).views
        forward = self._forward_seconds(setup.loaded)
        depth, n = setup.plan.depth, len(self.extractor.images)
        share = setup.loaded.cut(depth).share if 0 < depth < setup.loaded.depths and setup.cacheable else 0.0
        frozen = depth == setup.loaded.depths
        seconds = 0.0
        if setup.cacheable:
            missing = [
                v
                for v in VIEWS[:views]
                if not self.extractor.is_cached(setup.loaded, depth, v, head_takes=setup.head.features)
            ]
            seconds += len(missing) * n * forward * (1.0 if frozen else share)
        if not frozen:
            suffix = forward * (1.0 - share)
            epochs = TrainingSettings.from_candidate(candidate.training).epochs
            seconds += epochs * suffix * (_STEP_COST * len(self.lesson.train) + len(self.lesson.validation))
        return seconds

    def _forward_seconds(self, loaded: LoadedBackbone) -> float:
        name = loaded.spec.name
        if name not in self._seconds_per_image:
            self._seconds_per_image[name] = measure_seconds_per_image(loaded, self.extractor.images)
        return self._seconds_per_image[name]

    def _set_up(self, candidate: Candidate) -> _Setup:
        loaded = self.load(candidate.backbone)
        head, policy = self.registry.head(candidate.head), self.registry.policy(candidate.freeze)
        _refuse_unknown(candidate.head_params, head.parameters, f"the head {head.name!r}")
        stages = loaded.backbone.stages
        _refuse_unknown(candidate.freeze_params, policy.parameters(stages), f"the freeze policy {policy.name!r}")
        plan = check_plan(policy.plan(stages, candidate.freeze_params), len(stages), policy.name)
        if self.lesson.task.kind not in head.tasks:
            raise ConfigError(f"The head {head.name!r} does not do {self.lesson.task.kind} tasks.")
        if head.solve is not None and plan.depth < len(stages):
            raise ConfigError(
                f"The head {head.name!r} is solved in closed form and needs a backbone that is frozen as a whole; "
                f"the freeze policy {policy.name!r} trains from stage {plan.depth} of {len(stages)} on."
            )
        return _Setup(candidate=candidate, loaded=loaded, head=head, plan=plan)

    def _network(self, setup: _Setup, lesson: Lesson) -> Network:
        """Build the network, its head untrained; a backbone that is frozen as a whole is shared, not copied."""
        loaded, task = setup.loaded, lesson.task
        shape = (loaded.backbone.width,) if setup.head.features == "pooled" else loaded.map_shape
        torch.manual_seed(self.seed)
        head = setup.head.build(shape, task.outputs, setup.candidate.head_params)
        if not isinstance(head, nn.Module):
            raise PluginError(f"The head {setup.head.name!r} builds a {type(head).__name__}; expected an nn.Module.")
        backbone = loaded.backbone if setup.plan.depth == loaded.depths else loaded.copy()
        shift, scale = lesson.standardisation()
        return Network(backbone, head, shape, shift, scale).to(self.device.torch)

    def _solve(self, setup: _Setup, lesson: Lesson) -> Network:
        network = self._network(setup, lesson)
        features = self.extractor.pooled(setup.loaded)[lesson.train]
        targets = lesson.targets[lesson.train]
        if lesson.task.kind == "regression":
            shift, scale = lesson.standardisation()
            targets = ((targets - shift) / scale).astype(np.float32)
        head = network.head.cpu()
        assert setup.head.solve is not None  # only closed forms come here
        setup.head.solve(head, features, targets, lesson.task, setup.candidate.head_params, lesson.class_weights)
        network.head = head.to(self.device.torch).eval()
        return network

    def _head_scores(self, setup: _Setup, network: Network, rows: np.ndarray) -> np.ndarray:
        features = torch.from_numpy(self.extractor.pooled(setup.loaded)[rows]).to(self.device.torch)
        with torch.inference_mode():
            outputs = network.head_outputs(features)
        if outputs.shape != (len(rows), self.lesson.task.outputs):
            raise PluginError(f"The head {setup.head.name!r} gives outputs of shape {tuple(outputs.shape)}.")
        if not bool(outputs.isfinite().all()):
            raise TrialError("the outputs are not finite")
        return to_scores(self.lesson.task, outputs)

    def _training(self, setup: _Setup, lesson: Lesson) -> Training:
        settings = TrainingSettings.from_candidate(setup.candidate.training)
        return Training(
            self._network(setup, lesson),
            setup.plan,
            settings,
            lesson,
            self._feeds(setup, settings),
            self.device,
            autocast=not setup.loaded.precise,
            seed=self.seed,
        )

    def _feeds(self, setup: _Setup, settings: TrainingSettings) -> Callable[[int], Feed]:
        """Return the way into the network for a phase: as near to the head as the cache allows."""
        loaded, takes = setup.loaded, setup.head.features
        feeds: dict[int, Feed] = {}

        def views(depth: int) -> list[tuple[np.ndarray, ...]]:
            return [self.extractor.at(loaded, depth, view, head_takes=takes) for view in VIEWS[: settings.views]]

        def feed(depth: int) -> Feed:
            entry = depth if depth == loaded.depths else setup.plan.depth
            if entry not in feeds:
                if entry == loaded.depths:
                    feeds[entry] = FeatureFeed(views(entry), self.device.torch)
                elif setup.cacheable:
                    feeds[entry] = BoundaryFeed(views(entry), loaded.cut(entry), self.device.torch)
                else:
                    feeds[entry] = PixelFeed(self.extractor.images, settings.augmentation, self.device.torch)
            return feeds[entry]

        return feed


def _refuse_unknown(given: Mapping[str, Any], known: Mapping[str, Any], owner: str) -> None:
    if unknown := set(given) - set(known):
        raise ConfigError(f"Unknown setting(s) {sorted(unknown)} of {owner}; known: {sorted(known)}.")
