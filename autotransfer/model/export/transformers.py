"""Models as checkpoints of transformers: its ``Auto`` classes for classification load them."""

from __future__ import annotations

from autotransfer.model.export.checkpoint import write as write_checkpoint
from autotransfer.model.export.exporters import ExportRequest, Predict

__all__ = ["write"]


def write(request: ExportRequest) -> Predict:
    """Write a model; see ``WriteFormat``."""
    return write_checkpoint(request, "transformers")
