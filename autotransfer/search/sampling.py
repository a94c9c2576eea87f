"""What a proposal leaves open is drawn in a study of its own, in memory.

The study of a run holds the candidates that are tried, a trial each. What is drawn may have been tried before, or may
not fit into the budget: the study in memory alone holds that, so that its sampler turns to others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FixedTrial, TrialState

from autotransfer.candidate import Candidate
from autotransfer.search.journal import Entry
from autotransfer.search.study import quiet
from autotransfer.search.trials import TrialRecord

__all__ = ["Sampling", "Suggest"]

Suggest = Callable[[Any], Candidate]


class Sampling:
    """Draws parameters, and learns what came of them.

    Args:
        sampler: Draws.
        suggest: Turns a trial into a candidate.
    """

    def __init__(self, sampler: optuna.samplers.BaseSampler, suggest: Suggest) -> None:
        with quiet():
            self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._suggest = suggest

    def ask(self, params: Mapping[str, Any]) -> optuna.trial.Trial:
        """Return a trial with these parameters, which draws the others when it is asked for them."""
        if params:
            self._study.enqueue_trial(dict(params))
        return self._study.ask()

    def tell(self, trial: optuna.trial.Trial, record: TrialRecord | None) -> None:
        """Learn what came of a trial, or of a part of it; None says that it was not tried."""
        state, objective = _state(record), None if record is None else record.objective
        if state == TrialState.PRUNED and record is not None and record.objectives:
            trial.report(record.objectives[-1], len(record.objectives))
        self._study.tell(trial, objective if state == TrialState.COMPLETE else None, state=state)

    def restore(self, entry: Entry) -> None:
        """Learn what came of a proposal of an interrupted search."""
        record, state = entry.record, _state(entry.record)
        objectives = () if record is None or state != TrialState.PRUNED else record.objectives
        params, distributions = self._known(entry.params)
        self._study.add_trial(
            optuna.trial.create_trial(
                state=state,
                value=record.objective if record is not None and state == TrialState.COMPLETE else None,
                params=params,
                distributions=distributions,
                intermediate_values={len(objectives): objectives[-1]} if objectives else {},
            )
        )

    def _known(self, params: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, BaseDistribution]]:
        """Return parameters with their distributions, as far as the choices that there are now have them."""
        fixed = FixedTrial(dict(params))
        try:
            self._suggest(fixed)
        except Exception:  # what made the candidate is not here any more, or failed before
            return {}, {}
        return {name: params[name] for name in fixed.distributions}, fixed.distributions


def _state(record: TrialRecord | None) -> TrialState:
    if record is None or record.state in ("paused", "pruned"):
        return TrialState.PRUNED
    return TrialState.COMPLETE if record.state == "complete" else TrialState.FAIL
