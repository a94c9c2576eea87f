"""Examples of a data set from which benchmarks draw parts, over and over, with the features of some backbones."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from autotransfer import Candidate
from autotransfer.backbones.loaded import LoadedBackbone
from autotransfer.contract.modality import Store
from autotransfer.contract.registry import Registry
from autotransfer.data.folds import Fold
from autotransfer.data.split import split, split_folds
from autotransfer.evaluation.evaluator import Evaluator
from autotransfer.features.extractor import FeatureExtractor
from autotransfer.runtime.device import Device
from autotransfer.tasks.task import Task

FOLDS = 5


class Pool:
    """What parts are drawn from, and what scores candidates on them; who derives from it sets the attributes."""

    registry: Registry
    device: Device
    loaded: list[LoadedBackbone]
    extractor: FeatureExtractor
    store: Store
    task: Task
    targets: np.ndarray
    candidates: list[Candidate]

    def draw(self, share: float, seed: int) -> tuple[list[Fold], Fold]:
        """Return the folds of a share of the examples, and the one that trains on all these and scores the others."""
        others, drawn = split(self.targets, self.task, self.store.digests, share=share, seed=seed)
        digests = [self.store.digests[i] for i in drawn]
        fold = partial(Fold, task=self.task, targets=self.targets)
        divided = split_folds(self.targets[drawn], self.task, digests, count=FOLDS, seed=seed)
        inner = [fold(train_rows=drawn[train], validation_rows=drawn[validation]) for train, validation in divided]
        return inner, fold(train_rows=drawn, validation_rows=others)

    def predictions(self, candidate: Candidate, folds: Sequence[Fold]) -> np.ndarray:
        """Return predictions (N, outputs) of what the folds validate, NaN elsewhere."""
        evaluator = Evaluator(self.registry, self.extractor, folds, self.device, seed=0, loaded=self.loaded)
        found = evaluator(candidate, lambda epoch, score: False, lambda: False).predictions
        assert found is not None  # nothing stopped it
        return found
