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
