"""Transfer gain: the model against the winner's architecture from random weights, so that negative transfer is seen.

There is one baseline: the better of random weights that were trained as a whole and of random features, frozen. What
is said of it rests on a paired test, and on whether the random weights had a fair chance.
"""

from __future__ import annotations

import logging
import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np

from autotransfer.backbones.loaded import LoadedBackbone
from autotransfer.candidate import Candidate
from autotransfer.contract.backbone import Backbone
from autotransfer.contract.specs import BackboneSpec, FreezePlan, Phase
from autotransfer.errors import BackboneError
from autotransfer.evaluation.evaluator import Evaluator
from autotransfer.evaluation.setup import Setup
from autotransfer.runtime.memory import release_freed_memory
from autotransfer.search.budget import TimeBudget
from autotransfer.search.effort import Effort
from autotransfer.search.jobs import describe
from autotransfer.search.trials import TrialRecord, Trials
from autotransfer.selection.selected import Selected
from autotransfer.tasks.bootstrap import paired_standard_error, significantly_better
from autotransfer.training.settings import TrainingSettings

__all__ = ["TransferGain", "measure_gain", "reserved_seconds", "too_little"]

Verdict = Literal["gain", "negative_transfer", "none", "too_little_training", "not_compared"]

log = logging.getLogger("autotransfer")

# Share of a time budget that is set apart, and the seconds below which nothing is worth beginning.
_SHARE, _LEAST = 0.05, 1.0
# Shares of the time left after the first epoch, which says what one takes: what training is planned to take at most,
# and what it may take beyond the winner's seconds where a search ended early.
_PLANNED, _FREE = 0.9, 0.25
# Share of it that the passes of the frozen random backbone may take.
_PASS = 0.2
# A training step costs about three forward passes, and each of them twice what a backbone made fast takes.
_STEP_COST = 6.0
# Share of what the search has trained that training from random weights may take where trials are counted; and its
# epochs in times of what the search's take: nothing is fused, and no prefix is cached.
_OF_SEARCH, _DEARER = 0.5, 2.0
# Training that says little of what random weights can come to: so few steps, or so few epochs unless their steps are
# many. After one epoch on handwritten digits, random weights were no better than chance.
_FEW_STEPS, _FEW_EPOCHS, _MANY_STEPS = 50, 5, 1000
# Share that a batch has in running statistics: where steps are few, slower ones would stay those of nothing.
_MOMENTUM = 0.3
# Added to the seed: backbones whose weights are random themselves, as stand-ins are, tend to have that of the search.
_OWN_SEED = 7919
# Settings that networks of any kind learn with from random weights.
_SETTINGS = TrainingSettings(
    optimizer="adamw", lr=1e-3, backbone_lr=1.0, weight_decay=0.05, batch_norm="live", augmentation="light"
)


@dataclass(frozen=True, kw_only=True)
class TransferGain:
    """The model against the winner's architecture without what it was pretrained on.

    All scores are on the validation examples of the first fold, after training on the rest.

    Attributes:
        transfer: Score of the model.
        scratch: Score of the best epoch of the winner's architecture, trained as a whole from random weights; None
            where it was not trained.
        untrained: Score of the random backbone, frozen, under a closed-form head; None where there is none, or no time.
        head: That head.
        examples: Number of examples.
        epochs: Epochs that the random weights were trained for.
        steps: Optimizer steps of these epochs.
        seconds: Wall time of that.
        error: Standard error of the gain; None where there is no gain.
        verdict: What may be said: ``"gain"`` and ``"negative_transfer"`` where a paired test says so; ``"none"`` where
            it says nothing; ``"too_little_training"`` where random weights had no fair chance to come near;
            ``"not_compared"``.
        of: The model, in words.
        reason: Why something is missing.
        baseline: Predictions (examples, outputs) of the better random weights; None without any.
    """

    transfer: float
    scratch: float | None = None
    untrained: float | None = None
    head: str = ""
    examples: int = 0
    epochs: int = 0
    steps: int = 0
    seconds: float = 0.0
    error: float | None = None
    verdict: Verdict = "not_compared"
    of: str = ""
    reason: str = ""
    baseline: np.ndarray | None = field(default=None, compare=False, repr=False)

    @property
    def gain(self) -> float | None:
        """By how much transfer is better than the better of random weights; negative where it harms."""
        return None if self.floor is None else self.transfer - self.floor

    @property
    def floor(self) -> float | None:
        """The better score of random weights, which sources are compared with, too."""
        return max((score for score in (self.scratch, self.untrained) if score is not None), default=None)

    @property
    def late(self) -> bool:
        """Whether random weights had too little training to say anything."""
        return self.scratch is None or too_little(self.epochs, self.steps)

    def to_json(self) -> dict[str, Any]:
        """Return the comparison as JSON; null where a score is not defined, since JSON has no NaN."""
        row = {**asdict(replace(self, baseline=None)), "gain": self.gain}
        del row["baseline"]
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}


