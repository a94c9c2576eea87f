"""Candidates are really trained and scored: tiny networks on handwritten digits."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from autotransfer.candidate import Candidate
from autotransfer.contract.hookspecs import hookimpl
from autotransfer.contract.registry import Registry
from autotransfer.contract.specs import HeadSpec
from autotransfer.errors import TrialError, UnknownNameError
from autotransfer.evaluation.evaluator import Evaluator
from autotransfer.evaluation.objective import compute_objective
from autotransfer.evaluation.setup import Setup
from autotransfer.search.jobs import EpochScore
from autotransfer.search.loop import Evaluation
from autotransfer.training.network import Network
from autotransfer.training.trainer import Training
from autotransfer_plugins.modalities.image.batches import prepare


class Recorder(nn.Module):
    """A linear head that remembers which features it was trained on, and which it was asked about."""

    made: list[Recorder] = []  # noqa: RUF012 - every one that was built, for the test to look at

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, outputs)
        self.trained: set[bytes] = set()
        self.asked: set[bytes] = set()
        if not self.linear.weight.is_meta:  # those are built to count their parameters
            self.made.append(self)

    def forward(self, features: Tensor) -> Tensor:
        # Heads are tried on zeros before they are trained.
        rows = {row.numpy().tobytes() for row in features.detach().float() if row.any()}
        (self.trained if self.training else self.asked).update(rows)
        return self.linear(features)  # type: ignore[no-any-return]


class Recording:
    """The plugin that offers it."""

    @hookimpl
    def register_heads(self, register: Callable[[HeadSpec], None]) -> None:
        def build(shape: tuple[int, ...], outputs: int, params: Mapping[str, Any]) -> nn.Module:
            return Recorder(shape[0], outputs)

        register(HeadSpec(name="recorder", build=build))


@pytest.fixture(scope="module")
def registry(tiny_zoo: Path) -> Registry:
    return Registry.load((tiny_zoo,), plugins=[Recording()])


MakeEvaluator = Callable[..., Evaluator]


def _evaluate(evaluator: Evaluator, candidate: Candidate, stop_after: int = 99) -> Evaluation:
    return evaluator(candidate, lambda epoch, score: epoch >= stop_after, lambda: False)


def _linear(epochs: int = 3, **more: Any) -> Candidate:
    return Candidate(
        backbone="test_resnet",
        head=more.pop("head", "linear"),
        freeze=more.pop("freeze", "frozen"),
        training={"epochs": epochs, "lr": 1e-2, **more},
    )


# --- honesty -------------------------------------------------------------------------------------------------------


def test_memorising_the_labels_does_not_help(make: MakeEvaluator) -> None:
    # The nearest neighbour of an example that it was solved on is that example.
    knn = Candidate(backbone="test_resnet", head="knn", head_params={"k": 1})
    evaluation = _evaluate(make(noise=True), knn)
    assert evaluation.predictions is not None
    assert not np.isnan(evaluation.predictions).any()  # everybody is scored
    assert 0.1 < evaluation.score < 0.6


def test_no_example_is_scored_by_a_network_that_saw_it(make: MakeEvaluator) -> None:
    Recorder.made.clear()
    evaluation = _evaluate(make(), _linear(head="recorder"))
    assert len(Recorder.made) == 5
    for head in Recorder.made:
        assert head.trained
        assert head.asked
        assert not head.trained & head.asked
    assert len(set.union(*(head.asked for head in Recorder.made))) == len(
        evaluation.predictions if evaluation.predictions is not None else ()
    )


def test_what_trains_stages_is_scored_on_the_first_fold_alone(make: MakeEvaluator) -> None:
    evaluator = make()
    evaluation = _evaluate(evaluator, _linear(2, freeze="depth"))
    assert evaluation.predictions is not None
    scored = np.flatnonzero(~np.isnan(evaluation.predictions).any(1))
    assert scored.tolist() == evaluator.folds[0].validation_rows.tolist()


def test_no_objective_depends_on_the_order_of_trials(make: MakeEvaluator) -> None:
    tuned, frozen = _linear(2, freeze="depth"), Candidate(backbone="test_resnet", head="logistic")
    first, last = make(noise=True), make(noise=True)
    alone = _evaluate(first, tuned).objective
    _evaluate(last, frozen)
    assert _evaluate(last, tuned).objective == alone
    assert _evaluate(first, frozen).objective == _evaluate(last, frozen).objective


@pytest.mark.parametrize("freeze", ["frozen", "depth"])
def test_each_epoch_is_reported_with_its_objective(make: MakeEvaluator, freeze: str) -> None:
    told: list[EpochScore] = []

    def report(epoch: int, score: float) -> bool:
        assert isinstance(score, EpochScore)
        told.append(score)
        return False

    evaluator, candidate = make(noise=True), _linear(3, freeze=freeze)
    whole = evaluator(candidate, report, lambda: False)
    assert whole.objectives == tuple(score.objective for score in told)
    shorter = make(noise=True)(candidate, lambda epoch, score: epoch == 2, lambda: False)
    assert shorter.objective == whole.objectives[1]  # of one kind: that of a training which ends there
    assert (freeze == "depth") == (whole.objective == whole.objectives[-1])  # heads go on to the other folds


@pytest.mark.slow
def test_candidates_are_compared_by_what_their_scores_are_worth(make: MakeEvaluator) -> None:
    evaluator = make()
    found = _evaluate(evaluator, Candidate(backbone="test_resnet", head="ridge"))
    assert found.predictions is not None
    assert found.objective == compute_objective(evaluator.task, evaluator.targets, found.predictions)
    assert 0 < found.score - found.objective < 0.01


# --- training ------------------------------------------------------------------------------------------------------


def test_real_digits_are_learned(make: MakeEvaluator) -> None:
    evaluator = make()
    assert _evaluate(evaluator, Candidate(backbone="test_resnet", head="logistic")).score > 0.9
    assert _evaluate(evaluator, _linear(20)).score > 0.7


@pytest.mark.slow
@pytest.mark.parametrize("freeze", ["frozen", "depth", "full", "gradual", "lp_ft", "norm_only"])
def test_equal_seeds_give_equal_scores(make: MakeEvaluator, freeze: str) -> None:
    candidate = _linear(2, freeze=freeze)
    one, other = (_evaluate(make(), candidate) for _ in range(2))
    assert (one.score, one.objective, one.curve) == (other.score, other.objective, other.curve)
    np.testing.assert_array_equal(one.predictions, other.predictions)


def test_another_seed_gives_other_scores(make: MakeEvaluator) -> None:
    one, other = (_evaluate(make(seed=seed), _linear(1)) for seed in (0, 1))
    assert one.predictions is not None
    assert not np.array_equal(one.predictions, other.predictions)


def test_a_heads_curve_is_over_folds_and_its_last_epoch_counts(make: MakeEvaluator) -> None:
    evaluator, reported = make(), []

    def report(epoch: int, score: float) -> bool:
        reported.append(epoch)
        return False

    evaluation = evaluator(_linear(4), report, lambda: False)
    assert reported == [1, 2, 3, 4]  # of the first fold: five reports for one epoch would confuse the pruner
    assert len(evaluation.curve) == 4
    # One that stands out before, at a high rate, does so by chance, and would not again in a refit.
    assert (evaluation.best_epoch, evaluation.score) == (4, evaluation.curve[-1])
    assert evaluation.predictions is not None
    assert evaluation.score == evaluator.task.score(evaluator.targets, evaluation.predictions)


def test_a_pruned_candidate_trains_on_one_fold_only(make: MakeEvaluator) -> None:
    Recorder.made.clear()
    evaluation = _evaluate(make(), _linear(9, head="recorder"), stop_after=2)
    assert len(evaluation.curve) == 2
    assert len(Recorder.made) == 1


def test_running_out_of_time_keeps_the_epochs_that_ended(make: MakeEvaluator) -> None:
    evaluator, ended = make(), []

    def report(epoch: int, score: float) -> bool:
        ended.append(epoch)
        return False

    evaluation = evaluator(_linear(9), report, lambda: len(ended) >= 3)
    assert len(evaluation.curve) == 3
    with pytest.raises(TrialError, match="the time ran out before the first epoch ended"):
        evaluator(_linear(9, freeze="full"), report, lambda: True)


@pytest.mark.slow
@pytest.mark.parametrize("freeze", ["depth", "full", "gradual"])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_paused_training_resumes_exactly(make: MakeEvaluator, freeze: str, optimizer: str) -> None:
    candidate = _linear(4, freeze=freeze, head="mlp", optimizer=optimizer)
    whole = make(folds=1)(candidate, lambda epoch, score: False, lambda: False)
    evaluator, told = make(folds=1), []

    def report(epoch: int, score: float) -> bool:
        told.append(epoch)
        return False

    parts = [evaluator(candidate, report, lambda: False, until) for until in (1, 3, 4)]
    assert told == [1, 2, 3, 4], "no epoch is trained twice"
    assert [len(part.curve) for part in parts] == [1, 3, 4]
    assert parts[-1].curve == whole.curve
    assert np.array_equal(parts[-1].predictions, whole.predictions, equal_nan=True)
    told.clear()
    network, predictions = evaluator.best_network(candidate)
    assert not told, "what a trial left behind is not trained again"
    best = int(np.argmax(whole.curve))
    assert whole.curve[best] == evaluator.task.score(evaluator.targets[evaluator.folds[0].validation_rows], predictions)
    assert not network.training


@pytest.mark.slow
def test_a_training_that_goes_on_can_be_planned_anew(make: MakeEvaluator) -> None:
    evaluator, told = make(folds=1), list[int]()

    def report(epoch: int, score: float) -> bool:
        told.append(epoch)
        return False

    long, short = _linear(9, freeze="depth"), _linear(3, freeze="depth")
    begun = evaluator(long, report, lambda: False, 1)
    ended = evaluator(short, report, lambda: False, 9)
    assert told == [1, 2, 3]
    assert (ended.curve[:1], len(ended.curve)) == (begun.curve, 3)
    # Its rates have fallen, as those of the long plan would not have: it is where neither plan alone leads to.
    network, _ = evaluator.best_network(short)
    evaluator.checkpoints.clear()
    evaluator(long, report, lambda: False, 3)
    other, _ = evaluator.best_network(long)
    assert not all(map(torch.equal, network.state_dict().values(), other.state_dict().values()))


def test_of_equal_epochs_the_last_one_and_its_weights_count(make: MakeEvaluator) -> None:
    # At such a rate nothing changes but by rounding; its own rates have fallen furthest.
    evaluator, candidate = make(folds=1), _linear(3, freeze="depth", lr=1e-12)
    ended = evaluator(candidate, lambda epoch, score: False, lambda: False)
    assert len(set(ended.curve)) == 1
    assert ended.best_epoch == 3
    state = evaluator.checkpoints.load(candidate)
    assert state is not None
    assert state["best_epoch"] == 3


def test_seconds_of_epochs_exclude_the_frozen_prefix(make: MakeEvaluator, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = [0.0]

    def slow(training: Training) -> None:
        seconds[0] += 100.0

    monkeypatch.setattr(Training, "prepare", slow)
    monkeypatch.setattr("autotransfer.evaluation.stage_training.time.perf_counter", lambda: seconds[0])
    assert _evaluate(make(folds=1), _linear(1, freeze="depth")).seconds == 0.0
    assert seconds[0] == 100.0


@pytest.mark.slow
def test_a_training_cut_in_an_epoch_keeps_its_best_epoch(make: MakeEvaluator) -> None:
    # What was learned since the last epoch ended belongs to none: going on from there would repeat it. A winner that is
    # cut by the end of the budget is not trained again beyond it.
    candidate, evaluator, told = _linear(4, freeze="depth"), make(folds=1), list[int]()

    def report(epoch: int, score: float) -> bool:
        told.append(epoch)
        return False

    cut = evaluator(candidate, report, lambda: bool(told), 4)
    assert len(cut.curve) == 1
    told.clear()
    network, predictions = evaluator.best_network(candidate)
    validation = evaluator.folds[0].validation_rows
    assert cut.predictions is not None
    np.testing.assert_array_equal(predictions, cut.predictions[validation])
    other = make(folds=1)
    other(candidate, lambda epoch, score: False, lambda: False, 1)
    undisturbed, _ = other.best_network(candidate)
    assert all(map(torch.equal, network.state_dict().values(), undisturbed.state_dict().values()))
    whole = evaluator(candidate, report, lambda: False, 4)
    assert told == [1, 2, 3, 4]
    assert whole.curve == make(folds=1)(candidate, report, lambda: False).curve


@pytest.mark.slow
def test_a_training_cut_in_its_next_epoch_stays_paused(make: MakeEvaluator) -> None:
    candidate, evaluator, told = _linear(3, freeze="depth"), make(folds=1), list[int]()

    def report(epoch: int, score: float) -> bool:
        told.append(epoch)
        return False

    evaluator(candidate, report, lambda: False, 2)
    cut = evaluator(candidate, report, lambda: True, 3)
    assert (len(cut.curve), cut.trained) == (2, 0)
    whole = evaluator(candidate, report, lambda: False, 3)
    assert told == [1, 2, 3], "no epoch is trained twice"
    assert whole.curve == make(folds=1)(candidate, report, lambda: False).curve


def test_going_on_is_expected_to_cost_the_rest(make: MakeEvaluator) -> None:
    evaluator, candidate = make(folds=1), _linear(10, freeze="full")
    whole = evaluator.predicted_seconds(candidate)
    assert evaluator.predicted_seconds(candidate, 3) == pytest.approx(0.3 * whole)
    assert evaluator.predicted_seconds(candidate, 10, 4) == pytest.approx(0.6 * whole)


def test_training_that_diverges_is_a_failed_trial(make: MakeEvaluator) -> None:
    with pytest.raises(TrialError, match=r"lower the lr|diverged"):
        _evaluate(make(), _linear(3, optimizer="sgd", lr=1e38, freeze="full", backbone_lr=1.0))


def test_an_unknown_backbone_is_named(make: MakeEvaluator) -> None:
    with pytest.raises(UnknownNameError, match="test_resnt"):
        _evaluate(make(), Candidate(backbone="test_resnt"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "candidate",
    [
        Candidate(backbone="test_resnet", head="ridge"),
        _linear(),
        replace(_linear(freeze="depth"), freeze_params={"depth": 2}),
        _linear(freeze="full"),
    ],
    ids=["solved", "head alone", "last stages", "all"],
)
def test_nothing_of_a_finished_trial_stays_alive(
    candidate: Candidate, make: MakeEvaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks: list[weakref.ref[nn.Module]] = []
    build = Setup._network

    def noted(*arguments: Any) -> Network:
        network = build(*arguments)
        networks.append(weakref.ref(network))
        return network

    monkeypatch.setattr(Setup, "_network", noted)
    evaluation = _evaluate(make(), candidate)
    gc.collect()
    assert networks
    assert evaluation.predictions is not None
    assert [network() for network in networks] == [None] * len(networks)


def test_a_backbone_lost_since_its_trial_costs_no_result(make: MakeEvaluator, monkeypatch: pytest.MonkeyPatch) -> None:
    # Workers have scored it; here it was given up for others, and is loaded again to learn from its seconds.
    scored, candidate, evaluator = make(folds=1), _linear(1, freeze="full"), make(folds=1)
    found = scored.measure(candidate, lambda epoch, score: False, lambda: False)
    before = evaluator.predicted_seconds(candidate)

    def lost(candidate: Candidate) -> Setup:
        raise OSError("the weights are gone")

    with monkeypatch.context() as patch:
        patch.setattr(evaluator, "setup", lost)
        evaluator.learn(candidate, found)
    assert evaluator.predicted_seconds(candidate) == before
    evaluator.learn(candidate, found)
    assert evaluator.predicted_seconds(candidate) != before


def test_backbones_are_loaded_once(make: MakeEvaluator) -> None:
    evaluator = make()
    assert evaluator.load("test_resnet") is evaluator.load("test_resnet")
    assert evaluator.stages("test_resnet") == evaluator.load("test_resnet").backbone.stages


# --- the winner ----------------------------------------------------------------------------------------------------


def test_the_refit_learns_from_every_example(make: MakeEvaluator) -> None:
    Recorder.made.clear()
    network = make().refit(_linear(8, head="recorder"), 2)
    (head,) = Recorder.made
    assert head is network.head
    assert len(head.trained) == 90
    assert not network.training


def test_the_refit_of_a_closed_form_holds_every_example(make: MakeEvaluator) -> None:
    network = make().refit(Candidate(backbone="test_resnet", head="knn", head_params={"k": 1}), 0)
    assert isinstance(network.head.keys, Tensor)
    assert len(network.head.keys) == 90


@pytest.mark.parametrize("candidate", [_linear(3), _linear(3, freeze="depth")], ids=["a head alone", "stages"])
def test_a_refit_that_is_cut_is_no_network(make: MakeEvaluator, candidate: Candidate) -> None:
    with pytest.raises(TrialError, match="the time ran out in epoch 1 of 3"):
        make(folds=1).refit(candidate, 3, lambda: True)


def test_a_refit_takes_class_weights_of_its_own_rows(make: MakeEvaluator) -> None:
    seen: list[np.ndarray] = []
    evaluator = make(folds=3)
    first = evaluator.folds[0]
    skewed = np.flatnonzero((first.targets != 0) | (np.arange(len(first.targets)) % 9 == 0))
    folds = [replace(first, class_weight="balanced", train_rows=skewed)]  # in which one class is rarer than in all
    evaluator = Evaluator(evaluator.registry, evaluator.extractor, folds, evaluator.device, seed=0)
    with pytest.MonkeyPatch.context() as patch:
        made = Training.__init__

        def noted(self: Training, network: Network, plan: Any, settings: Any, fold: Any, *rest: Any, **n: Any) -> None:
            assert fold.class_weights is not None
            seen.append(fold.class_weights)
            made(self, network, plan, settings, fold, *rest, **n)

        patch.setattr(Training, "__init__", noted)
        evaluator.refit(_linear(1), 1)
        evaluator.best_network(_linear(1))
    task = evaluator.task
    np.testing.assert_allclose(seen[0], task.class_weights(evaluator.targets))
    np.testing.assert_allclose(seen[1], task.class_weights(evaluator.targets[skewed]))
    assert seen[1][0] > 2 * seen[0][0]


@pytest.mark.parametrize(
    "candidate",
    [
        Candidate(backbone="test_resnet", head="ridge"),
        Candidate(backbone="test_resnet", head="mlp", training={"epochs": 3}),
        Candidate(backbone="test_vit", freeze="depth", training={"epochs": 3, "start": "ridge"}),
        Candidate(backbone="test_resnet", freeze="full", training={"epochs": 3, "batch_norm": "live"}),
    ],
    ids=["closed form", "head on maps", "some stages", "all stages"],
)
def test_the_best_network_gives_the_scores_that_are_reported(make: MakeEvaluator, candidate: Candidate) -> None:
    # From the pixels, through the whole network: nothing of the way over the cache may be missing.
    evaluator = make(folds=1)
    network, predictions = evaluator.best_network(candidate)
    rows = evaluator.folds[0].validation_rows
    images, how = evaluator.extractor.store, network.backbone.preprocessing
    with torch.inference_mode():
        outputs = network(prepare(images.pixels[how.crop_mode][rows], how, torch.device("cpu"))).softmax(1)
    np.testing.assert_allclose(outputs.numpy(), predictions, atol=0.05)  # 16 bit where the machine has it
    assert (outputs.numpy().argmax(1) == predictions.argmax(1)).mean() > 0.9
