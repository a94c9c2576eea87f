"""Arrays in files, pages as channels, and how many channels the images of a set have."""

from __future__ import annotations

from collections import UserList
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from autotransfer.data.sources import find_examples
from autotransfer_plugins.modalities.image.decode import decode, size_of_item
from autotransfer_plugins.modalities.image.images import Images
from autotransfer_plugins.modalities.image.modality import IMAGE
from autotransfer_plugins.modalities.image.stacks import count_channels, shape_in_header

RNG = np.random.default_rng(0)


def array(*shape: int, dtype: str = "uint8", high: int = 256) -> np.ndarray:
    return RNG.integers(0, high, shape).astype(dtype)


def saved(path: Path, values: np.ndarray) -> Path:
    np.save(path, values)
    return path


def pages(path: Path, stack: np.ndarray) -> Path:
    """Write a TIFF file with a page for each channel of (H, W, C)."""
    first, *others = [Image.fromarray(stack[..., i]) for i in range(stack.shape[-1])]
    first.save(path, save_all=True, append_images=others)
    return path


def read(*items: Any, channels: int = 3) -> Images:
    return decode(find_examples(list(items)), {"center": 16}, channels=channels, exact=True)


# --- files of arrays ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 1), (20, 30, 3), (3, 20, 30), (20, 30, 4)])
def test_file_of_an_array_is_read_as_the_array_is(shape: tuple[int, ...], tmp_path: Path) -> None:
    values = array(*shape)
    if shape[-1] == 4:
        values[..., 3] = 255
    (again,) = find_examples([values]).items
    found, expected = (
        read(saved(tmp_path / "x.npy", values)),
        read(again if shape != (3, 20, 30) else values.transpose(1, 2, 0)),
    )
    assert (found.pixels["center"] == expected.pixels["center"]).all()


@pytest.mark.parametrize("dtype", ["uint16", "float32", "int32"])
def test_files_of_arrays_keep_their_values(dtype: str, tmp_path: Path) -> None:
    values = [array(20, 30, dtype=dtype, high=4000) for _ in range(3)]
    files = [saved(tmp_path / f"{i}.npy", each) for i, each in enumerate(values)]
    found, expected = read(*files), read(*values)
    assert found.decoding == expected.decoding
    assert (found.pixels["center"] == expected.pixels["center"]).all()


def test_files_of_what_is_no_image_are_left_out(tmp_path: Path) -> None:
    bad = [saved(tmp_path / "flat.npy", np.zeros(9)), saved(tmp_path / "objects.npy", np.array([{}], dtype=object))]
    (tmp_path / "cut.npy").write_bytes(saved(tmp_path / "x.npy", array(20, 30)).read_bytes()[:200])
    images = read(*bad, tmp_path / "cut.npy", tmp_path / "x.npy")
    reasons = [each.reason for each in images.skipped]
    assert len(reasons) == 3
    assert "(9,)" in reasons[0]
    assert "pickle" in reasons[1], "objects would run code"
    assert all("NumPy" in reason or "shape" in reason for reason in reasons)


def test_header_tells_the_shape_of_an_array_or_stack(tmp_path: Path) -> None:
    assert shape_in_header(saved(tmp_path / "a.npy", array(20, 30, 5))) == (20, 30, 5)
    assert shape_in_header(saved(tmp_path / "b.npy", array(5, 20, 30))) == (20, 30, 5)
    assert shape_in_header(saved(tmp_path / "c.npy", array(20, 30))) == (20, 30, 1)
    assert shape_in_header(saved(tmp_path / "d.npy", array(9))) is None
    assert shape_in_header(pages(tmp_path / "e.tif", array(20, 30, 6))) == (20, 30, 6)
    assert shape_in_header(tmp_path / "missing.npy") is None
    assert size_of_item(tmp_path / "a.npy") == (30, 20)
    assert size_of_item(tmp_path / "d.npy") is None


def test_files_in_memory_are_read_as_files_are(tmp_path: Path) -> None:
    Image.fromarray(array(20, 30, 3)).save(tmp_path / "a.png")
    files = [
        tmp_path / "a.png",
        saved(tmp_path / "b.npy", array(20, 30, 3)),
        pages(tmp_path / "c.tif", array(20, 30, 3)),
    ]
    held = [IMAGE.decoded(file) for file in files]
    assert [type(item).__name__ for item in held] == ["Image", "ndarray", type(files[2]).__name__]
    assert (read(*held).pixels["center"] == read(*files).pixels["center"]).all()
    assert IMAGE.decoded(tmp_path / "missing.png") == tmp_path / "missing.png"


