"""Targets from a teacher backbone: its features, or the predictions of a linear probe on them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch

from autotransfer.backbones.loaded import LoadedBackbone
from autotransfer.contract.registry import Registry
from autotransfer.features.cache import ActivationCache
from autotransfer.features.extractor import FeatureExtractor
from autotransfer.pretraining.dataset import PretrainingData
from autotransfer.pretraining.losses import Objective, from_answers, from_features, standardise
from autotransfer.runtime.device import Device
from autotransfer.runtime.memory import memory_budget
from autotransfer.settings import Match
from autotransfer.training.network import to_predictions

__all__ = ["teacher_features", "teacher_objective", "explained_variance"]

# The probe of a task with labels, and that of values, which the first one does not predict.
_PROBE, _PROBE_OF_VALUES = "logistic", "ridge"


def teacher_features(loaded: LoadedBackbone, dataset: PretrainingData, cache_dir: Path | None) -> np.ndarray:
    """Return the teacher's standardised features (N, width) of all examples, from the cache if possible."""
    cache = ActivationCache(cache_dir, memory_limit=memory_budget(None))
    features = FeatureExtractor(store=dataset.store, cache=cache).pooled(loaded)
    return standardise(features, dataset.train_rows)


def teacher_objective(
    features: np.ndarray, match: Match, dataset: PretrainingData, registry: Registry, device: Device
) -> Objective:
    """Return the objective that matches a teacher's features, or the predictions of a linear probe on them."""
    if match == "features":
        return from_features(features, device.torch)
    fold = dataset.fold
    assert fold is not None  # answers need labels
    spec = registry.head(_PROBE)
    if fold.task.kind not in spec.tasks:
        spec = registry.head(_PROBE_OF_VALUES)
    assert spec.solve is not None
    probe = spec.build((features.shape[1],), fold.task.outputs, {})
    targets = fold.standardised_targets()[fold.train_rows]
    spec.solve(probe, features[fold.train_rows], targets, fold.task, {}, None)
    with torch.inference_mode():
        answers = to_predictions(fold.task, probe(torch.from_numpy(features)))
    return from_answers(fold.task, answers.astype(np.float32), device.torch)


def explained_variance(predicted: np.ndarray, features: np.ndarray) -> float:
    """Return the share of the variance of features (N, width) that is predicted, as R2 pooled over all features.

    It is NaN where they do not vary, as those of one example.
    """
    total = float(((features - features.mean(0)) ** 2).sum())
    return 1 - float(((predicted - features) ** 2).sum()) / total if total > 0 else math.nan
