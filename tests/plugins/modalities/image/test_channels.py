"""Images of other channels than grey and colours: their squares, their ranges, and searches on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fixtures.fitting import fit_with
from PIL import Image

from autotransfer import load
from autotransfer.contract.registry import Registry
from autotransfer.contract.specs import BackboneSpec
from autotransfer.data.sources import find_examples
from autotransfer.errors import BackboneError, ConfigError, ModelFormatError, UnreadableExampleError
from autotransfer_plugins.modalities.image.batches import augment, prepare
from autotransfer_plugins.modalities.image.decode import decode
from autotransfer_plugins.modalities.image.decoding import Decoding
from autotransfer_plugins.modalities.image.export import ImageExport
from autotransfer_plugins.modalities.image.formats import Preprocessing, at_channels, at_side
from autotransfer_plugins.modalities.image.images import Images
from autotransfer_plugins.modalities.image.modality import IMAGE
from autotransfer_plugins.modalities.image.preview import thumbnail

RNG = np.random.default_rng(0)
CPU = torch.device("cpu")


def array(*shape: int, dtype: str = "uint8", high: int = 256) -> np.ndarray:
    return RNG.integers(0, high, shape).astype(dtype)


def read(*items: Any, channels: int = 5, mode: str = "center", **more: Any) -> Images:
    return decode(find_examples(list(items)), {mode: 16}, channels=channels, exact=True, **more)  # type: ignore[dict-item]


def how(channels: int) -> Preprocessing:
    return Preprocessing(size=(16, 16), mean=(0.5,) * channels, std=(0.25,) * channels, crop_fraction=1.0)


# --- squares and ranges -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [2, 4, 5, 13])
def test_channels_of_8_bits_are_those_of_grey_images(channels: int) -> None:
    values = array(20, 30, channels)
    found = read(values, channels=channels).pixels["center"]
    assert found.shape == (1, 16, 16, channels)
    for channel in range(channels):
        expected = read(values[..., channel], channels=3).pixels["center"][0, ..., 0]
        assert np.abs(found[0, ..., channel].astype(int) - expected).mean() < 0.5


def test_each_channel_has_a_range_of_its_own() -> None:
    # Heights in metres beside a share, a mask, and reflectances.
    scales = np.array([9000.0, 1.0, 1e-4])
    items = [RNG.random((20, 30, 3)) * scales for _ in range(8)]
    items = [np.dstack([item, RNG.random((20, 30)) < 0.5, np.full((20, 30), 7.0)]) for item in items]
    images = read(*items)
    black, white = np.array(images.decoding.channel_ranges).T
    np.testing.assert_allclose(white[:4], [9000, 1, 1e-4, 1], rtol=0.02)
    assert (np.abs(black[:4]) < 0.02 * white[:4]).all()
    spread = images.pixels["center"].astype(float).std((0, 1, 2))
    assert (spread[:4] > 40).all(), "each of them is seen"
    assert spread[4] == 0


def test_outliers_leave_a_channel_its_contrast() -> None:
    items = [RNG.normal(100, 5, (20, 30, 5)) for _ in range(8)]
    items[0][0, 0] = 1e6
    items[0][1, 1] = -1e6
    images = read(*items[1:], items[0])
    black, white = images.decoding.channel_ranges[0]
    assert white - black < 1e6
    plain = read(*items[1:])
    assert plain.pixels["center"].astype(float).std() > 20


def test_8_bit_values_of_few_levels_are_seen() -> None:
    values = array(20, 30, 5)
    values[..., 1] = array(20, 30, high=2)
    values[..., 2] = array(20, 30, high=11)
    ranges = read(values).decoding.channel_ranges
    assert ranges == ((0, 255), (0, 1), (0, 15), (0, 255), (0, 255))


def test_range_that_is_asked_for_is_that_of_all_channels() -> None:
    images = read(array(20, 30, 5, dtype="uint16", high=4096), value_range=(0.0, 4095.0))
    assert images.decoding.channel_ranges == ((0, 4095),) * 5


def test_truth_values_are_black_and_white() -> None:
    values = RNG.random((16, 16, 5)) < 0.5
    found = read(values).pixels["center"][0]
    assert (found == values * 255).all()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "bool"])
@pytest.mark.parametrize("mode", ["center", "squash", "letterbox"])
def test_images_read_later_are_read_as_those_in_training(dtype: str, mode: str) -> None:
    items = [array(20, 40, 5, dtype=dtype, high=2 if dtype == "bool" else 250) for _ in range(3)]
    images = read(*items, mode=mode)
    decoding = Decoding.from_json(images.decoding.to_json())
    assert decoding == images.decoding
    again = read(*items, channels=3, mode=mode, decoding=decoding)
    assert (again.pixels[mode] == images.pixels[mode]).all()


def test_padding_has_as_many_channels_as_the_image() -> None:
    (found,) = read(array(10, 40, 5), mode="letterbox").pixels["letterbox"]
    assert (found[:6] == [124, 116, 104, 124, 116]).all()


@pytest.mark.parametrize(
    ("item", "channels", "reason"),
    [
        (array(20, 30, 4), 5, "it has 4 channels, where images are of 5 channels"),
        (array(20, 30), 5, "it has 1 channel, where images are of 5 channels"),
        (Image.new("RGB", (30, 20)), 5, "it has 3 channels"),
        (array(20, 30, 5), 3, "it has 5 channels, where images are grey or in colours"),
        (np.full((20, 30, 5), 1e200), 5, "too great to compute with"),
    ],
)
def test_images_of_other_channels_are_left_out(item: Any, channels: int, reason: str) -> None:
    others = array(20, 30, channels)
    images = read(others, item, channels=channels)
    assert [each.name for each in images.skipped] == ["item 1"]
    assert reason in images.skipped[0].reason
    with pytest.raises(UnreadableExampleError, match=reason):
        read(others, item, channels=channels, strict=True)


@pytest.mark.parametrize(
    "change", [{"channels": 0}, {"channels": 33}, {"channels": 4}, {"channel_ranges": [[0, 1]]}, {"channel_ranges": 3}]
)
def test_damaged_channels_of_a_model_are_refused(change: dict[str, Any]) -> None:
    about = {"value_ranges": {}, "background": "white", "channels": 5, "channel_ranges": [[0, 255]] * 5}
    assert Decoding.from_json(about).channels == 5
    with pytest.raises(ModelFormatError):
        Decoding.from_json({**about, **change})


# --- inputs -------------------------------------------------------------------------------------------------------


def test_inputs_have_all_channels_in_every_view_and_augmentation() -> None:
    pixels = array(4, 20, 20, 5)
    for view in IMAGE.views:
        assert prepare(pixels, how(5), CPU, view).shape == (4, 5, 16, 16)
    for strength in IMAGE.augmentations:
        assert augment(pixels, how(5), CPU, strength, torch.Generator().manual_seed(0)).shape == (4, 5, 16, 16)


def test_measurements_keep_their_brightness_in_training() -> None:
    flat = np.full((8, 20, 20, 5), 100, dtype=np.uint8)
    changed = augment(flat, how(5), CPU, "strong", torch.Generator().manual_seed(0))
    assert (changed - (100 / 255 - 0.5) / 0.25).abs().max() < 1e-4
    colours = augment(flat[..., :3], how(3), CPU, "strong", torch.Generator().manual_seed(0))
    assert colours.std() > 0.05


def test_backbone_of_one_channel_sees_colours_as_grey() -> None:
    picture = Image.fromarray(array(16, 16, 3))
    found = prepare(np.array(picture)[None], how(1), CPU)
    expected = (np.asarray(picture.convert("L")) / 255 - 0.5) / 0.25
    assert found.shape == (1, 1, 16, 16)
    assert np.abs(found[0, 0].numpy() - expected).max() < 0.02


def test_backbone_of_other_channels_is_told_its_name() -> None:
    with pytest.raises(ConfigError, match="NAME@5channels"):
        prepare(array(1, 16, 16, 5), how(3), CPU)


def test_thumbnail_shows_the_first_channels() -> None:
    for channels in (2, 5):
        images = read(array(30, 40, channels), channels=channels)
        assert thumbnail(array(30, 40, channels), images.reading).text == "40 x 30 pixels"


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("mode", ["center", "letterbox"])
def test_exported_model_reads_channels_as_decoding_does(dtype: str, mode: str) -> None:
    items = [array(20, 40, 5, dtype=dtype, high=250) for _ in range(3)]
    images = read(*items, mode=mode)
    export = ImageExport([Preprocessing(**{**vars(how(5)), "crop_mode": mode})], 16, images.decoding)
    assert export.inputs[0].axes[-1] == 5
    (given,) = export.arrays(export.decoded(items))
    made = export.reader()(torch.from_numpy(given["pixels"]))[mode].permute(0, 2, 3, 1).numpy()
    assert np.abs(made - images.pixels[mode]).max() <= 1


# --- backbones ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.load()


def test_registry_adapts_a_first_layer_by_name(registry: Registry) -> None:
    spec = registry.backbone("mini_efficientnet.imagenet@5channels")
    assert spec.preprocessing is not None
    own = registry.backbone("mini_efficientnet.imagenet").preprocessing
    assert spec.preprocessing.mean == (*own.mean, *own.mean[:2])  # type: ignore[attr-defined, union-attr]
    assert spec.load().preprocessing == spec.preprocessing
    for name in ("mini_efficientnet.imagenet@5channels@32px", "mini_efficientnet.imagenet@32px@5channels"):
        both = registry.backbone(name).load().preprocessing
        assert (both.channels, both.size) == (5, (32, 32))  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="1 to 32 channels"):
        registry.backbone("mini_efficientnet.imagenet@99channels")


def test_backbones_are_fitted_to_the_channels_of_the_data(registry: Registry) -> None:
    spec = registry.backbone("mini_efficientnet.imagenet")
    native = at_channels(spec, 1)
    bands, colours, grey = [array(20, 30, 5)] * 3, [array(20, 30, 3)] * 3, [array(20, 30)] * 3
    assert [each.name for each in IMAGE.fitted([spec], bands, {})] == ["mini_efficientnet.imagenet@5channels"]
    assert IMAGE.fitted([spec, native], colours, {}) == IMAGE.fitted([spec, native], grey, {}) == [spec, native]
    assert [each.name for each in IMAGE.fitted([at_channels(spec, 6)], colours, {})] == [
        "mini_efficientnet.imagenet@6channels@3channels"
    ]
    suited = at_channels(spec, 5)
    assert IMAGE.fitted([suited], bands, {}) == [suited]


def test_backbone_that_no_plugin_adapts_says_so() -> None:
    spec = BackboneSpec(name="own", modality="image", load=lambda: None, preprocessing=how(3))  # type: ignore[arg-type, return-value]
    assert at_side(at_channels(spec, 5), 32) is None
    with pytest.raises(BackboneError, match="'own' does not take images of 5 channels"):
        at_channels(spec, 5).load()


@pytest.mark.parametrize("given", ["depth", 4, None, ""])
def test_option_of_the_fourth_channel_is_checked(given: Any) -> None:
    assert IMAGE.read_options({"fourth_channel": "channel"}) == {"fourth_channel": "channel"}
    with pytest.raises(ConfigError, match="'opacity' or a 'channel'"):
        IMAGE.read_options({"fourth_channel": given})


def test_four_channels_of_one_kind_are_said_once(tmp_path: Path) -> None:
    items = [array(20, 30, 4) for _ in range(3)]
    given: dict[str, Any] = {"items": items, "names": ["a", "b", "c"], "formats": [how(4)]}
    (warning,) = IMAGE.load(**given, options={}).warnings
    assert (warning.code, warning.details) == ("input_assumed", {"fourth_channel": "channel"})
    assert "--fourth-channel opacity" in warning.message
    assert IMAGE.load(**given, options={"fourth_channel": "channel"}).warnings == ()
    images = IMAGE.load(**given, options={})
    assert IMAGE.load(**given, options={}, reading=images.reading).warnings == ()


def test_store_suits_backbones_of_its_channels() -> None:
    assert [read(array(20, 30, 5)).suits(how(channels)) for channels in (5, 3, 1)] == [True, False, False]
    assert [read(array(20, 30), channels=3).suits(how(channels)) for channels in (5, 3, 1)] == [False, True, True]
    assert not read(array(20, 30), channels=3).suits(Preprocessing(size=(16, 16), crop_mode="squash"))


# --- whole fits ---------------------------------------------------------------------------------------------------


def bands(count: int, channels: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return float images (count, 48, 48, channels) of noise, and classes that the last channel alone tells apart."""
    rng = np.random.default_rng(seed)
    images, labels = rng.random((count, 48, 48, channels)) * [1, 10, 100, 1000, 1e4][:channels], np.arange(count) % 2
    y, x = np.mgrid[:48, :48]
    waves = np.where(labels[:, None, None] == 1, np.sin(x / 2), np.sin(y / 2))
    images[..., -1] *= 0.5 + 0.5 * waves
    return images, labels


