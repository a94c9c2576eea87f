"""Whether test examples repeat training examples, which makes the test score too high."""

from __future__ import annotations

from autotransfer.contract.modality import Store
from autotransfer.data.train_test_overlap import Overlap, count_overlap
from autotransfer.evaluation.evaluator import Evaluator
from autotransfer.features.cache import ActivationCache
from autotransfer.features.extractor import FeatureExtractor
from autotransfer.pipeline.prepare import Prepared
from autotransfer.search.budget import TimeBudget
from autotransfer.warnings import WarningList

__all__ = ["warn_of_overlap"]


def warn_of_overlap(
    test: Store, data: Prepared, evaluator: Evaluator, budget: TimeBudget, warnings: WarningList
) -> None:
    """Say how many test examples are copies or near-duplicates of examples to train on.

    Near-duplicates are found by the features of the same backbone as among the training examples, if there is time.
    """
    _count(test, data, evaluator, budget).warn("test", warnings)


def _count(test: Store, data: Prepared, evaluator: Evaluator, budget: TimeBudget) -> Overlap:
    copies = count_overlap(test.digests, data.store.digests)
    if data.first is None or copies.copies == len(test):
        return copies
    try:
        loaded = evaluator.load(data.first)
        seconds = evaluator.pass_seconds(data.first) * len(test) / len(data.store)
        if seconds > budget.left_for("transfer_gain") or not test.suits(loaded.backbone.preprocessing):
            return copies
        cache = ActivationCache(None, memory_limit=data.extractor.cache.memory_limit)
        features = FeatureExtractor(store=test, cache=cache).pooled(loaded)
        known = data.extractor.pooled(loaded)
    except Exception:  # what is only a check must not lose the search
        return copies
    return count_overlap(test.digests, data.store.digests, features, known, objects=data.objects)
