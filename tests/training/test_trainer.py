"""Training by gradient: it learns, it is repeatable, and it survives what goes wrong on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from autotransfer.contract.backbone import SequentialBackbone
from autotransfer.contract.specs import FreezePlan, Phase
from autotransfer.data.folds import Fold
from autotransfer.errors import TrialError
from autotransfer.runtime.device import Device
from autotransfer.tasks.task import Task, infer_task
from autotransfer.training import trainer as module
from autotransfer.training.inputs import FeatureFeed, Feed, InputFeed
from autotransfer.training.network import Network
from autotransfer.training.settings import TrainingSettings
from autotransfer.training.trainer import Training
from autotransfer_plugins.modalities.image.batches import prepare
from autotransfer_plugins.modalities.image.formats import Preprocessing
from autotransfer_plugins.modalities.image.images import Images

MakeImages = Callable[..., Images]

CPU = torch.device("cpu")
FULL = FreezePlan(phases=(Phase(start=0.0, depth=0),))
FROZEN = FreezePlan(phases=(Phase(start=0.0, depth=2),))
LABELS = [0, 0, 1, 1, 0, 1, 1, 0, 1, 0]


def net(outputs: int, *, norm: type[nn.Module] = nn.Identity, dropout: float = 0.0, **scaling: Any) -> Network:
    """A small convolutional net; its features are pooled from one position, where batch norm needs two examples."""
    torch.manual_seed(0)
    body = {
        "stem": nn.Sequential(nn.Conv2d(3, 16, 4, stride=4), nn.GELU()),
        "body": nn.Sequential(nn.Conv2d(16, 32, 4, stride=4), norm(32), nn.GELU()),
    }
    backbone = SequentialBackbone(body, preprocessing=Preprocessing(size=(16, 16), crop_fraction=1.0), width=32)
    head = nn.Sequential(nn.Dropout(dropout), nn.Linear(32, outputs))
    return Network(backbone, head, (32,), **scaling)


def make_fold(targets: Any, validation: np.ndarray | None = None, **options: Any) -> Fold:
    task = infer_task(targets, options.pop("kind", None), options.pop("metric", None))
    rows = np.arange(len(targets))
    checked = rows if validation is None else validation
    return Fold(task=task, targets=task.encode(targets), train_rows=rows, validation_rows=checked, **options)


class Start:
    """Builds trainings on ten images of noise."""

    def __init__(self, images: Images) -> None:
        self.images = images

    def __call__(
        self,
        network: Network,
        fold: Fold,
        settings: Mapping[str, Any] | None = None,
        *,
        plan: FreezePlan = FULL,
        feed: Feed | None = None,
        seed: int = 0,
    ) -> Training:
        given = {"lr": 3e-3, "backbone_lr": 1.0, "batch_size": 4, "epochs": 4, "augmentation": "none"}
        return Training(
            network,
            plan,
            TrainingSettings(**{**given, **(settings or {})}),  # type: ignore[arg-type]
            fold,
            lambda depth: feed or InputFeed(self.images, str((settings or {}).get("augmentation", "none")), CPU),
            Device(torch=CPU, half=None),
            autocast=False,
            seed=seed,
        )


@pytest.fixture
def start(make_images: MakeImages) -> Start:
    return Start(make_images(count=10, side=16))


def run(training: Training, epochs: int | None = None) -> list[float]:
    curve: list[float] = []

    def report(epoch: int, score: float, predictions: np.ndarray) -> bool:
        curve.append(score)
        return False

    training.run(epochs or training.settings.epochs, report, lambda: False)
    return curve


def weights(network: Network) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def assert_equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor], **tolerance: float) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], **(tolerance or {"rtol": 0.0, "atol": 0.0}))


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
def test_random_labels_are_learned_by_heart(optimizer: str, start: Start) -> None:
    lr = 0.03 if optimizer == "sgd" else 3e-3
    training = start(net(2), make_fold(LABELS), {"epochs": 60, "optimizer": optimizer, "lr": lr})
    curve = run(training)
    assert curve[0] < 1.0
    assert curve[-1] == 1.0
    assert training.best_score == 1.0


def test_epoch_knows_its_mean_loss_and_last_learning_rate(start: Start) -> None:
    # Steps too small to change anything: the loss over the epoch is that of the network as it is.
    training = start(net(2), make_fold(LABELS), {"lr": 1e-9, "epochs": 3})
    run(training)
    probabilities = torch.from_numpy(training.predict(np.arange(10), 0))
    expected = nn.functional.nll_loss(probabilities.log(), torch.tensor(LABELS))
    assert training.loss == pytest.approx(float(expected), rel=1e-4)
    assert 0 < training.learning_rate < 1e-10, "the end of a cosine"
    constant = start(net(2), make_fold(LABELS), {"lr": 1e-3, "epochs": 1, "schedule": "constant"})
    run(constant)
    assert constant.learning_rate == 1e-3


@pytest.mark.slow
def test_a_regression_is_learned_in_units_of_the_target(start: Start) -> None:
    # Far from 0 and far from 1: only standardised targets can be learned in so few steps.
    targets = [1000.0 + 50.5 * label for label in LABELS]
    fold = make_fold(targets)
    shift, scale = fold.standardisation()
    network = net(1, shift=shift, scale=scale)
    training = start(network, fold, {"epochs": 60})
    assert run(training)[-1] > 0.9
    predicted = training.predict(np.arange(10), 0)
    np.testing.assert_allclose(predicted[:, 0], targets, atol=20)
    batch = prepare(start.images.pixels["center"], network.backbone.preprocessing, CPU)
    with torch.no_grad():
        np.testing.assert_allclose(network(batch).numpy(), predicted, rtol=1e-5)


@pytest.mark.slow
def test_several_regression_targets_are_standardised_each(start: Start) -> None:
    targets = np.stack([np.array(LABELS) * 1e-3 + 0.5, np.array(LABELS) * 1e4], 1)
    fold = make_fold(targets, kind="regression")
    shift, scale = fold.standardisation()
    training = start(net(2, shift=shift, scale=scale), fold, {"epochs": 60})
    assert run(training)[-1] > 0.9
    np.testing.assert_allclose(fold.standardised_targets().std(0), 1, rtol=1e-3)


def test_one_value_to_train_on_is_what_is_predicted(start: Start) -> None:
    fold = make_fold([2.5] * 9 + [7.5], metric="neg_mean_squared_error")
    fold = replace(fold, train_rows=np.arange(9), validation_rows=np.arange(10))
    shift, scale = fold.standardisation()
    training = start(net(1, shift=shift, scale=scale), fold)
    run(training)
    assert training.predict(np.arange(10), 0) == pytest.approx(2.5)


@pytest.mark.parametrize(("offset", "unit"), [(1.7e9, 1.0), (0.0, 1e40), (0.0, 1e-40), (-3e12, 0.5), (1e145, 1e140)])
def test_targets_of_any_size_are_learned_alike(offset: float, unit: float, start: Start) -> None:
    # The same values in other units: what is learned, and its R2, are the same.
    values = np.array([0.5, -1.0, 2.0, 1.5, 0.0, -0.5, 3.0, 1.0, -2.0, 0.25])

    def learned(targets: np.ndarray) -> tuple[float, np.ndarray]:
        fold = make_fold(targets, kind="regression")
        shift, scale = fold.standardisation()
        training = start(net(1, shift=shift, scale=scale), fold, {"epochs": 5})
        return run(training)[-1], training.predict(np.arange(10), 0)[:, 0]

    (plain, expected), (score, found) = learned(values), learned(offset + unit * values)
    found = (found - offset) / unit
    assert plain < 0.99, "a perfect score would hide what rounding does"
    assert score == pytest.approx(plain, abs=0.01)
    np.testing.assert_allclose(found, expected, atol=0.01)


@pytest.mark.slow
def test_several_labels_are_learned_at_once(start: Start) -> None:
    targets = np.stack([LABELS, [1 - label for label in LABELS], [0, 1] * 5], 1)
    training = start(net(3), make_fold(targets), {"epochs": 60})
    assert run(training)[-1] == 1.0
    assert training.predict(np.arange(10), 0).shape == (10, 3)


@pytest.mark.parametrize("settings", [{"lr": 1e30}, {"lr": 1e30, "optimizer": "sgd"}])
def test_divergence_is_a_trial_error(settings: dict[str, Any], start: Start) -> None:
    training = start(net(2), make_fold(LABELS), {**settings, "schedule": "constant", "epochs": 20})
    with pytest.raises(TrialError, match=r"the loss became|not finite"):
        run(training)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_infinite_loss_ends_the_trial_at_its_first_step(value: float, start: Start) -> None:
    training = start(net(2), make_fold(LABELS), {"batch_size": 2, "epochs": 20})
    steps: list[int] = []

    def spoil(module: nn.Module, given: object, outputs: torch.Tensor) -> torch.Tensor:
        steps.append(1)
        return outputs + value

    training.network.head.register_forward_hook(spoil)
    with pytest.raises(TrialError, match=r"the loss became (nan|inf) in epoch 1: lower the lr"):
        run(training)
    assert len(steps) == 1


@pytest.mark.parametrize(("plan", "clipped"), [(FULL, True), (FROZEN, False)])
def test_steps_that_train_stages_are_clipped(
    plan: FreezePlan, clipped: bool, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One large gradient can undo what a backbone has learned; a head alone has nothing to lose.
    monkeypatch.setattr(module, "_MAX_GRADIENT_NORM", 1e-3)
    network, fold = net(2), make_fold(LABELS)
    feed = None if clipped else FeatureFeed([(np.random.default_rng(0).normal(size=(10, 32)).astype(np.float32),)], CPU)
    start(network, fold, plan=plan, feed=feed).run(1, lambda *report: False, lambda: False)
    gradients = [parameter.grad.norm() for parameter in network.parameters() if parameter.grad is not None]
    norm = float(torch.stack(gradients).norm())
    assert norm == pytest.approx(1e-3, rel=1e-3) if clipped else norm > 1e-2


def test_a_gpu_is_asked_for_many_losses_at_once(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_STEPS_BETWEEN_CHECKS", {"cpu": 3})
    training = start(net(2), make_fold(LABELS), {"batch_size": 2, "epochs": 20})
    steps: list[int] = []
    training.network.head.register_forward_hook(lambda *_: steps.append(1))
    training.network.head.register_forward_hook(lambda head, given, outputs: outputs + float("nan"))
    with pytest.raises(TrialError, match="the loss became nan in epoch 1"):
        run(training)
    assert len(steps) == 3


def test_metric_undefined_on_validation_is_a_trial_error(start: Start) -> None:
    ones = np.flatnonzero(np.array(LABELS) == 1)
    training = start(net(2), make_fold(LABELS, validation=ones, metric="roc_auc"))
    with pytest.raises(TrialError, match="'roc_auc' is not defined"):
        run(training)


class Scarce(InputFeed):
    """Memory for so many images at once, and no more."""

    def __init__(self, images: Images, room: int, error: type[Exception] = torch.OutOfMemoryError) -> None:
        super().__init__(images, "none", CPU)
        self.room, self.error = room, error
        self.sizes: list[int] = []

    def outputs(self, network: Network, rows: np.ndarray, rng: torch.Generator | None) -> Tensor:
        if len(rows) > self.room:
            raise self.error("CUDA out of memory")
        self.sizes.append(len(rows))
        return super().outputs(network, rows, rng)


FOLDS = {
    "plain": lambda: make_fold(LABELS),
    "class weights": lambda: make_fold(LABELS, class_weight={0: 3.0, 1: 0.5}),
    "several labels": lambda: make_fold(np.stack([LABELS, [0, 1] * 5], 1), class_weight={0: 3.0, 1: 0.5}),
    "regression": lambda: make_fold(np.stack([LABELS, [0.5, 1.5] * 5], 1), kind="regression"),
}


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError, RuntimeError])
@pytest.mark.parametrize("room", [1, 3])
@pytest.mark.parametrize("kind", FOLDS)
def test_parts_of_a_batch_give_the_gradient_of_the_whole(
    kind: str, room: int, error: type[Exception], start: Start
) -> None:
    # Plain descent without momentum noise: equal weights after the steps mean equal gradients.
    settings = {"optimizer": "sgd", "lr": 0.05, "batch_size": 8, "epochs": 2, "label_smoothing": 0.1}
    enough, scarce = net(2), net(2)
    run(start(enough, FOLDS[kind](), settings))
    feed = Scarce(start.images, room, error)
    run(start(scarce, FOLDS[kind](), settings, feed=feed))
    assert_equal(weights(scarce), weights(enough), rtol=1e-4, atol=1e-6)
    assert max(feed.sizes) <= room


def test_not_even_room_for_one_is_a_trial_error(start: Start) -> None:
    with pytest.raises(TrialError, match="memory runs out even with one example"):
        run(start(net(2), make_fold(LABELS), feed=Scarce(start.images, 0)))


def test_other_errors_are_not_taken_for_a_lack_of_memory(start: Start) -> None:
    class Broken(InputFeed):
        def outputs(self, network: Network, rows: np.ndarray, rng: torch.Generator | None) -> Tensor:
            raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        run(start(net(2), make_fold(LABELS), feed=Broken(start.images, "none", CPU)))


def test_predictions_survive_a_lack_of_memory(start: Start) -> None:
    network, fold = net(2), make_fold(LABELS)
    whole = start(network, fold).predict(np.arange(10), 0)
    feed = Scarce(start.images, 3)
    np.testing.assert_allclose(start(network, fold, feed=feed).predict(np.arange(10), 0), whole, rtol=1e-5)
    assert feed.sizes == [2, 2, 2, 2, 2]


def test_what_comes_in_can_be_prepared_before_the_first_step(start: Start) -> None:
    training, asked = start(net(2), make_fold(LABELS)), list[int]()
    feed = training.feed
    training.feed = lambda depth: asked.append(depth) or feed(depth)  # type: ignore[func-returns-value]
    training.prepare()
    assert asked == [0]
    assert training.epoch == 0


def test_the_best_epoch_comes_back(start: Start) -> None:
    # The validation images are those that train, with the other labels: it can only get worse.
    pixels = start.images.pixels["center"]
    pixels[5:] = pixels[:5]
    labels = [0, 1, 0, 1, 0, 1, 0, 1, 0, 1]
    network = net(2, norm=nn.BatchNorm2d)
    states: list[dict[str, Tensor]] = []
    settings = {"lr": 0.01, "epochs": 8, "batch_norm": "live"}
    fold = replace(make_fold(labels, validation=np.arange(5, 10), metric="neg_log_loss"), train_rows=np.arange(5))
    training = start(network, fold, settings)

    def report(epoch: int, score: float, predictions: np.ndarray) -> bool:
        states.append(weights(network))
        return False

    training.run(8, report, lambda: False)
    assert training.best_epoch < 8
    training.restore_best()
    assert_equal(weights(network), states[training.best_epoch - 1])
    assert training.best_predictions is not None
    np.testing.assert_array_equal(training.predict(training.fold.validation_rows, 0), training.best_predictions)


@pytest.mark.parametrize("augmentation", ["none", "medium"])
def test_equal_seeds_give_equal_results_whatever_ran_before(augmentation: str, start: Start) -> None:
    def once(seed: int, noise: int) -> dict[str, Tensor]:
        network = net(2, dropout=0.5)
        training = start(network, make_fold(LABELS), {"augmentation": augmentation}, seed=seed)
        torch.rand(noise)
        run(training)
        return weights(network)

    first = once(0, 0)
    assert_equal(once(0, 17), first)
    assert not torch.equal(once(1, 0)["head.1.weight"], first["head.1.weight"])


def test_training_goes_on_where_it_stopped(start: Start) -> None:
    # A trial that is promoted ends where one that never paused would.
    paused, through = net(2), net(2)
    training = start(paused, make_fold(LABELS))
    run(training, 2)
    assert training.epoch == 2
    run(training, 4)
    run(start(through, make_fold(LABELS)))
    assert_equal(weights(paused), weights(through))


def test_time_is_asked_for_after_each_step(start: Start) -> None:
    training, asked, reports = start(net(2), make_fold(LABELS)), [], []

    def expired() -> bool:
        asked.append(1)
        return len(asked) == 5

    training.run(4, lambda *report: bool(reports.append(report)), expired)
    assert len(asked) == 5
    assert training.epoch == 1, "three steps an epoch: the second one was cut short"
    assert len(reports) == 1


def test_a_report_can_stop_the_training(start: Start) -> None:
    training = start(net(2), make_fold(LABELS))
    training.run(4, lambda epoch, score, predictions: epoch == 2, lambda: False)
    assert training.epoch == 2


def test_a_refit_has_nothing_to_score(start: Start) -> None:
    training = start(net(2), make_fold(LABELS, validation=np.arange(0)))
    assert run(training) == []
    assert training.epoch == 4
    assert training.best_predictions is None


@pytest.mark.slow
def test_label_smoothing_takes_confidence_away(start: Start) -> None:
    def confidence(smoothing: float, targets: Any, outputs: int) -> float:
        training = start(net(outputs), make_fold(targets), {"epochs": 60, "label_smoothing": smoothing})
        run(training)
        return float(np.abs(training.predict(np.arange(10), 0) - 0.5).mean())

    several = np.stack([LABELS, [0, 1] * 5], 1)
    assert confidence(0.0, LABELS, 2) > 0.45 > confidence(0.5, LABELS, 2)
    assert confidence(0.0, several, 2) > 0.45 > confidence(0.5, several, 2)


def test_class_weights_turn_the_balance(start: Start) -> None:
    def share_of_ones(weight: float) -> float:
        fold = make_fold([0, 1] * 5, class_weight={0: 1.0, 1: weight})
        feed = FeatureFeed([(np.ones((10, 32), dtype=np.float32),)], CPU)  # all alike: only the prior can be learned
        training = start(net(2), fold, {"epochs": 80, "lr": 0.05, "batch_size": 10}, plan=FROZEN, feed=feed)
        run(training)
        return float(training.predict(np.arange(10), 2)[:, 1].mean())

    assert share_of_ones(1.0) == pytest.approx(0.5, abs=0.05)
    assert share_of_ones(9.0) == pytest.approx(0.9, abs=0.05)


@pytest.mark.parametrize(("count", "size"), [(9, 4), (5, 4), (9, 8)])
def test_a_last_batch_of_one_does_not_break_batch_norm(count: int, size: int, start: Start) -> None:
    settings = {"batch_size": size, "batch_norm": "live"}
    rows = np.arange(count)
    task = Task(kind="binary", classes=(0, 1))
    fold = Fold(task=task, targets=np.array(LABELS), train_rows=rows, validation_rows=rows)
    assert len(run(start(net(2, norm=nn.BatchNorm2d), fold, settings))) == 4


def test_batches_of_one_train(start: Start) -> None:
    network = net(2)
    before = weights(network)
    run(start(network, make_fold(LABELS), {"batch_size": 1, "epochs": 1}))
    assert not torch.equal(weights(network)["head.1.weight"], before["head.1.weight"])


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_the_learning_rate_follows_its_schedule(schedule: str, start: Start) -> None:
    settings = {"schedule": schedule, "epochs": 10, "warmup": 0.1, "lr": 1.0, "backbone_lr": 0.1}
    training = start(net(2), make_fold(LABELS), settings)
    rates = []
    for _ in range(30):  # 10 epochs of 3 steps
        rates.append([group["lr"] for group in training._optimizer.param_groups])
        training._optimizer.step()
        training._schedule.step()
    head = [max(step) for step in rates]
    assert min(rates[10]) == pytest.approx(0.1 * max(rates[10])), "the backbone keeps its share of the rate"
    if schedule == "constant":
        assert head == [1.0] * 30
    else:
        assert head[0] < head[1] < head[2] < head[3] == pytest.approx(1.0, abs=0.05), "it rises in the first tenth"
        assert head[3:] == sorted(head[3:], reverse=True)
        assert 0 < head[-1] < 0.02


@pytest.mark.parametrize("class_weight", [None, {1: 3.0}])
@pytest.mark.parametrize("targets", [LABELS, [float(value) + 0.5 for value in range(10)]])
def test_heavy_example_trains_as_copies_do(start: Start, targets: list[Any], class_weight: Any) -> None:
    if isinstance(targets[0], float) and class_weight:
        pytest.skip("a regression has no classes")
    plain = make_fold(targets, class_weight=class_weight)
    copied = replace(plain, train_rows=np.array([0, 0, 0, 1, 2, 2, *range(2, 10)]))  # one of each class
    heavy = replace(plain, weights=np.array([3.0, 1.0, 3.0, *[1.0] * 7]))
    trained = []
    for fold in (plain, copied, heavy):
        network = net(fold.task.outputs)
        run(start(network, fold, {"batch_size": 14, "optimizer": "sgd", "epochs": 2}))
        trained.append(weights(network))
    assert_equal(trained[2], trained[1], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(trained[0]["head.1.weight"], trained[2]["head.1.weight"], rtol=1e-4, atol=1e-5)


def test_weighted_batch_in_parts_is_the_whole_batch(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    fold = replace(make_fold(LABELS, class_weight={1: 3.0}), weights=np.arange(1.0, 11.0))
    trained = []
    for room in (12, 3):
        network = net(2)
        training = start(network, fold, {"batch_size": 12, "optimizer": "sgd", "epochs": 2})
        monkeypatch.setattr(training._steps, "_part_size", room)
        run(training)
        trained.append(weights(network))
    assert_equal(trained[0], trained[1], rtol=1e-4, atol=1e-5)


def test_one_example_trains_in_spite_of_a_live_batch_norm(start: Start) -> None:
    fold = make_fold([0.5, 1.5, 2.5], validation=np.array([1, 2]))
    fold = replace(fold, train_rows=np.array([0]))
    training = start(net(1, norm=nn.BatchNorm2d), fold, {"batch_norm": "live"})
    before = weights(training.network)
    run(training, epochs=1)
    changed = {name for name, tensor in weights(training.network).items() if not torch.equal(tensor, before[name])}
    assert any("body" in name for name in changed)
    assert not any("running" in name for name in changed)
