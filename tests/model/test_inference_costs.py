"""What candidates take is known before they are trained; the clocks in these tests are made up."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from autotransfer.candidate import Candidate
from autotransfer.evaluation.evaluator import Evaluator
from autotransfer.evaluation.latency import LatencySample
from autotransfer.model.inference_costs import InferenceCosts
from autotransfer.model.latency import files_bytes, measure_model
from autotransfer.model.transfer_model import TransferModel
from autotransfer.selection.refit import as_member
from autotransfer.settings import Limits

HEADS = ["ridge", "knn", "linear", "stage_ridge"]


@pytest.fixture(scope="module")
def evaluator(make: Callable[..., Evaluator]) -> Evaluator:
    return make()


@pytest.fixture
def costs(evaluator: Evaluator, digits: tuple[np.ndarray, np.ndarray]) -> Callable[..., InferenceCosts]:
    """Return a function that makes the costs under limits; each look at the clock takes a millisecond."""

    def make(**limits: object) -> InferenceCosts:
        store, ticks = evaluator.extractor.store, count()
        sample = LatencySample.of(store.modality, list(digits[0][:90]), range(90), store.reading, 1)
        return InferenceCosts(evaluator, sample, Limits(**limits), clock=lambda: next(ticks) / 1e3)  # type: ignore[arg-type]

    return make


def model_of(evaluator: Evaluator, *candidates: Candidate) -> TransferModel:
    networks = [evaluator.refit(one, 1) for one in candidates]
    weight, store = 1.0 / len(candidates), evaluator.extractor.store
    members = [as_member(network, one, evaluator, weight) for network, one in zip(networks, candidates, strict=True)]
    return TransferModel(
        members=tuple(members),
        task=evaluator.task,
        modality=store.modality,
        reading=store.reading,
        device=evaluator.device,
    )


@pytest.mark.parametrize("head", HEADS)
def test_size_is_that_of_the_files(
    head: str, evaluator: Evaluator, costs: Callable[..., InferenceCosts], tmp_path: Path
) -> None:
    candidate = Candidate(backbone="test_vit", head=head)
    size = costs().of_members([candidate]).size_bytes
    saved = files_bytes(model_of(evaluator, candidate).save(tmp_path))
    assert saved <= size <= saved + 25_000


def test_size_counts_a_shared_backbone_once(
    evaluator: Evaluator, costs: Callable[..., InferenceCosts], tmp_path: Path
) -> None:
    both = [Candidate(backbone="test_vit", head="ridge"), Candidate(backbone="test_vit", head="logistic")]
    size = costs().of_members(both).size_bytes
    saved = files_bytes(model_of(evaluator, *both).save(tmp_path))
    assert saved <= size <= saved + 25_000


def test_memory_is_that_of_the_model(
    evaluator: Evaluator, costs: Callable[..., InferenceCosts], tmp_path: Path
) -> None:
    candidate, known = Candidate(backbone="test_vit", head="ridge"), costs(memory="1GB")
    model = model_of(evaluator, candidate)
    found = measure_model(model, known.sample, model.save(tmp_path), memory=True)
    memory = known.of_members([candidate]).memory_bytes
    assert memory is not None
    assert found.memory_bytes == pytest.approx(memory, rel=0.05)
    assert known.of_members([candidate.__class__(backbone="test_vit", head="ridge")]).memory_bytes == memory


def test_views_cost_a_pass_each_without_a_limit(costs: Callable[..., InferenceCosts]) -> None:
    known = costs()
    one = known.of_members([Candidate(backbone="test_resnet", head="ridge")])
    two = known.of_members([Candidate(backbone="test_resnet", head="ridge", training={"views": 2})])
    assert one.latency_seconds < two.latency_seconds < 2 * one.latency_seconds
    assert one.size_bytes == two.size_bytes


def test_an_ensemble_loads_an_example_once(costs: Callable[..., InferenceCosts]) -> None:
    known = costs(latency="1s")
    resnet, vit = Candidate(backbone="test_resnet", head="ridge"), Candidate(backbone="test_vit", head="ridge")
    shared = known.of_members([vit, Candidate(backbone="test_vit", head="logistic")]).latency_seconds
    both, alone = known.of_members([resnet, vit]).latency_seconds, known.of_members([vit]).latency_seconds
    assert alone < shared < both < 2 * alone


def test_candidates_over_a_limit_are_not_admitted(costs: Callable[..., InferenceCosts]) -> None:
    candidate = Candidate(backbone="test_vit", head="ridge")
    cost = costs().of_members([candidate])
    assert costs(size=cost.size_bytes).admits(candidate)
    assert not costs(size=cost.size_bytes - 1).admits(candidate)
    assert costs(latency=cost.latency_seconds * 1.2).admits(candidate)
    close = costs(latency=cost.latency_seconds * 1.05)
    assert not close.admits(candidate)  # within the noise of a measurement
    assert "15% of the time is kept free, since processes differ" in close.why_refused
    assert costs().admits(candidate)


def test_what_cannot_be_measured_is_left_to_training(costs: Callable[..., InferenceCosts]) -> None:
    broken = Candidate(backbone="test_vit", head="ridge", freeze="finetune")
    assert costs(size=1).of(broken) is None
    assert costs(size=1).admits(broken)


def test_a_backbone_is_measured_once(costs: Callable[..., InferenceCosts]) -> None:
    known = costs(latency="1s")
    known.of(Candidate(backbone="test_vit", head="ridge"))
    before = known.clock()
    known.of(Candidate(backbone="test_vit", head="ridge"))
    assert known.clock() - before == pytest.approx(1e-3)
