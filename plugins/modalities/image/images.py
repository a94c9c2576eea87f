"""Decoded images: every file was read and decoded once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from autotransfer.contract.modality import Modality, Store
from autotransfer_plugins.modalities.image.decoding import Decoding

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
    """Decoded images; ``arrays`` holds uint8 (N, side, side, 3) by crop mode.

    Attributes:
        side: Height and width of the stored squares in pixels.
        decoding: How values became pixels: decided over these images, or given.
    """

    modality: Modality = field(default_factory=_image)
    side: int = 0
    decoding: Decoding = field(default_factory=Decoding)

    @property
    def pixels(self) -> Mapping[str, np.ndarray]:
        """The squares, uint8 (N, side, side, 3) by crop mode."""
        return self.arrays

    @property
    def reading(self) -> Mapping[str, Any]:
        """How they were decoded, as JSON."""
        return {"side": self.side, **self.decoding.to_json()}

    @property
    def decided(self) -> str:
        """What tells apart pixels that were decoded from equal files."""
        return self.decoding.key

    def suits(self, how: Preprocessing) -> bool:
        """Whether there are squares that were cut as a backbone wants them."""
        return how.crop_mode in self.arrays

    def inputs(
        self, rows: slice | np.ndarray, how: Preprocessing, device: torch.device, view: str | None = None
    ) -> Tensor:
        """Return normalised images (rows, 3, height, width)."""
        from autotransfer_plugins.modalities.image.batches import VIEWS, prepare

        return prepare(self.arrays[how.crop_mode][rows], how, device, view or VIEWS[0])

    def augmented(
        self, rows: slice | np.ndarray, how: Preprocessing, device: torch.device, strength: str, rng: torch.Generator
    ) -> Tensor:
        """Return normalised images (rows, 3, height, width), each changed at random."""
        from autotransfer_plugins.modalities.image.batches import augment

        return augment(self.arrays[how.crop_mode][rows], how, device, strength, rng)
