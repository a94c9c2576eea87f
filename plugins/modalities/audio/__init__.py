"""Sounds: reading, decoding and resampling once, windows in time as views, and augmentation."""

from __future__ import annotations

from collections.abc import Callable

from autotransfer.contract.hookspecs import hookimpl
from autotransfer.contract.modality import Modality
from autotransfer_plugins.modalities.audio.modality import AUDIO

__all__ = ["register_modalities"]


@hookimpl
def register_modalities(register: Callable[[Modality], None]) -> None:
    """Register sounds."""
    register(AUDIO)
