"""The Optuna study: its sampler and its pruner."""

from __future__ import annotations

import warnings

import optuna

__all__ = ["make_pruner", "make_study"]

# With fewer curves than this, none tells whether another is poor.
_FEW = 10
_MANY = 100
_STARTUP = 10


def make_study(*, seed: int, curves: float, startup: int = 0) -> optuna.Study:
    """Return a study that maximises.

    Args:
        seed: Seed of the sampler.
        curves: About how many trials with a learning curve the budget allows.
        startup: Trials that are planned to come first, before any is sampled.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # `group` models each combination of backbone, head and policy in its own space.
        sampler = optuna.samplers.TPESampler(
            seed=seed, multivariate=True, group=True, n_startup_trials=startup + _STARTUP
        )
    return optuna.create_study(direction="maximize", sampler=sampler, pruner=make_pruner(curves))


def make_pruner(curves: float) -> optuna.pruners.BasePruner:
    """Return a pruner for so many learning curves: the more there are, the more it may stop.

    Percentiles of many curves, not successive halving, which loses late bloomers on noisy curves: optuna's own
    benchmarks with a multivariate TPE put Percentile(75) before Median(50), and both far before halving.
    """
    if curves < _FEW:
        return optuna.pruners.NopPruner()
    return optuna.pruners.PercentilePruner(75.0 if curves < _MANY else 50.0, n_startup_trials=5, n_warmup_steps=2)
