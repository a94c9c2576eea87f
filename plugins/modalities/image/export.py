"""Images in an exported model: from decoded pixels of any size to the inputs of a backbone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from autotransfer.contract.export_inputs import ExportAxis, ExportInput
from autotransfer.contract.modality import Item
from autotransfer_plugins.modalities.image.batches import LUMA, box_of_view, frame_of
from autotransfer_plugins.modalities.image.decoding import Decoding
from autotransfer_plugins.modalities.image.formats import COLOURS, CropMode, Preprocessing, cycled
from autotransfer_plugins.modalities.image.resizing import (
    apply_rounded,
    apply_rounded_down_first,
    fixed_weights,
    free_weights,
    pillow_chooses_axis,
    shrinks_down_first,
)
from autotransfer_plugins.modalities.image.squares import PADDING, PANORAMA
from autotransfer_plugins.modalities.image.value_range import Range
from autotransfer_plugins.modalities.image.whole import kind_of_pixels, pixels_of

__all__ = ["ImageExport"]

# Images that are run at a time, where they have equal sizes.
_BATCH_SIZE = 16
_NAME = "pixels"


class ImageExport:
    """How images enter an exported model.

    Args:
        formats: What the backbones want.
        side: Side of the squares that the model's own images are decoded to.
        decoding: How values become pixels.
    """

    files: Mapping[str, bytes] = {}

    def __init__(self, formats: Sequence[Preprocessing], side: int, decoding: Decoding) -> None:
        self._modes: tuple[CropMode, ...] = tuple(dict.fromkeys(how.crop_mode for how in formats))
        self._side, self._decoding = side, decoding
        kind = kind_of_pixels(decoding)
        low, high = decoding.range_of(kind)
        self._ranges = decoding.channel_ranges or (() if decoding.is_plain(kind) else ((low, high),))
        self._channels, what = max(COLOURS), f"red, green and blue from {low:g} to {high:g}"
        if decoding.channel_ranges:
            self._channels = len(decoding.channel_ranges)
            what = f"the {self._channels} channels with their values as they were measured"
        self.inputs: tuple[ExportInput, ...] = (
            ExportInput(
                name=_NAME,
                dtype="uint8" if kind == "uint8" else "float32",
                axes=(ExportAxis(name="height"), ExportAxis(name="width"), self._channels),
                about=f"Decoded images, upright, {what}, in their own size.",
            ),
        )

    def reader(self) -> nn.Module:
        """Return what makes squares of images of any size."""
        return _Squares(self._modes, self._side, self._channels, self._ranges)

    def view(self, how: Preprocessing, view: str) -> nn.Module:
        """Return what makes a backbone's input of squares."""
        return _View(how, view, self._side)

    def decoded(self, items: Sequence[Item]) -> list[Item]:
        """Return images as arrays (height, width, channels)."""
        return [pixels_of(item, self._decoding) for item in items]

    def arrays(self, items: Sequence[Item]) -> Iterator[Mapping[str, np.ndarray]]:
        """Yield images that follow each other and have one size."""
        batch: list[np.ndarray] = []
        for item in items:
            if batch and (len(batch) == _BATCH_SIZE or batch[0].shape != item.shape):
                yield {_NAME: np.stack(batch)}
                batch = []
            batch.append(item)
        if batch:
            yield {_NAME: np.stack(batch)}


