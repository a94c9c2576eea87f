"""What cannot be read is named with the package that reads it; warnings of Pillow stay inside; frames are told."""

from __future__ import annotations

import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autotransfer.data.sources import find_examples
from autotransfer_plugins.modalities.image import reading
from autotransfer_plugins.modalities.image.decode import decode, some_sizes
from autotransfer_plugins.modalities.image.images import Images
from autotransfer_plugins.modalities.image.modality import IMAGE


def photo(width: int = 60, height: int = 40, seed: int = 0) -> Image.Image:
    rough = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return Image.fromarray(rough).resize((width, height), Image.Resampling.BICUBIC)


def read(*items: object, side: int = 32) -> Images:
    return decode(find_examples([*items, photo(), photo(seed=1)]), {"center": side})


@pytest.mark.parametrize(
    ("name", "start", "said"),
    [
        ("x.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "pip install pillow-heif"),
        ("x.jpg", b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "pip install pillow-heif"),
        ("x.jxl", b"\0\0\0\x0cJXL \r\n\x87\n" + b"\0" * 40, "pip install pillow-jxl-plugin"),
        ("x.jxl", b"\xff\x0a" + b"\0" * 40, "pip install pillow-jxl-plugin"),
        ("x.nef", b"II*\0\x08\0\0\0" + b"\0" * 40, "develop it"),
        ("x.CR3", b"\0\0\0\x18ftypcrx ", "develop it"),
        ("x.svg", b"<?xml version='1.0'?><svg/>", "convert it to PNG"),
        ("x.pdf", b"%PDF-1.7", "convert its pages"),
        ("x.npy", b"\x93NUMPY\x01\0", "NumPy"),
        ("x.png", b"hello", "no image that Pillow can read"),
    ],
)
def test_file_unknown_to_pillow_is_named_with_its_reader(name: str, start: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(start)
    assert said in read(tmp_path / name).skipped[0].reason


def test_installed_package_adds_its_format_to_pillow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # It reads files that begin like JPEG XL and hold a PNG behind that.
    (tmp_path / "pillow_jxl.py").write_text(
        "import io\n"
        "from PIL import Image, PngImagePlugin\n"
        "def opened(file, name):\n"
        "    return PngImagePlugin.PngImageFile(io.BytesIO(file.read()[2:]))\n"
        "Image.register_open('JXL', opened, lambda start: start.startswith(b'\\xff\\x0a'))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(Image, "OPEN", dict(Image.OPEN))
    monkeypatch.setattr(Image, "ID", list(Image.ID))
    reading._can_read.cache_clear()
    content = BytesIO()
    Image.new("RGB", (20, 20), "red").save(content, "PNG")
    (tmp_path / "x.jxl").write_bytes(b"\xff\x0a" + content.getvalue())
    assert (read(tmp_path / "x.jxl").pixels["center"][0] == [255, 0, 0]).all()
    reading._can_read.cache_clear()


def test_no_warning_of_pillow_comes_through(tmp_path: Path) -> None:
    photo().save(tmp_path / "exif.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12")
    palette = Image.new("P", (20, 20))
    palette.putpalette([0, 0, 0, 255, 0, 0])
    palette.save(tmp_path / "palette.png", transparency=b"\0\xff")
    whole = BytesIO()
    photo(300, 300).save(whole, "TIFF")
    (tmp_path / "cut.tif").write_bytes(whole.getvalue()[:400])
    (tmp_path / "bomb.png").write_bytes(
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x27\x10\0\0\x27\x10\x08\0\0\0\0\xb5\xf6\x8a\xe2"
    )
    before = list(warnings.filters)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        files = sorted(tmp_path.iterdir())
        some_sizes(files)
        assert len(read(*files)) >= 4
    assert [str(warning.message) for warning in said] == []
    assert warnings.filters == before


def test_warnings_of_a_users_data_set_still_come_through() -> None:
    def progress(done: int, total: int) -> None:
        warnings.warn("mine", UserWarning, stacklevel=1)

    with pytest.warns(UserWarning, match="mine"):
        decode(find_examples([photo()]), {"center": 32}, progress=progress)


@pytest.mark.parametrize("suffix", ["tif", "gif", "png", "webp"])
def test_the_first_of_several_frames_is_used_and_that_is_said(suffix: str, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue", "lime")]
    frames[0].save(tmp_path / f"x.{suffix}", save_all=True, append_images=frames[1:], lossless=True)
    images = read(tmp_path / f"x.{suffix}")
    assert np.abs(images.pixels["center"][0].astype(int) - [255, 0, 0]).max() <= 2
    (warning,) = [warning for warning in images.warnings if warning.code == "multiple_frames"]
    assert "x." in warning.message
    assert warning.details == {"count": 1}


def test_preview_beside_a_photograph_is_no_second_frame(tmp_path: Path) -> None:
    photo(900, 600).save(tmp_path / "x.mpo", save_all=True, append_images=[photo(90, 60, seed=1)])
    images, plain = read(tmp_path / "x.mpo"), read(photo(900, 600))
    assert np.abs(images.pixels["center"][0].astype(int) - plain.pixels["center"][0]).mean() < 3
    assert images.warnings == ()


def test_16_bit_colour_files_are_named_as_read_in_8_bits(tmp_path: Path) -> None:
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes([200, 1, 100, 2, 50, 3]) * 9 for _ in range(9))
    header = struct.pack(">IIBBBBB", 9, 9, 16, 2, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    images = read(tmp_path / "x.png")
    assert images.pixels["center"][0, 0, 0].tolist() == [200, 100, 50]
    assert any("upper 8 bits" in warning.message for warning in images.warnings)


def test_a_decoded_file_is_read_as_the_file_is(tmp_path: Path) -> None:
    photo(90, 60).save(tmp_path / "a.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"x" * 40)
    found = IMAGE.decoded(tmp_path / "a.png")
    assert isinstance(found, Image.Image)
    (tmp_path / "a.png").rename(tmp_path / "b.png")  # nothing of it is on disk any more
    known = decode(find_examples([tmp_path / "b.png"]), {"center": 32}).arrays["center"]
    assert np.array_equal(decode(find_examples([found]), {"center": 32}).arrays["center"], known)
    assert IMAGE.decoded(tmp_path / "broken.png") == tmp_path / "broken.png"
    assert IMAGE.decoded(found) is found
