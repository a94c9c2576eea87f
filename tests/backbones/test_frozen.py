"""A frozen backbone runs fast, and gives the features of float32 or goes down to a precision that does."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autotransfer.backbones import frozen as inference
from autotransfer.backbones.frozen import FrozenBackbone, _ComposedAttention, outputs_digest
from autotransfer.backbones.loaded import LoadedBackbone
from autotransfer.contract.backbone import Backbone, SequentialBackbone
from autotransfer.contract.specs import BackboneSpec
from autotransfer.runtime.device import Device
from autotransfer_plugins.backbones.timm import TimmBackbone
from autotransfer_plugins.modalities.image.formats import Preprocessing

HALF = Device(torch=torch.device("cpu"), half=torch.bfloat16)
FULL = Device(torch=torch.device("cpu"), half=None)


def features(fast: FrozenBackbone, images: Tensor) -> Tensor:
    with fast.running():
        return fast(fast.take(images)).float()


def alike(ours: Tensor, theirs: Tensor) -> float:
    """Return the cosine between the features of an image, of the image where they differ most."""
    largest = theirs.abs().max()  # random weights may give features of 1e-14
    return float(F.cosine_similarity(ours / largest, theirs / largest, dim=1).min())


def noise(backbone: Backbone, count: int) -> Tensor:
    return torch.randn(count, 3, *backbone.preprocessing.size, generator=torch.Generator().manual_seed(1))


@pytest.mark.slow
def test_every_family_gives_the_features_of_float32(any_family: str, build_family: Callable[..., TimmBackbone]) -> None:
    # Whole, and handed over at a boundary in its middle to stages that train in float32.
    backbone = build_family(any_family)
    loaded = LoadedBackbone(BackboneSpec(name=any_family, modality="image", load=lambda: backbone), HALF)
    images, depth = noise(backbone, 5), loaded.depths // 2
    with torch.inference_mode():
        exact = loaded.backbone(images)
        assert alike(features(loaded.fast, images), exact) > 0.99
        if not loaded.cut(depth).exact:
            return
        loaded.check_boundary(depth)
        with loaded.fast.running() as frozen:
            crossing = loaded.cut(depth).prefix(frozen, loaded.fast.take(images))
        handed_over = loaded.cut(depth).suffix(loaded.backbone, tuple(tensor.float() for tensor in crossing))
    assert alike(handed_over, exact) > 0.99


@pytest.mark.slow
def test_float32_stays_exact(any_family: str, build_family: Callable[..., TimmBackbone]) -> None:
    backbone = build_family(any_family)
    fast, images = FrozenBackbone.of(backbone, FULL), noise(backbone, 3)
    assert fast.precision == "full"
    with torch.inference_mode():
        exact = backbone(images)
    assert float((features(fast, images) - exact).abs().max() / exact.abs().max()) < 5e-3


class Fragile(SequentialBackbone):
    """Computes in float32 only, or wrongly in 16 bit."""

    def __init__(self, how: str) -> None:
        torch.manual_seed(0)
        body = {"one": nn.Conv2d(3, 4, 3), "two": nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU())}
        super().__init__(body, preprocessing=Preprocessing(size=(16, 16)), width=4)
        self.how = how

    def forward_map(self, images: Tensor) -> Tensor:
        half = images.dtype != torch.float32
        if half and self.how == "refuses":
            raise TypeError("float32, please")
        found = super().forward_map(images)
        autocast = torch.is_autocast_enabled("cpu")
        if (half or autocast) and self.how == "errs":
            return found.flip(1)
        return found


@pytest.mark.parametrize(("how", "precision"), [("nothing", "half"), ("refuses", "autocast"), ("errs", "full")])
def test_the_fastest_precision_that_does_is_taken(how: str, precision: str) -> None:
    backbone = Fragile(how).eval().requires_grad_(False)
    fast, images = FrozenBackbone.of(backbone, HALF), noise(backbone, 4)
    assert fast.precision == precision
    assert fast.dtype == (torch.bfloat16 if precision == "half" else torch.float32)
    assert alike(features(fast, images), backbone(images)) > 0.99


def test_the_backbone_itself_is_left_as_it_was() -> None:
    backbone = Fragile("nothing").eval()
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    fast = FrozenBackbone.of(backbone, HALF)
    assert fast.module is not backbone
    assert {name: tensor.dtype for name, tensor in backbone.state_dict().items()} == dict.fromkeys(
        before, torch.float32
    )
    assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.state_dict().items())


def test_precision_goes_down_to_float32_and_no_further() -> None:
    fast = FrozenBackbone.of(Fragile("nothing").eval().requires_grad_(False), HALF)
    seen = [fast.precision]
    while fast.lower():
        seen.append(fast.precision)
    assert seen[0] == "half"
    assert seen[-2:] == ["full", "full"], "with fused layers, and without"
    assert fast.precision == "full"
    assert not fast.lower()


def test_autocast_ends_with_running() -> None:
    fast = FrozenBackbone.of(Fragile("refuses").eval().requires_grad_(False), HALF)
    with fast.running():
        assert torch.is_autocast_enabled("cpu")
        assert torch.is_inference_mode_enabled()
    assert not torch.is_autocast_enabled("cpu")
    assert not torch.is_inference_mode_enabled()


# --- attention -----------------------------------------------------------------------------------------------------


def attention(options: dict[str, Any], *, composed: bool) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, 3, 7, 8, generator=generator) for _ in range(3))
    if not composed:
        return F.scaled_dot_product_attention(query, key, value, **options)
    with _ComposedAttention():
        return F.scaled_dot_product_attention(query, key, value, **options)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"scale": 0.5},
        {"attn_mask": torch.linspace(-2, 2, 49).view(7, 7)},
        {"attn_mask": torch.randn(2, 1, 7, 7, generator=torch.Generator().manual_seed(1)), "scale": 0.3},
    ],
    ids=["plain", "scaled", "biased", "biased for each image"],
)
def test_composed_attention_is_attention(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    attend = inference._attend
    monkeypatch.setattr(inference, "_attend", lambda *a, **k: calls.append(1) or attend(*a, **k))
    found = attention(options, composed=True)
    assert calls, "it was composed"
    torch.testing.assert_close(found, attention(options, composed=False), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [{"is_causal": True}, {"attn_mask": torch.ones(7, 7, dtype=torch.bool).tril()}],
    ids=["causal", "boolean"],
)
def test_what_it_does_not_do_is_left_to_torch(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "_attend", lambda *a, **k: pytest.fail("it cannot do that"))
    assert torch.equal(attention(options, composed=True), attention(options, composed=False))


def test_long_sequences_keep_the_memory_saving_kernel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(inference, "_LARGEST_ATTENTION", 2 * 3 * 7 * 7 - 1)
    monkeypatch.setattr(inference, "_attend", lambda *a, **k: pytest.fail("the matrix is too large"))
    attention({}, composed=True)


# --- compiling -----------------------------------------------------------------------------------------------------


@pytest.fixture
def eager_to_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "_COMPILE_FROM", 0.0)
    monkeypatch.setattr(inference, "_COMPILE_GAIN", 0.0)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler on a CPU")
@pytest.mark.filterwarnings("default")  # torch's compiler warns of itself
@pytest.mark.usefixtures("eager_to_compile")
@pytest.mark.parametrize("family", ["test_resnet", "test_vit"])
def test_a_compiled_backbone_gives_the_same(family: str, build_family: Callable[..., TimmBackbone]) -> None:
    backbone = build_family(family).requires_grad_(False)
    fast, images = FrozenBackbone.of(backbone, HALF), noise(backbone, 4)
    before = features(fast, images)
    fast.compile_for(fast.take(images), count=10)
    assert list(fast._compiled) == [images.shape]
    assert alike(features(fast, images), before) > 0.995
    assert alike(features(fast, images[:3]), before[:3]) > 0.995, "a last batch of fewer images"
    fast.lower()
    assert not fast._compiled, "what was compiled for another precision is gone"


@pytest.mark.usefixtures("eager_to_compile")
def test_a_compiler_that_fails_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise RuntimeError("no C++ compiler")

    monkeypatch.setattr(torch, "compile", fail)
    backbone = Fragile("nothing").eval().requires_grad_(False)
    fast = FrozenBackbone.of(backbone, HALF)
    fast.compile_for(fast.take(backbone.preprocessing.probe(3)), count=10)
    assert features(fast, backbone.preprocessing.probe(3)).isfinite().all()


def test_short_work_is_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda *a, **k: pytest.fail("it does not pay"))
    backbone = Fragile("nothing").eval().requires_grad_(False)
    fast = FrozenBackbone.of(backbone, HALF)
    fast.compile_for(fast.take(backbone.preprocessing.probe(3)), count=10)


@pytest.mark.usefixtures("eager_to_compile")
def test_what_is_no_faster_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "_COMPILE_GAIN", 1e9)
    monkeypatch.setattr(torch, "compile", lambda module, **options: module)
    backbone = Fragile("nothing").eval().requires_grad_(False)
    fast = FrozenBackbone.of(backbone, HALF)
    fast.compile_for(fast.take(backbone.preprocessing.probe(3)), count=10)
    assert not fast._compiled


def _outputs(seed: int = 0) -> Tensor:
    return torch.randn(3, 64, 5, 5, generator=torch.Generator().manual_seed(seed)).relu()


def test_digest_of_outputs_mostly_survives_float_noise() -> None:
    def same(seed: int) -> bool:
        outputs = _outputs(seed)
        noise = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(seed + 1))
        noisy = outputs + noise * (1e-6 * outputs.norm() / noise.norm())
        assert not torch.equal(noisy, outputs)
        return outputs_digest(noisy) == outputs_digest(outputs)

    assert sum(map(same, range(200))) >= 190  # where it does not, features are computed once more


@pytest.mark.parametrize(
    "change",
    [
        lambda x: -x,
        lambda x: 1.02 * x,
        lambda x: x.flip(0),
        lambda x: x.flip(1),
        lambda x: x.flip(2),
        lambda x: x.roll(1, 3),
        lambda x: x.clamp(max=1.0),
        lambda x: x - x.mean(1, keepdim=True),
        lambda x: torch.cat([x[:, :-1], torch.zeros_like(x[:, -1:])], 1),
        lambda x: x[:, :, :4],
        lambda x: x.flatten(2),
        lambda x: x * 0,
    ],
)
def test_another_computation_has_another_digest_of_outputs(change: Callable[[Tensor], Tensor]) -> None:
    assert outputs_digest(change(_outputs())) != outputs_digest(_outputs())


def test_the_digest_of_outputs_bears_zeros_and_any_magnitude() -> None:
    zeros = torch.zeros(3, 4)
    assert outputs_digest(zeros) == outputs_digest(-zeros)
    assert len({outputs_digest(scale * torch.eye(3)) for scale in (1e-30, 1.0, 1e30)}) == 3
    assert outputs_digest(torch.eye(3).half()) == outputs_digest(torch.eye(3))
