"""What a part of the search would like to try next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["Proposal", "Source"]

Source = Literal[
    "screening", "variants", "frozen_heads", "fine_tuning", "sampled_tuning", "sampled", "planned", "last_resort"
]
"""Which part of a search proposes a trial.

``screening``: a frozen backbone under a closed-form head. ``variants``: a good one in another form or in more
views. ``frozen_heads``: the sampler chooses, all stages frozen. ``fine_tuning``: the last stages of a backbone train.
``sampled_tuning``: the sampler chooses how stages train. ``sampled``: the sampler chooses all. ``planned``: a schedule
that was given its candidates. ``last_resort``: the cheapest candidate, where none fits into the budget.
"""


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """What trains next, and how far.

    Attributes:
        params: Parameters of a new trial; the sampler draws those that are missing.
        source: Which part of the search proposes it; decides how much of the budget the trial may take.
        resumes: Number of the paused trial that is resumed; None starts a new trial.
        until: Epochs after which the trial is paused and judged again; None trains it to its end.
        arm: Name of the arm of a freeze-thaw schedule; empty where there is none.
        again: Whether the trial was interrupted once before.
        note: What the schedule decided on the way to this proposal, as JSON: read again when a run is resumed.
    """

    params: Mapping[str, Any] = field(default_factory=dict)
    source: Source = "sampled"
    resumes: int | None = None
    until: int | None = None
    arm: str = ""
    again: bool = False
    note: Mapping[str, Any] = field(default_factory=dict, compare=False)
