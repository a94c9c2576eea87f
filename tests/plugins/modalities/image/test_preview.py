"""Thumbnails."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from autotransfer.contract.modality import Preview
from autotransfer.errors import DataError
from autotransfer_plugins.modalities.image.formats import Preprocessing
from autotransfer_plugins.modalities.image.modality import IMAGE

READING: dict[str, Any] = {"side": 64, "value_ranges": {}, "background": "white", "channels": None}


def opened(preview: Preview) -> Image.Image:
    image = Image.open(BytesIO(preview.data))
    assert preview.media_type == f"image/{image.format}".lower()
    return image.convert("RGB")


def halves(width: int, height: int) -> Image.Image:
    """Return an image whose left half is red, and whose right half is blue."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2, 0], pixels[:, width // 2 :, 2] = 255, 255
    return Image.fromarray(pixels)


def colour(image: Image.Image, x: float, y: float) -> str:
    pixel = image.getpixel((int(x * image.width), int(y * image.height)))
    assert isinstance(pixel, tuple)
    return "red" if pixel[0] > 200 > 60 > pixel[2] else "blue" if pixel[2] > 200 > 60 > pixel[0] else str(pixel)


def test_a_thumbnail_shows_the_whole_image(tmp_path: Path) -> None:
    halves(800, 400).save(tmp_path / "a.jpg")
    preview = IMAGE.preview(tmp_path / "a.jpg", READING)
    image = opened(preview)
    assert image.size == (160, 80)
    assert preview.text == "800 x 400 pixels"
    assert [colour(image, x, 0.5) for x in (0.05, 0.45, 0.55, 0.95)] == ["red", "red", "blue", "blue"]
    assert len(preview.data) < 4000


def test_a_turned_photograph_is_shown_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees: left comes up
    halves(800, 400).save(tmp_path / "a.jpg", exif=exif)
    preview = IMAGE.preview(tmp_path / "a.jpg", READING)
    image = opened(preview)
    assert image.size == (80, 160)
    assert preview.text == "400 x 800 pixels"
    assert [colour(image, 0.5, y) for y in (0.05, 0.95)] == ["red", "blue"]


def test_small_images_are_enlarged_pixel_by_pixel() -> None:
    image = opened(IMAGE.preview(halves(8, 8), READING))
    assert image.size == (96, 96)
    assert len(set(np.asarray(image).reshape(-1, 3).view("V3").ravel().tolist())) == 2


def test_values_are_shown_as_they_are_read() -> None:
    values = np.zeros((100, 100), np.uint16)
    values[:, 50:] = 4095
    shown = {}
    for high in (4095, 65535):
        image = opened(IMAGE.preview(values, {**READING, "value_ranges": {"uint16": [0, high]}}))
        shown[high] = image.getpixel((90, 50))
    assert shown[4095] > (250, 250, 250)
    assert shown[65535] < (20, 20, 20)


def test_a_line_of_pixels_has_a_thumbnail() -> None:
    assert opened(IMAGE.preview(np.zeros((1, 3000), np.uint8), READING)).size == (160, 1)


def test_a_damaged_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(DataError, match="empty"):
        IMAGE.preview(tmp_path / "a.png", READING)


def warm_box(image: Image.Image) -> tuple[float, float, float, float]:
    """Return where a heatmap lies over a grey image, as shares: left, top, right and bottom."""
    pixels = np.asarray(image.convert("RGB")).astype(int)
    y, x = np.nonzero(pixels[..., 0] - pixels[..., 2] > 40)
    return x.min() / image.width, y.min() / image.height, (x.max() + 1) / image.width, (y.max() + 1) / image.height


@pytest.mark.parametrize(
    ("mode", "fraction", "expected"),
    [
        ("center", 1.0, (0.25, 0.0, 0.75, 1.0)),
        ("center", 0.5, (0.375, 0.25, 0.625, 0.75)),
        ("squash", 1.0, (0.0, 0.0, 1.0, 1.0)),
        ("squash", 0.5, (0.25, 0.25, 0.75, 0.75)),
        ("letterbox", 1.0, (0.0, 0.0, 1.0, 1.0)),
        ("letterbox", 0.5, (0.25, 0.0, 0.75, 1.0)),
    ],
)
def test_heat_lies_over_what_the_backbone_sees(
    mode: Any, fraction: float, expected: tuple[float, float, float, float]
) -> None:
    how = Preprocessing(size=(64, 64), crop_mode=mode, crop_fraction=fraction)
    preview = IMAGE.overlay(np.full((200, 400), 128, np.uint8), READING, how, np.ones((7, 7), np.float32))
    image = opened(preview)
    assert image.size == (160, 80)
    assert warm_box(image) == pytest.approx(expected, abs=0.02)


def test_heat_is_where_the_object_is_in_the_image() -> None:
    # A backbone sees the square at the centre of a wide image; its upper right is right of the image's middle.
    pixels = np.full((100, 300), 128, np.uint8)
    heat = np.zeros((4, 4), np.float32)
    heat[0, 3] = 1.0
    how = Preprocessing(size=(32, 32), crop_fraction=1.0)
    image = opened(IMAGE.overlay(pixels, READING, how, heat))
    box = warm_box(image)
    assert box[0] > 0.5
    assert box[2] == pytest.approx(2 / 3, abs=0.02)
    assert box[3] < 0.5


def test_no_heat_leaves_a_grey_picture() -> None:
    how = Preprocessing(size=(32, 32))
    image = opened(IMAGE.overlay(halves(50, 50), READING, how, np.zeros((4, 4), np.float32)))
    pixels = np.asarray(image).astype(int)
    assert (pixels.max(2) == pixels.min(2)).all()