def too_little(epochs: int, steps: int) -> bool:
    """Whether so much training from random weights says little of what they can come to."""
    return steps < _FEW_STEPS or (epochs < _FEW_EPOCHS and steps < _MANY_STEPS)


def reserved_seconds(budget: TimeBudget, evaluator: Evaluator, backbone: str) -> float:
    """Return the seconds of a time budget to set apart for the comparison; 0 where that would buy nothing.

    Args:
        budget: The budget.
        evaluator: What will score the winner.
        backbone: The backbone that is expected to take least.
    """
    share = _SHARE * (budget.limit.seconds or 0.0)
    return share if share >= _LEAST and share >= _epoch_seconds(evaluator, backbone) else 0.0


def measure_gain(
    best: TrialRecord, selected: Selected, trials: Trials, evaluator: Evaluator, budget: TimeBudget, epochs: int
) -> TransferGain:
    """Train the winner's architecture from random weights and score it beside the model.

    The budget: within ``trials``, as many epochs as a candidate that trains stages has, and no more than half of what
    the search has trained. Within a time budget, the seconds that the winner took, with one pass of its backbone over
    the examples, or what that many epochs take where this is more, but for that no more than what was set apart or a
    quarter of the time left, and no more than the trials took; and one epoch at least. Nothing runs beyond the time
    budget.

    Args:
        best: The winner.
        selected: The model that it became, with its outputs.
        trials: The search.
        evaluator: What scored it.
        budget: The budget.
        epochs: Epochs of a candidate that trains stages.

    Returns:
        The comparison; where something failed or did not fit in, its reason says so: a comparison costs no result.
    """
    task, targets = evaluator.task, evaluator.targets[evaluator.folds[0].validation_rows]
    outputs = selected.predictions[evaluator.folds[0].validation_rows]
    assert best.candidate is not None  # the winner has one
    gain = TransferGain(transfer=task.score(targets, outputs), examples=len(targets), of=str(selected))
    if not math.isfinite(gain.transfer):
        return replace(gain, reason=f"the metric {task.metric!r} is not defined on the first fold")
    if _left(budget) < _LEAST:
        return replace(gain, reason="no time was left")
    try:
        loaded = _random(evaluator, best.candidate)
        passes = best.candidate.views * evaluator.pass_seconds(best.candidate.backbone)
        if budget.limit.seconds is None or passes < _PASS * _left(budget):
            gain = _untrained(gain, best.candidate, loaded, evaluator)
        gain = _scratch(gain, best, trials, loaded, evaluator, budget, epochs)
    except Exception as error:  # a plugin's or torch's: whatever it is, the search has its result
        log.info("The winner is not compared with random weights: %s", describe(error))
        gain = replace(gain, reason=describe(error))
    finally:
        release_freed_memory()
    return _judged(gain, outputs, evaluator)


def _judged(gain: TransferGain, outputs: np.ndarray, evaluator: Evaluator) -> TransferGain:
    """Add what may be said of the gain."""
    if gain.baseline is None:
        return gain
    fold = evaluator.folds[0]
    targets, group_ids = fold.targets[fold.validation_rows], fold.group_ids_of(fold.validation_rows)
    verdict: Verdict = "too_little_training" if gain.late else "none"
    if significantly_better(fold.task, targets, gain.baseline, outputs, group_ids):
        verdict = "negative_transfer"
    elif not gain.late and significantly_better(fold.task, targets, outputs, gain.baseline, group_ids):
        verdict = "gain"
    return replace(
        gain, verdict=verdict, error=paired_standard_error(fold.task, targets, outputs, gain.baseline, group_ids)
    )


def _left(budget: TimeBudget) -> float:
    return budget.left_for("transfer_gain")


def _random(evaluator: Evaluator, candidate: Candidate) -> LoadedBackbone:
    """Return the winner's backbone with random weights.

    Raises:
        BackboneError: It cannot be built without its weights.
    """
    name, pretrained = candidate.backbone, evaluator.load(candidate.backbone)
    recipe = pretrained.backbone.recipe
    if not recipe:
        raise BackboneError(f"the backbone {name!r} has no recipe to build it from without its weights")

    def build() -> Backbone:
        evaluator.device.seed(evaluator.seed + _OWN_SEED)
        backbone = evaluator.registry.rebuild(recipe)
        backbone.preprocessing = pretrained.backbone.preprocessing
        for module in backbone.modules():
            if hasattr(module, "running_var") and isinstance(momentum := getattr(module, "momentum", None), float):
                module.momentum = max(momentum, _MOMENTUM)  # type: ignore[assignment]  # a number, as it was
        return backbone

    loaded = LoadedBackbone(BackboneSpec(name=f"{name} (random weights)", load=build), evaluator.device)
    if loaded.digest == pretrained.digest:
        raise BackboneError(f"the backbone {name!r} comes back with its weights when it is built without them")
    return loaded


