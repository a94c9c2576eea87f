"""What the strategy of a search is given: what may be proposed, what it takes, and what recorded runs say of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from statistics import median
from typing import Any, Literal

import numpy as np
from optuna.trial import FixedTrial

from autotransfer.contract.specs import BackboneSpec
from autotransfer.evaluation.evaluator import Evaluator
from autotransfer.evaluation.trivial import trivial_score
from autotransfer.pipeline.choose_backbones import pass_seconds
from autotransfer.pipeline.prepare_search import PreparedSearch
from autotransfer.search.belief import JITTER
from autotransfer.search.gain_prior import GainPrior
from autotransfer.search.levels import Levels
from autotransfer.search.model_prior import ModelPrior
from autotransfer.search.model_similarity import model_info
from autotransfer.search.prior import Prior
from autotransfer.search.space import SearchSpace
from autotransfer.search.strategy_context import StrategyContext

__all__ = ["min_epochs", "predicted_seconds", "strategy_context"]

# A trial is not shortened below this number of steps, or of epochs, whichever is less: a head that starts from a
# solution tells nothing before.
MIN_STEPS, BATCH_SIZE, MIN_EPOCHS = 30, 32, 3
# Parameters of a backbone that does not say how many it has.
TYPICAL_PARAMETERS = 10_000_000
# Seconds that loading a backbone takes, before any is measured.
LOADING_SECONDS = 1.0


def strategy_context(prepared: PreparedSearch, *, is_timed: bool, is_inline: bool) -> StrategyContext:
    """Return what the strategy of a search is given.

    Args:
        prepared: What the search works on.
        is_timed: Whether there is a time budget.
        is_inline: Whether candidates are evaluated in this process. Elsewhere no training step is timed: what ends or
            hangs there costs a trial, and would cost the search here.
    """
    evaluator, space, variants = prepared.evaluator, prepared.space, prepared.variants
    task, curves = evaluator.task, Prior.load().curves
    levels, effects = _expected_backbones(variants.first)
    costs = _Costs(space, evaluator, {spec.name: spec for spec in variants.backbones})
    return StrategyContext(
        screening=space.screening(),
        tuning=space.tuning,
        stages=lambda backbone: len(evaluator.stages(backbone)),
        frozen_policy=space.freezing,
        tuning_policies=space.tuning_policies,
        curves=curves.scaled(space.epochs) if is_timed else curves.only_last(space.epochs),
        gains=GainPrior.load(),
        seconds=costs.seconds if is_timed else None,
        drawn_heads=lambda backbone: [head.name for head in space.drawn_heads(backbone)],
        drawn_seconds=costs.drawn if is_timed else lambda backbone, views: 1.0,
        tuned_seconds=costs.tuned if is_timed else lambda backbone: (0.0, 1.0),
        measure_training=costs.measure_training if is_timed and is_inline else lambda params: False,
        levels=Levels(perfect=task.perfect_score, trivial=trivial_score(evaluator.folds[0])),
        backbone_levels=levels,
        backbone_effects=effects,
        variants=variants.after,
        kind_of_form=partial(_kind_of_form, {spec.name: spec for spec in variants.backbones}, variants.after),
        views=space.views,
        admits_views=prepared.costs.admits_views,
        distant=variants.unusual,
        frozen_only=space.frozen_only,
        backbones=[spec.name for spec in variants.backbones],
        min_epochs=min_epochs(len(evaluator.folds[0].train_rows)),
        examples=len(evaluator.folds[0].train_rows),
        outputs=task.outputs,
    )


def _expected_backbones(
    backbones: Sequence[BackboneSpec],
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Return, by name, the expected level of each backbone beside others, and the weights of the effects they share.

    The effects are independent: those of a backbone are a row of the root of the covariance of all of them.
    """
    mean, covariance = ModelPrior.load(backbones[0].modality).expect([model_info(spec) for spec in backbones])
    root = np.linalg.cholesky(covariance + JITTER * np.eye(len(backbones)))
    names = [spec.name for spec in backbones]
    effects = [{f"backbones:{i}": float(weight) for i, weight in enumerate(row) if weight} for row in root]
    return dict(zip(names, (mean - mean.mean()).tolist(), strict=True)), dict(zip(names, effects, strict=True))


