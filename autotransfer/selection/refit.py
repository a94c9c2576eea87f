"""What was selected, trained on all examples.

A refit that the clock cuts is no model: the network that validation scored is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from autotransfer.candidate import Candidate
from autotransfer.errors import TrialError
from autotransfer.evaluation.evaluator import Evaluator
from autotransfer.model.ensemble_member import EnsembleMember
from autotransfer.search.budget import TimeBudget
from autotransfer.search.jobs import describe
from autotransfer.selection.soup import Ingredient, averaged
from autotransfer.training.network import Network
from autotransfer.warnings import WarningList

__all__ = ["Recipe", "as_member", "refit"]

# Share of the time budget that a refit may overrun it by.
_TOLERANCE = 0.05

Recipe = tuple[tuple[float, tuple[Ingredient, ...]], ...]
"""For each network of a model its weight, and whose weights are averaged in it."""


def refit(
    recipe: Recipe,
    found: Mapping[int, np.ndarray | None],
    evaluator: Evaluator,
    budget: TimeBudget,
    warnings: WarningList,
) -> list[EnsembleMember]:
    """Train on all examples; where that goes wrong, or the clock cuts it, take the networks that were validated.

    Args:
        recipe: What is trained.
        found: Of each trial, its predictions (N, outputs) in the search, NaN where there are none.
        evaluator: What trains it.
        budget: The budget.
        warnings: Takes a word where the model is not what was trained on all examples.
    """
    allowed = budget.spent + budget.left_for("refit") + _TOLERANCE * (budget.limit.seconds or 0.0)
    members = []
    for weight, averaged_ones in recipe:
        try:
            networks = [_trained(one, found.get(one.number), evaluator, budget, allowed) for one in averaged_ones]
        except Exception as error:
            if not isinstance(error, TrialError) and not all(_kept(one, evaluator) for one in averaged_ones):
                raise
            # Of a soup all: the average of these was validated, that of some with others was not.
            networks = [evaluator.best_network(one.candidate)[0] for one in averaged_ones]
            _warn_of_cut(averaged_ones, error, evaluator, warnings)
        if len(networks) > 1:
            networks[0].load_state_dict(averaged([network.state_dict() for network in networks]))
        members.append(as_member(networks[0], averaged_ones[0].candidate, evaluator, weight))
    return members


def _trained(
    ingredient: Ingredient, found: np.ndarray | None, evaluator: Evaluator, budget: TimeBudget, allowed: float
) -> Network:
    """Train on all examples.

    Raises:
        TrialError: That went wrong, or there is no time for it and the search has left a network.
    """
    candidate, epochs = ingredient.candidate, ingredient.epochs
    if not _kept(ingredient, evaluator):
        # Whatever else could become the model has to be trained as long: the clock would only cut it.
        return evaluator.refit(candidate, epochs, found=found)
    share = len(evaluator.targets) / len(evaluator.folds[0].train_rows)
    seconds = evaluator.predicted_seconds(candidate, epochs) * share
    left = budget.left_for("refit")
    if seconds > left:
        raise TrialError(f"it would take about {seconds:.0f} s, and {max(left, 0.0):.0f} s were left")
    return evaluator.refit(candidate, epochs, lambda: budget.spent > allowed, found)


def _warn_of_cut(kept: Sequence[Ingredient], error: Exception, evaluator: Evaluator, warnings: WarningList) -> None:
    learned, examples = len(evaluator.folds[0].train_rows), len(evaluator.targets)
    trials, s = [ingredient.number for ingredient in kept], "" if len(kept) == 1 else "s"
    warnings.warn(
        "refit_cut",
        f"Trial{s} {', '.join(map(str, trials))} could not be trained on all {examples} examples: {describe(error)}. "
        f"The model holds the network{s} that validation scored, trained on {learned} of them. More time may help.",
        trials=trials,
        reason=describe(error),
        learned=learned,
        examples=examples,
    )


def _kept(ingredient: Ingredient, evaluator: Evaluator) -> bool:
    """Whether the search has left a network that was validated."""
    return ingredient.epochs > 0 and evaluator.checkpoints.load(ingredient.candidate) is not None


def as_member(network: Network, candidate: Candidate, evaluator: Evaluator, weight: float = 1.0) -> EnsembleMember:
    """Return a trained network as a member of a model."""
    return EnsembleMember(
        network=network.eval().requires_grad_(False),
        candidate=candidate,
        autocast=not evaluator.load(candidate.backbone).precise,
        weight=weight,
        views=candidate.views,
    )
