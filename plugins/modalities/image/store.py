"""Where squares are kept, in memory or in temporary files, and those that wait for a decision beside them."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autotransfer.errors import DataError
from autotransfer.runtime.threads import usable_cores
from autotransfer_plugins.modalities.image.background import blend
from autotransfer_plugins.modalities.image.channels import ChannelValues, shade_channels
from autotransfer_plugins.modalities.image.decoding import Decoding
from autotransfer_plugins.modalities.image.formats import CropMode
from autotransfer_plugins.modalities.image.single import Decoded, is_constant
from autotransfer_plugins.modalities.image.squares import pad, shade
from autotransfer_plugins.modalities.image.value_range import Range, ValueKind

__all__ = ["SquareStore"]


@dataclass(frozen=True)
class _Deep:
    """An image whose black and white are undecided, and in which array its squares wait."""

    kind: ValueKind | None
    values: Range | None
    by_channel: ChannelValues | None
    waiting: str
    drawn: tuple[int, int]


class SquareStore:
    """Collects the squares of images, position by position.

    Attributes:
        pixels: uint8 (N, side, side, channels) by crop mode.
        constant: Positions of the images of which a square holds one single value.
    """

    def __init__(
        self,
        modes: Sequence[CropMode],
        count: int,
        side: int,
        memory_limit: int | None,
        scratch: Path | None,
        channels: int = 3,
    ) -> None:
        self._shape, self._limit, self._scratch = (count, side, side), memory_limit, scratch
        self.pixels = self._new(modes, channels, np.uint8)
        self.constant: set[int] = set()
        self._waiting: dict[str, dict[CropMode, np.ndarray]] = {}
        self._deep: dict[int, _Deep] = {}
        self._transparent: list[int] = []

    def put(self, position: int, found: Decoded) -> None:
        """Keep the squares of an image, those for each decision that is still to be made."""
        for mode, square in found.squares.items():
            self.pixels[mode][position] = square
        if found.squares and any(map(is_constant, found.squares.values())):
            self.constant.add(position)
        if found.deep is not None:
            channels = next(iter(found.deep.values())).shape[-1]
            self._deep[position] = _Deep(found.kind, found.values, found.by_channel, f"deep {channels}", found.drawn)
            self._wait(f"deep {channels}", position, found.deep)
        if found.on_black is not None:
            self._transparent.append(position)
            self._wait("on black", position, found.on_black)

    def settle(self, decoding: Decoding) -> None:
        """Make pixels of what waited for the decision."""
        waiting = [i for i, deep in self._deep.items() if deep.kind is None or not decoding.is_plain(deep.kind)]
        self._each(waiting, lambda mode, i: self._shaded(mode, i, decoding))
        if decoding.background != "white":
            self._each(self._transparent, lambda mode, i: self._blended(mode, i, decoding))
        self._waiting.clear()

    def _each(self, positions: Iterable[int], make: Callable[[CropMode, int], np.ndarray]) -> None:
        def one(i: int) -> None:
            squares = {mode: make(mode, i) for mode in self.pixels}
            for mode, square in squares.items():
                self.pixels[mode][i] = square
            (self.constant.add if any(map(is_constant, squares.values())) else self.constant.discard)(i)

        with ThreadPoolExecutor(usable_cores()) as pool:
            list(pool.map(one, positions))

    def _shaded(self, mode: CropMode, i: int, decoding: Decoding) -> np.ndarray:
        deep = self._deep[i]
        found = self._waiting[deep.waiting][mode][i]
        if deep.by_channel is not None:
            shaded = shade_channels(found, deep.by_channel, decoding.channel_ranges)
        else:
            assert deep.kind is not None
            assert deep.values is not None  # what waits has values of a kind
            shaded = shade(found, deep.values, decoding.range_of(deep.kind))
        return pad(shaded, deep.drawn) if mode == "letterbox" else shaded

    def _blended(self, mode: CropMode, i: int, decoding: Decoding) -> np.ndarray:
        return blend(self.pixels[mode][i], self._waiting["on black"][mode][i], decoding.background)

    def _wait(self, where: str, position: int, squares: Mapping[CropMode, np.ndarray]) -> None:
        """Keep squares in an array that is made when the first of them comes."""
        if where not in self._waiting:
            first = next(iter(squares.values()))
            self._waiting[where] = self._new(list(squares), first.shape[-1], first.dtype)
        for mode, square in squares.items():
            self._waiting[where][mode][position] = square

    def _new(self, modes: Sequence[CropMode], channels: int, dtype: np.typing.DTypeLike) -> dict[CropMode, np.ndarray]:
        """Return an array for each mode, in memory or in temporary files that go away with it.

        Raises:
            DataError: The disk is too small.
        """
        shape = (*self._shape, channels)
        needed = math.prod(shape) * np.dtype(dtype).itemsize * len(modes)
        if self._limit is None or needed <= self._limit:
            self._limit = None if self._limit is None else self._limit - needed
            return {mode: np.empty(shape, dtype=dtype) for mode in modes}
        folder = self._scratch or Path(tempfile.gettempdir())
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        if free < needed:  # a full disk kills the process when a mapped page is written, so look before
            raise DataError(f"Decoded images need {needed / 1e9:.1f} GB in {folder}; {free / 1e9:.1f} GB are free.")
        arrays: dict[CropMode, np.ndarray] = {}
        for mode in modes:
            with tempfile.TemporaryFile(dir=folder) as file:  # unlinked; the mapping keeps it alive
                arrays[mode] = np.memmap(file, dtype=dtype, mode="w+", shape=shape)
        return arrays
