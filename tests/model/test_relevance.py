"""Where networks look: at the corner that tells the class, with real backbones."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import autotransfer
from autotransfer import Candidate, TransferModel
from autotransfer.contract.backbone import SequentialBackbone
from autotransfer.model.relevance import relevance
from autotransfer.training.network import Network
from autotransfer_plugins.modalities.image.formats import Preprocessing

Patches = tuple[list[np.ndarray], list[str]]
COLOURS = {"cross": (255, 80, 80), "frame": (80, 255, 80), "square": (60, 60, 255)}
CORNERS = {"top left": (0, 0), "top right": (0, 1), "bottom left": (1, 0), "bottom right": (1, 1)}


def marked(kind: str, corner: str, rng: np.random.Generator) -> np.ndarray:
    """Return a grey image (96, 96, 3) of noise with a red cross, a green frame or a blue square in a corner."""
    pixels = rng.integers(110, 150, (96, 96, 1)).repeat(3, 2)
    shape = np.ones((36, 36), bool)
    if kind == "cross":
        shape[:14, :14] = shape[:14, -14:] = shape[-14:, :14] = shape[-14:, -14:] = False
    elif kind == "frame":
        shape[6:-6, 6:-6] = False
    y, x = (6 + 48 * place for place in CORNERS[corner])
    pixels[y : y + 36, x : x + 36][shape] = COLOURS[kind]
    return pixels.astype(np.uint8)


def quarter(values: np.ndarray, corner: str) -> np.ndarray:
    """Return the quarter of a map (h, w) in a corner."""
    below, right = CORNERS[corner]
    height, width = (-(-side // 2) for side in values.shape)
    rows = values[-height:] if below else values[:height]
    return rows[:, -width:] if right else rows[:, :width]


@pytest.fixture(scope="module")
def patches() -> Patches:
    rng = np.random.default_rng(0)
    kinds, corners = [*COLOURS] * 32, sorted([*CORNERS] * 24)
    return [marked(kind, corner, rng) for kind, corner in zip(kinds, corners, strict=True)], kinds


def trained(patches: Patches, backbone: str, head: str) -> TransferModel:
    return autotransfer.evaluate(Candidate(backbone=backbone, head=head, freeze="frozen"), *patches).model


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "head"),
    [
        ("mini_efficientnet.imagenet@128px", "ridge"),  # a map of 16 positions
        ("mini_efficientnet.imagenet@128px", "stage_ridge"),
        ("mini_byobnet.cifar10", "mlp"),  # a map of 4: gradients of the inputs
        ("mini_byobnet.cifar10", "knn"),
        ("mini_vit.letters", "logistic"),  # pools one token
    ],
)
def test_the_heat_peaks_in_the_corner_of_the_class(patches: Patches, backbone: str, head: str) -> None:
    model = trained(patches, backbone, head)
    network, rng, hits = model.members[0].network, np.random.default_rng(1), 0
    for corner in CORNERS:
        for kind in COLOURS:
            store = model.decode(model.find_examples([marked(kind, corner, rng)]))
            output = int(model.predict_store(store)[0].argmax())
            inputs = store.inputs(np.arange(1), network.backbone.preprocessing, torch.device("cpu"))
            (heat,) = relevance(network, inputs, [output])
            assert heat is not None
            assert (heat.min(), heat.max()) == (0.0, 1.0)
            quarters = {name: quarter(heat, name).mean() for name in CORNERS}
            hits += max(quarters, key=lambda name: quarters[name]) == corner
    assert hits >= 9  # of 12


def test_the_overlay_is_warm_where_the_network_looks(patches: Patches) -> None:
    model = trained(patches, "mini_byobnet.cifar10", "ridge")
    image = marked("cross", "bottom left", np.random.default_rng(2))
    (found,) = model.explain([image])
    assert (found.predicted, found.label, found.correct, found.true) == ("cross", "cross", None, None)
    assert found.probability is not None
    assert found.probability > 0.5
    picture = np.asarray(Image.open(BytesIO(found.preview.data)).convert("RGB")).astype(int)
    warmth = picture[..., 0] - picture[..., 2]
    assert max(CORNERS, key=lambda name: quarter(warmth, name).mean()) == "bottom left"


def linear_network(bias_only: bool = False) -> Network:
    """Return a network whose map is its input, under a linear head of three classes."""
    backbone = SequentialBackbone({"body": nn.Identity()}, preprocessing=Preprocessing(size=(4, 4)), width=3)
    head = nn.Linear(3, 3)
    with torch.no_grad():
        head.weight.copy_(torch.zeros(3, 3) if bias_only else torch.eye(3))
    return Network(backbone, head, (3,)).eval().requires_grad_(False)


def test_a_linear_head_gives_the_class_activation_map() -> None:
    inputs = torch.zeros(2, 3, 4, 4)
    inputs[0, 1, 2, 3], inputs[1, 0, 0, 0] = 5.0, 1.0
    heats = relevance(linear_network(), inputs, [1, 0])
    expected = np.zeros((2, 4, 4))
    expected[0, 2, 3], expected[1, 0, 0] = 1.0, 1.0
    np.testing.assert_allclose(np.stack([heat for heat in heats if heat is not None]), expected, atol=1e-6)


def test_what_speaks_against_a_class_is_not_warm() -> None:
    inputs = torch.zeros(1, 3, 4, 4)
    inputs[0, 1, 0, 0], inputs[0, 0, 3, 3] = 5.0, 1.0  # another class, more of it
    (heat,) = relevance(linear_network(), inputs, [0])
    assert heat is not None
    assert np.unravel_index(heat.argmax(), (4, 4)) == (3, 3)
    assert heat[0, 0] == 0.0
    (both,) = relevance(linear_network(), inputs, [0], signed=False)
    assert both is not None
    assert both[0, 0] == 1.0


def test_an_example_that_is_alike_everywhere_has_no_heat() -> None:
    inputs = torch.ones(2, 3, 4, 4)
    inputs[1, 0, 2, 2] = 3.0
    alike, other = relevance(linear_network(), inputs, [0, 0])
    assert alike is None
    assert other is not None


def test_a_head_that_ignores_the_map_has_no_heat() -> None:
    assert relevance(linear_network(bias_only=True), torch.randn(2, 3, 4, 4), [0, 1]) == [None, None]


def test_gradients_of_inputs_end_with_the_time() -> None:
    network, calls = linear_network(), [0]
    network.backbone.forward_map = lambda inputs: inputs.flatten(2).transpose(1, 2)  # type: ignore[method-assign]

    def expired() -> bool:
        calls[0] += 1
        return calls[0] > 1

    inputs = torch.randn(3, 3, 4, 4)
    first, second, third = relevance(network, inputs, [0, 0, 0], expired=expired)
    assert (second, third) == (None, None)
    assert first is not None
    alone = relevance(network, inputs[:1], [0])[0]
    assert alone is not None
    np.testing.assert_allclose(first, alone)


def test_parameters_and_inputs_stay_as_they_are() -> None:
    network, inputs = linear_network(), torch.randn(1, 3, 4, 4)
    before = inputs.clone()
    relevance(network, inputs, [0])
    assert torch.equal(inputs, before)
    assert not inputs.requires_grad
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in network.parameters())
