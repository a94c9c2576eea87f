"""A backbone and a head as one module."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from autotransfer.backbones.stage_features import StageFeatures
from autotransfer.contract.backbone import Backbone
from autotransfer.contract.modality import Inputs
from autotransfer.contract.specs import Takes
from autotransfer.tasks.task import Task

__all__ = ["Network", "to_predictions"]


class Network(nn.Module):
    """What a candidate trains and a model predicts with.

    Targets of a regression are standardised: the head's outputs are float32 near 0, and the units of the targets are
    kept, and given back, in float64 on the CPU: float32 rounds 1.7e9 to a multiple of 128, and holds no 1e40.

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
        self.register_buffer("shift", torch.as_tensor(shift, dtype=torch.float64).clone())
        self.register_buffer("scale", torch.as_tensor(scale, dtype=torch.float64).clone())

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Network:
        """Leave the units where they are and as they are: not every device has float64."""
        units = {name: self._buffers.pop(name) for name in ("shift", "scale")}
        try:
            super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        finally:
            self._buffers.update(units)
        return self

    def features(self, inputs: Inputs) -> Tensor:
        """Map inputs (N, ...) to what the head takes."""
        if self.head_takes == "map":
            return self.backbone.as_map(self.backbone.forward_map(inputs))
        if self.stages is not None:
            return torch.cat(self.stages(self.backbone, inputs), 1)
        return self.backbone(inputs)  # type: ignore[no-any-return]

    def forward(self, inputs: Inputs) -> Tensor:
        """Map inputs (N, ...) to logits, or regression values in the units of the target (N, outputs)."""
        return self.to_target_units(self.head_outputs(self.features(inputs)))

    def head_outputs(self, features: Tensor) -> Tensor:
        """Map what the head takes to logits, or standardised values (N, outputs), as float32."""
        return self.head(features).float()  # type: ignore[no-any-return]

    def to_target_units(self, outputs: Tensor) -> Tensor:
        """Give standardised values (N, outputs) the units of the target, as float64 on the CPU; logits stay."""
        if not self.scale.ndim:
            return outputs
        return outputs.double().cpu() * self.scale + self.shift


def to_predictions(task: Task, outputs: Tensor) -> np.ndarray:
    """Turn outputs (N, outputs) into probabilities as float32, or regression values as float64."""
    if task.single_label:
        outputs = outputs.float().softmax(1)
    elif task.kind == "multilabel":
        outputs = outputs.float().sigmoid()
    outputs = outputs.detach().cpu()
    return np.asarray((outputs.double() if task.kind == "regression" else outputs).numpy(), dtype=task.dtype)
