"""Framings: what shows the whole of an image, when it is tried, and what is said where it was not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fixtures.fitting import fit_with
from PIL import Image
from torch import nn

from autotransfer import load
from autotransfer.contract.backbone import SequentialBackbone
from autotransfer.contract.registry import Registry
from autotransfer.contract.specs import BackboneSpec
from autotransfer.data.sources import find_examples
from autotransfer.errors import BackboneError, ConfigError
from autotransfer.search.variants import Variants, offer_variants
from autotransfer_plugins.modalities.image.decode import decode
from autotransfer_plugins.modalities.image.export import ImageExport
from autotransfer_plugins.modalities.image.formats import CropMode, Preprocessing
from autotransfer_plugins.modalities.image.framings import LeftOut, framed, with_framings
from autotransfer_plugins.modalities.image.images import Images
from autotransfer_plugins.modalities.image.modality import IMAGE
from autotransfer_plugins.modalities.image.squares import PADDING

CENTER, SQUASH = Preprocessing(size=(32, 32)), Preprocessing(size=(32, 32), crop_mode="squash")


def photo(width: int = 60, height: int = 40, seed: int = 0) -> Image.Image:
    rough = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return Image.fromarray(rough).resize((width, height), Image.Resampling.BICUBIC)


def _load(side: int = 224) -> SequentialBackbone:
    how = Preprocessing(size=(side, side))
    return SequentialBackbone({"stem": nn.Conv2d(3, 4, 3)}, preprocessing=how, width=4)


def spec(size: tuple[int, int] = (224, 224), **about: Any) -> BackboneSpec:
    given = {"load_at": _load, "preprocessing": Preprocessing(size=size), "accuracy": 0.7, **about}
    return BackboneSpec(name="a", modality="image", load=_load, input_size=size, **given)


def offer(width: int, height: int, count: int = 3, **about: Any) -> Variants:
    items = [np.zeros((height, width, 3), dtype=np.uint8)] * count
    return offer_variants([spec(**about)], (), IMAGE, items)


def letterboxed(*items: Any, side: int = 32) -> Images:
    return decode(find_examples(list(items)), {"letterbox": side}, exact=True)


# --- the pixels ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "rows", "columns"), [((80, 20), (12, 20), (0, 32)), ((20, 80), (0, 32), (12, 20))])
def test_letterbox_keeps_the_aspect_between_padding(
    size: tuple[int, int], rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    picture = photo(*size)
    (found,) = letterboxed(picture).pixels["letterbox"]
    inside = np.zeros((32, 32), dtype=bool)
    inside[slice(*rows), slice(*columns)] = True
    assert (found[~inside] == PADDING).all()
    expected = picture.resize((columns[1] - columns[0], rows[1] - rows[0]), Image.Resampling.BICUBIC)
    assert (found[slice(*rows), slice(*columns)] == np.asarray(expected)).all()


@pytest.mark.parametrize("size", [(80, 20), (61, 47), (33, 90), (100, 37), (224, 3), (64, 64), (640, 480)])
@pytest.mark.parametrize(("mode", "own"), [("border", "letterbox"), ("squash", "squash")])
def test_whole_images_are_those_of_timm(size: tuple[int, int], mode: str, own: CropMode) -> None:
    from timm.data.transforms_factory import transforms_imagenet_eval

    transform = transforms_imagenet_eval(48, crop_pct=1.0, crop_mode=mode, interpolation="bicubic", normalize=False)
    picture = photo(*size)
    store = decode(find_examples([picture]), {own: 48}, exact=True)
    assert (store.pixels[own][0] == np.moveaxis(transform(picture).numpy(), 0, -1)).all()


@pytest.mark.parametrize("dtype", ["uint16", "float32", "int32", "uint8"])
def test_padding_is_one_colour_for_values_of_any_range(dtype: str) -> None:
    values = np.asarray(photo(64, 16))[..., 0].astype(np.float64)
    grey = (values / 255 if dtype == "float32" else values * (1 if dtype == "uint8" else 16)).astype(dtype)
    trained = letterboxed(grey, grey)
    again = decode(find_examples([grey]), {"letterbox": 32}, decoding=trained.decoding, exact=True)
    assert (trained.pixels["letterbox"][0] == again.pixels["letterbox"][0]).all()
    assert (trained.pixels["letterbox"][0][:12] == PADDING).all()
    assert trained.pixels["letterbox"][0][12:20].std() > 20


def test_transparent_images_are_padded_like_others() -> None:
    layers = np.dstack([np.full((8, 32, 3), 255, dtype=np.uint8), np.full((8, 32), 128, dtype=np.uint8)])
    images = letterboxed(Image.fromarray(layers), Image.fromarray(layers))
    assert images.decoding.background == "black"
    assert (images.pixels["letterbox"][0][:12] == PADDING).all()
    assert (images.pixels["letterbox"][0][13:19] < 200).all()


def test_upright_image_is_padded_as_it_is_seen(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    photo(640, 160).save(tmp_path / "x.jpg", exif=exif, quality=95)
    (found,) = letterboxed(tmp_path / "x.jpg").pixels["letterbox"]
    assert (found[:, :12] == PADDING).all()
    assert (found[0, 12:20] != PADDING).any()


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (20_000, 3), (3, 20_000)])
def test_letterbox_of_extreme_shapes_shows_the_image(size: tuple[int, int]) -> None:
    (found,) = letterboxed(Image.new("RGB", size, "red"), side=64).pixels["letterbox"]
    assert (found == [255, 0, 0]).all(-1).any()


@pytest.mark.parametrize("mode", ["center", "squash", "letterbox"])
@pytest.mark.parametrize("size", [(80, 20), (20, 80), (61, 47), (33, 33), (500, 3)])
def test_exported_model_frames_as_decoding_does(size: tuple[int, int], mode: CropMode) -> None:
    picture, how = photo(*size), Preprocessing(size=(32, 32), crop_mode=mode, crop_fraction=1.0)
    store = decode(find_examples([picture]), {mode: 32}, exact=True)
    export = ImageExport([how], 32, store.decoding)
    (given,) = export.arrays(export.decoded([picture]))
    made = export.reader()(torch.from_numpy(given["pixels"]))[mode][0].permute(1, 2, 0).numpy()
    assert np.abs(made - store.pixels[mode][0]).max() <= 1


# --- what is offered ----------------------------------------------------------------------------------------------


def test_square_images_have_no_other_framing() -> None:
    assert set(offer(300, 300).after) == {"a@128px"}
    assert set(offer(300, 280).after) == {"a@128px"}


def test_common_photographs_are_screened_at_the_centre_first() -> None:
    offered = offer(400, 300)
    assert [form.name for form in offered.first] == ["a"]
    assert offered.after == {
        "a@128px": "a",
        "a@squash": "a",
        "a@128px@squash": "a@squash",
        "a@letterbox": "a@squash",
        "a@128px@letterbox": "a@letterbox",
    }


@pytest.mark.parametrize("size", [(400, 200), (200, 800)])
def test_wide_and_tall_images_are_screened_squashed_first(size: tuple[int, int]) -> None:
    offered = offer(*size)
    assert [form.name for form in offered.first] == ["a@squash"]
    assert {form for form, before in offered.after.items() if before == "a@squash"} == {
        "a@128px@squash",
        "a@letterbox",
        "a",
    }
    assert not offered.unusual, "inputs are of the backbone's own size"


def test_small_wide_images_are_screened_small_and_squashed() -> None:
    offered = offer(400, 100)
    assert [form.name for form in offered.first] == ["a@128px@squash"]
    assert offered.after["a@squash"] == offered.after["a@128px"] == "a@128px@squash"
    assert offered.after["a"] == "a@128px"
    assert offered.unusual == {"a@128px@squash"}


def test_backbone_that_squashes_itself_may_letterbox() -> None:
    how = Preprocessing(size=(96, 96), crop_mode="squash", crop_fraction=1.0)
    assert offer(400, 300, preprocessing=how, load_at=None).after == {}
    assert offer(400, 100, preprocessing=how, load_at=None).after == {"a@letterbox": "a"}


def test_few_wide_images_among_squares_are_no_reason_to_try() -> None:
    square, wide = (100, 100), (400, 100)
    assert not LeftOut.of([square] * 19 + [wide]).is_some
    assert LeftOut.of([square] * 3 + [wide]).is_some
    assert not LeftOut.of([square] * 3 + [wide]).is_much
    assert LeftOut.of([square] * 2 + [wide]).is_much
    assert not LeftOut.of([]).is_some


def test_framings_of_very_many_images_are_not_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autotransfer_plugins.modalities.image.modality._MAX_IMAGES_FOR_FRAMINGS", 2)
    assert not offer(400, 100, size=(96, 96)).after


def test_named_and_rectangular_backbones_keep_their_framing() -> None:
    assert with_framings([spec((224, 192))], LeftOut.of([(400, 100)])) == (spec((224, 192)),)
    assert offer_variants([spec()], {"a"}, IMAGE, [np.zeros((100, 400), dtype=np.uint8)]).after == {}


# --- their names --------------------------------------------------------------------------------------------------


def test_framed_backbone_shows_all_and_keeps_its_weights() -> None:
    found = framed(spec(), "squash")
    assert (found.name, found.accuracy, found.load_at) == ("a@squash", None, None)
    assert found.preprocessing == Preprocessing(size=(224, 224), crop_mode="squash", crop_fraction=1.0)
    assert found.load().preprocessing == found.preprocessing
    unknown = framed(replace(spec(), preprocessing=None), "letterbox")
    assert unknown.preprocessing is None
    assert unknown.load().preprocessing.crop_mode == "letterbox"


def test_framing_of_a_backbone_without_images_is_refused() -> None:
    def sounds() -> SequentialBackbone:
        backbone = _load()
        backbone.preprocessing = object()  # type: ignore[assignment]
        return backbone

    with pytest.raises(BackboneError, match="have a framing"):
        framed(replace(spec(), load=sounds), "squash").load()


@pytest.fixture(scope="module")
def registry(tiny_zoo: Path) -> Registry:
    return Registry.load((tiny_zoo,))


def test_registry_reads_framings_and_sizes_in_any_order(registry: Registry) -> None:
    both = registry.backbone("test_resnet@64px@letterbox")
    assert both.name == "test_resnet@64px@letterbox"
    how = both.load().preprocessing
    assert how == both.preprocessing
    assert (how.size, how.crop_mode) == ((64, 64), "letterbox")  # type: ignore[attr-defined]
    other = registry.backbone("test_resnet@letterbox@64px")
    assert other.load().preprocessing == other.preprocessing == how
    with pytest.raises(ConfigError, match="does not take images of the size"):
        registry.backbone("test_resnet@64px@letterbox@96px")


def test_unknown_form_is_answered_with_those_there_are(registry: Registry) -> None:
    with pytest.raises(ConfigError, match=r"no form 'fisheye'.*NAME@squash and NAME@letterbox"):
        registry.backbone("test_resnet@fisheye")


# --- the warning --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "share"), [((400, 100), 0.75), ((100, 400), 0.75), ((160, 90), 0.4375), ((60, 40), None), ((64, 64), None)]
)
def test_crop_of_a_third_of_the_area_is_said_with_the_aspect(size: tuple[int, int], share: float | None) -> None:
    images = decode(find_examples([photo(*size, seed=i) for i in range(4)]), {"center": 32})
    assert images.warnings == ()
    if share is None:
        assert images.warnings_on([CENTER], [CENTER]) == ()
        return
    (warning,) = images.warnings_on([CENTER], [CENTER])
    assert warning.code == "cropped"
    assert warning.details["share"] == pytest.approx(share, abs=1e-3)
    assert f"{share:.0%} of the images' area" in warning.message
    assert f"{max(size) / min(size):.1f} to 1" in warning.message


def test_crop_of_a_third_of_the_images_is_warned_of() -> None:
    squares, panoramas = [photo(50, 50, i) for i in range(6)], [photo(400, 100, i) for i in range(3)]
    images = decode(find_examples([*squares, *panoramas]), {"center": 32})
    assert [w.code for w in images.warnings_on([CENTER], [CENTER])] == ["cropped"]
    images = decode(find_examples([*squares, *panoramas[:1]]), {"center": 32})
    assert images.warnings_on([CENTER], [CENTER]) == ()


def test_nothing_is_said_where_whole_images_were_seen_or_tried() -> None:
    images = decode(find_examples([photo(400, 100, i) for i in range(4)]), {"center": 32, "squash": 32})
    assert images.warnings_on([SQUASH], [SQUASH]) == ()
    assert images.warnings_on([CENTER, SQUASH], [CENTER]) == ()
    assert images.warnings_on([CENTER], [CENTER, SQUASH]) == ()


# --- a whole fit --------------------------------------------------------------------------------------------------


def panoramas(folder: Path, *, wide: bool, count: int = 60, seed: int = 0) -> Path:
    """Write noisy images of 4 to 1, with a small disc or square near one of the two ends: the class is its shape."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:64, :256]
    for number in range(count):
        image = rng.normal(120, 25, (64, 256, 3))
        at = (rng.integers(16, 24), rng.choice([24, 232]) + rng.integers(-6, 6))
        far = np.abs(y - at[0] - 10), np.abs(x - at[1])
        inside = np.hypot(*far) < 14 if number % 2 else np.maximum(*far) < 5
        image[inside] += 90
        pixels = np.clip(image, 0, 255).astype(np.uint8)
        place = folder / ("disc" if number % 2 else "square")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels if wide else pixels.transpose(1, 0, 2)).save(place / f"{number:03}.png")
    return folder


