"""Recipes of new architectures, and writing of trained backbones as checkpoints in timm's own format."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from autotransfer.errors import BackboneError, ConfigError
from autotransfer_plugins.backbones._model import TimmBackbone
from autotransfer_plugins.backbones._recipe import Recipe

__all__ = ["outline", "write_folder"]

# Largest relative difference between timm's outputs and the classifier on the pooled features.
_MAX_RELATIVE_DIFFERENCE = 1e-2
_MIN_SIDE, _MAX_SIDE = 8, 2048  # pixels


def outline(architecture: str, input_size: int | None, classes: int) -> dict[str, Any]:
    """Return the recipe of an architecture for images of a size, without cropping.

    Args:
        architecture: timm's name, without a tag.
        input_size: Side of the images in pixels; None takes the architecture's own.
        classes: Outputs of its classifier; 0 for none.

    Raises:
        ConfigError: The architecture cannot be built for this size.
    """
    about = vars(timm.get_pretrained_cfg(architecture, allow_unregistered=False))
    side = (about.get("input_size") or (3, 224, 224))[1] if input_size is None else input_size
    if not _MIN_SIDE <= side <= _MAX_SIDE:
        raise ConfigError(f"The input size is from {_MIN_SIDE} to {_MAX_SIDE} pixels; got {side}.")
    known = {key: about.get(key) for key in ("mean", "std", "interpolation", "crop_mode", "fixed_input_size")}
    config = {**known, "input_size": [3, side, side], "crop_pct": 1.0, "num_classes": classes}
    recipe = Recipe.from_json(
        {"architecture": architecture, "pretrained_cfg": config}, f"The architecture {architecture}"
    )
    try:
        TimmBackbone(recipe.build(), recipe)
    except BackboneError as error:
        raise ConfigError(f"{architecture} cannot be built for images of {side} x {side} pixels: {error}") from error
    return recipe.to_json()


def write_folder(
    backbone: TimmBackbone, classifier: tuple[Tensor, Tensor] | None, about: Mapping[str, Any], folder: Path
) -> None:
    """Write ``config.json`` and ``model.safetensors``, in 16 bit; ``timm.create_model("local-dir:...")`` loads them.

    Raises:
        BackboneError: The classifier does not suit the architecture, or a weight does not fit into 16 bit.
    """
    recipe = Recipe.from_json(dict(backbone.recipe), "The recipe of the backbone")
    model = recipe.build_whole(0 if classifier is None else len(classifier[0]))
    loaded = model.load_state_dict(backbone.model.state_dict(), strict=False)
    wrong = {*loaded.missing_keys, *loaded.unexpected_keys}
    if classifier is not None:
        _fill(model, classifier, backbone)
        names = (name for name, layer in model.named_modules() if layer is model.get_classifier())
        wrong -= {f"{name}.{part}" for name in names for part in ("weight", "bias")}
    if wrong:
        raise BackboneError(f"{recipe.architecture} cannot be written: {sorted(wrong)[:3]} are not of both.")
    model.half()
    for name, tensor in model.state_dict().items():
        if not bool(tensor.isfinite().all()):
            raise BackboneError(f"{recipe.architecture} cannot be written in 16 bit: {name!r} is too large.")
    how = {key: recipe.pretrained_cfg[key] for key in ("input_size", "mean", "std", "interpolation", "crop_pct")}
    extra = {key: about[key] for key in ("label_names", "source") if about.get(key)}
    facts = {key: about[key] for key in ("description", "license") if about.get(key)}
    pretrained = {"crop_mode": recipe.pretrained_cfg["crop_mode"], "tag": "", **facts}
    timm.models.save_for_hf(
        model, folder, model_config={"pretrained_cfg": pretrained, **extra}, safe_serialization=True, data_config=how
    )
    shutil.copymode(folder / "config.json", folder / "model.safetensors")  # safetensors writes for the owner alone


def _fill(model: Any, classifier: tuple[Tensor, Tensor], backbone: TimmBackbone) -> None:
    """Set the weights of the classifier, and check that the model equals the backbone followed by the classifier."""
    weight, bias = classifier
    layer = model.get_classifier()
    if not isinstance(layer, nn.Linear) or layer.weight.shape != weight.shape or layer.bias is None:
        raise BackboneError(f"{type(model).__name__} has no linear classifier with a bias on its pooled features.")
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    images = torch.rand(2, *backbone.recipe["pretrained_cfg"]["input_size"], generator=torch.Generator().manual_seed(0))
    device = next(backbone.parameters()).device
    with torch.inference_mode():
        expected = nn.functional.linear(backbone.eval()(images.to(device)).cpu(), weight.cpu(), bias.cpu())
        outputs = model.eval()(images)
    if not bool((expected - outputs).norm() <= _MAX_RELATIVE_DIFFERENCE * expected.norm()):
        raise BackboneError(f"{type(model).__name__} does not end in a linear classifier on its pooled features.")
