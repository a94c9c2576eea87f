"""Whether the test examples repeat examples to train on: their score would flatter."""

from __future__ import annotations

from autotransfer.data.examples import Images
from autotransfer.data.train_test_overlap import Overlap, count_overlap
from autotransfer.evaluation.evaluator import Evaluator
from autotransfer.features.cache import ActivationCache
from autotransfer.features.extractor import FeatureExtractor
from autotransfer.pipeline.prepare import Prepared
from autotransfer.search.budget import TimeBudget
from autotransfer.warnings import WarningList

__all__ = ["warn_of_overlap"]


def warn_of_overlap(
    test: Images, data: Prepared, evaluator: Evaluator, budget: TimeBudget, warnings: WarningList
) -> None:
    """Say how many test images are copies or near-duplicates of images to train on.

    Near-duplicates are told by the backbone that told them among the images to train on, if there is time for it.
    """
    _count(test, data, evaluator, budget).warn("test", warnings)


def _count(test: Images, data: Prepared, evaluator: Evaluator, budget: TimeBudget) -> Overlap:
    copies = count_overlap(test.digests, data.images.digests)
    if data.first is None or copies.copies == len(test):
        return copies
    try:
        loaded = evaluator.load(data.first)
        seconds = evaluator.pass_seconds(data.first) * len(test) / len(data.images)
        if seconds > budget.left_for("transfer_gain") or loaded.backbone.preprocessing.crop_mode not in test.pixels:
            return copies
        cache = ActivationCache(None, memory_limit=data.extractor.cache.memory_limit)
        features = FeatureExtractor(images=test, cache=cache).pooled(loaded)
        known = data.extractor.pooled(loaded)
    except Exception:  # what is only a check must not lose the search
        return copies
    return count_overlap(test.digests, data.images.digests, features, known, objects=data.objects)
