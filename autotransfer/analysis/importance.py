"""Importance of each choice: functional ANOVA over the trials."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from autotransfer.search.trials import TrialRecord

__all__ = ["measure_importance"]

# Fewest trials that say anything.
MIN_TRIALS = 10
# Size of the forest. Small trees suffice for main effects, and the cost grows with the square of the leaves.
TREES, MAX_TREE_DEPTH = 16, 6
# Range of the objectives below which they do not vary.
MIN_OBJECTIVE_RANGE = 1e-9

Value = str | float


def measure_importance(
    trials: Iterable[TrialRecord], stages: Mapping[str, int], *, seed: int = 0
) -> dict[str, float] | None:
    """Return the share of the objective's explained variance that each choice accounts for, the largest first.

    The choices are backbone, head, freeze (the policy), depth (the share of stages that stay frozen) and settings
    (those of head, policy and training as one group). Where a candidate lacks a setting, the median or the most common
    value takes its place, so that the setting does not stand for the head or policy that has it.

    fANOVA: Hutter et al., ICML 2014, as Optuna computes it. The shares hold for the candidates that were tried.

    Args:
        trials: The trials; those that can win are used.
        stages: Number of stages by backbone.
        seed: Seed of the forest.

    Returns:
        Shares that sum to 1; None where too few trials have a score or their objectives do not vary.
    """
    used = [record for record in trials if record.can_win and record.candidate is not None]
    objectives = np.array([record.objective for record in used], dtype=float)
    if len(used) < MIN_TRIALS or np.ptp(objectives) < MIN_OBJECTIVE_RANGE:
        return None
    columns = _columns(used, stages)
    shares = dict.fromkeys(("backbone", "head", "freeze", "depth", "settings"), 0.0)
    for name, share in _fanova(columns, objectives, seed).items():
        shares[name if name in shares else "settings"] += float(share)
    total = sum(shares.values())
    if not total > 0:
        return None
    return {name: share / total for name, share in sorted(shares.items(), key=lambda item: -item[1])}


def _columns(records: Sequence[TrialRecord], stages: Mapping[str, int]) -> dict[str, list[Value]]:
    """Return the value of every parameter in every trial, by name."""
    rows = [_row(record, stages) for record in records]
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: _filled([row.get(name) for row in rows]) for name in names}


def _row(record: TrialRecord, stages: Mapping[str, int]) -> dict[str, Any]:
    candidate = record.candidate
    assert candidate is not None  # trials without one are left out before
    settings = {
        **{f"head.{candidate.head}.{name}": value for name, value in candidate.head_params.items()},
        **{f"freeze.{name}": value for name, value in candidate.freeze_params.items() if name != "depth"},
        **{f"training.{name}": value for name, value in candidate.training.items()},
        "training.views": candidate.views,
    }
    share = (record.depth or 0) / max(stages[candidate.backbone], 1)
    return {
        "backbone": candidate.backbone,
        "head": candidate.head,
        "freeze": candidate.freeze,
        "depth": float(share),
        **settings,
    }


def _filled(values: list[Any]) -> list[Value]:
    """Return values of one kind, with the median or the most common value in the place of missing ones."""
    given = [value for value in values if value is not None]
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in given):
        middle = float(np.quantile(given, 0.5, method="lower"))  # a value that occurs
        return [middle if value is None else float(value) for value in values]
    commonest = Counter(map(str, given)).most_common(1)[0][0]
    return [commonest if value is None else str(value) for value in values]


def _fanova(columns: Mapping[str, list[Value]], objectives: np.ndarray, seed: int) -> dict[str, float]:
    """Return the importance of every parameter that varies."""
    import optuna
    from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

    varying = {name: values for name, values in columns.items() if len(set(values)) > 1}
    spaces: dict[str, BaseDistribution] = {
        name: CategoricalDistribution(sorted(set(values)))
        if isinstance(values[0], str)
        else FloatDistribution(min(values), max(values))  # type: ignore[arg-type]  # all of one kind
        for name, values in varying.items()
    }
    if not spaces:
        return {}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize")
    study.add_trials(
        [
            optuna.trial.create_trial(
                params={name: values[row] for name, values in varying.items()},
                distributions=spaces,
                value=float(objective),
            )
            for row, objective in enumerate(objectives)
        ]
    )
    forest = optuna.importance.FanovaImportanceEvaluator(n_trees=TREES, max_depth=MAX_TREE_DEPTH, seed=seed)
    return forest.evaluate(study)