def min_epochs(examples: int) -> int:
    """Return the epochs below which a training of so many examples is not shortened."""
    return min(math.ceil(MIN_STEPS * BATCH_SIZE / examples), MIN_EPOCHS)


def predicted_seconds(space: SearchSpace, evaluator: Evaluator, params: Mapping[str, Any], epochs: int) -> float:
    """Return the predicted seconds of a trial with these parameters to so many epochs."""
    return evaluator.predicted_seconds(space.suggest(FixedTrial(dict(params))), epochs)


@dataclass
class _Costs:
    """Predicts seconds; of backbones that were not loaded yet, by their multiply-accumulates.

    No backbone is loaded again to predict what it takes: while it is not loaded, what was predicted before holds.

    Attributes:
        space: Turns parameters into candidates.
        evaluator: Predicts the seconds of candidates of loaded backbones.
        backbones: All backbones, in all forms, by name.
    """

    space: SearchSpace
    evaluator: Evaluator
    backbones: Mapping[str, BackboneSpec]
    _drawn: dict[tuple[str, int], float] = field(default_factory=dict)
    _predicted: dict[tuple[str, int], float] = field(default_factory=dict)

    def seconds(self, params: Mapping[str, Any], epochs: int) -> float:
        """Return the predicted seconds of a trial to so many epochs."""
        name, key = str(params["backbone"]), (repr(params), epochs)
        is_loaded = self.evaluator.is_loaded(name)
        if not is_loaded and key in self._predicted:
            return self._predicted[key]
        try:
            if not is_loaded and epochs == 0:
                return int(params.get("views", 1)) * self._pass(name) + LOADING_SECONDS
            self._predicted[key] = predicted_seconds(self.space, self.evaluator, params, epochs)
        except Exception:  # a plugin's error: its trial fails as well, and says why
            self._predicted[key] = LOADING_SECONDS
        return self._predicted[key]

    def drawn(self, backbone: str, views: int) -> float:
        """Return the predicted seconds of a frozen candidate: the mean over heads, with middling settings."""
        key = backbone, views
        if key not in self._drawn:
            given = self.space.frozen(backbone, views)
            each = [self.seconds(params, self.space.head_epochs) for params in given]
            self._drawn[key] = sum(each) / max(len(each), 1)
        return self._drawn[key]

    def tuned(self, backbone: str) -> tuple[float, float]:
        """Return the predicted seconds before the first epoch of a training of half a backbone, and of each epoch."""
        params = self.space.tuning(backbone, max(len(self.evaluator.stages(backbone)) // 2, 1))
        if params is None:
            return 0.0, self.evaluator.epoch_seconds(backbone)
        start, first = (self.seconds(params, epochs) for epochs in (0, 1))
        return start, first - start

    def measure_training(self, params: Mapping[str, Any]) -> bool:
        """Time a training step of a backbone, where that was not done; return whether it was done now."""
        return self.evaluator.measure_training(str(params["backbone"]))

    def _pass(self, name: str) -> float:
        """Return the predicted seconds of a pass of all examples, at the pace of the backbones that were measured."""
        evaluator, spec = self.evaluator, self.backbones[name]
        measured = [other for other in self.backbones if evaluator.has_measured(other)]
        if not measured and spec.gmacs:
            return pass_seconds(spec.gmacs, evaluator.device, len(evaluator.targets))
        if not measured:
            return evaluator.pass_seconds(name)
        return self._work(name) * median(evaluator.pass_seconds(other) / self._work(other) for other in measured)

    def _work(self, name: str) -> float:
        """Return what a pass takes beside that of other backbones: its multiply-accumulates, or a guess of them."""
        spec = self.backbones[name]
        # Each parameter of a convolution, or of a transformer, is used once for each position of the input.
        guess = (spec.parameters or TYPICAL_PARAMETERS) * math.prod(spec.input_size or (1,))
        return spec.gmacs if spec.gmacs and self._all_tell_gmacs else guess

    @cached_property
    def _all_tell_gmacs(self) -> bool:
        return all(spec.gmacs for spec in self.backbones.values())


def _kind_of_form(
    backbones: Mapping[str, BackboneSpec], after: Mapping[str, str], form: str
) -> Literal["resolution", "framing"]:
    """Return what tells a form from the one before it."""
    return "resolution" if backbones[form].input_size != backbones[after[form]].input_size else "framing"
