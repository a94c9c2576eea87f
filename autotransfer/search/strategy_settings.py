"""The tuned numbers of the strategy."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["StrategySettings"]


@dataclass(frozen=True, kw_only=True)
class StrategySettings:
    """The tuned numbers of the strategy.

    They were tuned by hand on the five image sets of the benchmarks, unless a comment says otherwise. A share of the
    error is a share of the difference between an objective and the perfect score.

    Attributes:
        tuned_backbones: Backbones that are fine-tuned, the best ones of the screening.
        frozen_heads_per_fine_tuning: Frozen candidates between two trials that train stages.
        fine_tuning_deviation: Standard deviation of a fine-tuning's objective, as a share of the error.
        fine_tuning_dip: Error that a fine-tuning adds before its first epoch, as a share of the error.
        first_fine_tuning_share: Share of the seconds left that the first fine-tuning of a backbone may take if it
            trains more than the last stage.
        half_depth_min_gain: Share of the error that the last stages have to gain before half of the backbone trains.
        half_depth_min_error: Error that has to be left before half of the backbone trains.
        half_depth_share: Share of the seconds left that the shortest training of half of a backbone may take.
        half_depth_gain: Share of the error that half of a backbone is expected to gain.
        variant_share: Share of the seconds left that one pass of a variant may take.
        min_frozen_heads: Frozen candidates that get half of the seconds before fine-tuning gets more.
        frozen_heads_patience: Frozen candidates in a row without a gain after which no more are tried.
        frozen_heads_max_gap: Share of the error by which fine-tuned candidates may be ahead before no more frozen
            candidates are tried.
        min_gain: Difference of objectives that counts as a gain.
        min_deviation: Smallest standard deviation of a score.
    """

    tuned_backbones: int = 3
    frozen_heads_per_fine_tuning: int = 4
    fine_tuning_deviation: float = 0.3
    fine_tuning_dip: float = 1.0
    first_fine_tuning_share: float = 0.3
    # On textures (dtd10) the last stages gained nothing and half of the backbone lost. On sign digits the last stages
    # gained half of the error, and half of the backbone gained most of the rest.
    half_depth_min_gain: float = 0.1
    half_depth_min_error: float = 0.03
    half_depth_share: float = 0.7
    half_depth_gain: float = 0.5
    variant_share: float = 0.1
    min_frozen_heads: int = 40
    frozen_heads_patience: int = 12
    frozen_heads_max_gap: float = 0.5
    min_gain: float = 1e-3
    min_deviation: float = 0.01
