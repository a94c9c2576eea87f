"""Decoding: every kind of image comes out as the same squares, once, and what cannot be decoded is named."""

from __future__ import annotations

import os
import struct
import zlib
from collections import UserList
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autotransfer.data.examples import Examples
from autotransfer.data.sources import find_examples
from autotransfer.errors import DataError, UnreadableExampleError
from autotransfer_plugins.modalities.image.decode import decode, some_sizes
from autotransfer_plugins.modalities.image.images import Images

CENTER = {"center": 32}


def photo(width: int = 60, height: int = 40, seed: int = 0) -> Image.Image:
    """A smooth picture, so that JPEG and resizing change it little."""
    rough = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return Image.fromarray(rough).resize((width, height), Image.Resampling.BICUBIC)


def only(images: Images, mode: str = "center") -> np.ndarray:
    assert len(images) == 1
    return np.asarray(images.pixels[mode][0]).astype(int)


def read(*items: object, sides: dict | None = None, **options: object) -> Images:
    return decode(find_examples(list(items)), sides or CENTER, **options)


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def test_sizes_are_those_in_headers_upright_or_not(tmp_path: Path) -> None:
    photo(90, 30).save(tmp_path / "a.png")
    items = [tmp_path / "a.png", np.zeros((50, 70, 3), dtype=np.uint8), photo(40, 80), tmp_path / "missing.png"]
    assert some_sizes(items) == [(90, 30), (70, 50), (40, 80)]
    assert some_sizes([tmp_path / "missing.png"]) == []
    assert some_sizes(UserList(items)) == [], "a lazy sequence would decode what it is asked for"


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "LAB"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    images = read(
        Image.new("RGB", (20, 20), "white").convert("L" if mode in ("PA", "LA") else "RGB").convert(mode)
        if mode != "LAB"
        else Image.new("LAB", (20, 20), (255, 128, 128))
    )
    assert images.pixels["center"].shape == (1, 20, 20, 3)
    assert only(images).min() > 240  # white stays white in every mode


@pytest.mark.parametrize(("mode", "suffix"), [("RGB", "jpg"), ("CMYK", "jpg"), ("L", "jpg"), ("RGB", "webp"),
                                              ("RGB", "bmp"), ("RGB", "tif"), ("CMYK", "tif"), ("RGB", "gif"),
                                              ("RGB", "ppm"), ("P", "png")])  # fmt: skip
def test_files_of_many_formats_agree(tmp_path: Path, mode: str, suffix: str) -> None:
    picture = photo().convert("L" if mode == "L" else "RGB")
    picture.convert(mode).save(tmp_path / f"x.{suffix}")
    got, expected = only(read(tmp_path / f"x.{suffix}")), only(read(picture))
    assert np.abs(got - expected).mean() < 12


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P"])
def test_transparent_parts_are_white(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "x.png"
    if mode == "P":
        picture = Image.new("P", (20, 20), 0)
        picture.putpalette([0, 0, 0, 255, 0, 0])
        picture.save(path, transparency=0)
    else:
        Image.new(mode, (20, 20), 0).save(path)
    assert (only(read(path)) == 255).all()


def test_grey_with_a_transparent_value_is_white_there(tmp_path: Path) -> None:
    Image.new("L", (20, 20), 7).save(tmp_path / "x.png", transparency=7)
    assert (only(read(tmp_path / "x.png")) == 255).all()


@pytest.mark.parametrize("value", [0, 257 * 3, 65535])
def test_16_bit_is_scaled_not_clipped(tmp_path: Path, value: int) -> None:
    values = np.full((20, 20), value, dtype=np.uint16)
    values[0, 0] = 65535
    Image.fromarray(values).save(tmp_path / "x.png")
    Image.fromarray(values).save(tmp_path / "x.tif")
    images = read(tmp_path / "x.png", tmp_path / "x.tif", values, np.stack([values] * 3, -1))
    assert (images.pixels["center"][:, 1:] == value // 257).all()


@pytest.mark.parametrize(
    "values", [np.int32([0, 200, 255]), np.float32([0, 200, 255]), np.float32([0, 200, 255]) / 255]
)
def test_32_bit_files_of_bytes_and_fractions_keep_their_levels(tmp_path: Path, values: np.ndarray) -> None:
    Image.fromarray(np.repeat(values, 7).reshape(3, 7).repeat(7, 0)).save(tmp_path / "x.tif")
    images = decode(find_examples(tmp_path), {"squash": 21})
    assert images.pixels["squash"][0, ::10, 0, 0].tolist() == [0, 200, 255]


def test_float_files_with_nan_are_unreadable(tmp_path: Path) -> None:
    Image.fromarray(np.full((20, 20), np.nan, dtype=np.float32)).save(tmp_path / "x.tif")
    images = read(tmp_path / "x.tif", photo())
    assert "NaN" in images.skipped[0].reason


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotations_are_undone(tmp_path: Path, orientation: int) -> None:
    upright = photo(900, 600)  # large enough for the JPEG to be decoded at a reduced scale
    inverse = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # PIL's transposes that camera and viewer would undo
    stored = upright.transpose(Image.Transpose(inverse[orientation])) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "x.jpg", exif=exif, quality=95)
    got = read(tmp_path / "x.jpg", sides={"center": 32, "squash": 32})
    expected = read(upright, sides={"center": 32, "squash": 32})
    for mode in ("center", "squash"):
        assert np.abs(only(got, mode) - only(expected, mode)).mean() < 2


def test_damaged_exif_does_not_cost_the_image(tmp_path: Path) -> None:
    photo().save(tmp_path / "x.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12")
    assert len(read(tmp_path / "x.jpg")) == 1


def test_animation_gives_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "x.gif", save_all=True, append_images=frames[1:])
    assert (only(read(tmp_path / "x.gif")) == [255, 0, 0]).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (20_000, 3), (3, 20_000)])
