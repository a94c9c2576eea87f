"""A checkpoint in timm's own format, read and loaded with distrust."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from autotransfer.errors import BackboneError
from autotransfer_plugins.backbones._model import TimmBackbone
from autotransfer_plugins.backbones._recipe import Recipe
from autotransfer_plugins.backbones._zoo import CONFIG, WEIGHTS, read_config, weights_file

__all__ = ["check_folder", "load_folder"]


def check_folder(folder: Path) -> None:
    """Read a checkpoint folder to the end, without building its model.

    Raises:
        BackboneError: The folder holds no sound checkpoint.
    """
    _read(folder)


def load_folder(folder: Path, side: int | None = None) -> TimmBackbone:
    """Build the backbone of a checkpoint folder and load its weights.

    Args:
        folder: The folder.
        side: Side of its images in pixels; None takes its own.

    Raises:
        BackboneError: The folder holds no sound checkpoint.
    """
    recipe, weights = _read(folder)
    recipe = recipe if side is None else recipe.at(side)
    model = recipe.build(outlined=True)
    model.load_state_dict(weights)
    return TimmBackbone(model, recipe)


def _read(folder: Path) -> tuple[Recipe, dict[str, Tensor]]:
    """Read and check a checkpoint.

    Returns:
        How to build the model, and exactly the weights that it takes.

    Raises:
        BackboneError: Something is wrong with it.
    """
    recipe = Recipe.from_json(read_config(folder), str(folder / CONFIG))
    outline, classifier = recipe.outline()
    try:
        weights = load_file(weights_file(folder))
    except (SafetensorError, OSError, ValueError) as error:
        raise BackboneError(f"{folder / WEIGHTS} is no sound safetensors file: {error}") from None
    weights = _fit(weights, outline, classifier, folder)
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor.float()).all():
            raise BackboneError(f"{folder / WEIGHTS}: the tensor {name!r} holds values that are not finite.")
    return recipe, weights


def _fit(weights: dict[str, Tensor], outline: nn.Module, classifier: set[str], folder: Path) -> dict[str, Tensor]:
    """Return the weights under the names that the model uses, without the classifier.

    Raises:
        BackboneError: Names, shapes or kinds of number are not those of the model.
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
    """Rename what an older timm wrote, with timm's own filter of the family where it has one."""
    convert = getattr(sys.modules[type(outline).__module__], "checkpoint_filter_fn", None)
    try:
        return dict(convert(weights, outline)) if convert else weights
    except Exception:  # it is made for checkpoints that it knows; the comparison that follows names what is wrong
        return weights
