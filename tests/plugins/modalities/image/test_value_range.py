"""Black and white are decided once over all images, by the rule that the module documents, and never for one image."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from autotransfer.data.sources import find_examples, load_examples
from autotransfer.errors import ModelFormatError
from autotransfer_plugins.modalities.image.decode import decode
from autotransfer_plugins.modalities.image.decoding import Decoding
from autotransfer_plugins.modalities.image.images import Images
from autotransfer_plugins.modalities.image.value_range import decide_ranges, range_for


def smooth(count: int, shape: tuple[int, int] = (40, 50), seed: int = 0) -> np.ndarray:
    """Smooth pictures (count, height, width), each of which reaches from 0 to 1."""
    rng = np.random.default_rng(seed)
    rough = [Image.fromarray(rng.random((5, 6)).astype(np.float32)) for _ in range(count)]
    planes = np.stack([np.asarray(one.resize(shape[::-1], Image.Resampling.BILINEAR)) for one in rough])
    low, high = (edge(planes, axis=(1, 2), keepdims=True) for edge in (np.min, np.max))
    return np.asarray((planes - low) / (high - low))


def read(items: Any, **settings: Any) -> Images:
    return decode(find_examples(items, reading={"channels": 1}), {"center": 32, "squash": 32}, **settings)


def again(items: Any, images: Images, **settings: Any) -> Images:
    """Decode as a model does that was trained on images."""
    return decode(
        find_examples(items, reading={"channels": 1}),
        dict.fromkeys(images.pixels, images.side),
        decoding=images.decoding,
        exact=True,
        **settings,
    )


def codes(images: Images) -> list[str]:
    return [warning.code for warning in images.warnings]


@pytest.mark.parametrize(
    ("kind", "seen", "expected"),
    [
        ("uint8", (0, 255), (0, 255)),
        ("uint8", (0, 17), (0, 255)),
        ("uint8", (0, 16), (0, 16)),
        ("uint8", (0, 9), (0, 15)),
        ("uint8", (0, 1), (0, 1)),
        ("uint8", (0, 0), (0, 255)),
        ("integer", (0, 1), (0, 1)),
        ("integer", (0, 200), (0, 255)),
        ("integer", (0, 255), (0, 255)),
        ("integer", (0, 256), (0, 256)),
        ("integer", (0, 3900), (0, 4095)),
        ("integer", (0, 70000), (0, 131071)),
        ("integer", (-1024, 3071), (-1024, 3071)),
        ("integer", (-7, -7), (-7, -6)),
        ("uint16", (0, 65535), (0, 65535)),
        ("uint16", (30000, 30250), (30000, 30250)),
        ("float", (0, 1), (0, 1)),
        ("float", (0.2, 0.7), (0, 1)),
        ("float", (0, 0.01), (0, 0.01)),
        ("float", (-1, 1), (-1, 1)),
        ("float", (0, 1.01), (0, 1.01)),
        ("float", (0, 16), (0, 16)),
        ("float", (0, 254.5), (0, 255)),
        ("float", (0, 3987.5), (0, 3987.5)),
        ("float", (280.5, 310), (280.5, 310)),
        ("float", (-2.1, 2.6), (-2.1, 2.6)),
    ],
)
def test_range_of_a_kind_spans_its_least_and_greatest_value(
    kind: Any, seen: tuple[float, float], expected: tuple[float, float]
) -> None:
    assert decide_ranges({kind: seen}) == {kind: expected}


def test_kinds_of_equal_shades_share_one_range() -> None:
    assert decide_ranges({"uint8": (0, 12), "integer": (0, 4000)}) == {"uint8": (0, 4095), "integer": (0, 4095)}
    assert decide_ranges({"float": (0, 3000), "uint16": (0, 200)}) == {"float": (0, 4095), "uint16": (0, 4095)}
    assert decide_ranges({"uint8": (0, 255), "float": (0, 1)}) == {"uint8": (0, 255), "float": (0, 1)}
    assert decide_ranges({"uint8": (0, 255), "uint16": (0, 4000)}) == {"uint8": (0, 255), "uint16": (0, 4095)}


@pytest.mark.parametrize(
    ("known", "kind", "expected"),
    [
        ({}, "uint8", None),
        ({"uint8": (0, 255)}, "uint16", None),
        ({"uint8": (0, 255)}, "integer", None),
        ({"uint8": (0, 255)}, "float", None),
        ({"uint8": (0, 16)}, "float", (0, 16)),
        ({"float": (0, 16)}, "uint8", (0, 16)),
        ({"float": (0, 1)}, "uint8", None),
        ({"float": (0, 255)}, "integer", (0, 255)),
        ({"integer": (0, 4095)}, "float", (0, 4095)),
        ({"integer": (0, 4095)}, "uint16", (0, 4095)),
        ({"integer": (0, 4095)}, "uint8", None),
    ],
)
def test_unseen_kind_takes_the_range_of_a_seen_one(known: Any, kind: Any, expected: tuple[float, float] | None) -> None:
    assert range_for(kind, known) == expected
    standard = {"uint8": 255, "uint16": 65535, "integer": 255, "float": 1}[kind]
    assert Decoding(ranges=known).range_of(kind) == (expected or (0, standard))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.concatenate([smooth(3) * 250, smooth(3, seed=1) * 4000]).astype(np.int32), (0, 4095)),
        (smooth(4), (0, 1)),
        (smooth(4) * 1.01, (0, 1.01)),
        (smooth(4) * 250, (0, 255)),
        (np.rint(smooth(4, (8, 8)) * 16), (0, 16)),
        (np.rint(smooth(4) * 16).astype(np.uint8), (0, 16)),
        (np.rint(smooth(4)).astype(np.int64), (0, 1)),
        ((smooth(4) * 3900).astype(np.uint16), (0, 4095)),
        ((smooth(4) * 3900).astype(">u2")[:, ::-1], (0, 4095)),
        (np.stack([smooth(4)] * 3, 1) * 4 - 2, (-2, 2)),
    ],
    ids=["counts", "shares", "1.01", "255", "digits", "digits of bytes", "masks", "12 bit", "big endian", "normalised"],
)
def test_array_has_equal_pixels_alone_and_among_others(values: np.ndarray, expected: Any) -> None:
    before = values.copy()
    images = read(values)
    assert images.decoding.value_range == pytest.approx(expected)
    assert images.decoded == len(values)
    for mode, pixels in images.pixels.items():
        assert np.ptp(pixels) > 200, "the levels are used"
        for image, square in zip(values, pixels, strict=True):
            one = again([image], images)
            np.testing.assert_array_equal(one.pixels[mode][0], square)
            assert not one.remarks
    np.testing.assert_array_equal(values, before)


@pytest.mark.parametrize(
    ("dtype", "suffix", "top", "expected"),
    [
        ("u2", "png", 3900, (0, 4095)),
        ("u2", "tif", 65535, (0, 65535)),
        ("i4", "tif", 255, (0, 255)),
        ("i4", "tif", 256, (0, 256)),
        ("f4", "tif", 1.0, (0, 1)),
        ("f4", "tif", 1.01, (0, 1.01)),
        ("f4", "tif", 3000.5, (0, 3000.5)),
        ("u1", "png", 1, (0, 1)),
        ("u1", "png", 16, (0, 16)),
        ("u1", "png", 200, (0, 255)),
    ],
)
def test_files_decode_to_the_same_pixels_alone_and_among_others(
    dtype: str, suffix: str, top: float, expected: Any, tmp_path: Path
) -> None:
    for i, share in enumerate([0.05, 0.5, 1.0]):
        values = smooth(1, seed=i)[0] * top * share
        Image.fromarray((np.rint(values) if dtype != "f4" else values).astype(dtype)).save(tmp_path / f"{i}.{suffix}")
    images = read(tmp_path)
    assert images.decoding.value_range == pytest.approx(expected)
    for i, square in enumerate(images.pixels["center"]):
        np.testing.assert_array_equal(again(tmp_path / f"{i}.{suffix}", images).pixels["center"][0], square)


def test_12_bits_in_16_bit_files_keep_their_levels(tmp_path: Path) -> None:
    levels = np.arange(250, dtype=np.uint16).reshape(10, 25) * 16
    Image.fromarray(levels.repeat(3, 0).repeat(3, 1)).save(tmp_path / "x.png")
    images = decode(find_examples(tmp_path), {"squash": 75})
    assert len(np.unique(images.pixels["squash"])) >= 250  # of which 17 were left at 65535


def test_range_over_a_lazy_data_set_asks_for_each_image_once() -> None:
    asked: list[int] = []

    class Counts(torch.utils.data.Dataset):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return 40

        def __getitem__(self, i: int) -> torch.Tensor:
            asked.append(i)
            return torch.full((3, 9, 9), 3000.0 if i == 21 else float(i))

    images = decode(load_examples(Counts(), [0, 1] * 20), {"center": 9})
    assert sorted(asked) == list(range(40))
    assert images.decoding.ranges == {"float": (0.0, 3000.0)}
    assert images.pixels["center"][[0, 20, 21], 0, 0, 0].tolist() == [0, 2, 255]


def test_undecided_squares_wait_in_files_that_are_removed(tmp_path: Path) -> None:
    values = np.stack([smooth(5)] * 3, -1) * 3000
    in_memory, on_disk = read(values), read(values, memory_limit=1000, scratch=tmp_path)
    assert isinstance(on_disk.pixels["center"], np.memmap)
    np.testing.assert_array_equal(in_memory.pixels["center"], on_disk.pixels["center"])
    assert list(tmp_path.iterdir()) == []


def test_dark_8_bit_images_beside_bright_ones_stay_dark() -> None:
    dark, bright = (np.full((9, 9), level, dtype=np.uint8) for level in (12, 90))
    images = decode(find_examples([dark, dark + 1, bright]), {"center": 9})
    assert images.decoding.ranges == {"uint8": (0, 255)}
    assert images.pixels["center"][:, 0, 0, 0].tolist() == [12, 13, 90]


def test_truth_values_are_black_and_white_whatever_the_range() -> None:
    mask = smooth(1)[0] > 0.5
    images = read([mask, np.stack([mask] * 3, -1), Image.fromarray(mask)])
    assert set(np.unique(images.pixels["center"])) >= {0, 255}
    few = read(np.rint(smooth(2) * 9).astype(np.uint8))
    np.testing.assert_array_equal(again([mask], few).pixels["center"], images.pixels["center"][:1])


def test_given_range_holds_and_values_outside_are_said() -> None:
    values = (smooth(4) * np.array([900, 950, 1000, 4000])[:, None, None]).astype(np.int32)
    images = read(values, value_range=(0.0, 1000.0))
    assert images.decoding.value_range == (0, 1000)
    (warning,) = images.warnings
    assert (warning.code, warning.details["count"]) == ("value_range", 1)
    assert "clipped in 1 image: item 3" in warning.message
    assert images.pixels["center"][3].max() == 255
    window = read((smooth(2) * 255).astype(np.uint8), value_range=(50.0, 200.0))
    assert window.decoding.ranges == {"uint8": (50, 200)}
    assert (window.pixels["center"] == 0).mean() > 0.02


def test_range_beyond_bytes_is_not_used_for_them_and_said() -> None:
    bytes_ = (smooth(2) * 255).astype(np.uint8)
    images = read([*bytes_, (smooth(1)[0] * 4000).astype(np.uint16)], value_range=(0.0, 4095.0))
    assert images.decoding.ranges == {"uint8": (0, 255), "uint16": (0, 4095)}
    assert any("keep 0..255" in warning.message for warning in images.warnings)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (list(np.random.default_rng(0).normal(size=(4, 20, 20))), "normalised"),
        ([(smooth(1)[0] * 255).astype(np.uint8), (smooth(1)[0] * 4000).astype(np.uint16)], "two scales"),
        (list(smooth(4) * 25 + 15), r"--value-range 1\d\.?\d*,4\d"),
        ([np.where(np.arange(2000).reshape(40, 50) == 7, 60000, one * 4000) for one in smooth(4)], "value_range="),
    ],
    ids=["normalised", "two scales", "few levels", "hot pixels"],
)
def test_doubtful_values_of_training_images_are_warned_of(values: list[np.ndarray], said: str) -> None:
    images = read(values)
    assert codes(images) == ["value_range"]
    assert re.search(said, images.warnings[0].message), images.warnings[0].message


@pytest.mark.parametrize(
    "values",
    [
        smooth(4),
        smooth(4) * 255,
        np.rint(smooth(4)).astype(np.uint8),
        np.where(np.arange(2000).reshape(40, 50) % 400 == 7, 4000, 0)[None].repeat(3, 0),
        (smooth(4) > 0.5) * np.uint16(65535),
    ],
    ids=["shares", "bytes as floats", "masks", "few dots", "masks of 16 bits"],
)
def test_ordinary_values_give_no_warning(values: np.ndarray) -> None:
    assert codes(read(values)) == []


@pytest.mark.parametrize(
    ("trained", "asked", "said"),
    [
        (smooth(3) * 4000, smooth(1)[0] * 60000, "clipped to 0..4000"),
        (smooth(3) * 4000, smooth(1)[0], "show little in"),
        (np.rint(smooth(3) * 16).astype(np.uint8), (smooth(1)[0] * 255).astype(np.uint8), "clipped to 0..16"),
        (smooth(3), smooth(1)[0] * 255, "clipped to 0..1"),
        ((smooth(3) * 4000).astype(np.int32), (smooth(1)[0] * 250).astype(np.uint8), "it has 8 bits"),
        ((smooth(3) * 250).astype(np.uint8), (smooth(1)[0] * 4000).astype(np.uint16), "taken for uint16"),
        ((smooth(3) * 4000).astype(np.int32), (smooth(1)[0] * -900).astype(np.int32), "clipped"),
    ],
    ids=["brighter", "darker", "bytes", "fractions", "bytes after counts", "12 bit after bytes", "negative"],
)
def test_values_unlike_those_of_training_are_remarked_on(trained: np.ndarray, asked: np.ndarray, said: str) -> None:
    images = read(trained)
    later = again([trained[0], asked], images)
    assert list(later.remarks) == [1]
    assert said in later.remarks[1]


def test_unseen_kind_outside_the_range_is_refused() -> None:
    images = read((smooth(2) * 255).astype(np.uint8))
    fine = again([smooth(1)[0]], images)
    assert np.abs(fine.pixels["center"][0].astype(int) - images.pixels["center"][0]).max() <= 2
    assert "type float" in again([smooth(1)[0] * 255, smooth(1)[0]], images).skipped[0].reason


@pytest.mark.parametrize("opaque", [np.uint16(65535), np.float32(1), np.int64(255)])
def test_four_channels_are_colour_and_alpha_of_their_type(opaque: Any) -> None:
    picture = np.zeros((1, 9, 9, 4), dtype=opaque.dtype)
    picture[..., 0] = picture[..., 3] = opaque
    assert read(picture).pixels["center"][0, 0, 0].tolist() == [255, 0, 0]
    wrong = np.full((9, 9, 4), 70000)
    assert "opacity" in read([wrong, np.zeros((9, 9), np.uint8)]).skipped[0].reason


def test_images_of_one_single_value_are_named() -> None:
    images = read([smooth(1)[0], np.full((20, 20), 0.5), np.zeros((9, 9, 3))])
    (warning,) = images.warnings
    assert (warning.code, warning.details) == ("constant_images", {"count": 2})
    assert "item 1, item 2" in warning.message


def test_values_too_far_apart_to_compute_with_are_refused() -> None:
    huge = np.array([[-1.7e308, 1.7e308]] * 2)
    assert "too far apart" in read([huge, smooth(1)[0]]).skipped[0].reason


def test_images_of_another_range_have_another_fingerprint() -> None:
    values = smooth(2) * 255
    plain, other, same = read(values), read(values, value_range=(0.0, 200.0)), read(values)
    assert plain.fingerprint == same.fingerprint != other.fingerprint
    bytes_ = read(values.astype(np.uint8))
    assert bytes_.decoding.key == "", "activations of ordinary images that are cached stay valid"


def test_what_was_decided_is_written_and_read_back() -> None:
    decided = Decoding(ranges={"float": (-2.5, 2.5), "uint8": (0.0, 255.0)}, background="grey", channels=3)
    assert Decoding.from_json(decided.to_json()) == decided
    assert decided.value_range == (-2.5, 2.5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("value_ranges", {"uint8": [255, 0]}),
        ("value_ranges", {"uint8": [0, float("inf")]}),
        ("value_ranges", {"uint8": [0, 10**400]}),
        ("value_ranges", {"uint8": [0, True]}),
        ("value_ranges", {"bytes": [0, 255]}),
        ("value_ranges", None),
        ("background", "pink"),
        ("background", []),
        ("channels", 2),
        ("channels", True),
    ],
)
def test_a_decision_that_is_none_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ModelFormatError):
        Decoding.from_json({**Decoding().to_json(), name: value})
    with pytest.raises(ModelFormatError):
        Decoding.from_json([])
