"""After the search: the winner, its training on all examples, and its scores."""

from __future__ import annotations

import numpy as np

from autotransfer.candidate import Candidate
from autotransfer.data.examples import Examples
from autotransfer.errors import DataError, SearchError
from autotransfer.model import TransferModel
from autotransfer.preparation import Prepared
from autotransfer.progress import Progress
from autotransfer.score import Score
from autotransfer.search.budget import Purse
from autotransfer.search.evaluate import Evaluator
from autotransfer.search.records import TrialRecord, Trials
from autotransfer.transfer.network import Network

__all__ = ["as_model", "choose_winner", "refit", "score_test", "validation_score"]

# Share of the time budget that a refit may overrun it by.
_TOLERANCE = 0.05


def choose_winner(trials: Trials) -> TrialRecord:
    """Return the best complete trial.

    Raises:
        SearchError: There is none.
    """
    if (best := trials.best) is not None:
        return best
    reasons = list(dict.fromkeys(record.reason for record in trials if record.reason))
    raise SearchError(
        f"None of {len(trials)} trials succeeded: {'; '.join(reasons[:3]) or 'the budget was too small for any'}."
    )


def refit(best: TrialRecord, data: Prepared, evaluator: Evaluator, purse: Purse) -> TransferModel:
    """Train the winner on all examples; an overrun of the time budget by more than its tolerance cuts it short."""
    assert best.candidate is not None  # a complete trial has one
    expected = best.seconds * best.best_epoch / max(best.epochs, 1) * len(data.images) / len(data.lessons[0].train)
    if expected > purse.remaining and best.epochs:
        network, _ = evaluator.best_network(best.candidate)
        return as_model(network, best.candidate, data, evaluator)
    allowed = purse.spent + purse.remaining + _TOLERANCE * (purse.budget.seconds or 0.0)
    network = evaluator.refit(best.candidate, best.best_epoch, lambda: purse.spent > allowed)
    return as_model(network, best.candidate, data, evaluator)


def as_model(network: Network, candidate: Candidate, data: Prepared, evaluator: Evaluator) -> TransferModel:
    """Return a trained network with all that it needs to predict."""
    return TransferModel(
        network=network.eval().requires_grad_(False),
        task=data.lessons[0].task,
        candidate=candidate,
        side=data.images.side,
        device=evaluator.device,
        autocast=not evaluator.load(candidate.backbone).precise,
    )


def validation_score(best: TrialRecord, data: Prepared) -> Score:
    """Score the winner on the examples that it was not trained on, as the search did."""
    assert best.scores is not None  # the leaders keep theirs
    scored = ~np.isnan(best.scores).any(1)
    lesson = data.lessons[0]
    return Score.of(lesson.task, lesson.targets[scored], best.scores[scored])


def score_test(model: TransferModel, test: Examples, show: Progress) -> Score | None:
    """Score the model on the test examples; None, with a word, where none can be read: the search must not be lost."""
    show.phase(f"scoring {len(test)} test images")
    try:
        images = model.decode(test)
    except DataError as error:
        show.say(f"the test examples are not scored: {error}")
        return None
    if images.skipped:
        show.say(f"{len(images.skipped)} test images cannot be read and are not scored: {images.skipped[0].name}, …")
    assert test.targets is not None  # refused before the search
    encoded = model.task.encode([test.targets[i] for i in images.kept])
    return Score.of(model.task, encoded, model.predict_images(images))
