"""The training settings of a candidate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args, get_type_hints

from autotransfer.errors import ConfigError

__all__ = ["TrainingSettings"]

# The largest value of each number that has one.
_MOST = {"warmup": 1, "label_smoothing": 1}


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """How a candidate is trained by gradient.

    Attributes:
        optimizer: Update rule.
        lr: Learning rate of the head.
        backbone_lr: Factor on ``lr`` for the stages that train; the freeze policy's factors by stage come on top.
        weight_decay: Decoupled decay of weights; norms and biases are spared.
        batch_size: Examples in one step.
        epochs: Passes over the training examples.
        schedule: Cosine with warm-up, or constant.
        warmup: Share of the steps in which the learning rate rises.
        augmentation: Strength, where examples pass through the network in each step; one of those of their modality.
        views: Number of fixed views that a frozen prefix sees, each cached.
        label_smoothing: Share of the target that goes to all classes alike.
        start: Closed-form head whose solution on the frozen features the head starts from; empty for the head's own
            values. Fine-tuning from a fitted head distorts the features less (LP-FT, Kumar et al., 2022).
        batch_norm: Whether batch-norm statistics of the stages that train stay as they were pretrained.
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
            ConfigError: An unknown setting, or a value that is not allowed.
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
    """Refuse a value that the setting of this type cannot have."""
    choices, most = get_args(kind), _MOST.get(name, math.inf)
    if choices:
        allowed, wanted = value in choices, f"one of {list(choices)}"
    elif kind is str:
        allowed, wanted = isinstance(value, str), "text"
    elif kind is int:
        allowed, wanted = type(value) is int and 1 <= value <= most, f"a whole number from 1 to {most}"
    else:
        allowed, wanted = type(value) in (int, float) and 0 <= value <= most, f"a number from 0 to {most}"
    if not allowed or value == math.inf:
        raise ConfigError(f"The training setting {name!r} is {wanted}; got {value!r}.")
