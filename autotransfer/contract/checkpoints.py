"""Checkpoints of other libraries, which the plugins of backbones write."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotransfer.contract.modality import Inputs
from autotransfer.errors import ExportError

if TYPE_CHECKING:
    from torch import Tensor

    from autotransfer.contract.backbone import Backbone
    from autotransfer.contract.registry import Registry

__all__ = ["Checkpoint", "write_checkpoint"]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint of another library that was written.

    Attributes:
        run: Maps inputs of the backbone to outputs (N, outputs), with the checkpoint as the library loads it.
        usage: How to predict with it, in Markdown; ``FOLDER`` stands for its place.
    """

    run: Callable[[Inputs], Tensor]
    usage: str


def write_checkpoint(
    registry: Registry,
    library: str,
    backbone: Backbone,
    classifier: tuple[Tensor, Tensor],
    about: Mapping[str, Any],
    folder: Path,
) -> Checkpoint:
    """Write a backbone with a linear classifier into a folder; see the hook ``export_checkpoint``.

    Raises:
        ExportError: No plugin knows how, or the library has no place for the classifier.
    """
    made: Checkpoint | None = registry.first(
        "export_checkpoint",
        Checkpoint,
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
