"""The tuned numbers of the strategy."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["StrategySettings"]


@dataclass(frozen=True, kw_only=True)
class StrategySettings:
    """The tuned numbers of the strategy; what recorded runs say stands in the prior.

    They were set by what they mean. The shares and losses of trainings were set while looking at sign digits, one of
    the five image sets of the benchmarks; the other numbers were chosen on no data. Levels are those of ``Levels``:
    0.69 is half of the error.

    Attributes:
        task_level: Expected level of a frozen backbone on a new task.
        task_deviation: Standard deviation of that level between tasks.
        backbone_share: Share of the variance of what training brings that all depths of one backbone have in common.
        first_epoch_dip: Levels that a training loses before its first epoch: its head was fitted to other features.
        training_share: Share of the seconds left that a training is planned to take, so that several fit in.
        loss_of_half_epochs: Levels that a training loses by having half as many epochs, its learning rates within them.
        draws_weight: Draws of a sampler that what the prior says of such draws counts for.
        min_deviation: Smallest standard deviation of a level: equal trainings differ by chance.
        max_tuned_forms: Forms of backbones of which stages train, the best ones; all of them stay loaded.
        max_rejected_draws: Draws in a row that were tried before, do not fit, or failed to train, after which no more
            are drawn there.
    """

    task_level: float = 1.0
    task_deviation: float = 1.0
    backbone_share: float = 0.5
    first_epoch_dip: float = 1.0
    training_share: float = 0.25
    loss_of_half_epochs: float = 0.1
    draws_weight: float = 4.0
    min_deviation: float = 0.05
    max_tuned_forms: int = 6
    max_rejected_draws: int = 5
