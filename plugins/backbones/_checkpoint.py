"""Safe reading and loading of checkpoints in timm's own format."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from autotransfer.errors import BackboneError
from autotransfer_plugins.backbones._channels import build_with_channels
from autotransfer_plugins.backbones._model import TimmBackbone
from autotransfer_plugins.backbones._recipe import Recipe
from autotransfer_plugins.backbones._zoo import CONFIG, WEIGHTS, read_config, weights_file

__all__ = ["check_folder", "load_folder"]


def check_folder(folder: Path) -> None:
    """Read and check a whole checkpoint folder, without building its model.

    Raises:
        BackboneError: The folder holds no valid checkpoint.
    """
    _read(folder)


def load_folder(folder: Path, side: int | None = None, channels: int | None = None) -> TimmBackbone:
    """Build the backbone of a checkpoint folder and load its weights.

    Args:
        folder: The folder.
        side: Side of the images in pixels; None takes the size in the checkpoint.
        channels: Number of channels of the images, for which the first layer is adapted; None takes its own.

    Raises:
        BackboneError: The folder holds no valid checkpoint, or its model takes no such images.
    """
    recipe, weights = _read(folder)
    wanted = recipe.at(side, channels)
    return TimmBackbone(build_with_channels(wanted, weights, recipe.channels), wanted)


def _read(folder: Path) -> tuple[Recipe, dict[str, Tensor]]:
    """Read and check a checkpoint.

    Returns:
        The recipe of the model, and exactly the weights that the model takes.

    Raises:
        BackboneError: The checkpoint is invalid.
    """
    recipe = Recipe.from_json(read_config(folder), str(folder / CONFIG))
    outline, classifier = recipe.outline()
    try:
        weights = load_file(weights_file(folder))
    except (SafetensorError, OSError, ValueError) as error:
        raise BackboneError(f"{folder / WEIGHTS} is no valid safetensors file: {error}") from None
    weights = _fit(weights, outline, classifier, folder)
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor.float()).all():
            raise BackboneError(f"{folder / WEIGHTS}: the tensor {name!r} holds values that are not finite.")
    return recipe, weights


def _fit(weights: dict[str, Tensor], outline: nn.Module, classifier: set[str], folder: Path) -> dict[str, Tensor]:
    """Return the weights by the names of the model, without the classifier.

    Raises:
        BackboneError: Names, shapes or types differ from those of the model.
    """
    expected = outline.state_dict()
    if set(weights) - classifier != set(expected):
        weights = _modernize(weights, outline)
    extra = sorted(set(weights) - set(expected) - classifier)
    missing = sorted(name for name in set(expected) - set(weights) if not name.endswith("num_batches_tracked"))
    if extra or missing:
        raise BackboneError(
            f"{folder / WEIGHTS} does not suit the architecture in {CONFIG}: {len(missing)} tensors are missing "
            f"{missing[:3]}, {len(extra)} are not of this model {extra[:3]}."
        )
    fitting = {name: tensor for name, tensor in weights.items() if name in expected}
    for name, tensor in fitting.items():
        if tensor.shape != expected[name].shape or tensor.is_floating_point() != expected[name].is_floating_point():
            raise BackboneError(
                f"{folder / WEIGHTS} does not suit the architecture in {CONFIG}: {name!r} is {tensor.dtype} "
                f"{tuple(tensor.shape)}; the model takes {expected[name].dtype} {tuple(expected[name].shape)}."
            )
    return fitting


def _modernize(weights: dict[str, Tensor], outline: nn.Module) -> dict[str, Tensor]:
    """Rename the weights of an older timm with the filter function of the model's module, if there is one."""
    convert = getattr(sys.modules[type(outline).__module__], "checkpoint_filter_fn", None)
    try:
        return dict(convert(weights, outline)) if convert else weights
    except Exception:  # the filter expects certain checkpoints; the comparison after it reports the problem
        return weights
