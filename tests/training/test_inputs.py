"""Ways into the network: images, activations and features give the same outputs; views and augmentation are drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from autotransfer.backbones.cut import Cut
from autotransfer.contract.backbone import Backbone
from autotransfer.contract.specs import Takes
from autotransfer.tasks.task import Task
from autotransfer.training.inputs import BoundaryFeed, FeatureFeed, Feed, InputFeed
from autotransfer.training.network import Network, to_predictions
from autotransfer_plugins.modalities.image.batches import VIEWS, prepare
from autotransfer_plugins.modalities.image.images import Images

Make = Callable[..., Backbone]
MakeImages = Callable[..., Images]

CPU = torch.device("cpu")
ROWS = np.array([4, 1, 3])


class PooledMap(nn.Module):
    """A head that takes a map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layer = nn.Linear(channels, 2)

    def forward(self, features: Tensor) -> Tensor:
        return self.layer(features.amax((2, 3)))  # type: ignore[no-any-return]


def network(backbone: Backbone, takes: Takes) -> Network:
    torch.manual_seed(0)
    with torch.no_grad():
        shape = backbone.as_map(backbone.forward_map(torch.zeros(1, 3, *backbone.preprocessing.size))).shape[1:]
    head: nn.Module = PooledMap(shape[0]) if takes == "map" else nn.Linear(backbone.width, 2)
    return Network(backbone, head, tuple(shape) if takes == "map" else (backbone.width,), head_takes=takes).eval()


@pytest.mark.parametrize("takes", ["pooled", "map"])
@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_all_ways_in_lead_to_the_same_outputs(
    name: str, takes: Takes, make_backbone: Make, make_images: MakeImages
) -> None:
    backbone, images = make_backbone(name), make_images(count=6)
    net = network(backbone, takes)
    batch = prepare(images.pixels["center"], backbone.preprocessing, CPU)
    cut = Cut(backbone, 2, batch[:3])
    with torch.inference_mode():
        cached = tuple(tensor.numpy() for tensor in cut.prefix(backbone, batch))
        features = (backbone.forward_map(batch) if takes == "map" else backbone(batch)).numpy()
        feeds: list[Feed] = [
            InputFeed(images, "strong", CPU),
            BoundaryFeed([cached], cut, CPU, images),
            FeatureFeed([(features,)], CPU),
        ]
        for feed in feeds:
            torch.testing.assert_close(feed.outputs(net, ROWS, None), net(batch[ROWS]), rtol=1e-3, atol=1e-4)


def test_training_batch_sees_one_view_from_the_generator(make_backbone: Make) -> None:
    net = network(make_backbone("test_vit"), "pooled")
    views = [(np.full((6, net.backbone.width), i, dtype=np.float16),) for i in range(3)]
    feed = FeatureFeed(views, CPU)
    expected = [net.head(torch.full((3, net.backbone.width), float(i))) for i in range(3)]

    def draw(rng: torch.Generator) -> int:
        outputs = feed.outputs(net, ROWS, rng)
        return next(i for i, output in enumerate(expected) if torch.allclose(outputs, output))

    rng = torch.Generator().manual_seed(0)
    assert {draw(rng) for _ in range(50)} == {0, 1, 2}
    torch.testing.assert_close(feed.outputs(net, ROWS, None), torch.stack(expected).mean(0))


@pytest.mark.parametrize("takes", ["pooled", "map"])
def test_in_prediction_all_ways_in_give_the_mean_over_the_views(
    takes: Takes, make_backbone: Make, make_images: MakeImages
) -> None:
    backbone, images = make_backbone("test_resnet"), make_images(count=6)
    net = network(backbone, takes)
    batches = [prepare(images.pixels["center"], backbone.preprocessing, CPU, view) for view in VIEWS[:4]]
    cut = Cut(backbone, 2, batches[0][:3])
    with torch.inference_mode():
        cached = [tuple(tensor.numpy() for tensor in cut.prefix(backbone, batch)) for batch in batches]
        maps = [backbone.forward_map(batch) if takes == "map" else backbone(batch) for batch in batches]
        feeds: list[Feed] = [
            InputFeed(images, "strong", CPU, 4),
            BoundaryFeed(cached, cut, CPU, images),
            FeatureFeed([(features.numpy(),) for features in maps], CPU),
        ]
        each = [net(batch[ROWS]) for batch in batches]
        assert not torch.allclose(each[0], each[1], rtol=1e-2)
        for feed in feeds:
            torch.testing.assert_close(feed.outputs(net, ROWS, None), sum(each) / 4, rtol=1e-3, atol=1e-4)


def test_images_are_augmented_in_training_only(make_backbone: Make, make_images: MakeImages) -> None:
    net, feed = network(make_backbone("test_vit"), "pooled"), InputFeed(make_images(count=6), "medium", CPU)
    with torch.inference_mode():
        first, second = (feed.outputs(net, ROWS, torch.Generator().manual_seed(seed)) for seed in (0, 1))
        assert not torch.allclose(first, second)
        assert torch.equal(feed.outputs(net, ROWS, None), feed.outputs(net, ROWS, None))


def test_outputs_of_a_regression_are_in_units_of_the_target(make_backbone: Make) -> None:
    backbone = make_backbone("test_vit")
    shift, scale = np.array([10.0, -5.0]), np.array([2.0, 0.5])
    net = Network(backbone, nn.Linear(backbone.width, 2), (backbone.width,), shift, scale).eval()
    features = torch.randn(3, backbone.width)
    expected = net.head(features).double() * torch.tensor([2.0, 0.5]) + torch.tensor([10.0, -5.0])
    torch.testing.assert_close(net.to_target_units(net.head_outputs(features)), expected)
    assert {"shift", "scale"} <= set(net.state_dict()), "they are saved with the model"


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        (Task(kind="binary", classes=("a", "b")), [[0.5, 0.5], [0.0, 1.0]]),
        (Task(kind="multilabel", classes=("a", "b")), [[0.5, 0.5], [0.0, 1.0]]),
        (Task(kind="regression", width=2), [[0.0, 0.0], [-50.0, 50.0]]),
    ],
)
def test_outputs_become_scores(task: Task, expected: Any) -> None:
    outputs = torch.tensor([[0.0, 0.0], [-50.0, 50.0]], dtype=torch.bfloat16, requires_grad=True)
    predictions = to_predictions(task, outputs)
    np.testing.assert_allclose(predictions, expected, atol=1e-6)
    assert predictions.dtype == (np.float64 if task.kind == "regression" else np.float32)
