"""The journal that a study keeps of a search, so that an interrupted search can be resumed.

Every proposal that was carried out is an entry, in the order in which they began: the proposal, and its outcome once it
has ended. Entries are system attributes of the study, so that user attributes say what a user asks for. A resumed
search first reads all of them, and then goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import optuna
from optuna.trial import FixedTrial, FrozenTrial, Trial, TrialState

from autotransfer.candidate import Candidate
from autotransfer.search.proposal import Proposal
from autotransfer.search.studied_trials import BEGUN, candidate_of, tell
from autotransfer.search.trials import FAILED_LATER, TrialRecord, Trials

__all__ = [
    "Entry",
    "copy_trials",
    "count_steps",
    "end_interrupted",
    "note_begin",
    "note_end",
    "read_journal",
    "seconds_spent",
    "trials_of",
    "unusable_trials",
]

Suggest = Callable[[Any], Candidate]

_PREFIX = "autotransfer:entry:"


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


def note_begin(study: optuna.Study, begun: int, proposal: Proposal) -> None:
    """Write down a proposal before it is carried out."""
    _write(study, begun, {"proposal": _proposal_to_json(proposal)})


def note_end(study: optuna.Study, entry: Entry) -> None:
    """Write down the outcome of a proposal, before the study knows."""
    outcome = {
        "record": None if entry.record is None else entry.record.to_json(),
        "params": dict(entry.params),
        "spent": entry.spent,
        "ended": entry.ended,
        "interrupted": entry.interrupted,
    }
    _write(study, entry.begun, {"proposal": _proposal_to_json(entry.proposal), **outcome})


def read_journal(study: optuna.Study) -> list[Entry]:
    """Return the proposals that have ended, in the order of their ends."""
    entries = [_entry(begun, about) for begun, about in _read(study).items() if "ended" in about]
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
    return frozenset(
        entry.record.number
        for entry in read_journal(study)
        if entry.record is not None and entry.record.candidate is not None and not _is_usable(entry.params, suggest)
    )


def copy_trials(study: optuna.Study, earlier: optuna.Study, suggest: Suggest) -> None:
    """Copy the trials of a study that had other choices: a backbone came or went since then.

    Of a trial that used a choice which is gone, only its proposal is copied.

    Args:
        study: The study that goes on.
        earlier: The study whose trials are copied.
        suggest: Turns parameters into a candidate, with the choices that there are now.
    """
    lost = unusable_trials(earlier, suggest)
    kept = [record.number for record in trials_of(earlier) if record.number not in lost]
    numbers = {old: new for new, old in enumerate(kept)}
    for begun, about in _read(earlier).items():
        _write(study, begun, _renumbered(about, numbers))
    for trial in earlier.get_trials(deepcopy=False):
        number = trial.user_attrs.get("trial")
        fixed = _refitted(trial.params, suggest)
        if number in lost or (trial.params and fixed is None):
            continue
        about = {} if number is None else {"trial": numbers[number]}
        distributions = {}
        if trial.params:
            now = {} if fixed is None else fixed.distributions
            distributions = {name: now.get(name, known) for name, known in trial.distributions.items()}
        study.add_trial(
            optuna.trial.create_trial(
                state=trial.state,
                value=trial.value,
                params={name: trial.params[name] for name in distributions},
                distributions=distributions,
                user_attrs={**trial.user_attrs, **about},
                system_attrs=trial.system_attrs,
                intermediate_values=trial.intermediate_values,
            )
        )


def end_interrupted(study: optuna.Study) -> list[Proposal]:
    """End the proposals that were interrupted; return those that are to be carried out once more.

    A trial that was interrupted twice has failed: a candidate that ends the whole process is not tried for ever. One
    that was paused before has ended with what it had.
    """
    again, step, entries = list[Proposal](), count_steps(study), _read(study)
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    by_begin = {trial.system_attrs.get(BEGUN): trial for trial in running}
    for begun, about in sorted(entries.items()):
        if "ended" in about:
            continue
        proposal, trial, step = _proposal(about), by_begin.get(begun), step + 1
        params = dict(proposal.params if trial is None else trial.params)  # what was drawn is kept
        ended = Entry(proposal=proposal, record=None, spent=0.0, params=params, begun=begun, ended=step)
        if proposal.again:
            record = _interrupted_twice(read_journal(study), proposal, trial)
            note_end(study, replace(ended, record=record, spent=seconds_spent(study)))
        else:
            again.append(replace(proposal, params=params, again=True))
            note_end(study, replace(ended, interrupted=True))
    _tell_what_ended(study, running)
    return again[::-1]  # the first that was begun is taken first


def count_steps(study: optuna.Study) -> int:
    """Return the number of begins and ends so far."""
    return max((max(begun, about.get("ended", 0)) for begun, about in _read(study).items()), default=0)


def _read(study: optuna.Study) -> dict[int, dict[str, Any]]:
    """Return the entries by the step at which they began."""
    attributes = study._storage.get_study_system_attrs(study._study_id)
    return {int(name.removeprefix(_PREFIX)): about for name, about in attributes.items() if name.startswith(_PREFIX)}


def _write(study: optuna.Study, begun: int, about: Mapping[str, Any]) -> None:
    study._storage.set_study_system_attr(study._study_id, f"{_PREFIX}{begun}", dict(about))


def _entry(begun: int, about: Mapping[str, Any]) -> Entry:
    record = about.get("record")
    return Entry(
        proposal=_proposal(about),
        record=None if record is None else TrialRecord.from_json(record),
        spent=about.get("spent", 0.0),
        params=about.get("params", {}),
        begun=begun,
        ended=about["ended"],
        interrupted=about.get("interrupted", False),
    )


def _proposal_to_json(proposal: Proposal) -> dict[str, Any]:
    return {**asdict(proposal), "params": dict(proposal.params)}


def _proposal(about: Mapping[str, Any]) -> Proposal:
    return Proposal.from_json(about["proposal"])


def _renumbered(about: Mapping[str, Any], numbers: Mapping[int, int]) -> dict[str, Any]:
    """Return an entry for a study with fewer trials; one of a trial that is gone has no record any more."""
    proposal, record = about["proposal"], about.get("record")
    resumes = None if proposal["resumes"] is None else numbers.get(proposal["resumes"])
    if record is not None:
        number = numbers.get(record["number"])
        record = None if number is None else {**record, "number": number}
    return {**about, "proposal": {**proposal, "resumes": resumes}, "record": record}


def _is_usable(params: Mapping[str, Any], suggest: Suggest) -> bool:
    return _refitted(params, suggest) is not None


def _refitted(params: Mapping[str, Any], suggest: Suggest) -> FixedTrial | None:
    """Return parameters among the choices that there are now; None where some of them are gone."""
    fixed = FixedTrial(dict(params))
    try:
        suggest(fixed)
    except Exception:  # whatever is not there any more
        return None
    return fixed


def _interrupted_twice(entries: list[Entry], proposal: Proposal, trial: FrozenTrial | None) -> TrialRecord:
    """Return the record of a trial that was interrupted twice."""
    records = {entry.record.number: entry.record for entry in entries if entry.record is not None}
    if proposal.resumes is not None:
        return replace(records[proposal.resumes], state="complete", reason=f"{FAILED_LATER}interrupted twice")
    return TrialRecord(
        number=len(records),
        state="failed",
        candidate=None if trial is None else Candidate.from_json(trial.user_attrs["candidate"]),
        source=proposal.source,
        reason="interrupted twice",
    )


def _tell_what_ended(study: optuna.Study, running: list[FrozenTrial]) -> None:
    """Tell the study the outcomes that were written down before the search was interrupted."""
    latest = {}
    for entry in read_journal(study):
        if entry.record is not None and entry.record.candidate is not None:
            latest[entry.record.candidate.without_epochs] = entry.record
    for trial in running:
        record = latest.get(candidate_of(trial))
        if record is not None and record.state != "paused":
            tell(study, Trial(study, trial._trial_id), record)
