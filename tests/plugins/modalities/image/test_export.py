"""What exported models do with decoded pixels is what the room does with files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from autotransfer_plugins.modalities.image.batches import VIEWS, prepare
from autotransfer_plugins.modalities.image.decoding import Decoding
from autotransfer_plugins.modalities.image.export import ImageExport
from autotransfer_plugins.modalities.image.formats import Preprocessing
from autotransfer_plugins.modalities.image.images import Images
from autotransfer_plugins.modalities.image.modality import IMAGE
from autotransfer_plugins.modalities.image.whole import pixels_of

SIDE = 40
CPU = torch.device("cpu")


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def export_of(how: Preprocessing, **reading: Any) -> ImageExport:
    return ImageExport([how], SIDE, Decoding(**reading))


def squares_of(export: ImageExport, pixels: np.ndarray) -> dict[str, np.ndarray]:
    found = export.reader()(torch.from_numpy(pixels[None]))
    return {mode: square[0].permute(1, 2, 0).numpy() for mode, square in found.items()}


@pytest.mark.parametrize("mode", ["center", "squash", "letterbox"])
@pytest.mark.parametrize("size", [(50, 90), (90, 50), (300, 31), (20, 200), (SIDE, SIDE), (7, 9)])
def test_squares_are_those_of_decoding(mode: Any, size: tuple[int, int]) -> None:
    how, pixels = Preprocessing(size=(32, 32), crop_mode=mode), noise(*size)
    reading = {"side": SIDE, **Decoding(channels=3).to_json()}
    stored = IMAGE.load([pixels], ["x"], [how], options={}, reading=reading).arrays[mode][0]
    found = squares_of(export_of(how), pixels)[mode]
    assert np.abs(found - stored).max() <= 1
    assert (found != stored).mean() < 0.01


@pytest.mark.parametrize("view", VIEWS)
def test_views_are_those_of_stored_squares(make_images: Callable[..., Images], view: str) -> None:
    how = Preprocessing(size=(32, 28), crop_fraction=0.9)
    squares = make_images(count=2, side=SIDE).pixels["center"]
    given = {"center": torch.from_numpy(squares).permute(0, 3, 1, 2).float()}
    found = export_of(how).view(how, view)(given)
    torch.testing.assert_close(found, prepare(squares, how, CPU, view), atol=1e-5, rtol=0)


def test_deep_values_enter_as_they_are() -> None:
    # A model that was trained on 12 bits takes 12 bits, as numbers, and knows which of them is white.
    how, values = Preprocessing(size=(32, 32)), noise(50, 60).astype(np.uint16) * 16
    decoding = Decoding(ranges={"uint16": (0.0, 4095.0)}, channels=3)
    export = ImageExport([how], SIDE, decoding)
    (given,) = export.inputs
    assert given.dtype == "float32"
    assert "0 to 4095" in given.about
    (pixels,) = export.decoded([values])
    np.testing.assert_array_equal(pixels, values)
    reading = {"side": SIDE, **decoding.to_json()}
    stored = IMAGE.load([values], ["x"], [how], options={}, reading=reading).arrays["center"][0]
    assert np.abs(squares_of(export, pixels)["center"] - stored).max() <= 1


def test_few_levels_are_spread_inside() -> None:
    how, values = Preprocessing(size=(32, 32)), noise(50, 60) // 16
    decoding = Decoding(ranges={"uint8": (0.0, 16.0)}, channels=3)
    export = ImageExport([how], SIDE, decoding)
    assert export.inputs[0].dtype == "uint8"
    reading = {"side": SIDE, **decoding.to_json()}
    stored = IMAGE.load([values], ["x"], [how], options={}, reading=reading).arrays["center"][0]
    assert np.abs(squares_of(export, export.decoded([values])[0])["center"] - stored).max() <= 1  # type: ignore[arg-type]


def test_files_are_decoded_in_their_own_size(tmp_path: Path) -> None:
    # Pillow can decode a large JPEG at a part of its size, which a program elsewhere does not do.
    file = tmp_path / "large.jpg"
    Image.fromarray(noise(400, 300)).save(file)
    found = pixels_of(file, Decoding())
    assert found.shape == (400, 300, 3)
    np.testing.assert_array_equal(found, np.asarray(Image.open(file)))


def test_grey_and_transparent_images_become_colours() -> None:
    grey = pixels_of(noise(5, 4)[..., 0], Decoding())
    assert grey.shape == (5, 4, 3)
    layers = np.dstack([noise(5, 4), np.zeros((5, 4), np.uint8)])
    assert (pixels_of(layers, Decoding(background="black")) == 0).all()
    assert (pixels_of(layers, Decoding()) == 255).all()
    truth = pixels_of(np.eye(4, dtype=bool), Decoding())
    np.testing.assert_array_equal(truth[..., 0], np.eye(4) * 255)


def test_images_of_one_size_pass_together() -> None:
    export = export_of(Preprocessing(size=(32, 32)))
    items = [noise(5, 4), noise(5, 4), noise(6, 4), noise(5, 4)]
    assert [len(batch["pixels"]) for batch in export.arrays(items)] == [2, 1, 1]
