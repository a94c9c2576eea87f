"""A backbone and a head as one module."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from autotransfer.contract.backbone import Backbone
from autotransfer.contract.specs import Takes
from autotransfer.task import Task
from autotransfer.transfer.stages import StageFeatures

__all__ = ["Network", "to_scores"]


class Network(nn.Module):
    """What a candidate trains and a model predicts with.

    Args:
        backbone: Feature extractor.
        head: Turns its features into outputs.
        head_shape: Shape of what the head takes, as its ``HeadSpec`` says.
        shift: Added to the outputs of a regression, whose targets were standardised.
        scale: Factor on the outputs of a regression.
        head_takes: What the head takes.
        stages: Where the backbone's stages end, for a head that takes what they give.
    """

    shift: Tensor
    scale: Tensor

    def __init__(
        self,
        backbone: Backbone,
        head: nn.Module,
        head_shape: tuple[int, ...],
        shift: np.ndarray | float = 0.0,
        scale: np.ndarray | float = 1.0,
        *,
        head_takes: Takes = "pooled",
        stages: StageFeatures | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.head_shape = head_shape
        self.head_takes, self.stages = head_takes, stages
        # Copies: two buffers over one array would be loaded into each other.
        self.register_buffer("shift", torch.as_tensor(shift, dtype=torch.float32).clone())
        self.register_buffer("scale", torch.as_tensor(scale, dtype=torch.float32).clone())

    def features(self, images: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to what the head takes."""
        if self.head_takes == "map":
            return self.backbone.as_map(self.backbone.forward_map(images))
        if self.stages is not None:
            return torch.cat(self.stages(self.backbone, images), 1)
        return self.backbone(images)  # type: ignore[no-any-return]

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to logits or regression values (N, outputs)."""
        return self.head_outputs(self.features(images))

    def head_outputs(self, features: Tensor) -> Tensor:
        """Map what the head takes to outputs (N, outputs), in the units of the target."""
        return self.head(features).float() * self.scale + self.shift  # type: ignore[no-any-return]


def to_scores(task: Task, outputs: Tensor) -> np.ndarray:
    """Turn outputs (N, outputs) into probabilities, or regression values, as float32."""
    outputs = outputs.float()
    if task.single_label:
        outputs = outputs.softmax(1)
    elif task.kind == "multilabel":
        outputs = outputs.sigmoid()
    return np.asarray(outputs.detach().cpu().numpy(), dtype=np.float32)
