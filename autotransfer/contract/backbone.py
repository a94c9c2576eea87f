"""A loaded backbone: a module with an ordered list of stages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from autotransfer.contract.modality import InputFormat, Inputs

__all__ = ["Backbone", "SequentialBackbone"]


class Backbone(nn.Module):
    """A pretrained feature extractor. Plugins subclass it, or use ``SequentialBackbone`` for a plain stack of modules.

    Attributes:
        stages: Names of the stages; stage 0 is nearest the input.
        preprocessing: How the backbone wants its inputs.
        width: Number of pooled features.
        exact_inputs: Whether floats among several inputs stay in float32 where the backbone runs in 16 bit.
        recipe: JSON from which ``rebuild_backbone`` builds the architecture, without weights.
    """

    stages: tuple[str, ...]
    preprocessing: InputFormat
    width: int
    exact_inputs: bool = False
    recipe: Mapping[str, Any]

    def __init__(
        self,
        *,
        stages: tuple[str, ...],
        preprocessing: InputFormat,
        width: int,
        recipe: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.stages = stages
        self.preprocessing = preprocessing
        self.width = width
        self.recipe = recipe or {}

    def stage_of(self, parameter: str) -> int:
        """Return the stage of a parameter or buffer, named as in ``state_dict()``."""
        raise NotImplementedError

    def forward_map(self, inputs: Any) -> Tensor:
        """Map inputs (N, ...), a tensor or several by name, to what is pooled.

        Returns:
            The last feature map (N, C, h, w), tokens (N, L, C) or features (N, C).
        """
        raise NotImplementedError

    def pool(self, features: Tensor, inputs: Inputs | None = None) -> Tensor:
        """Pool the result of ``forward_map`` to features (N, width).

        A backbone whose inputs are floats may leave ``inputs`` out.

        Args:
            features: What ``forward_map`` returned.
            inputs: Whole numbers and truth values among the inputs, such as a mask; None where there are none.
        """
        raise NotImplementedError

    def as_map(self, features: Tensor) -> Tensor:
        """Return the result of ``forward_map`` as a map (N, C, h, w), for heads with a pooling of their own."""
        if features.ndim == 2:
            return features[:, :, None, None]
        if features.ndim == 3:
            return features.transpose(1, 2)[..., None]
        return features

    def start_from(self, teacher: Backbone) -> None:
        """Take initial weights from a teacher of another architecture, where there is a way; does nothing by default.

        Pretraining and distillation call it once, on a backbone with random weights, before the training.

        Args:
            teacher: The trained backbone, in eval mode; it stays as it is.
        """

    def forward(self, inputs: Inputs) -> Tensor:
        """Map inputs (N, ...) to pooled features (N, width)."""
        features, tensors = self.forward_map(inputs), [inputs] if isinstance(inputs, Tensor) else inputs.values()
        masked = not all(tensor.is_floating_point() for tensor in tensors)
        return self.pool(features, inputs) if masked else self.pool(features)


class SequentialBackbone(Backbone):
    """A backbone of modules that run one after the other; each module is a stage, and the last map is averaged.

    Example:
        >>> from torch import nn
        >>> from autotransfer_plugins.modalities.image.formats import Preprocessing
        >>> body = {"stem": nn.Conv2d(3, 8, 3, stride=2), "body": nn.Conv2d(8, 16, 3, stride=2)}
        >>> SequentialBackbone(body, preprocessing=Preprocessing(size=(32, 32)), width=16).stages
        ('stem', 'body')
    """

    def __init__(
        self,
        modules: Mapping[str, nn.Module],
        *,
        preprocessing: InputFormat,
        width: int,
        recipe: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(stages=tuple(modules), preprocessing=preprocessing, width=width, recipe=recipe)
        self.body = nn.ModuleDict(modules)

    def stage_of(self, parameter: str) -> int:
        """Return the position of the module that holds the parameter."""
        return self.stages.index(parameter.split(".")[1])

    def forward_map(self, inputs: Any) -> Tensor:
        """Run the stages in order."""
        features: Tensor = inputs
        for module in self.body.values():
            features = module(features)
        return features

    def pool(self, features: Tensor, inputs: Inputs | None = None) -> Tensor:
        """Average over positions."""
        return features if features.ndim == 2 else torch.flatten(self.as_map(features), 2).mean(-1)
