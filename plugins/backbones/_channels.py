"""Weights of a first layer for images of another number of channels."""

from __future__ import annotations

from collections.abc import Mapping

from timm.models import adapt_input_conv
from torch import Tensor, nn

from autotransfer.errors import BackboneError
from autotransfer_plugins.backbones._recipe import Recipe

__all__ = ["build_with_channels"]


def build_with_channels(recipe: Recipe, weights: Mapping[str, Tensor], channels: int) -> nn.Module:
    """Build a model from weights of one whose images have other channels.

    As in timm, the first layer sums its weights over the channels for images of one channel. For images of more, it
    repeats them, and scales them so that features keep their size.

    Args:
        recipe: The model that is wanted.
        weights: The weights that there are.
        channels: The number of channels that they are for.

    Raises:
        BackboneError: The first layer is of a kind that cannot be adapted.
    """
    model = recipe.build(outlined=True)
    if recipe.channels == channels:
        model.load_state_dict(weights)
        return model
    expected = model.state_dict()
    try:
        fitting = {
            name: tensor
            if tensor.shape == expected[name].shape
            else adapt_input_conv(recipe.channels, tensor, base_chans=channels)
            for name, tensor in weights.items()
        }
        model.load_state_dict(fitting)
    except (NotImplementedError, AssertionError, RuntimeError, KeyError) as error:
        raise BackboneError(
            f"{recipe.architecture} cannot take images of {recipe.channels} channels: its first layer, which takes "
            f"{channels}, is of a kind that is not adapted."
        ) from error
    return model