def _untrained(gain: TransferGain, candidate: Candidate, loaded: LoadedBackbone, evaluator: Evaluator) -> TransferGain:
    """Add the score of the random backbone, frozen, under the winner's head or the one that it starts from."""
    head = evaluator.registry.head(candidate.head)
    params = candidate.head_params
    if head.solve is None:
        start = TrainingSettings.from_candidate(candidate.training).start
        if not start:
            return gain
        head, params = evaluator.registry.head(start), {}
    frozen = FreezePlan(phases=(Phase(start=0.0, depth=loaded.depths),))
    described = Candidate(backbone=loaded.spec.name, head=head.name, head_params=params)
    settings = replace(_SETTINGS, views=candidate.views)
    setup = Setup(candidate=described, loaded=loaded, head=head, plan=frozen, start=None, settings=settings)
    fold, extractor = evaluator.folds[0], replace(evaluator.extractor, ahead=0)  # no boundary of it is needed
    network = setup.solve(extractor, fold, evaluator.device, evaluator.seed)
    outputs = setup.predict_from_features(network, extractor, fold.task, fold.validation_rows)
    score = fold.task.score(fold.targets[fold.validation_rows], outputs)
    return replace(gain, untrained=score, head=head.name, baseline=outputs) if math.isfinite(score) else gain


def _scratch(
    gain: TransferGain,
    best: TrialRecord,
    trials: Trials,
    loaded: LoadedBackbone,
    evaluator: Evaluator,
    budget: TimeBudget,
    epochs: int,
) -> TransferGain:
    """Add the score of all stages, trained from random weights."""
    fold, head = evaluator.folds[0], evaluator.registry.head(Candidate(backbone="").head)
    assert best.candidate is not None  # the winner has one
    timed = budget.limit.seconds is not None
    if timed and _left(budget) < _epoch_seconds(evaluator, best.candidate.backbone):
        return replace(gain, reason="the time left is too short for an epoch")
    whole = FreezePlan(phases=(Phase(start=0.0, depth=0),))
    described = Candidate(backbone=loaded.spec.name, head=head.name)
    if not timed:
        effort = Effort(trials, evaluator)
        epochs = min(epochs, int(effort.whole_epochs(_OF_SEARCH / _DEARER, best.candidate.backbone)))
        if not epochs:
            return replace(gain, reason="a single epoch would take more than half of what the search has trained")
    settings = replace(_SETTINGS, epochs=epochs, views=best.candidate.views)
    setup = Setup(candidate=described, loaded=loaded, head=head, plan=whole, start=None, settings=settings)
    run = setup.training(evaluator.extractor, fold, evaluator.device, evaluator.seed)
    started = budget.spent
    run.run(1, _go_on, lambda: _left(budget) < 0)
    if not run.epoch:
        return replace(gain, reason="the time ran out before the first epoch ended")
    if budget.limit.seconds is not None:
        each, left = budget.spent - started, _left(budget)
        searched = sum(record.seconds for record in trials)
        granted = min(epochs * each, searched, max(_SHARE * budget.limit.seconds, _FREE * left))
        wanted = max(best.seconds + evaluator.pass_seconds(best.candidate.backbone), granted) / each
        epochs = 1 + int(max(min(wanted - 1, _PLANNED * left / each), 0.0))
        run.settings = replace(settings, epochs=epochs)  # now that it is known what an epoch takes
    run.run(epochs, _go_on, lambda: _left(budget) < 0)
    better_one = gain.untrained is None or run.best_score >= gain.untrained
    return replace(
        gain,
        scratch=run.best_score,
        epochs=run.epoch,
        steps=run.epoch * math.ceil(len(fold.train_rows) / settings.batch_size),
        seconds=round(budget.spent - started, 3),
        baseline=run.best_predictions if better_one else gain.baseline,
    )


def _epoch_seconds(evaluator: Evaluator, backbone: str) -> float:
    """Return about how long an epoch of all stages takes."""
    fold = evaluator.folds[0]
    return _STEP_COST * evaluator.pass_seconds(backbone) * len(fold.train_rows) / len(fold.targets)


def _go_on(epoch: int, score: float, outputs: np.ndarray) -> bool:
    return False
