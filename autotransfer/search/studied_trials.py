"""The trials of a run's study, as Optuna's users expect them: one for each candidate, from ask to tell.

A trial is RUNNING while its candidate trains or rests. Each epoch is reported once. A candidate that ends is
COMPLETE with its objective; PRUNED are those that were stopped for good.
"""

from __future__ import annotations

from collections.abc import Collection

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from autotransfer.candidate import Candidate
from autotransfer.search.trials import TrialRecord

__all__ = [
    "BEGUN",
    "add_trial",
    "candidate_of",
    "describe_trial",
    "failed_trial",
    "mark_winner",
    "note_step",
    "open_trials",
    "tell",
]

BEGUN = "autotransfer:begun"
"""System attribute of a trial: the step at which its latest proposal began."""


def add_trial(study: optuna.Study, candidate: Candidate, drawn: Trial, before: TrialRecord, begun: int) -> Trial:
    """Add the trial of a candidate, with the epochs that were trained in a search that has ended.

    Args:
        study: The study.
        candidate: The candidate.
        drawn: The trial that drew its parameters.
        before: Its record so far.
        begun: Step at which its proposal began.
    """
    study.add_trial(
        optuna.trial.create_trial(
            state=TrialState.RUNNING,
            params=drawn.params,
            distributions=drawn.distributions,
            user_attrs={"candidate": candidate.to_json(), "source": before.source},
            system_attrs={BEGUN: begun},
            intermediate_values=dict(enumerate(before.objectives, 1)),
        )
    )
    return Trial(study, study.get_trials(deepcopy=False)[-1]._trial_id)


def note_step(trial: Trial, begun: int) -> None:
    """Write down the step at which another proposal for the candidate of a trial began."""
    trial.storage.set_trial_system_attr(trial._trial_id, BEGUN, begun)


def failed_trial(record: TrialRecord) -> FrozenTrial:
    """Return the trial of what failed before it was a candidate."""
    about = {"trial": record.number, "source": record.source, "reason": record.reason}
    return optuna.trial.create_trial(state=TrialState.FAIL, user_attrs=about)


def open_trials(study: optuna.Study) -> dict[Candidate, Trial]:
    """Return the trials that an interrupted search has left open, by their candidates without epochs."""
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return {candidate_of(trial): Trial(study, trial._trial_id) for trial in running}


def candidate_of(trial: FrozenTrial) -> Candidate:
    """Return the candidate of a trial, without its epochs."""
    return Candidate.from_json(trial.user_attrs["candidate"]).without_epochs


def mark_winner(study: optuna.Study, trials: Collection[int]) -> None:
    """Write down in a user attribute of the study which of its trials the model is made of.

    Args:
        study: The study.
        trials: Numbers of the records of these trials.
    """
    chosen = [trial.number for trial in study.get_trials(deepcopy=False) if trial.user_attrs.get("trial") in trials]
    study.set_user_attr("winner", chosen)


def tell(study: optuna.Study, trial: Trial, record: TrialRecord) -> None:
    """Tell the study how a trial has ended, with its main figures as user attributes."""
    describe_trial(trial, record)
    if record.state == "complete":
        study.tell(trial, record.objective)
    else:
        study.tell(trial, state=TrialState.FAIL if record.state == "failed" else TrialState.PRUNED)


def describe_trial(trial: Trial, record: TrialRecord) -> None:
    """Write down the main figures of a trial where Optuna's tools show them."""
    about = {"trial": record.number, "score": record.score, "reason": record.reason or None}
    for name, value in about.items():
        if value is not None and trial.user_attrs.get(name) != value:
            trial.set_user_attr(name, value)
