"""A loaded backbone: a module with an ordered list of stages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from autotransfer.contract.specs import Preprocessing

__all__ = ["Backbone", "SequentialBackbone"]


class Backbone(nn.Module):
    """A pretrained feature extractor. Plugins subclass it, or use ``SequentialBackbone`` for a plain stack of modules.

    Attributes:
        stages: Names of the stages; stage 0 is nearest the input.
        preprocessing: Preprocessing of the images.
        width: Number of pooled features.
        recipe: JSON from which ``rebuild_backbone`` builds the architecture, without weights.
    """

    stages: tuple[str, ...]
    preprocessing: Preprocessing
    width: int
    recipe: Mapping[str, Any]

    def __init__(
        self,
        *,
        stages: tuple[str, ...],
        preprocessing: Preprocessing,
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

    def forward_map(self, images: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to the last feature map (N, C, h, w), tokens (N, L, C) or features (N, C)."""
        raise NotImplementedError

    def pool(self, features: Tensor) -> Tensor:
        """Pool the result of ``forward_map`` to features (N, width)."""
        raise NotImplementedError

    def as_map(self, features: Tensor) -> Tensor:
        """Return the result of ``forward_map`` as a map (N, C, h, w), for heads with a pooling of their own."""
        if features.ndim == 2:
            return features[:, :, None, None]
        if features.ndim == 3:
            return features.transpose(1, 2)[..., None]
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to pooled features (N, width)."""
        return self.pool(self.forward_map(images))


class SequentialBackbone(Backbone):
    """A backbone of modules that run one after the other; each module is a stage, and the last map is averaged.

    Example:
        >>> from torch import nn
        >>> body = {"stem": nn.Conv2d(3, 8, 3, stride=2), "body": nn.Conv2d(8, 16, 3, stride=2)}
        >>> SequentialBackbone(body, preprocessing=Preprocessing(size=(32, 32)), width=16).stages
        ('stem', 'body')
    """

    def __init__(
        self,
        modules: Mapping[str, nn.Module],
        *,
        preprocessing: Preprocessing,
        width: int,
        recipe: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(stages=tuple(modules), preprocessing=preprocessing, width=width, recipe=recipe)
        self.body = nn.ModuleDict(modules)

    def stage_of(self, parameter: str) -> int:
        """Return the position of the module that holds the parameter."""
        return self.stages.index(parameter.split(".")[1])

    def forward_map(self, images: Tensor) -> Tensor:
        """Run the stages in order."""
        for module in self.body.values():
            images = module(images)
        return images

    def pool(self, features: Tensor) -> Tensor:
        """Average over positions."""
        return features if features.ndim == 2 else torch.flatten(self.as_map(features), 2).mean(-1)
