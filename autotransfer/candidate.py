"""A candidate: one complete transfer setup."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from autotransfer.errors import ConfigError

__all__ = ["Candidate"]

Value = str | int | float | bool


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One complete transfer setup: backbone, freeze policy, head and training settings. Frozen, hashable, JSON.

    Settings that are not given take the defaults of the head, the policy or the training.

    Example:
        >>> Candidate(
        ...     backbone="vgg16.tv_in1k",
        ...     head="mlp", head_params={"pooling": "flatten", "width": 1024, "layers": 1, "dropout": 0.0},
        ...     freeze="frozen",
        ...     training={"optimizer": "adam", "lr": 1e-3, "epochs": 10, "batch_size": 32, "schedule": "constant"},
        ... ).head
        'mlp'

    Attributes:
        backbone: Name of a backbone.
        head: Name of a head.
        freeze: Name of a freeze policy.
        head_params: Settings of the head.
        freeze_params: Settings of the freeze policy.
        training: Settings of the training; empty for closed-form heads.
    """

    backbone: str
    head: str = "linear"
    freeze: str = "frozen"
    head_params: Mapping[str, Value] = field(default_factory=dict)
    freeze_params: Mapping[str, Value] = field(default_factory=dict)
    training: Mapping[str, Value] = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash(json.dumps(self.to_json(), sort_keys=True))

    def to_json(self) -> dict[str, Any]:
        """Return the candidate as JSON."""
        return {
            "backbone": self.backbone,
            "head": self.head,
            "freeze": self.freeze,
            "head_params": dict(self.head_params),
            "freeze_params": dict(self.freeze_params),
            "training": dict(self.training),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Candidate:
        """Read what ``to_json`` wrote.

        Raises:
            ConfigError: A key is missing or unknown.
        """
        unknown = set(data) - set(cls.__dataclass_fields__)
        if unknown or "backbone" not in data:
            raise ConfigError(f"A candidate has the keys {list(cls.__dataclass_fields__)}; got {sorted(data)}.")
        return cls(**data)

    def __str__(self) -> str:
        def settings(params: Mapping[str, Value]) -> str:
            shown = ", ".join(f"{k}={v:.3g}" if isinstance(v, float) else f"{k}={v}" for k, v in params.items())
            return f"({shown})" if shown else ""

        head, freeze = self.head + settings(self.head_params), self.freeze + settings(self.freeze_params)
        return f"{self.backbone} + {head} + {freeze}"
