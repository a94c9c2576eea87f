"""What a study remembers of a search, so that one that was broken off can go on.

Each trial of the study carries the proposal that it came from and, once it has ended, what came of it. A search that is
started on such a study first takes all of this in, as if it had just happened, and then goes on.
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
    "adopt",
    "lost_in",
    "note_proposal",
    "note_outcome",
    "read_journal",
    "records_of",
    "seconds_spent",
    "settle",
    "steps_of",
]

Suggest = Callable[[optuna.trial.BaseTrial], Candidate]

_PROPOSAL, _OUTCOME, INTERRUPTED = "proposal", "outcome", "interrupted"
_FIELDS = {field.name for field in fields(Proposal)}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A proposal that was carried out.

    Attributes:
        proposal: The proposal.
        record: The trial's record; None when it was not run.
        spent: Seconds of the search when it had ended.
        params: Parameters of the trial.
        begun: Position of its begin among all that began and ended.
        ended: Position of its end.
        interrupted: Whether the search was broken off meanwhile.
    """

    proposal: Proposal
    record: TrialRecord | None
    spent: float
    params: Mapping[str, Any]
    begun: int
    ended: int
    interrupted: bool = False


def note_proposal(trial: optuna.trial.Trial, proposal: Proposal, step: int) -> None:
    """Write down what a trial is to do, before it begins."""
    trial.set_user_attr(_PROPOSAL, {**asdict(proposal), "params": dict(proposal.params), "step": step})


def note_outcome(trial: optuna.trial.Trial, record: TrialRecord | None, spent: float, step: int) -> None:
    """Write down what came of it, before the study is told; who looks at the study sees number, score and reason."""
    outcome = {"record": None if record is None else record.to_json(), "spent": spent, "step": step}
    trial.set_user_attr(_OUTCOME, outcome)
    if record is not None:
        shown = {"trial": record.number, "score": record.score, "reason": record.reason or None}
        for name, value in shown.items():
            if value is not None:
                trial.set_user_attr(name, value)


def read_journal(study: optuna.Study) -> list[Entry]:
    """Return what was begun and has ended, in the order of the ends."""
    entries = []
    for trial in study.get_trials(deepcopy=False):
        about, outcome = trial.user_attrs.get(_PROPOSAL), trial.user_attrs.get(_OUTCOME)
        broken = trial.user_attrs.get(INTERRUPTED)
        if about is None or (outcome is None and broken is None):  # it is running
            continue
        given = {name: value for name, value in about.items() if name in _FIELDS}
        ended = int(broken if outcome is None else outcome["step"])  # type: ignore[arg-type]  # one of them is there
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
    """Return how many seconds a search had taken when it was broken off, of a budget that counts from a step on."""
    return max((entry.spent for entry in read_journal(study) if entry.ended > since), default=0.0)


def records_of(study: optuna.Study) -> Trials:
    """Return the trials of a search that was broken off, as they stand."""
    trials = Trials()
    for entry in read_journal(study):
        if entry.record is not None:
            trials.add(entry.record)
    return trials


def lost_in(study: optuna.Study, suggest: Suggest) -> frozenset[int]:
    """Return the numbers of a search's trials that could not be taken over, since what they used is gone.

    Args:
        study: The study of the search.
        suggest: Turns parameters into a candidate, with the choices that there are now.
    """
    lost = set[int]()
    for trial in study.get_trials(deepcopy=False):
        record = (trial.user_attrs.get(_OUTCOME) or {}).get("record")
        if record is not None and record["candidate"] is not None and _fixed(trial, suggest) is None:
            lost.add(record["number"])
    return frozenset(lost)


def adopt(study: optuna.Study, earlier: optuna.Study, suggest: Suggest) -> None:
    """Take over the trials of a study that had other choices: a backbone came or went since then.

    Of those that used what is gone no more is taken over than what was noted with their proposals.

    Args:
        study: The study that goes on.
        earlier: The one whose trials are taken over.
        suggest: Turns parameters into a candidate, with the choices that there are now.
    """
    lost = lost_in(earlier, suggest)
    kept = [record.number for record in records_of(earlier) if record.number not in lost]
    numbers = {old: new for new, old in enumerate(kept)}
    for trial in earlier.get_trials(deepcopy=False):
        attributes = dict(trial.user_attrs)
        if (about := attributes.get(_PROPOSAL)) is None:
            continue
        outcome = attributes.get(_OUTCOME)
        record = None if outcome is None else outcome["record"]
        fixed = _fixed(trial, suggest)
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


def _fixed(trial: optuna.trial.FrozenTrial, suggest: Suggest) -> optuna.trial.FixedTrial | None:
    """Return a trial's parameters among the choices that there are now; None where some of them are gone."""
    fixed = optuna.trial.FixedTrial(trial.params)
    try:
        suggest(fixed)
    except Exception:  # whatever is not there any more
        return None
    return fixed


def settle(study: optuna.Study) -> list[Proposal]:
    """End the trials that were broken off; return the proposals that are to be carried out once more.

    One that was broken off twice is a failed trial: what ends the whole process is not tried for ever.
    """
    again, step = [], steps_of(study)
    for _ in study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        _end(study, study.ask(), step)  # asking takes the waiting ones first
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        running = optuna.trial.Trial(study, trial._trial_id)
        proposal = {name: value for name, value in trial.user_attrs.get(_PROPOSAL, {}).items() if name in _FIELDS}
        step += 1
        if _OUTCOME in trial.user_attrs:
            _tell(study, running, trial.user_attrs[_OUTCOME]["record"])
        elif proposal and proposal["again"]:
            record = _broken(read_journal(study), Proposal(**proposal), trial.user_attrs.get("candidate"))
            note_outcome(running, record, seconds_spent(study), step)
            study.tell(running, state=TrialState.FAIL)
        else:
            if "candidate" in trial.user_attrs:  # what was left open was sampled: it is not sampled anew
                proposal["params"] = dict(trial.params)
            # What it notes is taken in with the proposal that was broken off.
            again += [Proposal(**{**proposal, "again": True, "note": {}})] if proposal else []
            _end(study, running, step)
    return again[::-1]  # the first that was begun is taken first


def steps_of(study: optuna.Study) -> int:
    """Return how many begins and ends were counted."""
    noted = (t.user_attrs.get(name) for t in study.get_trials(deepcopy=False) for name in (_PROPOSAL, _OUTCOME))
    return max((about["step"] for about in noted if about is not None), default=0)


def _broken(entries: list[Entry], proposal: Proposal, candidate: Mapping[str, Any] | None) -> TrialRecord:
    """Return the record of a trial that was broken off twice."""
    records = {entry.record.number: entry.record for entry in entries if entry.record is not None}
    if proposal.resumes is not None:
        return replace(records[proposal.resumes], state="pruned", reason="broken off twice when it went on")
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
