"""From stored squares to the input of a backbone: timm's own view of an image, other views of it, and augmentation."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform
from torch import Tensor

from autotransfer_plugins.modalities.image.batches import AUGMENTATIONS, VIEWS, augment, prepare
from autotransfer_plugins.modalities.image.formats import Preprocessing

CPU = torch.device("cpu")
HOW = Preprocessing(size=(32, 32), mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))


def noise(side: int, count: int = 2, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def smooth(side: int, count: int = 1) -> np.ndarray:
    """A picture without fine detail: resizing it another way changes little."""
    ramp = np.linspace(0, np.pi, side)
    waves = [np.outer(np.sin(ramp * k), np.cos(ramp)) for k in (1, 2, 3)]
    picture = (127.5 * (1 + np.stack(waves, -1))).astype(np.uint8)
    return np.repeat(picture[None], count, 0)


def timm_view(picture: np.ndarray, how: Preprocessing) -> Tensor:
    transform = create_transform(
        input_size=(3, *how.size),
        interpolation=how.interpolation,
        mean=how.mean,
        std=how.std,
        crop_pct=how.crop_fraction,
        crop_mode=how.crop_mode,
    )
    return transform(Image.fromarray(picture))  # type: ignore[no-any-return]


def pixels_of(batch: Tensor, how: Preprocessing) -> Tensor:
    """Undo the normalisation: values in 0..255."""
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (how.mean, how.std))
    return (batch * std + mean) * 255


@pytest.mark.parametrize("mode", ["center", "squash"])
@pytest.mark.parametrize(
    ("size", "crop"), [((32, 32), 0.875), ((33, 33), 0.9), ((32, 32), 1.0), ((64, 64), 0.95), ((32, 32), 0.9)]
)
def test_the_central_view_is_timms_own(mode: Any, size: tuple[int, int], crop: float) -> None:
    # At the side that the backbone asks for, nothing is resized: the pixels are the very same.
    how = Preprocessing(size=size, crop_fraction=crop, crop_mode=mode, mean=HOW.mean, std=HOW.std)
    pixels = noise(how.resized)
    ours = prepare(pixels, how, CPU)
    theirs = torch.stack([timm_view(picture, how) for picture in pixels])
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("mode", ["center", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_a_larger_square_is_resized_as_timm_does(mode: Any, interpolation: Any) -> None:
    how = Preprocessing(size=(32, 32), crop_fraction=0.9, crop_mode=mode, interpolation=interpolation)
    pixels = noise(80)
    ours = pixels_of(prepare(pixels, how, CPU), how)
    theirs = pixels_of(torch.stack([timm_view(picture, how) for picture in pixels]), how)
    assert (ours - theirs).abs().max() <= 1.01, "one grey level: torch and PIL round apart"


def test_an_oblong_input_is_cut_out_of_the_square() -> None:
    how = Preprocessing(size=(32, 24), crop_fraction=0.8)
    pixels = noise(how.resized)
    theirs = torch.stack([timm_view(picture, how) for picture in pixels])
    torch.testing.assert_close(prepare(pixels, how, CPU), theirs, rtol=0, atol=1e-5)


def test_nearest_keeps_the_grey_levels() -> None:
    how = Preprocessing(size=(32, 32), interpolation="nearest", crop_fraction=1.0)
    pixels = noise(64) // 255 * 255
    assert set(pixels_of(prepare(pixels, how, CPU), how).round().unique().tolist()) <= {0.0, 255.0}


def test_flip_mirrors_the_central_view() -> None:
    pixels = noise(HOW.resized)
    assert torch.equal(prepare(pixels, HOW, CPU, "flip"), prepare(pixels, HOW, CPU).flip(-1))


@pytest.mark.parametrize("side", [HOW.resized, 80])
def test_all_views_differ_and_fit(side: int) -> None:
    views = {view: prepare(noise(side), HOW, CPU, view) for view in VIEWS}
    for view in views.values():
        assert view.shape == (2, 3, 32, 32)
        assert view.dtype == torch.float32
        assert view.is_contiguous(memory_format=torch.channels_last)
    for one, other in combinations(VIEWS, 2):
        assert not torch.allclose(views[one], views[other], atol=1e-2), (one, other)


@pytest.mark.parametrize(
    ("view", "corner"), [("top_left", (0, 0)), ("top_right", (0, 1)), ("bottom_left", (1, 0)), ("bottom_right", (1, 1))]
)
def test_a_corner_view_sees_its_corner(view: str, corner: tuple[int, int]) -> None:
    # A corner outside of the central view; two of these views are mirrored as well.
    pixels = np.zeros((1, 64, 64, 3), dtype=np.uint8)
    edge = {0: slice(0, 2), 1: slice(62, 64)}
    pixels[:, edge[corner[0]], edge[corner[1]]] = 255
    how = Preprocessing(size=(32, 32), crop_fraction=0.5)
    assert pixels_of(prepare(pixels, how, CPU, view), how).max() > 50
    assert pixels_of(prepare(pixels, how, CPU, "center"), how).max() < 1


@pytest.mark.parametrize("size", [(32, 32), (32, 24)])
@pytest.mark.parametrize("strength", AUGMENTATIONS)
@pytest.mark.parametrize("side", [36, 80, 20])
def test_augmentation_gives_fitting_finite_pictures(strength: str, side: int, size: tuple[int, int]) -> None:
    how = Preprocessing(size=size, mean=HOW.mean, std=HOW.std)
    batch = augment(noise(side, 8), how, CPU, strength, torch.Generator().manual_seed(0))
    assert batch.shape == (8, 3, *size)
    assert batch.is_contiguous(memory_format=torch.channels_last)
    values = pixels_of(batch, how)
    assert values.min() >= -0.01
    assert values.max() <= 255.01


@pytest.mark.parametrize("strength", AUGMENTATIONS[1:])
def test_augmentation_is_drawn_from_the_generator_alone(strength: str) -> None:
    def draw(seed: int) -> Tensor:
        return augment(noise(36), HOW, CPU, strength, torch.Generator().manual_seed(seed))

    torch.manual_seed(1)
    first = draw(0)
    torch.manual_seed(2)
    assert torch.equal(draw(0), first)
    assert not torch.equal(draw(1), first)


def test_each_image_and_each_step_is_drawn_anew() -> None:
    rng = torch.Generator().manual_seed(0)
    pixels = np.repeat(noise(36, 1), 4, 0)
    first, second = (augment(pixels, HOW, CPU, "medium", rng) for _ in range(2))
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first, second)


def test_without_augmentation_the_central_view_is_seen() -> None:
    pixels = noise(36)
    assert torch.equal(augment(pixels, HOW, CPU, "none", torch.Generator()), prepare(pixels, HOW, CPU))


@pytest.mark.parametrize("strength", AUGMENTATIONS[1:])
def test_augmentation_keeps_the_brightness_on_average(strength: str) -> None:
    pixels = noise(36, 200)
    batch = augment(pixels, HOW, CPU, strength, torch.Generator().manual_seed(0))
    assert float(pixels_of(batch, HOW).mean()) == pytest.approx(pixels.mean(), rel=0.05)


def test_stronger_augmentation_changes_more() -> None:
    pixels = smooth(36, 100)
    plain = prepare(pixels, HOW, CPU)

    def change(strength: str) -> float:
        return float((augment(pixels, HOW, CPU, strength, torch.Generator().manual_seed(0)) - plain).abs().mean())

    assert change("light") < change("medium") < change("strong")


def test_shrinking_pictures_are_smoothed_as_for_prediction() -> None:
    # A fine checkerboard is grey from afar; sampled without smoothing it would stay black and white.
    board = np.indices((128, 128)).sum(0) % 2 * 255
    pixels = np.repeat(np.repeat(board[None, :, :, None], 3, -1), 4, 0).astype(np.uint8)
    how = Preprocessing(size=(32, 32), crop_fraction=1.0)
    for batch in (prepare(pixels, how, CPU), augment(pixels, how, CPU, "light", torch.Generator().manual_seed(0))):
        assert pixels_of(batch, how).std() < 16


def test_rotation_keeps_circles_round_in_oblong_inputs() -> None:
    y, x = np.indices((96, 96)) - 47.5
    disc = (np.hypot(y, x) < 12)[None, :, :, None]
    pixels = np.repeat(np.repeat(disc, 3, -1), 64, 0).astype(np.uint8) * 255
    how = Preprocessing(size=(96, 64), crop_fraction=1.0)
    batch = pixels_of(augment(pixels, how, CPU, "strong", torch.Generator().manual_seed(0)), how).mean(1)
    seen = batch > batch.amax((1, 2), keepdim=True) / 2
    whole = ~(seen[:, 0].any(1) | seen[:, -1].any(1) | seen[:, :, 0].any(1) | seen[:, :, -1].any(1))
    assert whole.sum() > 5
    height, width = seen[whole].any(2).sum(1), seen[whole].any(1).sum(1)
    assert (height - width).abs().max() <= 2