def test_extreme_shapes(size: tuple[int, int]) -> None:
    # Beside a large image, the whole of a panorama resized to side 256 would take gigabytes.
    images = decode(find_examples([Image.new("RGB", size, "red"), photo(300, 300)]), {"center": 256, "squash": 256})
    assert images.side == 256
    assert (images.pixels["center"][0] == [255, 0, 0]).all()
    assert (images.pixels["squash"][0] == [255, 0, 0]).all()


def test_a_panorama_is_cropped_at_its_centre() -> None:
    left, middle = np.zeros((30, 200, 3), dtype=np.uint8), np.full((30, 40, 3), 255, dtype=np.uint8)
    images = read(Image.fromarray(np.concatenate([left, middle, left], axis=1)), photo())
    assert images.side == 32
    assert (images.pixels["center"][0] == 255).all()


@pytest.mark.parametrize("size", [(60, 40), (41, 77), (33, 32), (100, 100)])
@pytest.mark.parametrize("side", [24, 31])
def test_pixels_are_those_of_torchvision(size: tuple[int, int], side: int) -> None:
    from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

    picture = photo(*size)
    center = Compose([Resize(side, InterpolationMode.BICUBIC), CenterCrop(side)])(picture)
    squash = Resize((side, side), InterpolationMode.BICUBIC)(picture)
    images = read(picture, sides={"center": side, "squash": side})
    assert (only(images) == np.asarray(center)).all()
    assert (only(images, "squash") == np.asarray(squash)).all()


@pytest.mark.shared
def test_real_photographs_come_out_as_in_timms_evaluation(ants_bees: Path) -> None:
    from timm.data.transforms_factory import transforms_imagenet_eval

    paths = sorted((ants_bees / "test").rglob("*.jpg"))[:40]
    pictures = [Image.open(path).convert("RGB") for path in paths]
    arrays = decode(find_examples([np.asarray(picture) for picture in pictures]), {"center": 256}, exact=True)
    files = decode(find_examples(paths), {"center": 256}, exact=True)
    transform = transforms_imagenet_eval(256, crop_pct=1.0, interpolation="bicubic", normalize=False)
    expected = np.stack([np.moveaxis(transform(picture).numpy(), 0, -1) for picture in pictures])
    assert (arrays.pixels["center"] == expected).all()
    assert np.abs(files.pixels["center"].astype(int) - expected).mean() < 1.5
    assert files.decoded == len(paths)


def test_reduced_jpeg_decoding_hardly_shows(tmp_path: Path) -> None:
    photo(1600, 1200).save(tmp_path / "x.jpg", quality=95)
    got, expected = only(read(tmp_path / "x.jpg")), only(read(photo(1600, 1200)))
    assert np.abs(got - expected).mean() < 1


def test_small_images_are_not_blown_up() -> None:
    assert read(photo(28, 20), photo(12, 30), sides={"center": 224}).side == 20
    assert read(photo(28, 20), photo(12, 30), sides={"squash": 224}).side == 30
    assert read(photo(28, 20), photo(12, 30), sides={"center": 224, "squash": 224}).side == 30
    assert read(photo(2, 2), sides={"center": 224}).side == 8
    assert read(photo(28, 20), photo(400, 300), sides={"center": 224}).side == 224
    # A model that was trained at a side gets that side.
    assert read(photo(28, 20), sides={"center": 224}, exact=True).side == 224


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """Files that are no images, each in its own way, and one good image."""
    whole = BytesIO()
    photo(200, 200).save(whole, "JPEG")
    (tmp_path / "a_truncated.jpg").write_bytes(whole.getvalue()[:2000])
    (tmp_path / "b_empty.png").write_bytes(b"")
    (tmp_path / "c_text.jpg").write_text("this is no image")
    (tmp_path / "d_bomb.png").write_bytes(png_header(60_000, 60_000))
    (tmp_path / "e_half_bomb.png").write_bytes(png_header(10_000, 10_000))  # Pillow alone would only warn
    (tmp_path / "f_good_png.jpg").write_bytes(whole.getvalue())
    photo().save(tmp_path / "f_good_png.jpg", "PNG")  # the wrong suffix is no reason to refuse
    return tmp_path


