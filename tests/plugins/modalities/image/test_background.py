"""Transparent images are laid on white, unless what is to be seen on them would vanish there; alone as among others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from autotransfer.data.sources import find_examples
from autotransfer_plugins.modalities.image.decode import decode
from autotransfer_plugins.modalities.image.images import Images


def ink(colour: tuple[int, int, int], seed: int = 0, size: int = 40) -> Image.Image:
    """A drawing in one colour on a transparent ground."""
    picture = Image.new("RGBA", (size, size), (*colour, 0))
    points = np.random.default_rng(seed).integers(0, size, (5, 2)).tolist()
    ImageDraw.Draw(picture).line([tuple(point) for point in points], fill=(*colour, 255), width=4)
    return picture


def read(*items: object, images: Images | None = None) -> Images:
    settings = {} if images is None else {"decoding": images.decoding, "exact": True}
    return decode(find_examples(list(items)), {"center": 32, "squash": 32}, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("colours", "background"),
    [
        ([(255, 255, 255)] * 4, "black"),
        ([(240, 245, 250)] * 4, "black"),
        ([(0, 0, 0)] * 4, "white"),
        ([(200, 30, 30), (255, 220, 0)] * 2, "white"),
        ([(0, 0, 0), (255, 255, 255)] * 2, "grey"),
    ],
)
def test_the_background_is_one_on_which_all_can_be_seen(colours: list[tuple[int, int, int]], background: str) -> None:
    pictures = [ink(colour, seed) for seed, colour in enumerate(colours)]
    images = read(*pictures, Image.new("RGB", (40, 40), (90, 120, 10)))
    assert images.decoding.background == background
    assert [warning.code for warning in images.warnings] == (
        ["constant_images"] if background == "white" else ["constant_images", "transparent_images"]
    )
    assert images.warnings[0].details["count"] == 1, "of the plain picture alone"
    for mode, pixels in images.pixels.items():
        assert all(np.ptp(square.astype(int)) > 60 for square in pixels[:-1])
        assert (pixels[-1] == [90, 120, 10]).all(), "what is opaque is as it is"
        for picture, square in zip(pictures, pixels, strict=False):
            np.testing.assert_array_equal(read(picture, images=images).pixels[mode][0], square)


@pytest.mark.parametrize("mode", ["LA", "PA", "P", "L"])
def test_transparency_of_every_kind_gets_the_background(mode: str, tmp_path: Path) -> None:
    for seed in range(3):
        picture = ink((255, 255, 255), seed)
        path = tmp_path / f"{seed}.png"
        if mode in ("LA", "PA"):
            picture.convert("LA").save(path)
        else:  # one value of palette or greys is transparent
            mask = picture.getchannel("A").point(lambda value: 255 if value else 0)
            mask.convert(mode).save(path, transparency=0)
    images = read(*sorted(tmp_path.iterdir()))
    assert images.decoding.background == "black"
    assert {0, 255} <= set(np.unique(images.pixels["center"]))


def test_a_picture_of_which_nothing_is_opaque_decides_nothing() -> None:
    images = read(Image.new("RGBA", (20, 20), (255, 255, 255, 0)), ink((0, 0, 0)))
    assert images.decoding.background == "white"


def test_opaque_images_with_an_alpha_channel_stay_opaque() -> None:
    images = read(*[Image.new("RGBA", (20, 20), (255, 255, 250, 255))] * 2)
    assert images.decoding.background == "white"
    assert [warning.code for warning in images.warnings] == ["constant_images"]
