"""What is frozen stays frozen, bit by bit, through real training; what trains does, at its own rate."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from autotransfer.backbones.cut import Cut
from autotransfer.contract.backbone import Backbone, SequentialBackbone
from autotransfer.contract.registry import Registry
from autotransfer.contract.specs import FreezePlan, Phase
from autotransfer.data.folds import Fold
from autotransfer.errors import PluginError
from autotransfer.runtime.device import Device
from autotransfer.tasks.task import infer_task
from autotransfer.training.freezing import check_plan, depth_at, freeze, parameter_groups, train_mode
from autotransfer.training.inputs import BoundaryFeed, Feed, InputFeed
from autotransfer.training.network import Network
from autotransfer.training.settings import TrainingSettings
from autotransfer.training.trainer import Training
from autotransfer_plugins.modalities.image.batches import prepare
from autotransfer_plugins.modalities.image.formats import Preprocessing
from autotransfer_plugins.modalities.image.images import Images

Make = Callable[..., Backbone]
MakeImages = Callable[..., Images]

EPOCHS = 4
POLICIES = ["frozen", "depth", "lp_ft", "gradual", "norm_only", "full"]
# Frozen as a whole or not at all, nothing is cut.
WAYS = [(policy, entry) for policy in POLICIES for entry in ("pixels", "boundary")]
WAYS = [way for way in WAYS if way not in (("frozen", "boundary"), ("full", "boundary"))]


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.load()


def plan_of(registry: Registry, policy: str, backbone: Backbone, depth: int) -> FreezePlan:
    spec = registry.policy(policy)
    params = {"depth": depth} if "depth" in spec.parameters(backbone.stages) else {}
    return check_plan(spec.plan(backbone.stages, params), len(backbone.stages), policy)


def state(backbone: Backbone) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in backbone.state_dict().items()}


def changed(before: dict[str, Tensor], backbone: Backbone) -> set[str]:
    return {name for name, tensor in backbone.state_dict().items() if not torch.equal(tensor, before[name])}


def train(
    backbone: Backbone, plan: FreezePlan, images: Images, device: Device, *, entry: str, batch_norm: str, epochs: int
) -> None:
    """Train on real images, or on what crosses the boundary."""
    targets = np.arange(len(images)) % 2
    task = infer_task(targets.tolist())
    torch.manual_seed(0)
    network = Network(backbone, nn.Linear(backbone.width, 2), (backbone.width,))
    feed: Feed = InputFeed(images, "light", device.torch)
    if entry == "boundary":
        batch = prepare(images.pixels["center"], backbone.preprocessing, device.torch)
        cut = Cut(backbone, plan.depth, batch[:3])
        assert cut.exact, cut.reason
        with torch.no_grad():
            cached = tuple(tensor.numpy() for tensor in cut.prefix(backbone, batch))
        feed = BoundaryFeed([cached], cut, device.torch, images)
    settings = TrainingSettings(lr=0.05, backbone_lr=1.0, batch_size=4, epochs=EPOCHS, batch_norm=batch_norm)  # type: ignore[arg-type]
    rows = np.arange(len(images))
    fold = Fold(task=task, targets=targets, train_rows=rows, validation_rows=rows)
    training = Training(network, plan, settings, fold, lambda depth: feed, device, autocast=False, seed=0)
    training.run(epochs, lambda *_: False, lambda: False)


def is_statistic(name: str) -> bool:
    return name.endswith(("running_mean", "running_var", "num_batches_tracked"))


@pytest.mark.slow
@pytest.mark.parametrize("batch_norm", ["frozen", "live"])
@pytest.mark.parametrize(("policy", "entry"), WAYS)
@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_only_what_the_plan_trains_changes(
    name: str,
    policy: str,
    entry: str,
    batch_norm: str,
    registry: Registry,
    make_backbone: Make,
    make_images: MakeImages,
    cpu: Device,
) -> None:
    backbone = make_backbone(name)
    plan = plan_of(registry, policy, backbone, depth=2)
    before = state(backbone)
    train(backbone, plan, make_images(), cpu, entry=entry, batch_norm=batch_norm, epochs=EPOCHS)
    moved = changed(before, backbone)
    trainable = {key for key in before if backbone.stage_of(key) >= plan.depth}
    assert moved <= trainable, "the prefix changed"
    statistics = {key for key in trainable if is_statistic(key)}
    live = batch_norm == "live" and policy != "norm_only"
    assert moved & statistics == (statistics if live else set())
    weights = {key for key, _ in backbone.named_parameters() if key in trainable}
    if policy == "norm_only":
        weights = {key for key in weights if before[key].ndim == 1}
    # Gradients of a few may vanish; nearly all have to move.
    assert moved - statistics <= weights
    assert len(moved - statistics) >= 0.9 * len(weights)


@pytest.mark.parametrize("policy", ["lp_ft", "gradual"])
def test_the_backbone_waits_for_its_phase(
    policy: str, registry: Registry, make_backbone: Make, make_images: MakeImages, cpu: Device
) -> None:
    # In the first epoch only the head trains: not even batch-norm statistics move.
    backbone = make_backbone("test_resnet")
    plan = plan_of(registry, policy, backbone, depth=2)
    before = state(backbone)
    train(backbone, plan, make_images(), cpu, entry="pixels", batch_norm="live", epochs=1)
    assert changed(before, backbone) == set()


def test_frozen_stages_are_in_eval_mode_whatever_came_before(make_backbone: Make) -> None:
    backbone = make_backbone("test_resnet").train()
    plan = FreezePlan(phases=(Phase(start=0.0, depth=2),))
    train_mode(backbone, plan, 2, update_norms=True)
    modes: dict[bool, set[int]] = {True: set(), False: set()}
    for name, module in backbone.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            modes[module.training].add(backbone.stage_of(f"{name}.weight"))
    assert modes[False] == {0, 1}
    assert modes[True] == set(range(2, len(backbone.stages)))


def test_norm_only_in_a_network_called_norm_trains_norms_only(make_backbone: Make) -> None:
    # timm calls NFNets ``NormFreeNet``: the name of the whole net must not make all of it a norm.
    backbone = make_backbone("test_nfnet")
    freeze(backbone, FreezePlan(phases=(Phase(start=0.0, depth=0),), trained="norms_and_biases"), 0)
    training = {name for name, parameter in backbone.named_parameters() if parameter.requires_grad}
    assert training
    assert all(name.endswith("bias") for name in training)


class RootNorm(nn.Module):
    """A norm that is no subclass of torch's, with statistics of its own."""

    running_var: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.running_var += 1
        return x * self.weight.view(-1, 1, 1)


