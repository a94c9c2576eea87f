"""Decoded images: every file was read and decoded once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from autotransfer.contract.modality import Modality, Store
from autotransfer.warnings import FitWarning
from autotransfer_plugins.modalities.image.decoding import Decoding
from autotransfer_plugins.modalities.image.formats import COLOURS, WHOLE_IMAGE_MODES
from autotransfer_plugins.modalities.image.framings import LeftOut, cropped

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from autotransfer_plugins.modalities.image.formats import Preprocessing

__all__ = ["Images"]


def _image() -> Modality:
    from autotransfer_plugins.modalities.image.modality import IMAGE

    return IMAGE


@dataclass(frozen=True, kw_only=True)
class Images(Store):
    """Decoded images; ``arrays`` holds uint8 (N, side, side, C) by crop mode.

    Attributes:
        side: Height and width of the stored squares in pixels.
        decoding: How values became pixels: decided over these images, or given.
        left_out: What a crop at the centre leaves out of them; empty where others were decided over.
    """

    modality: Modality = field(default_factory=_image)
    side: int = 0
    decoding: Decoding = field(default_factory=Decoding)
    left_out: LeftOut = field(default_factory=lambda: LeftOut(shares=()))

    @property
    def pixels(self) -> Mapping[str, np.ndarray]:
        """The squares, uint8 (N, side, side, C) by crop mode."""
        return self.arrays

    @property
    def reading(self) -> Mapping[str, Any]:
        """How they were decoded, as JSON."""
        return {"side": self.side, **self.decoding.to_json()}

    @property
    def decided(self) -> str:
        """What tells apart pixels that were decoded from equal files."""
        return self.decoding.key

    def warnings_on(self, chosen: Sequence[Preprocessing], tried: Sequence[Preprocessing]) -> tuple[FitWarning, ...]:
        """Warn where the crop leaves out much, and no backbone has seen, in a trial, the whole images."""
        sees_all = any(how.crop_mode in WHOLE_IMAGE_MODES for how in (*chosen, *tried))
        return () if sees_all or not chosen or not self.left_out.is_much else (cropped(self.left_out),)

    def suits(self, how: Preprocessing) -> bool:
        """Whether there are squares that were cut as a backbone wants them, with channels that it takes."""
        squares = self.arrays.get(how.crop_mode)
        return squares is not None and (
            how.channels == squares.shape[-1] or {how.channels, squares.shape[-1]} == {*COLOURS}
        )

    def inputs(
        self, rows: slice | np.ndarray, how: Preprocessing, device: torch.device, view: str | None = None
    ) -> Tensor:
        """Return normalised images (rows, C, height, width)."""
        from autotransfer_plugins.modalities.image.batches import VIEWS, prepare

        return prepare(self.arrays[how.crop_mode][rows], how, device, view or VIEWS[0])

    def augmented(
        self, rows: slice | np.ndarray, how: Preprocessing, device: torch.device, strength: str, rng: torch.Generator
    ) -> Tensor:
        """Return normalised images (rows, C, height, width), each changed at random."""
        from autotransfer_plugins.modalities.image.batches import augment

        return augment(self.arrays[how.crop_mode][rows], how, device, strength, rng)
