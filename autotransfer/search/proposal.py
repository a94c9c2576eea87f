"""What a part of the search would like to try next, and what it expects of that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from autotransfer.search.arm import Arm

__all__ = ["Proposal", "SourceName"]

SourceName = Literal[
    "screening", "variants", "frozen_heads", "fine_tuning", "sampled_tuning", "sampled", "planned", "last_resort"
]
"""Which part of a search proposes a trial.

``screening``: a frozen backbone under a closed-form head. ``variants``: one in another form or in more views.
``frozen_heads``: the sampler chooses a head and its settings, all stages frozen. ``fine_tuning``: the last stages of a
backbone train. ``sampled_tuning``: the sampler chooses how stages train. ``sampled``: the sampler chooses all.
``planned``: a candidate that was given. ``last_resort``: the cheapest candidate, where none fits into the budget.
"""


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """What trains next, how far, and what is expected of it.

    Attributes:
        params: Parameters of a new trial; the sampler draws those that are missing.
        source: Which part of the search proposes it; decides how much of the budget the trial may take.
        resumes: Number of the paused trial that is resumed; None starts a new trial.
        until: Epochs after which the trial is paused and judged again; None trains it to its end.
        epochs: Epochs that it is planned to take at most; None for those of its candidate.
        arm: What the belief knows of the candidate; None where nothing is known.
        expected: Expected level of the candidate when it has taken ``seconds``; see ``Levels``.
        deviation: Standard deviation of that level.
        seconds: Predicted seconds until then; 1 for each trial where the budget is a number of trials.
        again: Whether the trial was interrupted once before.
    """

    params: Mapping[str, Any] = field(default_factory=dict)
    source: SourceName = "sampled"
    resumes: int | None = None
    until: int | None = None
    epochs: int | None = None
    arm: Arm | None = None
    expected: float = 0.0
    deviation: float = 0.0
    seconds: float = 0.0
    again: bool = False

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Proposal:
        """Read what ``dataclasses.asdict`` returned."""
        arm = data.get("arm")
        return cls(**{**data, "arm": None if arm is None else Arm(**arm)})