COMMON = {"heads": ["ridge"], "freeze": ["frozen"], "views": 1, "groups": r"(\d+)\.png", "ensemble": False}
COMMON |= {"progress": False, "cache": False, "compare_scratch": False}


@pytest.mark.slow
@pytest.mark.parametrize("wide", [True, False])
def test_label_at_the_end_of_a_long_image_is_found(wide: bool, tmp_path: Path) -> None:
    data, test = panoramas(tmp_path / "train", wide=wide), panoramas(tmp_path / "test", wide=wide, count=40, seed=1)
    result = fit_with(data, test=test, out=tmp_path / "run", backbones=["mini_eff*"], trials=3, **COMMON)
    assert result.test.score >= 0.95
    assert "cropped" not in {warning.code for warning in result.warnings}
    saved = load(tmp_path / "run")
    (member,) = saved.members
    assert member.network.backbone.preprocessing.crop_mode in ("squash", "letterbox")
    assert (saved.predict(test) == result.model.predict(test)).all()


@pytest.mark.slow
def test_crop_at_the_centre_sees_no_label_at_the_end(tmp_path: Path) -> None:
    data, test = panoramas(tmp_path / "train", wide=True), panoramas(tmp_path / "test", wide=True, count=40, seed=1)
    result = fit_with(
        data, test=test, out=tmp_path / "run", backbones=["mini_efficientnet.imagenet"], trials=1, **COMMON
    )
    assert result.test.score < 0.8
    assert [warning.code for warning in result.warnings if warning.code == "cropped"] == ["cropped"]
