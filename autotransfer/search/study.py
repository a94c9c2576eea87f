"""The Optuna study: its sampler and its pruner."""

from __future__ import annotations

import warnings
from typing import Any

import optuna

__all__ = ["make_finals_study", "make_study"]


def make_study(*, seed: int, first: list[dict[str, Any]], startup: int = 10) -> optuna.Study:
    """Return a study that maximises.

    Args:
        seed: Seed of the sampler.
        first: Parameters of trials to begin with; what they leave open is sampled.
        startup: Random trials after those, before the sampler's model is trusted.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # `group` models each combination of backbone, head and policy in its own space.
        sampler = optuna.samplers.TPESampler(
            seed=seed, multivariate=True, group=True, n_startup_trials=len(first) + startup
        )
    # Mild pruning around the median of many: aggressive halving loses late bloomers on noisy curves.
    pruner = optuna.pruners.PercentilePruner(60.0, n_startup_trials=5, n_warmup_steps=2)
    study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)
    for params in first:
        study.enqueue_trial(params)
    return study


def make_finals_study() -> optuna.Study:
    """Return a study that stops a trial whose scores are behind those of the best one, fold by fold."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        pruner = optuna.pruners.WilcoxonPruner(p_threshold=0.1)
    return optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0), pruner=pruner)
