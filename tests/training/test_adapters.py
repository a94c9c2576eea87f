"""Low-rank adapters: they begin at zero, they alone train, and they are merged into the weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import autotransfer
from autotransfer.backbones.loaded import LoadedBackbone
from autotransfer.candidate import Candidate
from autotransfer.contract.backbone import Backbone
from autotransfer.contract.registry import Registry
from autotransfer.contract.specs import Adapters, FreezePlan, Phase
from autotransfer.data.sources import load_examples
from autotransfer.errors import ConfigError
from autotransfer.evaluation.evaluator import Evaluator
from autotransfer.pipeline.prepare import prepare_data
from autotransfer.runtime.device import resolve_device
from autotransfer.settings import Compute, Settings
from autotransfer.training.adapters import adapted_layers, add_adapters, is_adapter, merge_adapters
from autotransfer.training.freezing import freeze, parameter_groups
from autotransfer.training.network import Network


@pytest.fixture
def backbone(make_backbone: Callable[..., Backbone]) -> Backbone:
    return make_backbone("test_vit").requires_grad_(False)


@pytest.fixture
def images() -> Tensor:
    return torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def plan(matrices: Any = "attention", depth: int = 2) -> FreezePlan:
    adapters = Adapters(rank=4, matrices=matrices)
    return FreezePlan(phases=(Phase(start=0.0, depth=depth),), trained="adapters", adapters=adapters)


def linear_layers(backbone: Backbone) -> list[str]:
    return [name for name, module in backbone.named_modules() if type(module) is nn.Linear]


def adapted(backbone: Backbone, matrices: Any = "all") -> tuple[Network, tuple[str, ...]]:
    layers = adapted_layers(backbone, plan(matrices), linear_layers(backbone))
    add_adapters(backbone, 4, layers)
    return Network(backbone, nn.Linear(backbone.width, 2), (backbone.width,)), layers


def test_attention_and_all_layers_of_stages_that_train(backbone: Backbone) -> None:
    called = linear_layers(backbone)
    some, every = (adapted_layers(backbone, plan(which), called) for which in ("attention", "all"))
    assert all(name.endswith("attn.qkv") for name in some)
    assert len(every) == 4 * len(some)  # queries to values, their projection, and two of the inner layer
    assert min(backbone.stage_of(f"{name}.weight") for name in every) == 2


def test_new_adapters_change_nothing(backbone: Backbone, images: Tensor) -> None:
    with torch.inference_mode():
        before = backbone(images)
        adapted(backbone)
        assert torch.equal(backbone(images), before)


def test_gradients_reach_adapters_only(backbone: Backbone, images: Tensor) -> None:
    network, layers = adapted(backbone)
    freeze(backbone, plan("all"), 2)
    network(images).square().sum().backward()
    reached = {name for name, parameter in backbone.named_parameters() if parameter.grad is not None}
    assert reached == {f"{layer}.{part}" for layer in layers for part in ("adapter_a", "adapter_b")}
    groups = parameter_groups(backbone, network.head, plan("all"), lr=1.0, backbone_lr=0.1, weight_decay=0.0)
    assert sum(len(group["params"]) for group in groups) == 2 * len(layers) + 2  # and weight and bias of the head


def test_merged_weights_give_what_adapters_gave(backbone: Backbone, images: Tensor) -> None:
    names = list(backbone.state_dict())
    network, layers = adapted(backbone)
    for layer in layers:
        nn.init.normal_(backbone.get_submodule(layer).adapter_b, std=0.05)  # type: ignore[arg-type]
    with torch.inference_mode():
        before = backbone(images)
        merge_adapters(network)
        torch.testing.assert_close(backbone(images), before, rtol=1e-5, atol=1e-5)
    assert list(backbone.state_dict()) == names
    assert len(linear_layers(backbone)) >= len(layers)


def test_backbones_without_linear_layers_are_refused(make_backbone: Callable[..., Backbone]) -> None:
    backbone = make_backbone("test_resnet")
    with pytest.raises(ConfigError, match=r"No stage .* has a linear layer for an adapter .* another freeze policy"):
        adapted_layers(backbone, plan("all"), linear_layers(backbone))


@pytest.fixture(scope="module")
def evaluator(tiny_zoo: Path, digits: tuple[np.ndarray, np.ndarray]) -> Evaluator:
    registry = Registry.load((tiny_zoo,))
    specs, compute = [registry.backbone("test_vit")], Compute(cache=False)
    data = prepare_data(load_examples(digits[0][:60], digits[1][:60]), specs, Settings(compute=compute))
    return Evaluator(registry, data.extractor, data.folds[:1], resolve_device("cpu"), seed=0)


class TestTraining:
    """Whole trainings, on digits."""

    def candidate(self, **training: Any) -> Candidate:
        params = {"rank": 4, "matrices": "all"}
        settings = {"epochs": 3, "lr": 3e-3, **training}
        return Candidate(backbone="test_vit", freeze="lora", freeze_params=params, training=settings)

    @pytest.mark.slow
    def test_a_paused_training_resumes_exactly(self, evaluator: Evaluator) -> None:
        def report(epoch: int, score: float) -> bool:
            return False

        whole = evaluator(self.candidate(), report, lambda: False)
        evaluator.context.checkpoints.clear()
        parts = [evaluator(self.candidate(), report, lambda: False, until) for until in (1, 3)]
        assert parts[-1].curve == whole.curve
        assert np.array_equal(parts[-1].predictions, whole.predictions, equal_nan=True)

    @pytest.mark.slow
    def test_what_is_left_is_a_plain_network(self, evaluator: Evaluator) -> None:
        loaded: LoadedBackbone = evaluator.setup(self.candidate()).loaded
        before = {name: tensor.clone() for name, tensor in loaded.backbone.state_dict().items()}
        evaluator(candidate := self.candidate(), lambda epoch, score: False, lambda: False)
        state = evaluator.best_network(candidate)[0].state_dict()
        assert not any(is_adapter(name) for name in state)
        moved = {name for name in before if not torch.equal(state[f"backbone.{name}"], before[name])}
        assert moved
        assert all(name.endswith("weight") and loaded.backbone.stage_of(name) == loaded.depths - 1 for name in moved)
        assert all(torch.equal(tensor, before[name]) for name, tensor in loaded.backbone.state_dict().items())

    @pytest.mark.slow
    def test_a_saved_model_predicts_the_same(
        self, tiny_zoo: Path, digits: tuple[np.ndarray, np.ndarray], tmp_path: Path
    ) -> None:
        images, labels = digits[0][:60], digits[1][:60]
        compute = Compute(cache=False)
        result = autotransfer.evaluate(self.candidate(), images, labels, zoo=tiny_zoo, compute=compute)
        model = autotransfer.load(result.model.save(tmp_path / "model"))
        np.testing.assert_allclose(model.predict_proba(images), result.model.predict_proba(images), atol=1e-6)
