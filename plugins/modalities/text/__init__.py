"""Texts: reading, tokenising once, lengths and token dropout."""

from __future__ import annotations

from collections.abc import Callable

from autotransfer.contract.hookspecs import hookimpl
from autotransfer.contract.modality import Modality
from autotransfer_plugins.modalities.text.modality import TEXT

__all__ = ["register_modalities"]


@hookimpl
def register_modalities(register: Callable[[Modality], None]) -> None:
    """Register texts."""
    register(TEXT)