# --- pages --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_pages_of_one_channel_are_the_channels(dtype: str, tmp_path: Path) -> None:
    stacks = [array(20, 30, 5, dtype=dtype, high=200) for _ in range(2)]
    files = [pages(tmp_path / f"{i}.tif", each) for i, each in enumerate(stacks)]
    found, expected = read(*files, channels=5), read(*stacks, channels=5)
    assert found.pixels["center"].shape == (2, 16, 16, 5)
    assert (found.pixels["center"] == expected.pixels["center"]).all()
    assert found.warnings == ()


def test_three_grey_pages_are_colours(tmp_path: Path) -> None:
    stack = array(20, 30, 3)
    assert (read(pages(tmp_path / "x.tif", stack)).pixels["center"] == read(stack).pixels["center"]).all()


def test_pages_with_colours_are_frames_and_the_first_is_used(tmp_path: Path) -> None:
    first, second = (Image.fromarray(array(20, 30, 3)) for _ in range(2))
    first.save(tmp_path / "x.tif", save_all=True, append_images=[second])
    images = read(tmp_path / "x.tif", first)
    assert (images.pixels["center"][0] == images.pixels["center"][1]).all()
    assert [warning.code for warning in images.warnings] == ["multiple_frames"]
    assert count_channels([tmp_path / "x.tif"]) == 3


def test_pages_of_unlike_sizes_are_frames(tmp_path: Path) -> None:
    first, *others = [Image.fromarray(array(20, 30 + i)) for i in range(3)]
    first.save(tmp_path / "x.tif", save_all=True, append_images=others)
    images = read(tmp_path / "x.tif", first)
    assert (images.pixels["center"][0] == images.pixels["center"][1]).all()


def test_pages_beyond_all_bounds_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pages(tmp_path / "x.tif", array(20, 30, 5))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)
    images = read(path, pages(tmp_path / "y.tif", array(10, 10, 5)), channels=5)
    assert "5 pages of 30 x 20 pixels" in images.skipped[0].reason


# --- how many channels --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "count"), [((20, 30), 3), ((20, 30, 1), 3), ((20, 30, 3), 3), ((20, 30, 2), 2), ((20, 30, 13), 13)]
)
def test_images_have_as_many_channels_as_most_of_them(shape: tuple[int, ...], count: int, tmp_path: Path) -> None:
    items = [array(*shape) for _ in range(5)]
    assert count_channels([*items, array(20, 30)]) == count
    assert count_channels([saved(tmp_path / f"{i}.npy", item) for i, item in enumerate(items)]) == count
    assert count_channels(UserList(items)) == count


def test_nothing_and_what_fails_has_colours() -> None:
    class Failing(UserList[Any]):
        def __getitem__(self, place: Any) -> Any:
            raise OSError("gone")

    assert count_channels([]) == count_channels(Failing([1])) == count_channels([Image.new("RGBA", (9, 9))]) == 3


def opacity(kind: str, dtype: str) -> np.ndarray:
    """Return an array of four channels, of values as they are usual for its type."""
    white = {"uint8": 255, "uint16": 65535, "float32": 1.0}[dtype]
    values = RNG.random((20, 30, 4)) * white
    if kind == "sprite":
        values[..., 3] = white * (RNG.random((20, 30)) < 0.6)
    elif kind == "opaque":
        values[..., 3] = white
    elif kind == "empty":
        values[..., 3] = 0
    return values.astype(dtype)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize(("kind", "count"), [("sprite", 3), ("opaque", 3), ("infrared", 4), ("empty", 4)])
def test_fourth_channel_is_opacity_where_its_values_say_so(kind: str, count: int, dtype: str, tmp_path: Path) -> None:
    items = [opacity(kind, dtype) for _ in range(3)]
    assert count_channels(items) == count
    assert count_channels([saved(tmp_path / f"{i}.npy", item) for i, item in enumerate(items)]) == count
    assert count_channels(items, "opacity") == 3
    assert count_channels(items, "channel") == 4


def test_values_beyond_those_of_opacity_are_a_channel() -> None:
    assert count_channels([array(20, 30, 4, dtype="float32", high=9000)]) == 4


def test_four_pages_are_four_channels_whatever_they_hold(tmp_path: Path) -> None:
    assert count_channels([pages(tmp_path / "x.tif", opacity("opaque", "uint8"))]) == 4
