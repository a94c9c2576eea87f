"""The training settings of a candidate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args, get_type_hints

from autotransfer.errors import ConfigError

__all__ = ["TrainingSettings"]

# Largest allowed value of each setting that has one.
_MAX_VALUES = {"warmup": 1, "label_smoothing": 1}


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """How a candidate is trained by gradient.

    Attributes:
        optimizer: Update rule.
        lr: Learning rate of the head.
        backbone_lr: Factor on ``lr`` for the training stages, multiplied by the freeze policy's factor of each stage.
        weight_decay: Weight decay; norms and biases have none. It is decoupled from the gradient with ``"adamw"`` alone
            (Loshchilov and Hutter, 2019); ``"adam"`` and ``"sgd"`` add it to the gradient, as PyTorch does.
        batch_size: Examples in one step.
        epochs: Passes over the training examples.
        schedule: Cosine with warm-up, or constant.
        warmup: Share of the steps in which the learning rate rises.
        augmentation: Strength of the augmentation, if examples pass through the network in each step.
        views: Number of fixed views of an example whose activations are cached.
        label_smoothing: Share of the target that is spread evenly over all classes.
        start: Closed-form head on the frozen features whose solution initialises the head; empty for random weights.
            Fine-tuning from a fitted head distorts the features less (LP-FT, Kumar et al., 2022).
        batch_norm: ``"frozen"`` keeps the pretrained batch-norm statistics of training stages; ``"live"`` updates them.
    """

    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    lr: float = 1e-3
    backbone_lr: float = 0.1
    weight_decay: float = 1e-4
    batch_size: int = 32
    epochs: int = 12
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: float = 0.1
    augmentation: str = "light"
    views: int = 1
    label_smoothing: float = 0.0
    start: str = ""
    batch_norm: Literal["frozen", "live"] = "frozen"

    @classmethod
    def from_candidate(cls, training: Mapping[str, Any]) -> TrainingSettings:
        """Read the ``training`` of a candidate.

        Raises:
            ConfigError: A setting is unknown, or a value is not allowed.
        """
        types = get_type_hints(cls)
        unknown = set(training) - set(types)
        if unknown:
            raise ConfigError(f"Unknown training setting(s) {sorted(unknown)}; known: {sorted(types)}.")
        for name, value in training.items():
            _check(name, value, types[name])
        return cls(**training)

    def to_json(self) -> dict[str, Any]:
        """Return all settings by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def _check(name: str, value: Any, kind: Any) -> None:
    """Check a value against the type of a setting."""
    choices, largest = get_args(kind), _MAX_VALUES.get(name, math.inf)
    if choices:
        allowed, wanted = value in choices, f"one of {list(choices)}"
    elif kind is str:
        allowed, wanted = isinstance(value, str), "text"
    elif kind is int:
        allowed, wanted = type(value) is int and 1 <= value <= largest, f"a whole number from 1 to {largest}"
    else:
        allowed, wanted = type(value) in (int, float) and 0 <= value <= largest, f"a number from 0 to {largest}"
    if not allowed or value == math.inf:
        raise ConfigError(f"The training setting {name!r} is {wanted}; got {value!r}.")
