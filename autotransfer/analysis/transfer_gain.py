"""Transfer gain: the model against the winner's architecture from random weights, so that negative transfer is seen.

There is one baseline: the better one of random weights all of which were trained, and of frozen random features. A gain
is claimed where a paired test finds one, and where the random weights were trained enough.
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
from autotransfer.evaluation.training_cost import TrainingCost
from autotransfer.runtime.memory import release_freed_memory
from autotransfer.search.budget import TimeBudget
from autotransfer.search.jobs import describe
from autotransfer.search.trials import TrialRecord, Trials
from autotransfer.selection.costs import MIN_TRANSFER_GAIN_SECONDS, TRANSFER_GAIN_BUDGET_SHARE
from autotransfer.selection.records import candidate_of
from autotransfer.selection.selected_model import SelectedModel
from autotransfer.tasks.bootstrap import paired_standard_error, significantly_better
from autotransfer.training.settings import TrainingSettings
from autotransfer.training.trainer import Training

__all__ = ["TransferGain", "is_undertrained", "measure_transfer_gain"]

Verdict = Literal["gain", "negative_transfer", "no_difference", "undertrained_baseline", "not_compared"]

log = logging.getLogger("autotransfer")

# Once the first epoch has shown what an epoch takes: share of the time left that training is planned to take at most,
# and share that it may take where a search ended early, whatever was reserved.
MAX_SHARE_OF_TIME_LEFT = 0.9
FREE_SHARE_OF_TIME_LEFT = 0.25
# Share of the time left that the passes of the frozen random backbone may take.
FROZEN_PASS_SHARE_OF_TIME_LEFT = 0.2
# Where trials are counted: share of what the search has trained that random weights may train, and what an epoch of
# theirs costs in epochs of the search: nothing is fused, and no prefix is cached.
SHARE_OF_SEARCH = 0.5
COST_OF_EPOCH = 2.0
# Less training than this says little of what random weights can come to. After one epoch on handwritten digits, random
# weights were no better than chance.
MIN_STEPS = 50
MIN_EPOCHS, STEPS_THAT_REPLACE_EPOCHS = 5, 1000
# Share of a batch in the running statistics of batch norm: with few steps, the usual 0.1 would leave the initial ones.
BATCH_NORM_MOMENTUM = 0.3
# Added to the seed: weights of stand-ins are random, too, and tend to have the seed of the search.
SEED_OFFSET = 7919
# Settings with which networks of any kind learn from random weights.
SCRATCH_SETTINGS = TrainingSettings(
    optimizer="adamw", lr=1e-3, backbone_lr=1.0, weight_decay=0.05, batch_norm="live", augmentation="light"
)


@dataclass(frozen=True, kw_only=True)
class TransferGain:
    """The model against the winner's architecture with random weights.

    All scores are on the validation examples of the first fold, after training on the other folds.

    Attributes:
        score: Score of the model.
        from_scratch: Score of the best epoch of the winner's architecture, all stages of which were trained from random
            weights; None where it was not trained.
        random_features: Score of the random backbone, frozen, under a closed-form head; None where there is no such
            head, or no time.
        head: Name of that closed-form head.
        examples: Number of validation examples.
        epochs: Epochs that the random weights were trained for.
        steps: Optimizer steps of these epochs.
        seconds: Wall time of these epochs.
        error: Standard error of the gain; None where there is no gain.
        verdict: ``"gain"`` and ``"negative_transfer"`` where a paired test says so; ``"no_difference"`` where the test
            finds none; ``"undertrained_baseline"`` where random weights were trained too little to say; and
            ``"not_compared"``.
        reason: Why something is missing.
        baseline_predictions: Predictions (examples, outputs) of the better random weights; None without any.
    """

    score: float
    from_scratch: float | None = None
    random_features: float | None = None
    head: str = ""
    examples: int = 0
    epochs: int = 0
    steps: int = 0
    seconds: float = 0.0
    error: float | None = None
    verdict: Verdict = "not_compared"
    reason: str = ""
    baseline_predictions: np.ndarray | None = field(default=None, compare=False, repr=False)

    @property
    def gain(self) -> float | None:
        """Score of the model less that of the baseline; negative where pretraining harms."""
        return None if self.baseline is None else self.score - self.baseline

    @property
    def baseline(self) -> float | None:
        """The better score of random weights, trained or frozen."""
        return max((score for score in (self.from_scratch, self.random_features) if score is not None), default=None)

    @property
    def is_undertrained(self) -> bool:
        """Whether random weights had too little training to say anything."""
        return self.from_scratch is None or is_undertrained(self.epochs, self.steps)

    def to_json(self) -> dict[str, Any]:
        """Return the comparison as JSON; null where a score is not defined, since JSON has no NaN."""
        row = {**asdict(replace(self, baseline_predictions=None)), "baseline": self.baseline, "gain": self.gain}
        del row["baseline_predictions"]
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}


def is_undertrained(epochs: int, steps: int) -> bool:
    """Return whether so much training says little of what random weights can come to."""
    return steps < MIN_STEPS or (epochs < MIN_EPOCHS and steps < STEPS_THAT_REPLACE_EPOCHS)


def measure_transfer_gain(
    best: TrialRecord, selected: SelectedModel, trials: Trials, evaluator: Evaluator, budget: TimeBudget, epochs: int
) -> TransferGain:
    """Train the winner's architecture from random weights and score it beside the model.

    With ``trials``, it trains for as many epochs as a candidate that trains stages, but no more than half of what the
    search has trained. With a time budget, it trains for the seconds that the winner took, including one pass of its
    backbone over the examples, or for the usual epochs where these take longer. The usual epochs may not take longer
    than all trials, nor than what was reserved or a quarter of the time left. One epoch is trained in any case. Nothing
    runs beyond the time budget.

    Args:
        best: The winner.
        selected: The model, with its out-of-fold predictions.
        trials: The search.
        evaluator: What scored it.
        budget: The budget.
        epochs: Epochs of a candidate that trains stages.

    Returns:
        The comparison. Where something fails or does not fit in, the reason says so: a comparison costs no result.
    """
    task, rows = evaluator.task, evaluator.folds[0].validation_rows
    predictions = selected.predictions[rows]
    gain = TransferGain(score=evaluator.folds[0].score(rows, predictions), examples=len(rows))
    if not math.isfinite(gain.score):
        return replace(gain, reason=f"the metric {task.metric!r} is not defined on the first fold")
    name = candidate_of(best).backbone
    if evaluator.registry.backbone(name).heads is not None:
        return replace(gain, reason=f"the backbone {name!r} has no pretrained weights")
    if _left(budget) < MIN_TRANSFER_GAIN_SECONDS:
        return replace(gain, reason="no time was left")
    try:
        candidate = candidate_of(best)
        loaded = _load_random(evaluator, candidate)
        pass_seconds = candidate.views * evaluator.pass_seconds(candidate.backbone)
        if budget.limit.seconds is None or pass_seconds < FROZEN_PASS_SHARE_OF_TIME_LEFT * _left(budget):
            gain = _with_random_features(gain, candidate, loaded, evaluator)
        gain = _with_training(gain, best, trials, loaded, evaluator, budget, epochs)
    except Exception as error:  # a plugin's or torch's: whatever it is, the search has its result
        log.info("The winner is not compared with random weights: %s", describe(error))
        gain = replace(gain, reason=describe(error))
    finally:
        release_freed_memory()
    return _with_verdict(gain, predictions, evaluator)


def _with_verdict(gain: TransferGain, predictions: np.ndarray, evaluator: Evaluator) -> TransferGain:
    """Add what a paired test says of the gain, and its standard error."""
    baseline = gain.baseline_predictions
    if baseline is None:
        return gain
    fold = evaluator.folds[0]
    task, rows = fold.task, fold.validation_rows
    targets, known = fold.targets[rows], (fold.group_ids_of(rows), fold.weights_of(rows))
    verdict: Verdict = "undertrained_baseline" if gain.is_undertrained else "no_difference"
    if significantly_better(task, targets, baseline, predictions, *known):
        verdict = "negative_transfer"
    elif not gain.is_undertrained and significantly_better(task, targets, predictions, baseline, *known):
        verdict = "gain"
    return replace(gain, verdict=verdict, error=paired_standard_error(task, targets, predictions, baseline, *known))


def _left(budget: TimeBudget) -> float:
    """Return the seconds until the end of the time budget; infinite without one."""
    return budget.left_for("transfer_gain")


def _load_random(evaluator: Evaluator, candidate: Candidate) -> LoadedBackbone:
    """Return the winner's backbone with random weights.

    Raises:
        BackboneError: It cannot be built without its weights.
    """
    name, pretrained = candidate.backbone, evaluator.load(candidate.backbone)
    recipe = pretrained.backbone.recipe
    if not recipe:
        raise BackboneError(f"the backbone {name!r} has no recipe to build it from without its weights")

    def build() -> Backbone:
        evaluator.device.seed(evaluator.seed + SEED_OFFSET)
        backbone = evaluator.registry.rebuild(recipe)
        backbone.preprocessing = pretrained.backbone.preprocessing
        for module in backbone.modules():
            if hasattr(module, "running_var") and isinstance(momentum := getattr(module, "momentum", None), float):
                module.momentum = max(momentum, BATCH_NORM_MOMENTUM)  # type: ignore[assignment]  # a number, as it was
        return backbone

    spec = BackboneSpec(name=f"{name} (random weights)", modality=pretrained.spec.modality, load=build)
    loaded = LoadedBackbone(spec, evaluator.device)
    if loaded.digest == pretrained.digest:
        raise BackboneError(f"the backbone {name!r} comes back with its weights when it is built without them")
    return loaded


def _with_random_features(
    gain: TransferGain, candidate: Candidate, loaded: LoadedBackbone, evaluator: Evaluator
) -> TransferGain:
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
    settings = replace(SCRATCH_SETTINGS, views=candidate.views)
    setup = Setup(
        candidate=described,
        loaded=loaded,
        head=head,
        plan=frozen,
        start=None,
        settings=settings,
        views=_views(evaluator, settings),
    )
    fold, extractor = evaluator.folds[0], replace(evaluator.extractor, ahead=0)  # no boundary of it is needed
    network = setup.solve(extractor, fold, evaluator.device, evaluator.seed)
    predictions = setup.predict_from_features(network, extractor, fold.task, fold.validation_rows)
    score = fold.score(fold.validation_rows, predictions)
    if not math.isfinite(score):
        return gain
    return replace(gain, random_features=score, head=head.name, baseline_predictions=predictions)


def _views(evaluator: Evaluator, settings: TrainingSettings) -> tuple[str, ...]:
    return evaluator.extractor.store.modality.views[: settings.views]


def _with_training(
    gain: TransferGain,
    best: TrialRecord,
    trials: Trials,
    loaded: LoadedBackbone,
    evaluator: Evaluator,
    budget: TimeBudget,
    epochs: int,
) -> TransferGain:
    """Add the score of all stages, trained from random weights."""
    candidate, timed = candidate_of(best), budget.limit.seconds is not None
    if timed and _left(budget) < evaluator.epoch_seconds(candidate.backbone):
        return replace(gain, reason="the time left is too short for an epoch")
    if not timed:
        share = SHARE_OF_SEARCH / COST_OF_EPOCH
        epochs = min(epochs, int(TrainingCost(trials, evaluator).whole_epochs(share, candidate.backbone)))
        if not epochs:
            return replace(gain, reason="a single epoch would take more than half of what the search has trained")
    run = _training(candidate, loaded, evaluator, epochs)
    started = budget.spent
    run.run(1, _never_stop, lambda: _left(budget) < 0)
    if not run.epoch:
        return replace(gain, reason="the time ran out before the first epoch ended")
    if timed:
        epochs = _affordable_epochs(best, trials, evaluator, budget, epochs, budget.spent - started)
        run.settings = replace(run.settings, epochs=epochs)  # now that it is known what an epoch takes
    run.run(epochs, _never_stop, lambda: _left(budget) < 0)
    is_better = gain.random_features is None or run.best_score >= gain.random_features
    return replace(
        gain,
        from_scratch=run.best_score,
        epochs=run.epoch,
        steps=run.epoch * math.ceil(len(evaluator.folds[0].train_rows) / run.settings.batch_size),
        seconds=round(budget.spent - started, 3),
        baseline_predictions=run.best_predictions if is_better else gain.baseline_predictions,
    )


def _training(candidate: Candidate, loaded: LoadedBackbone, evaluator: Evaluator, epochs: int) -> Training:
    """Return the training of all stages under the default head."""
    head = evaluator.registry.head(Candidate(backbone="").head)
    whole = FreezePlan(phases=(Phase(start=0.0, depth=0),))
    described = Candidate(backbone=loaded.spec.name, head=head.name)
    modality = evaluator.extractor.store.modality
    strength = modality.augmentations[min(1, len(modality.augmentations) - 1)]
    settings = replace(SCRATCH_SETTINGS, epochs=epochs, views=candidate.views, augmentation=strength)
    setup = Setup(
        candidate=described,
        loaded=loaded,
        head=head,
        plan=whole,
        start=None,
        settings=settings,
        views=_views(evaluator, settings),
    )
    return setup.training(evaluator.extractor, evaluator.folds[0], evaluator.device, evaluator.seed)


def _affordable_epochs(
    best: TrialRecord, trials: Trials, evaluator: Evaluator, budget: TimeBudget, epochs: int, seconds: float
) -> int:
    """Return the epochs to train for within a time budget, each of which takes so many seconds."""
    left, searched = _left(budget), sum(record.seconds for record in trials)
    reserved = TRANSFER_GAIN_BUDGET_SHARE * (budget.limit.seconds or 0.0)
    granted = min(epochs * seconds, searched, max(reserved, FREE_SHARE_OF_TIME_LEFT * left))
    wanted = max(best.seconds + evaluator.pass_seconds(candidate_of(best).backbone), granted) / seconds
    return 1 + int(max(min(wanted - 1, MAX_SHARE_OF_TIME_LEFT * left / seconds), 0.0))


def _never_stop(epoch: int, score: float, predictions: np.ndarray) -> bool:
    return False
