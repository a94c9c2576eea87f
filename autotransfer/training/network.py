"""A backbone and a head as one module."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from autotransfer.backbones.frozen import PROBES
from autotransfer.backbones.inputs import laid_out, length_of
from autotransfer.backbones.stage_features import StageFeatures
from autotransfer.contract.backbone import Backbone
from autotransfer.contract.modality import Inputs
from autotransfer.contract.specs import Takes
from autotransfer.tasks.task import Task

__all__ = ["Network", "to_predictions"]


class Network(nn.Module):
    """A backbone with a head.

    A regression head predicts standardised targets in float32. ``to_target_units`` scales them in float64 on the CPU,
    since float32 rounds 1.7e9 to a multiple of 128 and cannot hold 1e40.

    Args:
        backbone: Feature extractor.
        head: Maps features to outputs.
        head_shape: Shape of the features that the head takes, as in ``HeadSpec.build``.
        shift: Mean of the regression targets.
        scale: Standard deviation of the regression targets.
        head_takes: Kind of features that the head takes.
        stages: Features of the stages, for a head that takes them; else None.
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
        # Copies, since loading a state would write into two buffers that share an array.
        self.register_buffer("shift", torch.as_tensor(shift, dtype=torch.float64).clone())
        self.register_buffer("scale", torch.as_tensor(scale, dtype=torch.float64).clone())

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Network:
        """Keep shift and scale in float64 on the CPU, since not every device supports float64."""
        kept = {name: self._buffers.pop(name) for name in ("shift", "scale")}
        try:
            super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        finally:
            self._buffers.update(kept)
        return self

    @cached_property
    def map_positions(self) -> int | None:
        """Number of positions of a map for the head, where examples have unequal lengths: that of the probe."""
        return length_of(self.backbone.preprocessing.probe(PROBES))

    def features(self, inputs: Inputs) -> Tensor:
        """Map inputs (N, ...) to the features that the head takes."""
        if self.head_takes == "map":
            return laid_out(self.backbone, self.backbone.forward_map(inputs), inputs, self.map_positions)
        if self.stages is not None:
            return torch.cat(self.stages(self.backbone, inputs), 1)
        return self.backbone(inputs)  # type: ignore[no-any-return]

    def forward(self, inputs: Inputs) -> Tensor:
        """Map inputs (N, ...) to logits, or to regression values in the units of the targets (N, outputs)."""
        return self.to_target_units(self.head_outputs(self.features(inputs)))

    def head_outputs(self, features: Tensor) -> Tensor:
        """Map features to logits or standardised values (N, outputs), as float32."""
        return self.head(features).float()  # type: ignore[no-any-return]

    def to_target_units(self, outputs: Tensor) -> Tensor:
        """Scale standardised values (N, outputs) to the units of the targets, as float64 on the CPU; keep logits."""
        if not self.scale.ndim:
            return outputs
        return outputs.double().cpu() * self.scale + self.shift


def to_predictions(task: Task, outputs: Tensor) -> np.ndarray:
    """Return predictions (N, outputs): float32 probabilities from logits, or float64 regression values."""
    if task.single_label:
        outputs = outputs.float().softmax(1)
    elif task.kind == "multilabel":
        outputs = outputs.float().sigmoid()
    outputs = outputs.detach().cpu()
    return np.asarray((outputs.double() if task.kind == "regression" else outputs).numpy(), dtype=task.dtype)