COMMON: dict[str, Any] = {"backbones": ["mini_efficientnet*"], "heads": ["ridge"], "freeze": ["frozen"], "views": 1}
COMMON |= {"progress": False, "cache": False, "compare_scratch": False, "ensemble": False, "groups": range(60)}


@pytest.mark.slow
def test_class_of_one_band_is_learnt_and_predicted_again(tmp_path: Path) -> None:
    (images, labels), (new, truth) = bands(60), bands(20, seed=1)
    result = fit_with(images, labels, test=new, test_targets=truth, out=tmp_path / "run", trials=3, **COMMON)
    assert result.test.score >= 0.95
    assert "@5channels" in result.trials.best.candidate.backbone
    saved = load(tmp_path / "run")
    assert (saved.predict_proba(new) == result.model.predict_proba(new)).all()
    assert (saved.predict(new[0]) == saved.predict(new)[:1]).all(), "one image is read as one"
    assert (saved.predict(new.transpose(0, 3, 1, 2)) == saved.predict(new)).all(), "channels may be first"
    with pytest.raises(UnreadableExampleError, match="it has 4 channels"):
        saved.predict(new[..., :4])


@pytest.mark.slow
def test_three_of_five_bands_tell_nothing() -> None:
    (images, labels), (new, truth) = bands(60), bands(20, seed=1)
    result = fit_with(images[..., :3], labels, test=new[..., :3], test_targets=truth, trials=3, **COMMON)
    assert result.test.score < 0.9


