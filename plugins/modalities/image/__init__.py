"""Images: reading, decoding once, views, augmentation and resolutions."""

from __future__ import annotations

from collections.abc import Callable

from autotransfer.contract.hookspecs import hookimpl
from autotransfer.contract.modality import Modality
from autotransfer_plugins.modalities.image.modality import IMAGE

__all__ = ["register_modalities"]


@hookimpl
def register_modalities(register: Callable[[Modality], None]) -> None:
    """Register images."""
    register(IMAGE)
