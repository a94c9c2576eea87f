"""A timm model as a backbone: without its classifier, with stages, and with timm's own pooling."""

from __future__ import annotations

from math import isqrt
from typing import Any

import torch
from torch import Tensor

from autotransfer.contract.backbone import Backbone
from autotransfer.contract.modality import Inputs
from autotransfer.errors import BackboneError
from autotransfer.runtime.text import one_line
from autotransfer_plugins.backbones._recipe import Recipe
from autotransfer_plugins.backbones._stages import find_stages, reached

__all__ = ["TimmBackbone"]


class TimmBackbone(Backbone):
    """Wraps a timm model; names in ``state_dict()`` are timm's with the prefix ``model.``.

    ``forward_features`` of timm computes the map, and ``forward_head`` before the classifier pools it. For models whose
    ``forward_features`` returns several tensors, the pooled features are the map.

    Args:
        model: A timm model without classifier, from ``Recipe.build`` or after ``strip_classifier``.
        recipe: Recipe of the model.

    Raises:
        BackboneError: The model does not turn images (N, C, H, W) into features (N, width).
    """

    model: Any  # an nn.Module with timm's methods

    def __init__(self, model: Any, recipe: Recipe) -> None:
        model.eval()
        height, width = recipe.preprocessing.size
        try:
            with torch.inference_mode(False), torch.enable_grad():  # ``reached`` reads the autograd graph
                features = model.forward_features(torch.zeros(1, recipe.channels, height, width))
                mapped = features if isinstance(features, Tensor) else None
                before_logits, pooled = _pool(model, features)
        except Exception as error:  # models may raise any error
            raise BackboneError(
                f"{recipe.architecture} cannot be used as a backbone: it does not turn an image of {height} x {width} "
                f"pixels into pooled features: {type(error).__name__}: {one_line(error)}"
            ) from error
        super().__init__(stages=(), preprocessing=recipe.preprocessing, width=pooled.shape[1], recipe=recipe.to_json())
        self.model = model
        self._before_logits = before_logits
        self._has_map = mapped is not None
        found = find_stages(model, reached(pooled if mapped is None else mapped), reached(pooled))
        self.stages = found.names
        self._stage_of = {f"model.{name}": stage for name, stage in found.of.items()}
        _clear_bias_caches(self)
        self.register_load_state_dict_post_hook(_clear_bias_caches)  # type: ignore[no-untyped-call]

    def stage_of(self, parameter: str) -> int:
        """Return the stage of a parameter or buffer, named as in ``state_dict()``.

        Raises:
            BackboneError: The backbone has no such parameter.
        """
        if parameter not in self._stage_of:
            raise BackboneError(f"The backbone has no parameter or buffer {parameter!r}.")
        return self._stage_of[parameter]

    def forward_map(self, inputs: Tensor) -> Tensor:
        """Map images (N, C, H, W) to the result of timm's ``forward_features``: a map, tokens, or features (N, C)."""
        features: Tensor = self.model.forward_features(inputs)
        return features if self._has_map else self._head(features)

    def pool(self, features: Tensor, inputs: Inputs | None = None) -> Tensor:
        """Pool the result of ``forward_map`` to features (N, width), as timm does before the classifier."""
        return self._head(features) if self._has_map else features

    def _head(self, features: Tensor) -> Tensor:
        return self.model.forward_head(features, pre_logits=self._before_logits)  # type: ignore[no-any-return]

    def as_map(self, features: Tensor) -> Tensor:
        """Return the result of ``forward_map`` as a map (N, C, h, w), without class and register tokens.

        If the number of tokens L is no square, the map has the shape (N, C, L, 1).
        """
        if features.ndim == 4 and getattr(self.model, "output_fmt", "NCHW") == "NHWC":
            return features.permute(0, 3, 1, 2)
        if features.ndim == 3:
            tokens = features[:, getattr(self.model, "num_prefix_tokens", 0) or 0 :].transpose(1, 2)
            side = isqrt(tokens.shape[2])
            return tokens.reshape(*tokens.shape[:2], side, side) if side**2 == tokens.shape[2] else tokens[..., None]
        return super().as_map(features)


def _clear_bias_caches(module: Any, _: object = None) -> None:
    """Clear the attention biases that LeViT and similar models cache in eval mode, since new weights outdate them."""
    for part in module.modules():
        if hasattr(part, "attention_bias_cache"):
            part.attention_bias_cache = {}


def _pool(model: Any, features: Tensor) -> tuple[bool, Tensor]:
    """Return the value of ``pre_logits`` with which the model pools, and the pooled features (1, width)."""
    reason: Exception | None = None
    for before_logits in (True, False):  # without a classifier, the whole head pools as well
        try:
            pooled = model.forward_head(features, pre_logits=before_logits)
        except Exception as error:
            reason = error
        else:
            if isinstance(pooled, Tensor) and pooled.ndim == 2:
                return before_logits, pooled
            reason = TypeError(f"its pooled features have the shape {tuple(getattr(pooled, 'shape', ()))}")
    raise reason or AssertionError
