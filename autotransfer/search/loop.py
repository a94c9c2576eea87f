"""The search, on one page. It knows nothing of torch: whatever scores a candidate can drive it, against any clock."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import optuna
from optuna.trial import TrialState

from autotransfer.candidate import Candidate
from autotransfer.errors import AutoTransferError, TrialError
from autotransfer.search.budget import Due, Purse
from autotransfer.search.records import TrialRecord, Trials

__all__ = ["Evaluate", "Evaluation", "Report", "Suggest", "search"]

log = logging.getLogger("autotransfer")

Report = Callable[[int, float], bool]
"""Called with an epoch and its score; returns True when the trial is to stop."""

# So many candidates in a row that do not fit into what is left of the budget mean that nothing does.
_MISFITS = 100
# Fewer epochs than this tell nothing of a candidate that trains stages.
_FEWEST = 3
# A smaller gain is no reason to go on.
_GAIN = 1e-4
# A trial is ended when it has taken so many times what it was allowed.
_OVERRUN = 1.5
# Predictions may be 0 seconds; nothing is.
_INSTANT = 1e-6


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What came of a candidate.

    Attributes:
        score: Score on the validation examples; greater is better.
        objective: What candidates are compared by: the score, made fair between them and less its doubt; NaN means
            the score itself.
        depth: Number of frozen leading stages.
        best_epoch: Epoch of that score; 0 for closed forms.
        curve: Score after each epoch.
        scores: Probabilities or values (N, outputs) of all examples; NaN for those that were not scored.
    """

    score: float
    objective: float = math.nan
    depth: int | None = None
    best_epoch: int = 0
    curve: tuple[float, ...] = ()
    scores: np.ndarray | None = None


class Evaluate(Protocol):
    """Scores candidates: real training, or recorded curves."""

    def __call__(self, candidate: Candidate, report: Report, expired: Callable[[], bool]) -> Evaluation:
        """Score a candidate, reporting after each epoch; end early when told to, or when the time has expired."""
        ...

    def predicted_seconds(self, candidate: Candidate) -> float:
        """Return about how long that will take."""
        ...


Suggest = Callable[[optuna.trial.Trial], Candidate]


def search(
    study: optuna.Study,
    suggest: Suggest,
    evaluate: Evaluate,
    purse: Purse,
    *,
    refit_factor: float,
    screened: int = 0,
    grow: Callable[[Trials], Due | None],
    observe: Callable[[TrialRecord], None],
) -> Trials:
    """Try candidates until the budget is spent or nothing improves.

    Args:
        study: Decides what to try next, and what to stop.
        suggest: Turns its trial into a candidate.
        evaluate: Scores a candidate.
        purse: The budget.
        refit_factor: Time of a refit in times of its trial.
        screened: Number of trials of the screening, which the study was given to begin with.
        grow: Returns the trial that is due now, or None to let the study choose.
        observe: Is told of every finished trial.
    """
    trials, seen, misfits, asked = Trials(), set[Candidate](), 0, 0
    since_best, best_at = 0, 0.0
    while not purse.empty(len(trials)) and not purse.stalled(since_best, best_at) and misfits < _MISFITS:
        if (due := _due(grow, trials)) is not None:
            study.enqueue_trial(due.params)
        trial, asked = study.ask(), asked + 1
        started = purse.clock()
        candidate, expected, problem = _propose(trial, suggest, evaluate)
        proposed = "screened" if asked <= screened else due.proposed if due else "sampled"
        allowed = purse.allowance(refit_factor, proposed)
        # A closed form always runs while there is no result: however small the budget, it buys one.
        if candidate is not None and expected > allowed and (trials.best or candidate.training):
            candidate = _shorten(candidate, max(allowed, 0.0) / max(expected, _INSTANT))
            # What comes before the first epoch does not shrink with their number.
            expected = 0.0 if candidate is None else evaluate.predicted_seconds(candidate)
            candidate = candidate if expected <= _OVERRUN * allowed else None
        if (candidate is None and not problem) or candidate in seen:
            # Told as pruned, so that the sampler turns to candidates that are new and fit into what is left.
            study.tell(trial, state=TrialState.PRUNED)
            misfits += 1
            continue
        misfits = 0
        best = trials.best
        before = best.objective if best and best.objective is not None else -math.inf
        if candidate is None:
            record = TrialRecord(number=len(trials), state="failed", candidate=None, reason=problem)
            study.tell(trial, state=TrialState.FAIL)
        else:
            seen.add(candidate)
            record = _run(study, trial, candidate, evaluate, purse, number=len(trials), started=started, limit=allowed)
        trials.add(record)
        improved = trials.best is record
        gained = improved and (record.objective or 0.0) > before + _GAIN
        since_best, best_at = (0, purse.spent) if gained else (since_best + 1, best_at)
        if improved:
            share = record.best_epoch / record.epochs if record.epochs else 1.0
            purse.reserve = max(record.seconds, expected) * share * refit_factor
        observe(record)
    return trials


