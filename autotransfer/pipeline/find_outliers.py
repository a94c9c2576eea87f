"""What a model keeps of its training examples, to tell which others are unlike them."""

from __future__ import annotations

import numpy as np

from autotransfer.candidate import Candidate
from autotransfer.data.folds import Fold
from autotransfer.evaluation.evaluator import Evaluator
from autotransfer.model.inference import group_by_backbone
from autotransfer.model.outliers import MIN_EXAMPLES, Outliers
from autotransfer.model.transfer_model import TransferModel
from autotransfer.pipeline.prepare import Prepared
from autotransfer.selection.fit_outliers import MAX_EXAMPLES, fit_detector, overconfidence, subsample
from autotransfer.selection.refit import as_member
from autotransfer.settings import Settings

__all__ = ["find_outliers"]

# Most examples that pass through a backbone that was tuned, and share of a time budget that these passes take.
MAX_TUNED_EXAMPLES, MAX_BUDGET_SHARE = 600, 0.02
# Divisions of examples that have no single class.
CLUSTERS = 5


def find_outliers(model: TransferModel, data: Prepared, evaluator: Evaluator, settings: Settings) -> Outliers | None:
    """Fit a detector of outliers on the training examples.

    Features of a frozen backbone are cached already. A backbone that was tuned has seen the examples: they lie closer
    together than new ones. By how much, the network of the first fold tells, where the search has kept it.

    Args:
        model: The model, trained on all examples.
        data: The examples.
        evaluator: What trained it.
        settings: The settings.

    Returns:
        The detector; None with too few examples, or where all members have sparse features.
    """
    fold = evaluator.folds[0]
    loaded = [evaluator.load(member.candidate.backbone) for member in model.members]
    dense = [i for i, backbone in enumerate(loaded) if not backbone.sparse]
    if not dense or len(fold.targets) < MIN_EXAMPLES:
        return None
    member, candidate = dense[0], model.members[dense[0]].candidate
    if evaluator.setup(candidate).frozen:
        rows = subsample(len(fold.targets), MAX_EXAMPLES, settings.seed)
        features, factor = evaluator.extractor.pooled(loaded[member])[rows], 1.0
    else:
        most = _affordable(evaluator, candidate, settings)
        rows = subsample(len(fold.targets), most, settings.seed)
        features = model.pooled_features(data.store, rows, member)
        factor = _overconfidence(evaluator, candidate, data, fold, most)
    group_ids = fold.group_ids_of(rows)
    detector = fit_detector(
        features,
        _classes(fold, rows, features),
        rows if group_ids is None else group_ids,
        seed=settings.seed,
        small=settings.selection.limits.size is not None,
    )
    detector.threshold *= factor
    return Outliers(detector=detector.to(model.device.torch), member=member)


def _affordable(evaluator: Evaluator, candidate: Candidate, settings: Settings) -> int:
    """Return how many examples may pass through a tuned backbone."""
    seconds = settings.budget.seconds
    if seconds is None:
        return MAX_TUNED_EXAMPLES
    each = evaluator.pass_seconds(candidate.backbone) / len(evaluator.targets)
    return int(np.clip(MAX_BUDGET_SHARE * seconds / max(each, 1e-6), 2 * MIN_EXAMPLES, MAX_TUNED_EXAMPLES))


def _overconfidence(evaluator: Evaluator, candidate: Candidate, data: Prepared, fold: Fold, most: int) -> float:
    """Return by how much farther examples are that the network of the first fold was not tuned on; 1 where unknown."""
    if evaluator.checkpoints.load(candidate) is None:
        return 1.0
    train, validation = (
        rows[subsample(len(rows), most // 2, evaluator.seed)] for rows in (fold.train_rows, fold.validation_rows)
    )
    if min(len(train), len(validation)) < MIN_EXAMPLES:
        return 1.0
    member = as_member(evaluator.best_network(candidate)[0], candidate, evaluator)
    (group,) = group_by_backbone([member], evaluator.device)
    seen, unseen = (group.pooled_features(data.store, rows) for rows in (train, validation))
    group_ids = fold.group_ids_of(train)
    return overconfidence(seen, unseen, train if group_ids is None else group_ids)


def _classes(fold: Fold, rows: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Return the class (n,) of each example; clusters of features where examples have none, or several."""
    if fold.task.single_label:
        return np.asarray(fold.targets[rows])
    from sklearn.cluster import KMeans

    count = min(CLUSTERS, len(rows) // MIN_EXAMPLES)
    if count < 2:
        return np.zeros(len(rows), dtype=np.int64)
    return np.asarray(KMeans(count, n_init=1, random_state=0).fit_predict(features))
