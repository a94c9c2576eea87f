"""Training the selected model on all examples. Where the clock cuts a refit, the validated network is the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from autotransfer.candidate import Candidate
from autotransfer.errors import TrialError
from autotransfer.evaluation.evaluator import Evaluator
from autotransfer.model.ensemble_member import EnsembleMember
from autotransfer.search.budget import TimeBudget
from autotransfer.search.jobs import describe
from autotransfer.selection.selected_model import PlannedMember, RefitCandidate
from autotransfer.selection.soup import average_weights
from autotransfer.training.network import Network
from autotransfer.warnings import WarningList

__all__ = ["as_member", "refit"]

# Share of the time budget by which a refit may overrun it: a refit that is nearly done may end.
REFIT_OVERRUN_SHARE = 0.05


def refit(
    planned: Sequence[PlannedMember],
    predictions: Mapping[int, np.ndarray | None],
    evaluator: Evaluator,
    budget: TimeBudget,
    warnings: WarningList,
) -> list[EnsembleMember]:
    """Train members on all examples; where that fails, or the clock cuts it, take the networks that were validated.

    Args:
        planned: The members.
        predictions: Predictions (N, outputs) of each trial in the search, NaN for examples that were not scored.
        evaluator: What trains.
        budget: The budget.
        warnings: Takes a warning where a member was not trained on all examples.
    """
    deadline = budget.spent + budget.left_for("refit") + REFIT_OVERRUN_SHARE * (budget.limit.seconds or 0.0)
    members = []
    for member in planned:
        candidates = member.candidates
        try:
            networks = [_trained(one, predictions.get(one.trial), evaluator, budget, deadline) for one in candidates]
        except Exception as error:
            if not isinstance(error, TrialError) and not all(_is_kept(one, evaluator) for one in candidates):
                raise
            # All candidates of a soup: their average was validated, that of some with refits of others was not.
            networks = [evaluator.best_network(one.candidate)[0] for one in candidates]
            _warn_of_cut(candidates, error, evaluator, warnings)
        if len(networks) > 1:
            networks[0].load_state_dict(average_weights([network.state_dict() for network in networks]))
        members.append(as_member(networks[0], candidates[0].candidate, evaluator, member.weight))
    return members


def as_member(network: Network, candidate: Candidate, evaluator: Evaluator, weight: float = 1.0) -> EnsembleMember:
    """Return a trained network as a member of a model."""
    return EnsembleMember(
        network=network.eval().requires_grad_(False),
        candidate=candidate,
        weight=weight,
        views=candidate.views,
        autocast=not evaluator.load(candidate.backbone).precise,
    )


def _trained(
    one: RefitCandidate, predictions: np.ndarray | None, evaluator: Evaluator, budget: TimeBudget, deadline: float
) -> Network:
    """Train a candidate on all examples.

    Raises:
        TrialError: The training failed, or there is no time for it and the search has kept a network.
    """
    if not _is_kept(one, evaluator):
        # Whatever else could become the model has to be trained as long: the clock would only cut it.
        return evaluator.refit(one.candidate, one.epochs, predictions=predictions)
    share = len(evaluator.targets) / len(evaluator.folds[0].train_rows)
    seconds = evaluator.predicted_seconds(one.candidate, one.epochs) * share
    left = budget.left_for("refit")
    if seconds > left:
        raise TrialError(f"it would take about {seconds:.0f} s, and {max(left, 0.0):.0f} s were left")
    return evaluator.refit(one.candidate, one.epochs, lambda: budget.spent > deadline, predictions)


def _warn_of_cut(
    candidates: Sequence[RefitCandidate], error: Exception, evaluator: Evaluator, warnings: WarningList
) -> None:
    trained, examples = len(evaluator.folds[0].train_rows), len(evaluator.targets)
    trials, s = [one.trial for one in candidates], "" if len(candidates) == 1 else "s"
    warnings.warn(
        "refit_rejected",
        f"Trial{s} {', '.join(map(str, trials))} could not be trained on all {examples} examples: {describe(error)}. "
        f"The model holds the network{s} that validation scored, trained on {trained} examples. More time may help.",
        trials=trials,
        reason=describe(error),
        trained=trained,
        examples=examples,
    )


def _is_kept(one: RefitCandidate, evaluator: Evaluator) -> bool:
    """Return whether the search has kept the network that was validated."""
    return one.epochs > 0 and evaluator.checkpoints.load(one.candidate) is not None
