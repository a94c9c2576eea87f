"""The latency of a saved model: the upper end of what processes measure; the medians in most tests are made up."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import autotransfer
from autotransfer.candidate import Candidate
from autotransfer.evaluation.inference_cost import InferenceCost
from autotransfer.evaluation.latency import LatencySample
from autotransfer.model import latency_process, saved_cost
from autotransfer.model.latency_process import LatencyRequest, latency_in_new_process
from autotransfer.model.saved_cost import measure_saved_model, upper_latency
from autotransfer.model.transfer_model import TransferModel
from autotransfer.settings import Compute, Limits


@pytest.fixture(scope="module")
def model(tiny_zoo: Path, digits: tuple[np.ndarray, np.ndarray]) -> TransferModel:
    """A head on a frozen network."""
    images, labels, where = digits[0][:60], digits[1][:60], Compute(cache=False, device="cpu")
    candidate = Candidate(backbone="test_resnet", head="ridge")
    return autotransfer.evaluate(candidate, images, labels, zoo=tiny_zoo, compute=where).model


@pytest.fixture
def sample(model: TransferModel, digits: tuple[np.ndarray, np.ndarray]) -> LatencySample:
    return LatencySample.of(model.modality, list(digits[0][:20]), range(20), model.reading, 1)


@pytest.mark.parametrize(
    ("medians", "expected"),
    [
        ([8, 9, 0, 0], 9),  # both are within: the greater one
        ([8, 12, 9, 7], 9),  # one of four exceeds the limit: a program ran beside it
        ([12, 8, 11, 0], 11),  # a second one exceeds it: no fourth is needed
        ([14, 11, 0, 0], 11),  # both exceed it
        ([8, 12, 8, 13], 12),
    ],
)
def test_upper_latency_drops_one_of_four(medians: list[float], expected: float) -> None:
    left = iter(medians)
    assert upper_latency(lambda: next(left), 10) == expected


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[float]]:
    """Let this process and new ones measure what is written here, in seconds; return what is left of it."""
    left: dict[str, list[float]] = {"here": [], "elsewhere": []}

    def here(*_: object, **__: object) -> InferenceCost:
        return InferenceCost(latency_seconds=left["here"].pop(0), size_bytes=1)

    monkeypatch.setattr(saved_cost, "measure_model", here)
    monkeypatch.setattr(
        saved_cost, "latency_in_new_process", lambda request: left["elsewhere"].pop(0) if left["elsewhere"] else None
    )
    return left


def test_a_slower_process_counts_with_a_limit(
    measured: dict[str, list[float]], model: TransferModel, sample: LatencySample, tmp_path: Path
) -> None:
    measured |= {"here": [0.008], "elsewhere": [0.009]}
    found = measure_saved_model(model, sample, tmp_path, Limits(latency="10ms"))
    assert found.latency_seconds == 0.009
    assert measured == {"here": [], "elsewhere": []}


def test_no_process_starts_without_a_limit(
    measured: dict[str, list[float]], model: TransferModel, sample: LatencySample, tmp_path: Path
) -> None:
    measured |= {"here": [0.008], "elsewhere": [0.009]}
    assert measure_saved_model(model, sample, tmp_path, Limits(size="1GB")).latency_seconds == 0.008
    assert measured["elsewhere"] == [0.009]


def test_this_process_measures_where_no_other_can(
    measured: dict[str, list[float]], model: TransferModel, sample: LatencySample, tmp_path: Path
) -> None:
    measured |= {"here": [0.008, 0.0085]}
    assert measure_saved_model(model, sample, tmp_path, Limits(latency="10ms")).latency_seconds == 0.0085


@pytest.fixture
def request_for(sample: LatencySample) -> Callable[..., LatencyRequest]:
    """Return a function that asks for the latency of the model in a folder."""

    def ask(folder: Path, clock: Callable[[], float] = time.process_time) -> LatencyRequest:
        return LatencyRequest(folder=folder, device="cpu", sample=sample, max_seconds=0.05, threads=1, clock=clock)

    return ask


@pytest.mark.slow
def test_a_new_process_measures_a_saved_model(
    request_for: Callable[..., LatencyRequest], model: TransferModel, tmp_path: Path
) -> None:
    found = latency_in_new_process(request_for(model.save(tmp_path)))
    assert found is not None
    assert 0.0 < found < 10.0


def test_a_process_that_fails_gives_none(
    request_for: Callable[..., LatencyRequest], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(latency_process, "_PROGRAM", "raise SystemExit('no package')")
    assert latency_in_new_process(request_for(tmp_path)) is None


def test_a_clock_of_the_users_program_gives_none(request_for: Callable[..., LatencyRequest], tmp_path: Path) -> None:
    assert latency_in_new_process(request_for(tmp_path, lambda: 0.0)) is None