@pytest.mark.slow
def test_files_of_bands_in_class_folders_are_searched(tmp_path: Path) -> None:
    images, labels = bands(40)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        (tmp_path / "data" / f"class{label}").mkdir(parents=True, exist_ok=True)
        np.save(tmp_path / "data" / f"class{label}" / f"{number}.npy", image.astype(np.float32))
    given = {**COMMON, "groups": r"(\d+)\.npy"}
    result = fit_with(tmp_path / "data", out=tmp_path / "run", trials=2, **given)
    assert result.validation.score >= 0.9
    paths = sorted((tmp_path / "data").rglob("*.npy"))
    assert len(load(tmp_path / "run").predict(paths)) == 40


@pytest.mark.slow
def test_fine_tuning_workers_and_resume_see_all_bands(tmp_path: Path) -> None:
    images, labels = bands(60)
    given = {**COMMON, "freeze": ["frozen", "depth"], "heads": ["ridge", "linear"], "epochs": 2, "workers": 2}
    result = fit_with(images, labels, out=tmp_path / "run", trials=5, **given)
    assert result.validation.score >= 0.9
    assert {record.state for record in result.trials} <= {"complete", "pruned"}
    again = fit_with(images, labels, out=tmp_path / "run", trials=7, **{**given, "resume": True})
    assert len(again.trials) == 7
    assert all(record.candidate is not None for record in again.trials)
