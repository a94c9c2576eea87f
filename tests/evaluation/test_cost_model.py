"""What a candidate is expected to take, beside what it took: tiny networks on handwritten digits."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from autotransfer.candidate import Candidate
from autotransfer.evaluation.evaluator import Evaluator
from autotransfer.search.loop import Evaluation

MakeEvaluator = Callable[..., Evaluator]


def _evaluate(evaluator: Evaluator, candidate: Candidate) -> Evaluation:
    return evaluator(candidate, lambda epoch, score: False, lambda: False)


def test_what_is_cached_is_expected_to_cost_its_solution_alone(make: MakeEvaluator) -> None:
    evaluator, probe = make(), Candidate(backbone="test_resnet", head="ridge")
    assert evaluator.predicted_seconds(probe) > 0
    found = _evaluate(evaluator, probe)
    assert found.seconds > 0
    assert evaluator.predicted_seconds(probe) == pytest.approx(found.seconds)


def test_each_view_costs_a_pass_until_it_is_cached(make: MakeEvaluator) -> None:
    evaluator, probes = make(), [Candidate(backbone="test_vit", head="ridge", training={"views": n}) for n in (1, 2, 4)]
    one, two, four = (evaluator.predicted_seconds(probe) for probe in probes)
    each = evaluator.pass_seconds("test_vit")
    assert (two - one, four - one) == pytest.approx((each, 3 * each))
    _evaluate(evaluator, probes[1])
    assert evaluator.predicted_seconds(probes[2]) - evaluator.predicted_seconds(probes[1]) == pytest.approx(2 * each)

    def epoch(views: int) -> float:
        training = {"epochs": 1, "views": views}
        return evaluator.predicted_seconds(Candidate(backbone="test_vit", freeze="full", training=training))

    share = len(evaluator.folds[0].validation_rows) / len(evaluator.targets)
    # Each pass of the network as it trains takes twice as long as one of the frozen backbone.
    assert epoch(2) - epoch(1) == pytest.approx(2 * share * each, rel=0.01)


def test_more_features_take_longer_to_solve(make: MakeEvaluator) -> None:
    # Thousands of columns and rows take seconds: who is short of time must know.
    evaluator = make()
    pooled, staged = (Candidate(backbone="test_resnet", head=head) for head in ("ridge", "stage_ridge"))
    for probe in (pooled, staged):
        _evaluate(evaluator, probe)
    before = evaluator.predicted_seconds(pooled)
    evaluator.learn(staged, replace(_evaluate(evaluator, staged), seconds=40.0))
    assert evaluator.predicted_seconds(staged) == pytest.approx(40.0)
    assert evaluator.predicted_seconds(pooled) == before, "another head"


def test_more_epochs_and_more_stages_cost_more(make: MakeEvaluator) -> None:
    evaluator = make()

    def seconds(depth: int, epochs: int) -> float:
        candidate = Candidate(
            backbone="test_resnet", freeze="depth", freeze_params={"depth": depth}, training={"epochs": epochs}
        )
        return evaluator.predicted_seconds(candidate)

    assert seconds(0, 4) == pytest.approx(2 * seconds(0, 2))
    assert seconds(0, 10) > seconds(3, 10) > 0


def test_epochs_cost_what_a_timed_step_says(make: MakeEvaluator, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluator = make()
    candidate = Candidate(backbone="test_resnet", freeze="full", training={"epochs": 2})
    before = evaluator.predicted_seconds(candidate)
    assert evaluator.epoch_seconds("test_resnet") < before
    timed = "autotransfer.evaluation.cost_model.measure_training_seconds_per_example"
    monkeypatch.setattr(timed, lambda loaded, store: 7.0)
    assert evaluator.measure_training("test_resnet")
    assert not evaluator.measure_training("test_resnet"), "once is enough"
    train, validation = (len(getattr(evaluator.folds[0], rows)) for rows in ("train_rows", "validation_rows"))
    assert evaluator.epoch_seconds("test_resnet") == 7.0 * train
    assert evaluator.predicted_seconds(candidate) == pytest.approx(2 * 7.0 * (train + validation / 3), rel=0.01)


def test_epochs_that_a_checkpoint_has_say_nothing_of_the_pace(make: MakeEvaluator) -> None:
    # A search that goes on evaluates its leaders again, to have their predictions.
    candidate = Candidate(backbone="test_vit", freeze="full", training={"epochs": 2})
    first, resumed = make(folds=1), make(folds=1)
    trained = first(candidate, lambda epoch, score: False, lambda: False, 1)
    resumed.context.checkpoints = first.checkpoints
    before = resumed.predicted_seconds(candidate)
    found = resumed(candidate, lambda epoch, score: False, lambda: False, 1)
    assert (found.trained, found.curve) == (0, trained.curve)
    assert math.isnan(found.seconds)
    assert resumed.predicted_seconds(candidate) == before
    assert resumed.measure_training("test_vit"), "a step is still to be timed"


def test_a_backbone_that_cannot_train_keeps_its_expected_seconds(
    make: MakeEvaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluator = make()
    before = evaluator.epoch_seconds("test_vit")

    def fail(*arguments: object) -> None:
        raise RuntimeError("no gradient for you")

    monkeypatch.setattr(type(evaluator.load("test_vit").backbone), "forward", fail)
    assert evaluator.measure_training("test_vit")
    assert evaluator.epoch_seconds("test_vit") == before
    assert not evaluator.measure_training("test_vit")


@pytest.mark.slow
def test_a_slow_head_is_predicted_to_be_slow_again(make: MakeEvaluator) -> None:
    evaluator = make(folds=3)
    probe = Candidate(backbone="test_resnet", head="linear", training={"epochs": 4})
    other = replace(probe, backbone="test_vit", training={"epochs": 8})
    _evaluate(evaluator, Candidate(backbone="test_vit", head="ridge"))
    before = evaluator.predicted_seconds(other)
    found = _evaluate(evaluator, probe)
    assert found.seconds > 0
    at_first = make(folds=3)
    _evaluate(at_first, Candidate(backbone="test_resnet", head="ridge"))  # the pass is made
    slower = replace(found, seconds=100 * at_first.predicted_seconds(probe))
    evaluator.learn(probe, slower)
    assert evaluator.predicted_seconds(other) == pytest.approx(100 * before, rel=1e-3), "whatever the backbone"


def test_a_head_out_of_time_still_tells_the_cost_of_all_folds(
    make: MakeEvaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = Candidate(backbone="test_resnet", head="linear", training={"epochs": 4})
    epochs: list[int] = []
    monkeypatch.setattr("autotransfer.evaluation.cross_validation.time.perf_counter", lambda: 1.5 * len(epochs))

    def report(epoch: int, score: float) -> bool:
        epochs.append(epoch)
        return False

    found = make(folds=3).measure(probe, report, lambda: len(epochs) >= 2)
    assert len(found.curve) == 2
    assert found.seconds == pytest.approx(12 * 1.5), "of twelve epochs it has seen two"
