"""Class weights: by the frequency of the classes, or as the user gives them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from autotransfer.errors import ConfigError
from autotransfer.tasks.targets import Labels

__all__ = ["balanced_class_weights", "class_weights_from"]

_MAX_CLASSES_IN_MESSAGE = 20


def balanced_class_weights(counts: np.ndarray) -> np.ndarray:
    """Return class weights (classes,), inverse to the class frequency, with a mean of 1 over the examples.

    Args:
        counts: Number of examples (classes,) of each class, or the sum of their weights.
    """
    return np.asarray(counts.sum() / (len(counts) * np.where(counts > 0, counts, 1)), dtype=np.float32)


def class_weights_from(classes: Sequence[Any], given: Mapping[Any, float]) -> np.ndarray:
    """Return class weights (classes,) from a dictionary; a class that it lacks has the weight 1.

    Raises:
        ConfigError: A key is no class.
    """
    labels, weights = Labels(classes), np.ones(len(classes), dtype=np.float32)
    for label, weight in given.items():
        if (position := labels.find(label)) is None:
            known = list(classes)[:_MAX_CLASSES_IN_MESSAGE]
            raise ConfigError(f"A class weight is given for {label!r}, which is no class; the classes are {known}.")
        weights[position] = weight
    return weights
