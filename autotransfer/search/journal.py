"""What a study remembers of a search, so that one that was broken off can go on.

Each trial of the study carries the order that it came from and, once it has ended, what came of it. A search that is
started on such a study first takes all of this in, as if it had just happened, and then goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import optuna
from optuna.trial import TrialState

from autotransfer.candidate import Candidate
from autotransfer.search.budget import Order
from autotransfer.search.records import TrialRecord

__all__ = ["INTERRUPTED", "Entry", "adopt", "note_order", "note_outcome", "read_journal", "seconds_spent", "settle"]

_ORDER, _OUTCOME, INTERRUPTED = "order", "outcome", "interrupted"
_FIELDS = {field.name for field in fields(Order)}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An order that was carried out.

    Attributes:
        order: The order.
        record: The trial's record; None when it was not run.
        spent: Seconds of the search when it had ended.
        params: Parameters of the trial.
        begun: Position of its begin among all that began and ended.
        ended: Position of its end.
        interrupted: Whether the search was broken off meanwhile.
    """

    order: Order
    record: TrialRecord | None
    spent: float
    params: Mapping[str, Any]
    begun: int
    ended: int
    interrupted: bool = False


def note_order(trial: optuna.trial.Trial, order: Order, step: int) -> None:
    """Write down what a trial is to do, before it begins."""
    trial.set_user_attr(_ORDER, {**asdict(order), "params": dict(order.params), "step": step})


def note_outcome(trial: optuna.trial.Trial, record: TrialRecord | None, spent: float, step: int) -> None:
    """Write down what came of it, before the study is told."""
    outcome = {"record": None if record is None else record.to_json(), "spent": spent, "step": step}
    trial.set_user_attr(_OUTCOME, outcome)


def read_journal(study: optuna.Study) -> list[Entry]:
    """Return what was begun and has ended, in the order of the ends."""
    entries = []
    for trial in study.get_trials(deepcopy=False):
        about, outcome = trial.user_attrs.get(_ORDER), trial.user_attrs.get(_OUTCOME)
        broken = trial.user_attrs.get(INTERRUPTED)
        if about is None or (outcome is None and broken is None):  # it is running
            continue
        given = {name: value for name, value in about.items() if name in _FIELDS}
        ended = int(broken if outcome is None else outcome["step"])  # type: ignore[arg-type]  # one of them is there
        record = None if outcome is None else outcome["record"]
        entries.append(
            Entry(
                order=Order(**given),
                record=None if record is None else TrialRecord.from_json(record),
                spent=0.0 if outcome is None else outcome["spent"],
                params=trial.params,
                begun=about["step"],
                ended=ended,
                interrupted=outcome is None,
            )
        )
    return sorted(entries, key=lambda entry: entry.ended)


def seconds_spent(study: optuna.Study) -> float:
    """Return how many seconds a search had taken when it was broken off."""
    return max((entry.spent for entry in read_journal(study)), default=0.0)


def adopt(study: optuna.Study, earlier: optuna.Study, suggest: Callable[[optuna.trial.BaseTrial], Candidate]) -> int:
    """Take over the trials of a study that had other choices: a backbone came or went since then.

    Args:
        study: The study that goes on.
        earlier: The one whose trials are taken over.
        suggest: Turns parameters into a candidate, with the choices that there are now.

    Returns:
        How many trials could not be taken over, since what they used is gone.
    """
    numbers, lost = dict[int, int](), 0
    for trial in earlier.get_trials(deepcopy=False):
        outcome, about = trial.user_attrs.get(_OUTCOME), trial.user_attrs.get(_ORDER)
        if outcome is None or about is None or outcome["record"] is None or not trial.state.is_finished():
            continue
        record, fixed = outcome["record"], optuna.trial.FixedTrial(trial.params)
        try:
            suggest(fixed)
            resumes = None if about["resumes"] is None else numbers[about["resumes"]]
        except Exception:  # whatever is not there any more
            lost += 1
            continue
        number = numbers.setdefault(record["number"], len(numbers))
        attributes = {
            **trial.user_attrs,
            _ORDER: {**about, "resumes": resumes},
            _OUTCOME: {**outcome, "record": {**record, "number": number}},
        }
        study.add_trial(
            optuna.trial.create_trial(
                state=trial.state,
                value=trial.value,
                params={name: trial.params[name] for name in fixed.distributions},
                distributions=fixed.distributions,
                user_attrs=attributes,
                intermediate_values=trial.intermediate_values,
            )
        )
    return lost


def settle(study: optuna.Study) -> list[Order]:
    """End the trials that were broken off; return the orders that are to be carried out once more.

    One that was broken off twice is a failed trial: what ends the whole process is not tried for ever.
    """
    again, step = [], _steps(study)
    for _ in study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        _end(study, study.ask(), step)  # asking takes the waiting ones first
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        running = optuna.trial.Trial(study, trial._trial_id)
        order = {name: value for name, value in trial.user_attrs.get(_ORDER, {}).items() if name in _FIELDS}
        step += 1
        if _OUTCOME in trial.user_attrs:
            _tell(study, running, trial.user_attrs[_OUTCOME]["record"])
        elif order and order["again"]:
            record = _broken(read_journal(study), Order(**order), trial.user_attrs.get("candidate"))
            note_outcome(running, record, seconds_spent(study), step)
            study.tell(running, state=TrialState.FAIL)
        else:
            if "candidate" in trial.user_attrs:  # what was left open was sampled: it is not sampled anew
                order["params"] = dict(trial.params)
            # What it notes is taken in with the order that was broken off.
            again += [Order(**{**order, "again": True, "note": {}})] if order else []
            _end(study, running, step)
    return again[::-1]  # the first that was begun is taken first


def _steps(study: optuna.Study) -> int:
    """Return how many begins and ends were counted."""
    noted = (t.user_attrs.get(name) for t in study.get_trials(deepcopy=False) for name in (_ORDER, _OUTCOME))
    return max((about["step"] for about in noted if about is not None), default=0)


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


def _end(study: optuna.Study, running: optuna.trial.Trial, step: int) -> None:
    running.set_user_attr(INTERRUPTED, step)
    study.tell(running, state=TrialState.FAIL)


def _tell(study: optuna.Study, running: optuna.trial.Trial, record: Mapping[str, Any] | None) -> None:
    """Tell the study what its trial had been about to be told."""
    state = "pruned" if record is None else record["state"]
    if record is not None and state == "complete":
        study.tell(running, record["objective"])
    else:
        study.tell(running, state=TrialState.FAIL if state == "failed" else TrialState.PRUNED)