class _Squares(nn.Module):
    """Makes the squares that ``squares.square`` makes with Pillow, and ``squares.shade`` of values of other ranges.

    Args:
        modes: How squares are cut.
        side: Side of the squares in pixels.
        channels: Number of channels.
        ranges: The values that are black and white, in all channels or in each; empty where these are 0 and 255.
    """

    padding: Tensor
    low: Tensor
    factor: Tensor

    def __init__(self, modes: Sequence[CropMode], side: int, channels: int, ranges: Sequence[Range]) -> None:
        super().__init__()
        self._modes, self._side, self._is_plain = modes, side, not ranges
        self._chooses_axis = not ranges and pillow_chooses_axis()
        low, high = np.array(ranges or [(0.0, 255.0)]).T
        constants = {"padding": cycled(PADDING, channels), "low": low, "factor": 255 / (high - low)}
        for name, values in constants.items():
            self.register_buffer(name, torch.tensor(values).float().view(1, -1, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Map (N, height, width, C) to whole numbers as float32 (N, C, side, side), by crop mode."""
        images = pixels.permute(0, 3, 1, 2).float()
        rows, columns = (torch.arange(images.shape[axis], device=images.device) for axis in (2, 3))
        high, wide = (places[-1] + 1 for places in (rows, columns))
        found: dict[str, Tensor] = {}
        for mode in self._modes:
            out_wide, first_column = self._placed(mode, wide, high)
            out_high, first_row = self._placed(mode, high, wide)
            across, inside_across = self._axis(columns, out_wide, first_column)
            down, inside_down = self._axis(rows, out_high, first_row)
            down_first = None
            if self._chooses_axis:
                whole = self._resized_at_once(mode, out_high, out_wide)
                down_first = shrinks_down_first(high, wide, *whole)
            found[mode] = self._resized(images, across, down, down_first)
            if mode == "letterbox":
                found[mode] = torch.where(inside_down[:, None] & inside_across, found[mode], self.padding)
        return found

    def _placed(self, mode: CropMode, length: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        """Return the length of a resized axis, and which of its pixels is the first of the square."""
        side = self._side
        if mode == "squash":
            return torch.full_like(length, side), torch.zeros_like(length)
        if mode == "letterbox":
            out = _divided(side * length, torch.maximum(length, other)).clamp(min=1)
            return out, -((side - out) // 2)
        out = side * length // torch.minimum(length, other)
        return out, _half(out - side)

    def _axis(self, places: Tensor, out: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        """Return the weights (side, length) of an axis, and which pixels of the square are pixels of the image."""
        wanted = first + torch.arange(self._side, device=places.device)
        return free_weights(places, out, first, self._side), (wanted >= 0) & (wanted < out)

    def _resized_at_once(self, mode: CropMode, high: Tensor, wide: Tensor) -> tuple[Tensor, Tensor]:
        """Return the size that Pillow resizes to: of a panorama, no more than the square."""
        if mode != "center":
            return high, wide
        beyond = torch.maximum(high, wide) > PANORAMA * self._side
        square = torch.full_like(high, self._side)
        return torch.where(beyond, square, high), torch.where(beyond, square, wide)

    def _resized(self, images: Tensor, across: Tensor, down: Tensor, down_first: Tensor | None) -> Tensor:
        if not self._is_plain:
            return ((down @ (images @ across.T) - self.low) * self.factor).round().clamp(0, 255)
        if down_first is None:
            return apply_rounded(images, across, down)
        given = (images, across, down)
        if not torch.compiler.is_compiling():
            return apply_rounded_down_first(*given) if down_first else apply_rounded(*given)
        found: Tensor = torch.cond(down_first, apply_rounded_down_first, apply_rounded, given)
        return found


class _View(nn.Module):
    """Does what ``batches.prepare`` does on a CPU, with weights that are known beforehand."""

    luma: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, how: Preprocessing, view: str, side: int) -> None:
        super().__init__()
        self._mode = how.crop_mode
        frame = frame_of(how)
        self._flipped, self._box = box_of_view(how, view)
        self._to_frame = _weights((side, side), frame, how, self, "frame")
        self._to_size = _weights(self._box[2:], how.size, how, self, "size")
        self.register_buffer("luma", torch.tensor(LUMA).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("mean", torch.tensor(how.mean).view(1, -1, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(how.std).view(1, -1, 1, 1) * 255, persistent=False)

    def forward(self, squares: Mapping[str, Tensor]) -> Tensor:
        """Map squares (N, C, side, side) to the normalised input (N, C, height, width)."""
        batch = squares[self._mode]
        if self.mean.shape[1] < batch.shape[1]:
            batch = (batch * self.luma).sum(1, keepdim=True).round()
        if self._to_frame:
            batch = apply_rounded(batch, self.get_buffer("frame_across"), self.get_buffer("frame_down"))
        top, left, height, width = self._box
        batch = batch[:, :, top : top + height, left : left + width]
        if self._to_size:
            batch = apply_rounded(batch, self.get_buffer("size_across"), self.get_buffer("size_down"))
        if self._flipped:
            batch = batch.flip(-1)
        return (batch - self.mean) / self.std


def _weights(given: tuple[int, int], wanted: tuple[int, int], how: Preprocessing, module: nn.Module, name: str) -> bool:
    """Keep the weights of a resize as buffers, where there is something to resize."""
    if given == wanted:
        return False
    for axis, place in ((1, "across"), (0, "down")):
        weights = fixed_weights(given[axis], wanted[axis], how.interpolation)
        module.register_buffer(f"{name}_{place}", weights, persistent=False)
    return True


def _divided(number: Tensor, by: Tensor) -> Tensor:
    """Return a quotient to the nearest whole number; of two that are equally near, the even one."""
    low = number // by
    rest = 2 * (number - low * by)
    return low + ((rest > by) | ((rest == by) & (low % 2 == 1)))


def _half(number: Tensor) -> Tensor:
    """Return half of a whole number; of two that are equally near, the even one, as ``round`` does."""
    low = number // 2
    return low + (number % 2) * (low % 2)
