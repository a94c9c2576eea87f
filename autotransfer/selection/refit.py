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
from autotransfer.selection.selected_model import PlannedMember
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
        try:
            network = _trained(member, predictions.get(member.trial), evaluator, budget, deadline)
        except Exception as error:
            if not isinstance(error, TrialError) and not _is_kept(member, evaluator):
                raise
            network = evaluator.best_network(member.candidate)[0]
            _warn_of_cut(member, error, evaluator, warnings)
        members.append(as_member(network, member.candidate, evaluator, member.weight))
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
    member: PlannedMember, predictions: np.ndarray | None, evaluator: Evaluator, budget: TimeBudget, deadline: float
) -> Network:
    """Train a candidate on all examples.

    Raises:
        TrialError: The training failed, or there is no time for it and the search has kept a network.
    """
    if not _is_kept(member, evaluator):
        # Whatever else could become the model has to be trained as long: the clock would only cut it.
        return evaluator.refit(member.candidate, member.epochs, predictions=predictions)
    share = len(evaluator.targets) / len(evaluator.folds[0].train_rows)
    seconds = evaluator.predicted_seconds(member.candidate, member.epochs) * share
    left = budget.left_for("refit")
    if seconds > left:
        raise TrialError(f"it would take about {seconds:.0f} s, and {max(left, 0.0):.0f} s were left")
    return evaluator.refit(member.candidate, member.epochs, lambda: budget.spent > deadline, predictions)


def _warn_of_cut(member: PlannedMember, error: Exception, evaluator: Evaluator, warnings: WarningList) -> None:
    trained, examples = len(evaluator.folds[0].train_rows), len(evaluator.targets)
    warnings.warn(
        "refit_rejected",
        f"Trial {member.trial} could not be trained on all {examples} examples: {describe(error)}. "
        f"The model holds the network that validation scored, trained on {trained} examples. More time may help.",
        trials=[member.trial],
        reason=describe(error),
        trained=trained,
        examples=examples,
    )


def _is_kept(member: PlannedMember, evaluator: Evaluator) -> bool:
    """Return whether the search has kept the network that was validated."""
    return member.epochs > 0 and evaluator.checkpoints.load(member.candidate) is not None