@pytest.mark.parametrize(("live", "expected"), [(True, 2.0), (False, 1.0)])
def test_statistics_of_home_made_norms_are_frozen_as_well(live: bool, expected: float) -> None:
    norm = RootNorm(4)
    body = {"stem": nn.Conv2d(3, 4, 3), "body": nn.Sequential(norm, nn.Conv2d(4, 4, 3))}
    backbone = SequentialBackbone(body, preprocessing=Preprocessing(size=(16, 16)), width=4)
    plan = FreezePlan(phases=(Phase(start=0.0, depth=1),))
    train_mode(backbone, plan, 1, update_norms=live)
    backbone(torch.zeros(1, 3, 16, 16))
    assert float(norm.running_var[0]) == expected
    freeze(backbone, FreezePlan(phases=plan.phases, trained="norms_and_biases"), 1)
    assert {n for n, p in backbone.named_parameters() if p.requires_grad} == {"body.body.0.weight", "body.body.1.bias"}


def test_each_stage_gets_its_learning_rate(registry: Registry, make_backbone: Make) -> None:
    backbone = make_backbone("test_vit")
    stages = len(backbone.stages)
    plan = registry.policy("depth").plan(backbone.stages, {"depth": 2, "decay": 0.5})
    head = nn.Linear(backbone.width, 2)
    groups = parameter_groups(backbone, head, plan, lr=1.0, backbone_lr=0.1, weight_decay=0.3)
    rate = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    assert {rate[id(parameter)] for parameter in head.parameters()} == {1.0}
    for name, parameter in backbone.named_parameters():
        stage = backbone.stage_of(name)
        if stage < 2:
            assert id(parameter) not in rate
        else:
            assert rate[id(parameter)] == pytest.approx(0.1 * 0.5 ** (stages - 1 - stage))


def test_the_learning_rate_scales_what_a_step_does(registry: Registry, make_backbone: Make) -> None:
    # timm's ``lr_scale`` is ignored by torch's optimizers: the rate itself has to differ.
    backbone = make_backbone("test_vit")
    plan = registry.policy("full").plan(backbone.stages, {"decay": 0.5})
    groups = parameter_groups(backbone, nn.Linear(1, 1), plan, lr=1.0, backbone_lr=1.0, weight_decay=0.0)
    before = {name: parameter.detach().clone() for name, parameter in backbone.named_parameters()}
    for parameter in backbone.parameters():
        parameter.grad = torch.ones_like(parameter)
    torch.optim.SGD(groups, lr=1.0).step()
    for name, parameter in backbone.named_parameters():
        expected = 0.5 ** (len(backbone.stages) - 1 - backbone.stage_of(name))
        assert float((before[name] - parameter.detach()).mean()) == pytest.approx(expected, rel=1e-4)


def test_weight_decay_spares_norms_and_biases(make_backbone: Make) -> None:
    backbone, head = make_backbone("test_resnet"), nn.Linear(4, 2)
    plan = FreezePlan(phases=(Phase(start=0.0, depth=0),))
    groups = parameter_groups(backbone, head, plan, lr=1.0, backbone_lr=0.1, weight_decay=0.3)
    for group in groups:
        assert {parameter.ndim > 1 for parameter in group["params"]} == {group["weight_decay"] == 0.3}
    count = sum(len(group["params"]) for group in groups)
    assert count == len(list(backbone.parameters())) + 2, "each parameter is in one group"


def test_phases_begin_at_their_share_of_the_epochs() -> None:
    plan = FreezePlan(phases=(Phase(start=0.0, depth=4), Phase(start=0.25, depth=3), Phase(start=0.5, depth=1)))
    assert [depth_at(plan, epoch, 8) for epoch in range(8)] == [4, 4, 3, 3, 1, 1, 1, 1]
    assert depth_at(plan, 0, 1) == 4
    assert plan.depth == 1


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (FreezePlan(phases=()), "start at"),
        (FreezePlan(phases=(Phase(start=0.1, depth=1),)), "start at"),
        (FreezePlan(phases=(Phase(start=0.0, depth=1), Phase(start=1.0, depth=0))), "below 1"),
        (FreezePlan(phases=(Phase(start=0.0, depth=5),)), r"outside 0\.\.4"),
        (FreezePlan(phases=(Phase(start=0.0, depth=-1),)), r"outside 0\.\.4"),
        (FreezePlan(phases=(Phase(start=0.0, depth=1),), learning_rates=(1.0,)), "1 factors for 4 stages"),
    ],
)
def test_a_plan_that_is_none_is_refused(plan: FreezePlan, message: str) -> None:
    with pytest.raises(PluginError, match=message):
        check_plan(plan, 4, "mine")