def test_unreadable_files_are_left_out_and_named(damaged: Path) -> None:
    images = decode(find_examples(damaged), CENTER)
    reasons = {Path(s.name).name: s.reason for s in images.skipped}
    assert list(images.kept) == [5]
    assert images.decoded == 1
    assert "truncated" in reasons["a_truncated.jpg"]
    assert "empty" in reasons["b_empty.png"]
    assert "no image" in reasons["c_text.jpg"]
    assert "pixels" in reasons["d_bomb.png"]
    assert "pixels" in reasons["e_half_bomb.png"]


def test_strict_raises_on_the_first_and_names_it(damaged: Path) -> None:
    with pytest.raises(UnreadableExampleError, match=r"a_truncated\.jpg"):
        decode(find_examples(damaged), CENTER, strict=True)


def test_nothing_readable_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(b"no")
    with pytest.raises(DataError, match=r"None of the 1 images.*x\.jpg"):
        decode(find_examples(tmp_path), CENTER)
    with pytest.raises(DataError, match="no images"):
        decode(Examples(items=[], names=()), CENTER)


def test_a_file_that_vanishes_is_left_out(tmp_path: Path) -> None:
    for name in "ab":
        photo().save(tmp_path / f"{name}.png")
    examples = find_examples(tmp_path)
    (tmp_path / "a.png").unlink()
    images = decode(examples, CENTER)
    assert images.kept.tolist() == [1]
    assert images.skipped[0].reason == "the file is gone"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_forbidden_file_is_left_out(tmp_path: Path) -> None:
    for name in "ab":
        photo().save(tmp_path / f"{name}.png")
    (tmp_path / "a.png").chmod(0)
    assert decode(find_examples(tmp_path), CENTER).skipped[0].reason == "permission denied"


def test_equal_contents_have_equal_digests(tmp_path: Path) -> None:
    photo().save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes())
    array = np.zeros((20, 20), dtype=np.uint8)
    images = read(tmp_path / "a.png", tmp_path / "b.png", photo(), photo(), photo(seed=1), array, array.astype("u2"))
    a, b, c, d, e, f, g = images.digests
    assert (a, c) == (b, d)
    assert len({a, c, e, f, g}) == 5


def test_colours_of_a_palette_tell_images_apart() -> None:
    indices = np.random.default_rng(0).integers(0, 2, (20, 20), dtype=np.uint8)

    def painted(red: int, transparency: int | None = None) -> Image.Image:
        image = Image.fromarray(indices).convert("P")
        image.putpalette([0, 0, 0, red, 0, 0])
        if transparency is not None:
            image.info["transparency"] = transparency
        return image

    images = read(painted(255), painted(255), painted(90), painted(255, transparency=1))
    assert images.digests[0] == images.digests[1]
    assert len(set(images.digests)) == 3


def test_order_and_count_hold_over_many_images() -> None:
    items = [np.full((10, 10), i, dtype=np.uint8) for i in range(100)]
    calls: list[tuple[int, int]] = []
    images = decode(find_examples(items), CENTER, progress=lambda done, total: calls.append((done, total)))
    assert images.pixels["center"][:, 0, 0, 0].tolist() == list(range(100))
    assert images.decoded == 100
    assert calls == [(i + 1, 100) for i in range(100)]


def test_pixels_beyond_the_memory_limit_live_in_removed_files(tmp_path: Path) -> None:
    items = [photo(seed=i) for i in range(5)]
    sides = {"center": 16, "squash": 16}
    in_memory = decode(find_examples(items), sides)
    on_disk = decode(find_examples(items), sides, memory_limit=1000, scratch=tmp_path / "scratch")
    assert isinstance(on_disk.pixels["center"], np.memmap)
    assert not isinstance(in_memory.pixels["center"], np.memmap)
    for mode in sides:
        assert (on_disk.pixels[mode] == in_memory.pixels[mode]).all()
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_disk_that_is_too_small_is_said_before(tmp_path: Path) -> None:
    items = Examples(items=[photo(70_000, 10)] * 5, names=("x",) * 5)
    with pytest.raises(DataError, match="GB"):
        decode(Examples(items=items.items * 10**4, names=items.names * 10**4), {"squash": 60_000}, memory_limit=1,
               scratch=tmp_path)  # fmt: skip


def test_users_images_are_left_as_they_are(tmp_path: Path) -> None:
    photo(900, 600).save(tmp_path / "x.jpg")
    with Image.open(tmp_path / "x.jpg") as opened:
        read(opened, opened, opened)
        assert opened.size == (900, 600)