def _due(grow: Callable[[Trials], Due | None], trials: Trials) -> Due | None:
    try:
        return grow(trials)
    except Exception as error:  # a plugin's error costs what it would have proposed, not the search
        log.warning("No trial that grows could be proposed: %s", describe(error))
        return None


def _propose(trial: optuna.trial.Trial, suggest: Suggest, evaluate: Evaluate) -> tuple[Candidate | None, float, str]:
    """Return the next candidate and its expected seconds, or the reason why there is none."""
    try:
        candidate = suggest(trial)
        return candidate, evaluate.predicted_seconds(candidate), ""
    except Exception as error:  # a plugin's error costs its trial, not the search
        return None, math.nan, describe(error)


def _shorten(candidate: Candidate, share: float) -> Candidate | None:
    """Return the candidate with fewer epochs; None where too few would be left to tell anything."""
    epochs = int(int(candidate.training.get("epochs", 0)) * share)
    return replace(candidate, training={**candidate.training, "epochs": epochs}) if epochs >= _FEWEST else None


def _run(
    study: optuna.Study,
    trial: optuna.trial.Trial,
    candidate: Candidate,
    evaluate: Evaluate,
    purse: Purse,
    *,
    number: int,
    started: float,
    limit: float,
) -> TrialRecord:
    """Evaluate one candidate and tell the study how it ended."""
    curve: list[float] = []
    pruned = expired = False

    def report(epoch: int, score: float) -> bool:
        nonlocal pruned
        curve.append(score)
        trial.report(score, epoch)
        pruned = trial.should_prune()
        return pruned

    def out_of_time() -> bool:
        nonlocal expired
        # Predictions err: a trial that takes far longer than it was allowed leaves its time to others.
        expired = purse.left <= 0 or purse.clock() - started > _OVERRUN * limit
        return expired

    common: dict[str, Any] = {"number": number, "candidate": candidate}
    trial.set_user_attr("candidate", candidate.to_json())
    try:
        result = evaluate(candidate, report, out_of_time)
        if not math.isfinite(result.score):
            raise TrialError(f"the score is {result.score}: the metric is not defined on the validation examples")
    except Exception as error:  # a failed trial is recorded with its reason, and the search goes on
        study.tell(trial, state=TrialState.PRUNED if expired else TrialState.FAIL)
        common |= {"seconds": purse.clock() - started, "curve": tuple(curve), "epochs": len(curve)}
        return TrialRecord(state="pruned" if expired else "failed", reason=describe(error), **common)
    common |= {
        "score": result.score,
        "objective": result.score if math.isnan(result.objective) else result.objective,
        "depth": result.depth,
        "best_epoch": result.best_epoch,
        "curve": result.curve,
        "epochs": len(result.curve),
        "seconds": purse.clock() - started,
    }
    if pruned:
        study.tell(trial, state=TrialState.PRUNED)
        return TrialRecord(state="pruned", reason=f"below the others at epoch {len(curve)}", **common)
    study.tell(trial, common["objective"])
    reason = f"the time ran out after epoch {len(curve)}" if expired else ""
    return TrialRecord(state="complete", reason=reason, scores=result.scores, **common)


def describe(error: BaseException) -> str:
    """Return an error as one line: our own in their words, others with their type."""
    text = " ".join(str(error).split())[:300]
    return text if isinstance(error, AutoTransferError) else f"{type(error).__name__}: {text}"
