"""What a strategy has decided so far: noted with its proposals, so that a search can be resumed.

Most decisions rest on predicted seconds, and those change from one process to the next. So a search that was broken
off does not decide again: it takes in what was noted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["Decisions", "Grown", "changes"]


@dataclass
class Grown:
    """A depth of a backbone that is trained.

    Attributes:
        backbone: Its name.
        trained: Number of last stages that train.
        before: The backbone's best before.
        objective: What came of it so far.
    """

    backbone: str
    trained: int
    before: float
    objective: float = -math.inf


@dataclass
class Decisions:
    """What has been decided.

    Attributes:
        issued: Number of proposals after screening.
        more: Parameters of what is screened beside the first ones: backbones at their other sizes; None before that is
            decided.
        ranked: Backbones that are tuned, the best first; None before that is decided.
        trained: By backbone, how many last stages were trained at last.
        before: By backbone, its best before that.
        middles: By backbone that is trained from its middle on, how many last stages that is.
        grown: By arm, what it trains.
        sampled: By arm that the study fills in, its objective, or what is expected of it.
    """

    issued: int = 0
    more: list[dict[str, Any]] | None = None
    ranked: list[str] | None = None
    trained: dict[str, int] = field(default_factory=dict)
    before: dict[str, float] = field(default_factory=dict)
    middles: dict[str, int] = field(default_factory=dict)
    grown: dict[str, Grown] = field(default_factory=dict)
    sampled: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return them as JSON; of what is told by name, later notes replace earlier ones."""
        finite = {name: _number(value) for name, value in self.before.items()}
        grown = {
            name: {"backbone": one.backbone, "trained": one.trained, "before": _number(one.before)}
            for name, one in self.grown.items()
        }
        return {**asdict(self), "before": finite, "grown": grown}

    def restore(self, note: Mapping[str, Any], known: Callable[[str], bool]) -> None:
        """Take in what was noted, without what concerns backbones that are not known."""
        self.issued = note.get("issued", self.issued)
        self.more = note.get("more", self.more)
        if "ranked" in note:
            ranked = note["ranked"]
            self.ranked = None if ranked is None else [name for name in ranked if known(name)]
        for part in ("trained", "middles"):
            getattr(self, part).update({name: value for name, value in note.get(part, {}).items() if known(name)})
        self.before |= {name: _value(value) for name, value in note.get("before", {}).items() if known(name)}
        self.sampled |= note.get("sampled", {})
        for name, one in note.get("grown", {}).items():
            if known(one["backbone"]):
                self.grown.setdefault(name, Grown(**{**one, "before": _value(one["before"])}))


def changes(now: Mapping[str, Any], noted: Mapping[str, Any]) -> dict[str, Any]:
    """Return what has changed since it was noted last; of what is told by name, only those names."""
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
