"""What a strategy has decided so far: noted with its proposals, so that a search can be resumed.

Most decisions rest on predicted seconds, which change from one process to the next. A resumed search does not decide
again: it reads what was noted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["Decisions", "TrainedDepth", "changes"]


@dataclass
class TrainedDepth:
    """A depth of a backbone that is fine-tuned.

    Attributes:
        backbone: The backbone.
        trained: Number of last stages that train.
        best_before: The best objective of the backbone before.
        objective: The objective of this depth so far.
    """

    backbone: str
    trained: int
    best_before: float
    objective: float = -math.inf


@dataclass
class Decisions:
    """What has been decided.

    Attributes:
        proposed: Number of proposals after the screening.
        variants: Parameters of variants that are screened: backbones in another form, such as another resolution;
            None before this is decided.
        tuned_backbones: Backbones that are fine-tuned, the best first; None before this is decided.
        trained: By backbone, how many last stages were trained at last.
        best_before: By backbone, its best objective before that.
        half_depths: By backbone of which half is trained, how many last stages that is.
        fine_tunings: By arm, the depth that it trains.
        sampled_tunings: By arm whose settings the sampler chooses, its objective, or the expected one.
    """

    proposed: int = 0
    variants: list[dict[str, Any]] | None = None
    tuned_backbones: list[str] | None = None
    trained: dict[str, int] = field(default_factory=dict)
    best_before: dict[str, float] = field(default_factory=dict)
    half_depths: dict[str, int] = field(default_factory=dict)
    fine_tunings: dict[str, TrainedDepth] = field(default_factory=dict)
    sampled_tunings: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return them as JSON."""
        best_before = {name: _number(value) for name, value in self.best_before.items()}
        fine_tunings = {
            name: {"backbone": one.backbone, "trained": one.trained, "best_before": _number(one.best_before)}
            for name, one in self.fine_tunings.items()
        }
        return {**asdict(self), "best_before": best_before, "fine_tunings": fine_tunings}

    def restore(self, note: Mapping[str, Any], known: Callable[[str], bool]) -> None:
        """Read what was noted, but for backbones that are not known."""
        self.proposed = note.get("proposed", self.proposed)
        self.variants = note.get("variants", self.variants)
        if "tuned_backbones" in note:
            tuned = note["tuned_backbones"]
            self.tuned_backbones = None if tuned is None else [name for name in tuned if known(name)]
        for part in ("trained", "half_depths"):
            getattr(self, part).update({name: value for name, value in note.get(part, {}).items() if known(name)})
        self.best_before |= {name: _value(value) for name, value in note.get("best_before", {}).items() if known(name)}
        self.sampled_tunings |= note.get("sampled_tunings", {})
        for name, one in note.get("fine_tunings", {}).items():
            if known(one["backbone"]):
                depth = TrainedDepth(**{**one, "best_before": _value(one["best_before"])})
                self.fine_tunings.setdefault(name, depth)


def changes(now: Mapping[str, Any], noted: Mapping[str, Any]) -> dict[str, Any]:
    """Return what has changed since the last note; of a dictionary, only the entries that have changed."""
    found = dict[str, Any]()
    for part, value in now.items():
        before = noted.get(part)
        if isinstance(value, dict):
            known = before or {}
            value = {name: one for name, one in value.items() if name not in known or known[name] != one}
            if value:
                found[part] = value
        elif value != before:
            found[part] = value
    return found


def _number(value: float) -> float | None:
    """JSON has no infinity."""
    return value if math.isfinite(value) else None


def _value(number: float | None) -> float:
    return -math.inf if number is None else number
