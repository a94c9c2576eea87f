"""Features: every image passes through a backbone once, and what is cached is what a plain forward pass gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from autotransfer.backbones.loaded import LoadedBackbone
from autotransfer.contract.backbone import Backbone, SequentialBackbone
from autotransfer.contract.specs import BackboneSpec, Takes
from autotransfer.errors import BackboneError, PluginError, TrialError
from autotransfer.features import extractor as features_module
from autotransfer.features.cache import ActivationCache
from autotransfer.features.extractor import FeatureExtractor
from autotransfer.features.speed import measure_seconds_per_example, measure_training_seconds_per_example
from autotransfer.runtime.device import Device
from autotransfer_plugins.modalities.image.batches import prepare
from autotransfer_plugins.modalities.image.formats import Preprocessing
from autotransfer_plugins.modalities.image.images import Images

Make = Callable[..., Backbone]
MakeImages = Callable[..., Images]

CPU = torch.device("cpu")
HALF = Device(torch=CPU, half=torch.bfloat16)


def load(backbone: Backbone, device: Device, name: str = "tiny") -> LoadedBackbone:
    return LoadedBackbone(BackboneSpec(name=name, modality="image", load=lambda: backbone), device)


def extractor(images: Images, folder: Path | None = None) -> FeatureExtractor:
    return FeatureExtractor(store=images, cache=ActivationCache(folder, memory_limit=2**30))


def plain(backbone: Backbone, images: Images, view: str = "center") -> Tensor:
    how = backbone.preprocessing
    with torch.inference_mode():
        return backbone(prepare(images.pixels[how.crop_mode], how, CPU, view))  # type: ignore[no-any-return]


@contextmanager
def counted(loaded: LoadedBackbone) -> Iterator[list[int]]:
    """Note how many images pass through the first convolution; what a cut sends through instead of them is NaN."""
    seen: list[int] = []

    def note(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        if bool(args[0].isfinite().all()):
            seen.append(len(args[0]))

    first = [next(m for m in net.modules() if isinstance(m, nn.Conv2d)) for net in (loaded.frozen, loaded.backbone)]
    hooks = [conv.register_forward_pre_hook(note) for conv in set(first)]
    yield seen
    for hook in hooks:
        hook.remove()


def assert_close(ours: Any, theirs: Any, tolerance: float = 1e-3) -> None:
    """Compare relative to the largest value, as the check of a cut does."""
    ours, theirs = np.asarray(ours, dtype=np.float32), np.asarray(theirs, dtype=np.float32)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= tolerance * np.abs(theirs).max()


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext"])
def test_each_image_passes_once(name: str, make_backbone: Make, make_images: MakeImages, cpu: Device) -> None:
    loaded, images = load(make_backbone(name), cpu), make_images()
    features = extractor(images)
    with counted(loaded) as seen:
        first = features.pooled(loaded)
        assert sum(seen) == len(images)
        np.testing.assert_array_equal(features.pooled(loaded), first)
        features.at(loaded, loaded.depths)
        assert sum(seen) == len(images), "the second time it is read"
    assert_close(first, plain(loaded.backbone, images))
    assert first.dtype == np.float32


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
@pytest.mark.parametrize("first", ["pooled", "stages"])
def test_stage_features_come_from_the_pass_of_pooled_ones(
    name: str, first: Takes, make_backbone: Make, make_images: MakeImages, cpu: Device
) -> None:
    loaded, images = load(make_backbone(name), cpu), make_images()
    features = replace(extractor(images), staged=first == "pooled")
    assert loaded.stages.widths  # looked for with some noise
    with counted(loaded) as seen:
        features.taken(loaded, first)
        assert features.is_cached(loaded, loaded.depths, head_takes="stages")
        staged = features.taken(loaded, "stages")
        pooled = features.pooled(loaded)
    assert sum(seen) == len(images)
    with torch.inference_mode():
        batch = prepare(images.pixels["center"], loaded.backbone.preprocessing, CPU)
        assert_close(staged, torch.cat(loaded.stages(loaded.backbone, batch), 1))
    np.testing.assert_array_equal(staged[:, -loaded.backbone.width :], pooled)
    assert staged.dtype == np.float32


def test_every_view_takes_one_pass(make_backbone: Make, make_images: MakeImages, cpu: Device) -> None:
    loaded, images = load(make_backbone("test_resnet"), cpu), make_images()
    features = replace(extractor(images), staged=True)
    assert loaded.stages.widths  # looked for with some noise
    with counted(loaded) as seen:
        for view in ("center", "flip"):
            features.taken(loaded, "pooled", view)
            features.taken(loaded, "stages", view)
    assert sum(seen) == 2 * len(images)


def test_early_stage_features_come_from_no_later_boundary(
    make_backbone: Make, make_images: MakeImages, cpu: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FeatureExtractor, "_saves", lambda *given: True)
    loaded, features = load(make_backbone("test_resnet"), cpu), extractor(make_images())
    features.at(loaded, loaded.depths - 1)
    staged = features.taken(loaded, "stages")
    assert_close(staged, extractor(make_images()).taken(loaded, "stages"))


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_stage_features_in_16_bit_are_near_those_in_float32(
    name: str, make_backbone: Make, make_images: MakeImages, cpu: Device
) -> None:
    images = make_images()
    half, full = (extractor(images).taken(load(make_backbone(name), device), "stages") for device in (HALF, cpu))
    assert_close(half, full, tolerance=0.05)
    assert half.dtype == np.float32


def test_stages_are_known_only_with_the_pooled_features(
    make_backbone: Make, make_images: MakeImages, cpu: Device
) -> None:
    # What looks for the features of a sample in the middle of a pass must not begin another one.
    loaded, features = load(make_backbone("test_resnet"), cpu), extractor(make_images())
    features._at(loaded, "stages", "center")
    assert not features.is_cached(loaded, loaded.depths, head_takes="stages")
    features.pooled(loaded)
    assert features.is_cached(loaded, loaded.depths, head_takes="stages")


def test_what_nobody_asks_for_is_not_kept(make_backbone: Make, make_images: MakeImages, cpu: Device) -> None:
    loaded = load(make_backbone("test_resnet"), cpu)
    features = extractor(make_images())
    features.pooled(loaded)
    assert not features.is_cached(loaded, loaded.depths, head_takes="stages")


def test_pooled_features_come_from_a_cached_map(make_backbone: Make, make_images: MakeImages, cpu: Device) -> None:
    loaded, images = load(make_backbone("test_resnet"), cpu), make_images()
    features = extractor(images)
    (maps,) = features.at(loaded, loaded.depths, head_takes="map")
    assert maps.shape[1:] == loaded.map_shape
    with counted(loaded) as seen:
        pooled = features.pooled(loaded)
    assert seen == []
    assert_close(pooled, plain(loaded.backbone, images))


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_activations_at_each_depth_lead_to_the_same_features(
    name: str, make_backbone: Make, make_images: MakeImages, cpu: Device
) -> None:
    loaded, images = load(make_backbone(name), cpu), make_images(count=5)
    whole = plain(loaded.backbone, images)
    for depth in range(1, loaded.depths):
        cached = extractor(images).at(loaded, depth)
        with torch.inference_mode():
            split = loaded.cut(depth).suffix(loaded.copy(), tuple(torch.from_numpy(array) for array in cached))
        assert_close(split, whole)


class Straddling(SequentialBackbone):
    """A convolution at the end of one stage feeds a batch norm at the beginning of the next, as in VGG."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        norm = nn.BatchNorm2d(4)
        norm.running_mean, norm.running_var = torch.rand(4), torch.rand(4) + 0.5  # type: ignore[assignment]
        body = {"one": nn.Conv2d(3, 4, 3), "two": nn.Sequential(norm, nn.ReLU(), nn.Conv2d(4, 4, 3))}
        super().__init__(body, preprocessing=Preprocessing(size=(16, 16)), width=4)


