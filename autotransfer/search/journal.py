"""What a study remembers of a search, so that one that was broken off can go on.

Each trial of the study carries the order that it came from and, once it has ended, what came of it. A search that is
started on such a study first takes all of this in, as if it had just happened, and then goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import optuna
from optuna.trial import TrialState

from autotransfer.candidate import Candidate
from autotransfer.search.budget import Order
from autotransfer.search.records import TrialRecord

__all__ = ["INTERRUPTED", "Entry", "note_order", "note_outcome", "read_journal", "seconds_spent", "settle"]

_ORDER, _OUTCOME, INTERRUPTED = "order", "outcome", "interrupted"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An order that was carried out.

    Attributes:
        order: The order.
        left: Seconds that were left when it was given.
        record: The trial's record; None when it was not run.
        spent: Seconds of the search when it had ended.
        params: Parameters of the trial.
    """

    order: Order
    left: float
    record: TrialRecord | None
    spent: float
    params: Mapping[str, Any]


def note_order(trial: optuna.trial.Trial, order: Order, left: float) -> None:
    """Write down what a trial is to do, before it begins."""
    trial.set_user_attr(_ORDER, {**asdict(order), "params": dict(order.params), "left": _number(left)})


def note_outcome(trial: optuna.trial.Trial, record: TrialRecord | None, spent: float) -> None:
    """Write down what came of it, before the study is told."""
    trial.set_user_attr(_OUTCOME, {"record": None if record is None else record.to_json(), "spent": spent})


def read_journal(study: optuna.Study) -> list[Entry]:
    """Return what was carried out, in order."""
    entries = []
    for trial in study.get_trials(deepcopy=False):
        about, outcome = trial.user_attrs.get(_ORDER), trial.user_attrs.get(_OUTCOME)
        if about is None or outcome is None:
            continue
        given = dict(about)
        left = given.pop("left")
        record = outcome["record"]
        entries.append(
            Entry(
                order=Order(**given),
                left=float("inf") if left is None else left,
                record=None if record is None else TrialRecord.from_json(record),
                spent=outcome["spent"],
                params=trial.params,
            )
        )
    return sorted(entries, key=lambda entry: entry.spent)


def seconds_spent(study: optuna.Study) -> float:
    """Return how many seconds a search had taken when it was broken off."""
    return max((entry.spent for entry in read_journal(study)), default=0.0)


def settle(study: optuna.Study) -> list[Order]:
    """End the trials that were broken off; return the orders that are to be carried out once more.

    One that was broken off twice is a failed trial: what ends the whole process is not tried for ever.
    """
    again = []
    for _ in study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        _end(study, study.ask())  # asking takes the waiting ones first
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        running = optuna.trial.Trial(study, trial._trial_id)
        order = dict(trial.user_attrs.get(_ORDER, {}))
        order.pop("left", None)
        if _OUTCOME in trial.user_attrs:
            _tell(study, running, trial.user_attrs[_OUTCOME]["record"])
        elif order and order["again"]:
            record = _broken(read_journal(study), Order(**order), trial.user_attrs.get("candidate"))
            note_outcome(running, record, seconds_spent(study))
            study.tell(running, state=TrialState.FAIL)
        else:
            again += [Order(**{**order, "again": True})] if order else []
            _end(study, running)
    return again


def _broken(entries: list[Entry], order: Order, candidate: Mapping[str, Any] | None) -> TrialRecord:
    """Return the record of a trial that was broken off twice."""
    records = {entry.record.number: entry.record for entry in entries if entry.record is not None}
    if order.resumes is not None:
        return replace(records[order.resumes], state="pruned", reason="broken off twice when it went on")
    return TrialRecord(
        number=len(records),
        state="failed",
        candidate=None if candidate is None else Candidate.from_json(candidate),
        reason="broken off twice",
    )


def _end(study: optuna.Study, running: optuna.trial.Trial) -> None:
    running.set_user_attr(INTERRUPTED, True)
    study.tell(running, state=TrialState.FAIL)


def _tell(study: optuna.Study, running: optuna.trial.Trial, record: Mapping[str, Any] | None) -> None:
    """Tell the study what its trial had been about to be told."""
    state = "pruned" if record is None else record["state"]
    if record is not None and state == "complete":
        study.tell(running, record["objective"])
    else:
        study.tell(running, state=TrialState.FAIL if state == "failed" else TrialState.PRUNED)


def _number(value: float) -> float | None:
    """JSON has no infinity."""
    return value if value != float("inf") else None
