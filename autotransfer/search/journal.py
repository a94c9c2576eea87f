"""The journal that a study keeps of a search, so that an interrupted search can be resumed.

Each trial of the study holds the proposal that it carries out and, once it has ended, its outcome. A resumed search
first reads all of them, in their order, and then goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import optuna
from optuna.trial import TrialState

from autotransfer.candidate import Candidate
from autotransfer.search.proposal import Proposal
from autotransfer.search.trials import TrialRecord, Trials

__all__ = [
    "INTERRUPTED",
    "Entry",
    "copy_trials",
    "unusable_trials",
    "note_proposal",
    "note_outcome",
    "read_journal",
    "trials_of",
    "seconds_spent",
    "end_interrupted",
    "count_steps",
]

Suggest = Callable[[optuna.trial.BaseTrial], Candidate]

_PROPOSAL, _OUTCOME, INTERRUPTED = "proposal", "outcome", "interrupted"
_FIELDS = {field.name for field in fields(Proposal)}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A proposal that was carried out, with its outcome.

    Attributes:
        proposal: The proposal.
        record: The record of the trial; None when it was not evaluated.
        spent: Seconds of the search when it had ended.
        params: Parameters of the trial.
        begun: Position of its begin among all begins and ends.
        ended: Position of its end.
        interrupted: Whether the search was interrupted meanwhile.
    """

    proposal: Proposal
    record: TrialRecord | None
    spent: float
    params: Mapping[str, Any]
    begun: int
    ended: int
    interrupted: bool = False


def note_proposal(trial: optuna.trial.Trial, proposal: Proposal, step: int) -> None:
    """Write down the proposal of a trial, before it begins."""
    trial.set_user_attr(_PROPOSAL, {**asdict(proposal), "params": dict(proposal.params), "step": step})


def note_outcome(trial: optuna.trial.Trial, record: TrialRecord | None, spent: float, step: int) -> None:
    """Write down the outcome of a trial, before the study knows; its main figures are attributes of their own."""
    outcome = {"record": None if record is None else record.to_json(), "spent": spent, "step": step}
    trial.set_user_attr(_OUTCOME, outcome)
    if record is not None:
        shown = {
            "trial": record.number,
            "source": record.source,
            "score": record.score,
            "reason": record.reason or None,
        }
        for name, value in shown.items():
            if value is not None:
                trial.set_user_attr(name, value)


def read_journal(study: optuna.Study) -> list[Entry]:
    """Return the proposals that have ended, in the order of their ends."""
    entries = []
    for trial in study.get_trials(deepcopy=False):
        about, outcome = trial.user_attrs.get(_PROPOSAL), trial.user_attrs.get(_OUTCOME)
        interrupted = trial.user_attrs.get(INTERRUPTED)
        if about is None or (outcome is None and interrupted is None):  # it is running
            continue
        given = {name: value for name, value in about.items() if name in _FIELDS}
        ended = int(interrupted if outcome is None else outcome["step"])  # type: ignore[arg-type]  # one of them is there
        record = None if outcome is None else outcome["record"]
        entries.append(
            Entry(
                proposal=Proposal(**given),
                record=None if record is None else TrialRecord.from_json(record),
                spent=0.0 if outcome is None else outcome["spent"],
                params=trial.params,
                begun=about["step"],
                ended=ended,
                interrupted=outcome is None,
            )
        )
    return sorted(entries, key=lambda entry: entry.ended)


def seconds_spent(study: optuna.Study, since: int = 0) -> float:
    """Return the seconds that an interrupted search had taken of a budget that counts from a step on."""
    return max((entry.spent for entry in read_journal(study) if entry.ended > since), default=0.0)


def trials_of(study: optuna.Study) -> Trials:
    """Return the trials of an interrupted search."""
    trials = Trials()
    for entry in read_journal(study):
        if entry.record is not None:
            trials.add(entry.record)
    return trials


def unusable_trials(study: optuna.Study, suggest: Suggest) -> frozenset[int]:
    """Return the numbers of the trials that used choices which are not there any more.

    Args:
        study: The study of the search.
        suggest: Turns parameters into a candidate, with the choices that there are now.
    """
    lost = set[int]()
    for trial in study.get_trials(deepcopy=False):
        record = (trial.user_attrs.get(_OUTCOME) or {}).get("record")
        if record is not None and record["candidate"] is not None and _refitted_params(trial, suggest) is None:
            lost.add(record["number"])
    return frozenset(lost)


