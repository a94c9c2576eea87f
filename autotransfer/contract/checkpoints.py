"""Checkpoints of other libraries, which the plugins of backbones write."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotransfer.contract.modality import Inputs
from autotransfer.contract.registry import Registry
from autotransfer.errors import ExportError

if TYPE_CHECKING:
    from torch import Tensor

    from autotransfer.contract.backbone import Backbone

__all__ = ["write_checkpoint"]


def write_checkpoint(
    registry: Registry,
    library: str,
    backbone: Backbone,
    classifier: tuple[Tensor, Tensor],
    about: Mapping[str, Any],
    folder: Path,
) -> Callable[[Inputs], Tensor]:
    """Write a backbone with a linear classifier into a folder; see the hook ``export_checkpoint``.

    Returns:
        What maps inputs of the backbone to outputs (N, outputs), with the checkpoint as the library loads it.

    Raises:
        ExportError: No plugin knows how, or the library has no place for the classifier.
    """
    made: Callable[[Inputs], Tensor] | None = registry.first(
        "export_checkpoint",
        Callable,  # type: ignore[arg-type]  # ``isinstance`` takes it
        backbone=backbone,
        library=library,
        classifier=classifier,
        about=about,
        folder=folder,
    )
    if made is None:
        raise ExportError(
            f"The backbone is a {type(backbone).__name__}, which is no model of {library}: export with --format onnx, "
            f"or fit with backbones of {library}."
        )
    return made
