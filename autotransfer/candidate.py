"""A candidate: backbone, freeze policy, head and training settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from autotransfer.errors import ConfigError
from autotransfer.runtime.text import escape

__all__ = ["Candidate"]

Value = str | int | float | bool

_SETTINGS = ("head_params", "freeze_params", "training")


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """Backbone, freeze policy, head and training settings; frozen and hashable.

    Missing settings take the defaults of the head, the policy or the training.

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
        training: Training settings; for closed-form heads, only the number of views.
    """

    backbone: str
    head: str = "linear"
    freeze: str = "frozen"
    head_params: Mapping[str, Value] = field(default_factory=dict)
    freeze_params: Mapping[str, Value] = field(default_factory=dict)
    training: Mapping[str, Value] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in _SETTINGS:  # copies, since the caller may change the dictionaries
            object.__setattr__(self, name, dict(getattr(self, name)))

    def __hash__(self) -> int:
        # 1, 1.0 and True are equal and have equal hashes.
        settings = (frozenset(getattr(self, name).items()) for name in _SETTINGS)
        return hash((self.backbone, self.head, self.freeze, *settings))

    @property
    def without_epochs(self) -> Candidate:
        """The candidate without its number of epochs."""
        return replace(self, training={name: v for name, v in self.training.items() if name != "epochs"})

    @property
    def views(self) -> int:
        """Number of fixed views of each example."""
        given = self.training.get("views", 1)
        return given if isinstance(given, int) else 1

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
            ConfigError: A key is missing or unknown, or a value has a wrong type.
        """
        if not isinstance(data, Mapping) or "backbone" not in data or set(data) - set(cls.__dataclass_fields__):
            given = sorted(map(str, data)) if isinstance(data, Mapping) else f"a {type(data).__name__}"
            raise ConfigError(f"A candidate has the keys {list(cls.__dataclass_fields__)}; got {given}.")
        for name, value in data.items():
            if name not in _SETTINGS and not isinstance(value, str):
                raise ConfigError(f"The {name} of a candidate is a name; got {value!r}.")
            if name in _SETTINGS and not _are_settings(value):
                raise ConfigError(f"The {name} of a candidate map names to text or numbers; got {value!r}.")
        return cls(**data)

    def __str__(self) -> str:
        def settings(params: Mapping[str, Value]) -> str:
            shown = ", ".join(f"{k}={v:.3g}" if isinstance(v, float) else f"{k}={v}" for k, v in params.items())
            return f"({shown})" if shown else ""

        head, freeze = self.head + settings(self.head_params), self.freeze + settings(self.freeze_params)
        views = f" + {self.views} views" if self.views > 1 else ""
        return escape(f"{self.backbone} + {head} + {freeze}{views}")


def _are_settings(value: Any) -> bool:
    if not isinstance(value, Mapping):
        return False
    return all(isinstance(k, str) and isinstance(v, (str, int, float)) for k, v in value.items())
