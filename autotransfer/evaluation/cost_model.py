"""Predicted seconds of a candidate: from the measured speed of its backbone, and from those of other candidates."""

from __future__ import annotations

import numpy as np

from autotransfer.backbones.loaded import LoadedBackbone
from autotransfer.contract.plugin_call import plugin_call
from autotransfer.data.folds import Fold
from autotransfer.errors import AutoTransferError
from autotransfer.evaluation.setup import Setup
from autotransfer.features.extractor import FeatureExtractor
from autotransfer.features.speed import measure_seconds_per_example, measure_training_seconds_per_example
from autotransfer.search.jobs import Evaluation

__all__ = ["CostModel"]

# Range of the pace that is taken from other backbones: a machine that is busy for a moment says nothing.
PACE_OF_OTHERS_RANGE = (0.67, 1.5)
# Forward passes of the frozen backbone that a training step of all stages takes, before one is measured: three forward
# passes of the network as it trains, each of which takes twice as long as one of the frozen backbone.
FORWARD_PASSES_PER_STEP = 6.0
# Forward passes of the network as it trains that a step takes.
OWN_PASSES_PER_STEP = 3.0
# Time of a step on a head beside its arithmetic.
HEAD_STEP_SECONDS = 1.5e-3
# Time that each parameter of a head takes in a step of the optimizer, and for an example forward and backward.
SECONDS_PER_PARAMETER_AND_STEP, SECONDS_PER_PARAMETER_AND_EXAMPLE = 4e-9, 1e-10
# Time of a closed form, and for each product in its normal equations.
SOLUTION_SECONDS, SECONDS_PER_PRODUCT = 3e-3, 5e-11
# Time of a closed form on sparse features for each example that trains.
SECONDS_PER_SPARSE_EXAMPLE = 1e-3


class CostModel:
    """Predicts the seconds of candidates, and learns from those that were measured.

    Args:
        folds: The folds.
    """

    def __init__(self, folds: tuple[Fold, ...]) -> None:
        self._folds, self._examples = folds, len(folds[0].targets)
        self._seconds_per_example: dict[str, float] = {}
        self._training_seconds: dict[str, float] = {}  # of one example in a step that trains all stages
        self._pace: dict[tuple[str, str], float] = {}

    def seconds(self, setup: Setup, extractor: FeatureExtractor, until: int, after: int = 0) -> float:
        """Return the predicted seconds of a candidate from one epoch to another, evaluation included."""
        start, training = self.expected(setup, extractor, until, after)
        pace = self._pace.get(_key(setup), 1.0) if setup.frozen else self._pace_of(_key(setup))
        return start + training * pace

    def expected(self, setup: Setup, extractor: FeatureExtractor, until: int, after: int) -> tuple[float, float]:
        """Return the seconds before the first epoch and those of the epochs, from the backbone's measured speed.

        For closed forms the latter are those of the solution.
        """
        depth, takes, epochs = setup.plan.depth, setup.head.features, until - after
        share = 1.0 if setup.frozen else setup.loaded.cut(depth).share if setup.cacheable else 0.0
        before, during = 0.0, 0.0
        train, validation = len(self._folds[0].train_rows), len(self._folds[0].validation_rows)
        if setup.cacheable:
            missing = [v for v in setup.views if not extractor.is_cached(setup.loaded, depth, v, head_takes=takes)]
            before = len(missing) * self._examples * share
        if not setup.frozen:
            steps = train + len(setup.views) * validation / OWN_PASSES_PER_STEP
            during = epochs * steps * (1.0 - share) * self.training_seconds(setup.loaded, extractor)
        speed = self.forward_seconds(setup.loaded, extractor) if before else 0.0
        return before * speed, self._head_seconds(setup, train, epochs) + during

    def _head_seconds(self, setup: Setup, train: int, epochs: int) -> float:
        count = len(self._folds) if setup.frozen else 1
        if setup.loaded.sparse:
            return count * (SOLUTION_SECONDS + SECONDS_PER_SPARSE_EXAMPLE * train)
        if setup.closed_form:
            products = train * setup.head_width * min(train, setup.head_width)
            return count * (SOLUTION_SECONDS + SECONDS_PER_PRODUCT * products)
        steps = train / setup.settings.batch_size
        each = steps * SECONDS_PER_PARAMETER_AND_STEP + train * SECONDS_PER_PARAMETER_AND_EXAMPLE
        return count * epochs * (steps * HEAD_STEP_SECONDS + each * setup.head_size(self._folds[0].task))

    def learn(self, setup: Setup, extractor: FeatureExtractor, found: Evaluation) -> None:
        """Learn from the seconds that a candidate took."""
        ended, before = len(found.curve), len(found.curve) - found.trained
        if setup.frozen:
            ended, before = setup.settings.epochs, 0
        _, predicted = self.expected(setup, extractor, ended, before)
        self._pace[_key(setup)] = found.seconds / max(predicted, 1e-6)

    def forward_seconds(self, loaded: LoadedBackbone, extractor: FeatureExtractor) -> float:
        """Return the seconds of one example through a backbone; measured once."""
        name = loaded.spec.name
        if name not in self._seconds_per_example:
            self._seconds_per_example[name] = measure_seconds_per_example(loaded, extractor.store)
        return self._seconds_per_example[name]

    def training_seconds(self, loaded: LoadedBackbone, extractor: FeatureExtractor) -> float:
        """Return the seconds of one example in a step that trains all stages, as far as they are known."""
        known = self._training_seconds.get(loaded.spec.name)
        return FORWARD_PASSES_PER_STEP * self.forward_seconds(loaded, extractor) if known is None else known

    def measure_training(self, loaded: LoadedBackbone, extractor: FeatureExtractor) -> bool:
        """Measure a training step of a backbone, where it is not known; return whether it was measured now."""
        name = loaded.spec.name
        if name in self._training_seconds or ("backbone", name) in self._pace:
            return False
        try:
            with plugin_call(f"The backbone {name!r}"):
                self._training_seconds[name] = measure_training_seconds_per_example(loaded, extractor.store)
        except AutoTransferError:  # its trial will fail as well, and say why
            self._training_seconds[name] = self.training_seconds(loaded, extractor)
        return True

    def measured_seconds(self, backbone: str) -> float | None:
        """Return the seconds of one example through a frozen backbone; None where they were not measured."""
        return self._seconds_per_example.get(backbone)

    def _pace_of(self, backbone: tuple[str, str]) -> float:
        """Return the pace of a backbone, or the usual one of the others as far as it can be trusted."""
        others = [pace for (kind, _), pace in self._pace.items() if kind == backbone[0]]
        if backbone in self._pace or not others:
            return self._pace.get(backbone, 1.0)
        return float(np.clip(np.exp(np.mean(np.log(others))), *PACE_OF_OTHERS_RANGE))


def _key(setup: Setup) -> tuple[str, str]:
    """Return what a pace is kept for: the backbone, or a head alone."""
    return ("head", setup.head.name) if setup.frozen else ("backbone", setup.loaded.spec.name)