def test_norm_behind_the_boundary_is_not_folded_before_it(make_images: MakeImages, cpu: Device) -> None:
    loaded, images = load(Straddling(), cpu), make_images(count=4)
    assert loaded.cut(1).exact
    cached = extractor(images).at(loaded, 1)
    with torch.inference_mode():
        split = loaded.cut(1).suffix(loaded.copy(), tuple(torch.from_numpy(array) for array in cached))
    assert_close(split, plain(loaded.backbone, images))


@pytest.mark.parametrize("name", ["test_resnet", "test_byobnet", "test_efficientnet"])
def test_batch_norm_is_folded_where_the_features_stay(name: str, make_backbone: Make, cpu: Device) -> None:
    loaded = load(make_backbone(name), cpu)
    assert any(isinstance(module, nn.BatchNorm2d) for module in loaded.backbone.modules())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in loaded.frozen.modules())
    images = torch.randn(4, 3, *loaded.backbone.preprocessing.size)
    with torch.inference_mode():
        assert_close(loaded.frozen(images), loaded.backbone(images))


@pytest.mark.parametrize("device", [Device(torch=CPU, half=None), HALF], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_a_deeper_boundary_starts_from_a_cached_one(
    name: str, device: Device, make_backbone: Make, make_images: MakeImages
) -> None:
    loaded, images = load(make_backbone(name), device), make_images(count=5)
    features, fresh = extractor(images), extractor(images)
    features.at(loaded, 2)
    assert all(loaded.can_extend(depth) for depth in range(1, 5))
    loaded.check_boundary(4)
    with counted(loaded) as seen:
        deeper, pooled = features.at(loaded, 4), features.pooled(loaded)
    assert seen == []
    tolerance = 1e-3 if loaded.precise else 0.03
    for ours, theirs in zip(deeper, fresh.at(loaded, 4), strict=True):
        assert_close(ours, theirs, tolerance)
    assert_close(pooled, plain(loaded.backbone, images), tolerance)


def test_each_view_is_a_pass_of_its_own(make_backbone: Make, make_images: MakeImages, cpu: Device) -> None:
    loaded, images = load(make_backbone("test_resnet"), cpu), make_images()
    features = extractor(images)
    assert not np.allclose(features.pooled(loaded), features.pooled(loaded, "flip"))
    assert_close(features.pooled(loaded, "flip"), plain(loaded.backbone, images, "flip"))


@pytest.mark.parametrize("device", [Device(torch=CPU, half=None), HALF], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_the_last_boundaries_are_cached_along_the_way(
    name: str, device: Device, make_backbone: Make, make_images: MakeImages
) -> None:
    loaded, images = load(make_backbone(name), device), make_images()
    features = FeatureExtractor(store=images, cache=ActivationCache(None, memory_limit=2**30), ahead=2)
    last = range(loaded.depths - 2, loaded.depths)
    for depth in last:
        loaded.cut(depth).seconds = 1.0  # so long that keeping what passes pays
        loaded.check_boundary(depth)
    with counted(loaded) as seen:
        pooled = features.pooled(loaded)
        assert [depth for depth in range(1, loaded.depths) if features.is_cached(loaded, depth)] == list(last)
        passing = [features.at(loaded, depth)[0] for depth in last]
        assert sum(seen) == len(images), "each image passed once for all of them"
    np.testing.assert_array_equal(pooled, extractor(images).pooled(loaded))
    for depth, found in zip(last, passing, strict=True):
        assert_close(found, extractor(images).at(loaded, depth)[0])


def test_boundaries_cached_ahead_take_a_share_of_memory(
    make_backbone: Make, make_images: MakeImages, cpu: Device
) -> None:
    loaded, images = load(make_backbone("test_resnet"), cpu), make_images()
    deepest = 4 * loaded.cut(loaded.depths - 1).numbers * len(images)  # 4 where 16 bit is not good enough
    cache = ActivationCache(None, memory_limit=2 * deepest)
    for depth in range(1, loaded.depths):
        loaded.cut(depth).seconds = 1.0
    features = FeatureExtractor(store=images, cache=cache, ahead=3)
    features.pooled(loaded)
    assert [depth for depth in range(1, loaded.depths) if features.is_cached(loaded, depth)] == [loaded.depths - 1]


def test_boundaries_as_dear_to_keep_as_to_compute_are_not_kept(
    make_backbone: Make, make_images: MakeImages, cpu: Device
) -> None:
    loaded, images = load(make_backbone("test_resnet"), cpu), make_images()
    last = loaded.depths - 1
    loaded.cut(last).seconds, loaded.cut(last - 1).seconds = 1.0, 0.0
    features = FeatureExtractor(store=images, cache=ActivationCache(None, memory_limit=2**30), ahead=3)
    features.pooled(loaded)
    assert [depth for depth in range(1, loaded.depths) if features.is_cached(loaded, depth)] == [last]


def test_what_takes_longer_to_read_than_to_compute_is_computed(
    make_backbone: Make, make_images: MakeImages, cpu: Device
) -> None:
    loaded, images = load(make_backbone("test_resnet"), cpu), make_images()
    features = extractor(images)
    features.at(loaded, 2)
    assert loaded.can_extend(2)
    for cut in (loaded.cut(1), loaded.cut(2)):
        cut.seconds = 0.0  # no time at all
    with counted(loaded) as seen:
        features.pooled(loaded)
    assert sum(seen) == len(images)


def test_nothing_is_made_fast_where_all_is_cached(
    make_backbone: Make, make_images: MakeImages, cpu: Device, tmp_path: Path
) -> None:
    extractor(make_images(), tmp_path).pooled(load(make_backbone("test_resnet"), cpu))
    loaded = load(make_backbone("test_resnet"), cpu)
    extractor(make_images(), tmp_path).pooled(loaded)
    assert "fast" not in vars(loaded)


def test_what_is_cached_is_known(make_backbone: Make, make_images: MakeImages, cpu: Device) -> None:
    loaded, features = load(make_backbone("test_vit"), cpu), extractor(make_images())
    assert not features.is_cached(loaded, 2)
    features.at(loaded, 2)
    assert features.is_cached(loaded, 2)
    assert not features.is_cached(loaded, 2, "flip")
    assert not features.is_cached(loaded, 3)
    features.pooled(loaded)
    assert features.is_cached(loaded, loaded.depths)
    assert not features.is_cached(loaded, loaded.depths, head_takes="map")


def test_another_run_reads_them_from_disk(
    make_backbone: Make, make_images: MakeImages, cpu: Device, tmp_path: Path
) -> None:
    images = make_images()
    first = extractor(images, tmp_path).pooled(load(make_backbone("test_resnet"), cpu))
    again, loaded = extractor(images, tmp_path), load(make_backbone("test_resnet"), cpu)
    with counted(loaded) as seen:
        np.testing.assert_array_equal(again.pooled(loaded), first)
    assert seen == []
    assert (again.cache.computed, again.cache.reused) == (0, 1)


@pytest.mark.slow
def test_whatever_changes_the_features_changes_their_key(
    make_backbone: Make, make_images: MakeImages, cpu: Device, tmp_path: Path
) -> None:
    images = make_images()
    cache = ActivationCache(tmp_path, memory_limit=2**30)

    def computed(loaded: LoadedBackbone, images: Images = images) -> bool:
        before = cache.computed
        FeatureExtractor(store=images, cache=cache).pooled(loaded)
        return cache.computed > before

    def resnet(seed: int = 0, **how: Any) -> Backbone:
        backbone = make_backbone("test_resnet", seed=seed)
        backbone.preprocessing = replace(backbone.preprocessing, **how)
        return backbone

    assert computed(load(resnet(), cpu))
    assert not computed(load(resnet(), cpu)), "the same again"
    assert not computed(load(resnet(), cpu, name="renamed")), "a name alone changes nothing"
    assert computed(load(resnet(seed=1), cpu)), "other weights"
    assert computed(load(resnet(mean=(0.1, 0.2, 0.3)), cpu)), "another normalisation"
    assert computed(load(resnet(crop_mode="squash"), cpu)), "another crop"
    assert computed(load(resnet(), cpu), make_images(seed=1)), "other images"
    assert computed(load(resnet(), cpu), make_images(side=80)), "stored at another side"
    assert computed(load(resnet(), HALF)), "another precision"
    swapped = replace(images, digests=images.digests[::-1])
    assert computed(load(resnet(), cpu), swapped), "another order"


class Plain(SequentialBackbone):
    """A third party's backbone: two convolutions of fixed weights."""

    def __init__(self) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            body = {"stem": nn.Conv2d(3, 8, 3, stride=4), "top": nn.Conv2d(8, 16, 3, stride=2)}
        super().__init__(body, preprocessing=Preprocessing(size=(64, 64)), width=16, recipe={"plugin": "plain"})


class Rectified(Plain):
    """The same weights, and another forward pass."""

    def forward_map(self, images: Tensor) -> Tensor:
        return super().forward_map(images).relu()


class Strongest(Plain):
    """The same map, pooled otherwise."""

    def pool(self, features: Tensor) -> Tensor:
        return features.amax((2, 3))


class Shifted(Plain):
    """The same outputs, and another cut between the stages."""

    def stage_of(self, parameter: str) -> int:
        return 1


def test_other_code_on_equal_weights_gets_features_of_its_own(
    make_images: MakeImages, cpu: Device, tmp_path: Path
) -> None:
    images = make_images()
    known = extractor(images, tmp_path).pooled(load(Plain(), cpu))
    for other in (Rectified, Strongest):
        loaded = load(other(), cpu)
        assert loaded.digest == load(Plain(), cpu).digest, "the weights are the same"
        again = extractor(images, tmp_path)
        found = again.pooled(loaded)
        assert again.cache.computed == 1
        assert_close(found, plain(other(), images))
        assert np.abs(found - known).max() > 0.01
    assert extractor(images, tmp_path).is_cached(load(Plain(), cpu), 2)
    assert not extractor(images, tmp_path).is_cached(load(Shifted(), cpu), 2)


def test_another_plugin_version_gets_features_of_its_own(make_images: MakeImages, cpu: Device, tmp_path: Path) -> None:
    def computed(**versions: str) -> bool:
        spec = BackboneSpec(name="plain", modality="image", load=Plain, **versions)
        found = extractor(make_images(), tmp_path)
        found.pooled(LoadedBackbone(spec, cpu))
        return found.cache.computed > 0

    assert computed(origin="plain-plugin 1.0", version="timm 1.0.31")
    assert not computed(origin="plain-plugin 1.0", version="timm 1.0.31")
    assert computed(origin="plain-plugin 1.1", version="timm 1.0.31")
    assert computed(origin="plain-plugin 1.0", version="timm 1.0.32")


def test_one_changed_weight_changes_the_key(make_backbone: Make, cpu: Device) -> None:
    one, other = make_backbone("test_resnet"), make_backbone("test_resnet")
    with torch.no_grad():
        next(other.parameters()).view(-1)[0] += 1e-6
    assert load(one, cpu).digest != load(other, cpu).digest


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_sixteen_bit_features_agree_and_take_half_the_room(
    name: str, make_backbone: Make, make_images: MakeImages
) -> None:
    loaded, images = load(make_backbone(name), HALF), make_images()
    assert not loaded.precise
    (features,) = extractor(images).at(loaded, loaded.depths)
    assert features.dtype == np.float16
    exact = plain(loaded.backbone, images)
    assert nn.functional.cosine_similarity(torch.from_numpy(features).float(), exact).min() > 0.99
    assert extractor(images).pooled(loaded).dtype == np.float32


class Loud(SequentialBackbone):
    """Features beyond what 16 bit can hold for bright images only: the check on noise does not see it."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        body = {"one": nn.Conv2d(3, 4, 3), "two": nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU())}
        super().__init__(body, preprocessing=Preprocessing(size=(16, 16)), width=4)

    def forward_map(self, images: Tensor) -> Tensor:
        loudness = 1 + 1e7 * (images.mean((1, 2, 3), keepdim=True) > 0.5)
        return super().forward_map(images) * loudness


@pytest.mark.parametrize("memory", [0, 2**30], ids=["on disk", "in memory"])
def test_an_overflow_falls_back_to_32_bit(memory: int, make_images: MakeImages, tmp_path: Path) -> None:
    loaded, images = load(Loud(), HALF), make_images(count=70)
    images.pixels["center"][:60] //= 2  # the overflow comes late, when many are done
    images.pixels["center"][60:] = 255
    cache = ActivationCache(tmp_path, memory_limit=memory)
    assert not loaded.precise
    (features,) = FeatureExtractor(store=images, cache=cache).at(loaded, loaded.depths)
    assert features.dtype == np.float32
    assert np.isfinite(features).all()
    assert_close(features, plain(loaded.backbone, images), tolerance=0.05)
    again = ActivationCache(tmp_path, memory_limit=2**30)
    np.testing.assert_array_equal(
        FeatureExtractor(store=images, cache=again).at(loaded, loaded.depths)[0], np.asarray(features)
    )
    assert again.computed == 0


class Overflowing(SequentialBackbone):
    """Gives infinity for bright images in 16 bit only: the check on noise does not see it."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        body = {"one": nn.Conv2d(3, 4, 3), "two": nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU())}
        super().__init__(body, preprocessing=Preprocessing(size=(16, 16)), width=4)

    def forward_map(self, images: Tensor) -> Tensor:
        bright = images.float().mean((1, 2, 3), keepdim=True) > 0.5
        half = images.dtype != torch.float32 or torch.is_autocast_enabled("cpu")
        return torch.where(bright & half, torch.inf, super().forward_map(images))


def test_what_is_not_finite_in_16_bit_is_computed_again_in_32(make_images: MakeImages) -> None:
    loaded, images = load(Overflowing(), HALF), make_images(count=70)
    images.pixels["center"][:60] //= 2
    images.pixels["center"][60:] = 255
    assert not loaded.precise
    features = extractor(images).pooled(loaded)
    assert loaded.precise
    assert_close(features, plain(loaded.backbone, images))


class Straying(SequentialBackbone):
    """Its 16-bit prefix suits its own 16-bit suffix, but not the one in float32."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        body = {"one": Signed(), "two": Signed()}
        super().__init__(body, preprocessing=Preprocessing(size=(16, 16)), width=3)


class Signed(nn.Module):
    """Turns the sign over in 16 bit, so that two of them do nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * (x if x.dtype == torch.float32 else -x)


def test_boundary_unlike_float32_lowers_the_precision(make_images: MakeImages) -> None:
    loaded, images = load(Straying(), HALF), make_images(count=4)
    assert loaded.fast.precision == "half", "as a whole it is right"
    (cached,) = extractor(images).at(loaded, 1)
    assert loaded.fast.precision == "autocast"
    assert_close(cached, prepare(images.pixels["center"], loaded.backbone.preprocessing, CPU))


def test_a_backbone_that_16_bit_would_spoil_runs_in_32_bit(make_images: MakeImages) -> None:
    class Cancelling(Loud):
        def forward_map(self, images: Tensor) -> Tensor:
            features = SequentialBackbone.forward_map(self, images)
            return (features + 1e5) - 1e5 if features.dtype == torch.float32 else features * float("nan")

    assert load(Cancelling(), HALF).precise


class Scarce(SequentialBackbone):
    """Memory for three images at once."""

    def __init__(self, room: int = 3) -> None:
        torch.manual_seed(0)
        body = {"one": nn.Conv2d(3, 4, 3), "two": nn.Conv2d(4, 4, 3)}
        super().__init__(body, preprocessing=Preprocessing(size=(16, 16)), width=4)
        self.room = room

    def forward_map(self, images: Tensor) -> Tensor:
        if len(images) > self.room:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return super().forward_map(images)


@pytest.mark.parametrize("count", [10, 500])
def test_a_lack_of_memory_halves_the_batch(count: int, make_images: MakeImages, cpu: Device) -> None:
    loaded, images = load(Scarce(), cpu), make_images(count=count, side=18)
    features = extractor(images).pooled(loaded)
    loaded.backbone.room = count
    assert_close(features, plain(loaded.backbone, images))


def test_lack_of_memory_while_compiling_halves_the_batch(
    make_images: MakeImages, cpu: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features_module, "_COMPILED", 1)
    loaded, images = load(Scarce(), cpu), make_images(count=20, side=18)
    found = extractor(images).pooled(loaded)
    loaded.backbone.room = 20
    assert_close(found, plain(loaded.backbone, images))


def test_seconds_are_measured_in_spite_of_a_lack_of_memory(make_images: MakeImages, cpu: Device) -> None:
    loaded = load(Scarce(), cpu)
    with counted(loaded) as seen:
        assert 0 < measure_seconds_per_example(loaded, make_images(side=18)) < np.inf
    assert seen[-2:] == [3, 3]
    loaded.frozen.room = 0
    with pytest.raises(TrialError, match="one example at a time"):
        measure_seconds_per_example(loaded, make_images(side=18))


def test_no_room_for_one_image_is_an_error(make_images: MakeImages, cpu: Device) -> None:
    loaded = load(Scarce(), cpu)
    loaded.frozen.room = loaded.backbone.room = 0
    with pytest.raises(TrialError, match="memory runs out even with one example at a time"):
        extractor(make_images()).pooled(loaded)


def test_many_images_pass_once_while_the_batch_size_is_measured(make_images: MakeImages, cpu: Device) -> None:
    loaded, images = load(Scarce(room=1000), cpu), make_images(count=777, side=18)
    with counted(loaded) as seen:
        features = extractor(images).pooled(loaded)
    assert sum(seen) == 777
    assert len(set(seen)) > 1, "several sizes were tried"
    assert_close(features, plain(loaded.backbone, images))


def test_the_seconds_of_an_image_are_measured(make_backbone: Make, make_images: MakeImages, cpu: Device) -> None:
    assert 0 < measure_seconds_per_example(load(make_backbone("test_vit"), cpu), make_images()) < np.inf


def test_the_seconds_of_a_training_step_are_measured_on_a_copy(
    make_backbone: Make, make_images: MakeImages, cpu: Device
) -> None:
    loaded = load(make_backbone("test_resnet"), cpu)
    before = {name: tensor.clone() for name, tensor in loaded.backbone.state_dict().items()}
    assert 0 < measure_training_seconds_per_example(loaded, make_images()) < np.inf
    assert all(torch.equal(tensor, before[name]) for name, tensor in loaded.backbone.state_dict().items())
    assert all(p.grad is None and not p.requires_grad for p in loaded.backbone.parameters())


def test_trials_get_copies(make_backbone: Make, cpu: Device) -> None:
    loaded = load(make_backbone("test_resnet"), cpu)
    copied = loaded.copy()
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.zero_()
    assert all(bool(p.abs().sum() > 0) for p in loaded.backbone.parameters() if p.ndim > 1)


def tiny(width: int = 4, scale: float = 1.0) -> SequentialBackbone:
    conv = nn.Conv2d(3, 4, 3)
    with torch.no_grad():
        conv.weight.mul_(scale)
    return SequentialBackbone({"one": conv}, preprocessing=Preprocessing(size=(16, 16)), width=width)


@pytest.mark.parametrize(
    ("module", "error", "message"),
    [
        (lambda: nn.Conv2d(3, 4, 3), PluginError, "'tiny' loads a Conv2d; expected a Backbone"),
        (lambda: tiny(width=5), PluginError, r"pools to \(3, 4\); said \(3, 5\)"),
        (lambda: tiny(scale=float("nan")), BackboneError, "not finite"),
    ],
)
def test_a_backbone_that_breaks_its_contract_is_refused(
    module: Callable[[], Any], error: type[Exception], message: str, cpu: Device
) -> None:
    with pytest.raises(error, match=message):
        load(module(), cpu)
