"""Weights are averaged where that does not hurt: constructed weights, and tiny networks that are really trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from autotransfer.candidate import Candidate
from autotransfer.contract.registry import Registry
from autotransfer.data.sources import load_examples
from autotransfer.evaluation.evaluator import Evaluator
from autotransfer.pipeline.prepare import prepare_data
from autotransfer.runtime.device import resolve_device
from autotransfer.search.trials import TrialRecord
from autotransfer.selection.soup import average_weights, greedy_soup, make_soup, soup_candidates
from autotransfer.settings import Compute, Settings


def _state(value: float) -> dict[str, torch.Tensor]:
    return {"weight": torch.tensor([value]), "count": torch.tensor(7)}


def _worth(state: dict[str, torch.Tensor]) -> float:
    return -abs(float(state["weight"]) - 1.0)


def test_what_does_not_hurt_is_added_and_what_hurts_is_not() -> None:
    assert greedy_soup([_state(0.8), _state(1.4), _state(5.0), _state(0.8)], _worth) == [0, 1, 3]
    assert greedy_soup([_state(1.0), _state(3.0), _state(-4.0)], _worth) == [0]


def test_equal_tensors_and_whole_numbers_stay_as_they_are() -> None:
    third = torch.tensor([0.1])
    states = [
        {"frozen": third.clone(), "trained": torch.tensor([x]), "count": torch.tensor(4)} for x in (1.0, 2.0, 6.0)
    ]
    mean = average_weights(states)
    assert torch.equal(mean["frozen"], third)
    assert mean["trained"].item() == 3.0
    assert mean["count"].item() == 4


@pytest.fixture(scope="module")
def evaluator(tiny_zoo: Path, digits: tuple[np.ndarray, np.ndarray]) -> Evaluator:
    registry = Registry.load((tiny_zoo,))
    specs = [registry.backbone("test_resnet")]
    data = prepare_data(load_examples(digits[0][:90], digits[1][:90]), specs, Settings(compute=Compute(cache=False)))
    return Evaluator(registry, data.extractor, data.folds, resolve_device("cpu"), seed=0)


def _tuned(evaluator: Evaluator, number: int, **training: Any) -> TrialRecord:
    candidate = Candidate(backbone="test_resnet", freeze="depth", training={"epochs": 2, "start": "ridge", **training})
    done = evaluator(candidate, lambda epoch, score: False, lambda: False)
    return TrialRecord(
        number=number,
        state="complete",
        candidate=candidate,
        score=done.score,
        objective=done.objective,
        depth=done.depth,
        best_epoch=done.best_epoch,
        epochs=2,
        predictions=done.predictions,
    )


def test_a_soup_of_tuned_networks_is_what_its_average_predicts(evaluator: Evaluator) -> None:
    records = [_tuned(evaluator, i, lr=lr) for i, lr in enumerate((1e-3, 3e-3, 1e-2))]
    soup = make_soup(records, evaluator)
    assert soup.is_better == (soup.to_json()["used"] is True)
    assert soup.score >= soup.score_of_best  # greedy: nothing that lowers it is added
    assert soup.score_of_best == pytest.approx(max(record.score or 0.0 for record in records), abs=0.06)
    scored = np.flatnonzero(~np.isnan(soup.predictions).any(1))
    assert scored.tolist() == evaluator.folds[0].validation_rows.tolist()
    assert len(soup.member.candidates) >= 1
    assert len(soup.tried) >= 3
    assert all(predictions.shape == soup.predictions.shape for predictions in soup.tried)
    assert soup.to_json()["error"] == soup.error >= 0


def test_a_soup_of_copies_is_not_better(evaluator: Evaluator) -> None:
    record = _tuned(evaluator, 0, lr=1e-3)
    soup = make_soup([record, replace(record, number=1)], evaluator)
    assert [one.trial for one in soup.member.candidates] == [0, 1]  # it does not hurt
    assert not soup.is_better


def test_a_soup_averages_same_stages_under_the_same_head(evaluator: Evaluator) -> None:
    best = _tuned(evaluator, 0, lr=1e-3)
    assert best.candidate is not None
    others = [
        replace(best, number=1),
        replace(best, number=2, depth=(best.depth or 0) + 1),
        replace(best, number=3, candidate=replace(best.candidate, head="mlp")),
        replace(best, number=4, state="pruned"),
        replace(best, number=5, state="paused"),
    ]
    assert [record.number for record in soup_candidates(best, [best, *others], evaluator)] == [0, 1, 5]
    frozen = replace(best, depth=len(evaluator.stages("test_resnet")))
    assert soup_candidates(frozen, [frozen, replace(frozen, number=1)], evaluator) == [frozen]
