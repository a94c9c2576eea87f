"""Greedy soups: the weights of several fine-tuned networks, averaged (Wortsman et al. 2022, arXiv 2203.05482)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from autotransfer.evaluation.evaluator import Evaluator
from autotransfer.search.trials import TrialRecord
from autotransfer.selection.out_of_fold import OutOfFold
from autotransfer.selection.records import candidate_of, rank_records
from autotransfer.selection.selected_model import PlannedMember, RefitCandidate
from autotransfer.tasks.bootstrap import paired_standard_error

__all__ = ["Soup", "average_weights", "greedy_soup", "make_soup", "soup_candidates"]

# Most networks that are averaged.
MAX_CANDIDATES = 3

State = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Soup:
    """A soup against the best candidate alone, both on the validation examples of the first fold.

    Attributes:
        member: The candidates that it averages, the best one first.
        score: Its score.
        score_of_best: Score of the best candidate alone.
        error: Standard error of the difference between the two scores.
        is_better: Whether its objective is higher than that of the best candidate.
        predictions: Its predictions (N, outputs); NaN for examples that were not scored.
        tried: Predictions (N, outputs) of each average that was tried: the soup was chosen among them.
    """

    member: PlannedMember
    score: float
    score_of_best: float
    error: float
    is_better: bool
    predictions: np.ndarray = field(compare=False, repr=False)
    tried: tuple[np.ndarray, ...] = field(compare=False, repr=False)

    def to_json(self) -> dict[str, Any]:
        """Return the soup as JSON."""
        return {
            "used": self.is_better,
            "score": self.score,
            "score_of_best": self.score_of_best,
            "error": self.error,
            "candidates": [one.to_json() for one in self.member.candidates],
        }


def soup_candidates(best: TrialRecord, records: Iterable[TrialRecord], evaluator: Evaluator) -> list[TrialRecord]:
    """Return the trials whose networks could be averaged with the best one's, the best one first.

    They train the same stages of the same backbone under the same head.
    """
    if best.depth is None or best.depth >= len(evaluator.stages(candidate_of(best).backbone)):
        return [best]  # no stage trains: averaged heads would be an ensemble

    def shape(record: TrialRecord) -> tuple[Any, ...]:
        candidate = candidate_of(record)
        return (
            candidate.backbone,
            record.depth,
            candidate.head,
            evaluator.setup(candidate_of(record)).head_size(evaluator.task),
        )

    others = [record for record in rank_records(records) if record.number != best.number]
    return [best, *(record for record in others if shape(record) == shape(best))][:MAX_CANDIDATES]


def make_soup(records: Sequence[TrialRecord], evaluator: Evaluator) -> Soup:
    """Train each trial's candidate on the first fold, and average the networks of their best epochs greedily.

    Args:
        records: The trials; see ``soup_candidates``.
        evaluator: What trains and scores.

    Returns:
        The soup, whether it is better than the best candidate or not.
    """
    fold, task = evaluator.folds[0], evaluator.task
    held_out = OutOfFold.of(evaluator.folds, _among_all(evaluator, np.zeros((len(fold.validation_rows), task.outputs))))
    trained = [evaluator.best_network(candidate_of(record)) for record in records]
    order = sorted(range(len(records)), key=lambda i: -held_out.objective(trained[i][1]))
    records, networks = [records[i] for i in order], [trained[i][0] for i in order]
    setup, network, tried = evaluator.setup(candidate_of(records[0])), deepcopy(networks[0]), list[np.ndarray]()

    def predict(state: State) -> np.ndarray:
        network.load_state_dict(state)
        tried.append(setup.predict(network, evaluator.extractor, task, fold.validation_rows, evaluator.device))
        return tried[-1]

    states: list[State] = [one.state_dict() for one in networks]
    chosen = greedy_soup(states, lambda state: held_out.objective(predict(state)))
    averages = tuple(_among_all(evaluator, predictions) for predictions in tried)
    soup, best = predict(average_weights([states[i] for i in chosen])), tried[0]
    return Soup(
        member=PlannedMember(candidates=tuple(RefitCandidate.of(records[i]) for i in chosen)),
        score=held_out.score(soup),
        score_of_best=held_out.score(best),
        error=paired_standard_error(task, held_out.targets, soup, best, held_out.group_ids, held_out.weights),
        is_better=held_out.objective(soup) > held_out.objective(best),
        predictions=_among_all(evaluator, soup),
        tried=averages,
    )


def greedy_soup(states: Sequence[State], objective: Callable[[State], float]) -> list[int]:
    """Return the positions of the weights to average: the first, and each whose addition does not lower the objective.

    Args:
        states: Weights of networks, the best one first.
        objective: Judges weights; greater is better.
    """
    chosen, best = [0], objective(states[0])
    for i in range(1, len(states)):
        found = objective(average_weights([states[j] for j in (*chosen, i)]))
        if found >= best:
            chosen, best = [*chosen, i], found
    return chosen


def average_weights(states: Sequence[State]) -> State:
    """Return the mean of each tensor; tensors of whole numbers, and those that are equal in all, stay as they are."""

    def mean(name: str) -> Tensor:
        first, *others = tensors = [state[name] for state in states]
        if not first.is_floating_point() or all(torch.equal(first, other) for other in others):
            return first
        return torch.stack(tensors).mean(0)

    return {name: mean(name) for name in states[0]}


def _among_all(evaluator: Evaluator, predictions: np.ndarray) -> np.ndarray:
    """Return predictions (N, outputs) with those of the first fold, and NaN for all other examples."""
    whole = np.full((len(evaluator.targets), evaluator.task.outputs), np.nan, dtype=evaluator.task.dtype)
    whole[evaluator.folds[0].validation_rows] = predictions
    return whole
