"""Greedy soups: the weights of several fine-tuned networks, averaged (Wortsman et al. 2022, arXiv 2203.05482)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from autotransfer.candidate import Candidate
from autotransfer.evaluation.evaluator import Evaluator
from autotransfer.evaluation.setup import Setup
from autotransfer.search.trials import TrialRecord
from autotransfer.selection.out_of_fold import OutOfFold
from autotransfer.tasks.bootstrap import paired_standard_error

__all__ = ["Ingredient", "Soup", "averaged", "cook", "greedy", "ingredients"]

# Most networks that are averaged.
_INGREDIENTS = 3

State = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Ingredient:
    """A candidate of a soup.

    Attributes:
        number: Its trial.
        candidate: The candidate.
        epochs: Number of epochs that it trains for.
    """

    number: int
    candidate: Candidate
    epochs: int


@dataclass(frozen=True, kw_only=True)
class Soup:
    """A soup that was cooked, or tasted.

    Attributes:
        ingredients: What is in it, the best alone first.
        score: Its score on the first fold's validation examples.
        alone: Score of the best alone there.
        pays: Whether it is better than the best alone.
        predictions: Its predictions (N, outputs) of all examples; NaN where they were not scored.
        error: Standard error of the difference between the two scores.
        tried: Predictions (N, outputs) of each average that was tried: the soup was chosen among them.
    """

    ingredients: tuple[Ingredient, ...]
    score: float
    alone: float
    pays: bool
    predictions: np.ndarray = field(compare=False, repr=False)
    error: float
    tried: tuple[np.ndarray, ...] = field(compare=False, repr=False)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        found = [{"trial": i.number, "candidate": i.candidate.to_json(), "epochs": i.epochs} for i in self.ingredients]
        scores = {"score": self.score, "alone": self.alone, "error": self.error}
        return {"used": self.pays, **scores, "ingredients": found}

    def __str__(self) -> str:
        trials = ", ".join(str(ingredient.number) for ingredient in self.ingredients)
        used = "" if self.pays else "not used: "
        alike = ", no measurable difference" if abs(self.score - self.alone) <= self.error else ""
        beside = f"{self.alone:.4f} of the best alone{alike} (standard error of the difference {self.error:.4f})"
        return f"{used}trials {trials}: {self.score:.4f} on the first fold against {beside}"


def ingredients(best: TrialRecord, records: Iterable[TrialRecord], evaluator: Evaluator) -> list[TrialRecord]:
    """Return the records whose networks could be averaged with the best one's, the best one first.

    They train the same stages of the same backbone under the same head.
    """
    if best.depth is None or best.depth >= len(evaluator.stages(_candidate(best).backbone)):
        return [best]  # nothing of the backbone trains: averaged heads would be an ensemble

    def shape(record: TrialRecord) -> tuple[Any, ...]:
        candidate = _candidate(record)
        return candidate.backbone, record.depth, candidate.head, _setup(record, evaluator).head_size(evaluator.task)

    others = [record for record in records if record.stands and record.number != best.number]
    others.sort(key=lambda record: (-(record.objective or 0.0), record.number))
    return [best, *(record for record in others if shape(record) == shape(best))][:_INGREDIENTS]


def cook(records: Sequence[TrialRecord], evaluator: Evaluator) -> Soup:
    """Train each record's candidate on the first fold, and average the networks of their best epochs greedily.

    The soup pays if it is better there than the best alone.
    """
    fold, task = evaluator.folds[0], evaluator.task
    held_out = OutOfFold.of(evaluator.folds, _placed(evaluator, np.zeros((len(fold.validation_rows), task.outputs))))
    trained = [evaluator.best_network(_candidate(record)) for record in records]
    order = sorted(range(len(records)), key=lambda i: -held_out.objective(trained[i][1]))
    records, networks = [records[i] for i in order], [trained[i][0] for i in order]
    setup, taster, tried = _setup(records[0], evaluator), deepcopy(networks[0]), list[np.ndarray]()

    def predict(state: State) -> np.ndarray:
        taster.load_state_dict(state)
        tried.append(setup.predict(taster, evaluator.extractor, task, fold.validation_rows, evaluator.device))
        return tried[-1]

    states: list[State] = [network.state_dict() for network in networks]
    chosen = greedy(states, lambda state: held_out.objective(predict(state)))
    averages = tuple(_placed(evaluator, found) for found in tried)
    soup, alone = predict(averaged([states[i] for i in chosen])), tried[0]
    return Soup(
        ingredients=tuple(
            Ingredient(number=records[i].number, candidate=_candidate(records[i]), epochs=records[i].best_epoch)
            for i in chosen
        ),
        score=held_out.score(soup),
        alone=held_out.score(alone),
        predictions=_placed(evaluator, soup),
        error=paired_standard_error(task, held_out.targets, soup, alone, held_out.group_ids),
        tried=averages,
        pays=held_out.objective(soup) > held_out.objective(alone),
    )


def greedy(states: Sequence[State], objective: Callable[[State], float]) -> list[int]:
    """Return the positions of the weights to average: the first ones, and each whose addition does not make it worse.

    Args:
        states: Weights, the best alone first.
        objective: Judges weights; greater is better.
    """
    chosen, best = [0], objective(states[0])
    for i in range(1, len(states)):
        found = objective(averaged([states[j] for j in (*chosen, i)]))
        if found >= best:
            chosen, best = [*chosen, i], found
    return chosen


def averaged(states: Sequence[State]) -> State:
    """Return the mean of each tensor; those of whole numbers, and those that are equal in all, as they are."""

    def mean(name: str) -> Tensor:
        first, *others = tensors = [state[name] for state in states]
        if not first.is_floating_point() or all(torch.equal(first, other) for other in others):
            return first
        return torch.stack(tensors).mean(0)

    return {name: mean(name) for name in states[0]}


def _placed(evaluator: Evaluator, predictions: np.ndarray) -> np.ndarray:
    """Return the first fold's predictions among NaN for all other examples."""
    placed = np.full((len(evaluator.targets), evaluator.task.outputs), np.nan, dtype=evaluator.task.dtype)
    placed[evaluator.folds[0].validation_rows] = predictions
    return placed


def _setup(record: TrialRecord, evaluator: Evaluator) -> Setup:
    candidate = _candidate(record)
    return Setup.of(candidate, evaluator.load(candidate.backbone), evaluator.registry, evaluator.task)


def _candidate(record: TrialRecord) -> Candidate:
    assert record.candidate is not None  # complete trials have one
    return record.candidate