def copy_trials(study: optuna.Study, earlier: optuna.Study, suggest: Suggest) -> None:
    """Copy the trials of a study that had other choices: a backbone came or went since then.

    Of a trial that used a choice which is gone, only what was noted with its proposal is copied.

    Args:
        study: The study that goes on.
        earlier: The study whose trials are copied.
        suggest: Turns parameters into a candidate, with the choices that there are now.
    """
    lost = unusable_trials(earlier, suggest)
    kept = [record.number for record in trials_of(earlier) if record.number not in lost]
    numbers = {old: new for new, old in enumerate(kept)}
    for trial in earlier.get_trials(deepcopy=False):
        attributes = dict(trial.user_attrs)
        if (about := attributes.get(_PROPOSAL)) is None:
            continue
        outcome = attributes.get(_OUTCOME)
        record = None if outcome is None else outcome["record"]
        fixed = _refitted_params(trial, suggest)
        if about["resumes"] in lost or (record is not None and record["number"] in lost):
            ended = {"record": None, "spent": outcome["spent"] if outcome else 0.0}
            step = outcome["step"] if outcome else attributes.pop(INTERRUPTED, about["step"])
            attributes = {_PROPOSAL: {**about, "resumes": None}, _OUTCOME: {**ended, "step": step}}
            state, value, fixed = TrialState.PRUNED, None, None
        else:
            state, value = trial.state, trial.value
            if about["resumes"] is not None:
                attributes[_PROPOSAL] = {**about, "resumes": numbers[about["resumes"]]}
            if outcome is not None and record is not None:
                attributes[_OUTCOME] = {**outcome, "record": {**record, "number": numbers[record["number"]]}}
        study.add_trial(
            optuna.trial.create_trial(
                state=state,
                value=value,
                params={} if fixed is None else {name: trial.params[name] for name in fixed.distributions},
                distributions={} if fixed is None else fixed.distributions,
                user_attrs=attributes,
                intermediate_values=trial.intermediate_values,
            )
        )


def _refitted_params(trial: optuna.trial.FrozenTrial, suggest: Suggest) -> optuna.trial.FixedTrial | None:
    """Return a trial's parameters among the choices that there are now; None where some of them are gone."""
    fixed = optuna.trial.FixedTrial(trial.params)
    try:
        suggest(fixed)
    except Exception:  # whatever is not there any more
        return None
    return fixed


def end_interrupted(study: optuna.Study) -> list[Proposal]:
    """End the trials that were interrupted; return the proposals that are to be carried out once more.

    A trial that was interrupted twice has failed: a candidate that ends the whole process is not tried for ever.
    """
    again, step = [], count_steps(study)
    for _ in study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        _end(study, study.ask(), step)  # asking takes the waiting ones first
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        running = optuna.trial.Trial(study, trial._trial_id)
        proposal = {name: value for name, value in trial.user_attrs.get(_PROPOSAL, {}).items() if name in _FIELDS}
        step += 1
        if _OUTCOME in trial.user_attrs:
            _tell(study, running, trial.user_attrs[_OUTCOME]["record"])
        elif proposal and proposal["again"]:
            record = _interrupted_twice(read_journal(study), Proposal(**proposal), trial.user_attrs.get("candidate"))
            note_outcome(running, record, seconds_spent(study), step)
            study.tell(running, state=TrialState.FAIL)
        else:
            if "candidate" in trial.user_attrs:  # its parameters were sampled, and are kept
                proposal["params"] = dict(trial.params)
            # Its note is read with the interrupted proposal.
            again += [Proposal(**{**proposal, "again": True, "note": {}})] if proposal else []
            _end(study, running, step)
    return again[::-1]  # the first that was begun is taken first


def count_steps(study: optuna.Study) -> int:
    """Return the number of begins and ends so far."""
    noted = (t.user_attrs.get(name) for t in study.get_trials(deepcopy=False) for name in (_PROPOSAL, _OUTCOME))
    return max((about["step"] for about in noted if about is not None), default=0)


def _interrupted_twice(entries: list[Entry], proposal: Proposal, candidate: Mapping[str, Any] | None) -> TrialRecord:
    """Return the record of a trial that was interrupted twice."""
    records = {entry.record.number: entry.record for entry in entries if entry.record is not None}
    if proposal.resumes is not None:
        return replace(records[proposal.resumes], state="pruned", reason="interrupted twice when it was resumed")
    return TrialRecord(
        number=len(records),
        state="failed",
        candidate=None if candidate is None else Candidate.from_json(candidate),
        source=proposal.source,
        reason="interrupted twice",
    )


def _end(study: optuna.Study, running: optuna.trial.Trial, step: int) -> None:
    running.set_user_attr(INTERRUPTED, step)
    study.tell(running, state=TrialState.FAIL)


def _tell(study: optuna.Study, running: optuna.trial.Trial, record: Mapping[str, Any] | None) -> None:
    """Tell the study the outcome that was written down before the search was interrupted."""
    state = "pruned" if record is None else record["state"]
    if record is not None and state == "complete":
        study.tell(running, record["objective"])
    else:
        study.tell(running, state=TrialState.FAIL if state == "failed" else TrialState.PRUNED)
