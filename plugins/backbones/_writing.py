"""Recipes of new architectures, and writing of trained backbones as checkpoints in timm's own format."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from autotransfer.contract.checkpoints import Checkpoint
from autotransfer.errors import BackboneError, ConfigError, ExportError
from autotransfer_plugins.backbones._model import TimmBackbone
from autotransfer_plugins.backbones._recipe import Recipe
from autotransfer_plugins.modalities.image.formats import Preprocessing

__all__ = ["export_folder", "outline", "write_folder"]

# Largest relative difference between timm's outputs and the classifier on the pooled features.
_MAX_RELATIVE_DIFFERENCE = 1e-2
_MIN_SIDE, _MAX_SIDE = 8, 2048  # pixels
_LINKS = {"binary": ".softmax(1)", "multiclass": ".softmax(1)", "multilabel": ".sigmoid()", "regression": ""}
_USAGE = """```python
import timm
from PIL import Image

model = timm.create_model("local-dir:FOLDER", pretrained=True).eval()  # "hf-hub:OWNER/NAME" from the hub
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
outputs = model(transform(Image.open("new.jpg").convert("RGB"))[None]){link}
print(model.pretrained_cfg.get("label_names"), outputs)
```"""


_DECIDING = """

```python
import json
from pathlib import Path

thresholds = json.loads(Path("FOLDER/config.json").read_text())["thresholds"]
print([label for label, value in zip(thresholds, outputs[0].tolist()) if value > thresholds[label]])
```"""


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
    model = _joined(backbone, classifier).half()
    for name, tensor in model.state_dict().items():
        if not bool(tensor.isfinite().all()):
            raise BackboneError(f"{type(model).__name__} cannot be written in 16 bit: {name!r} is too large.")
    _save(model, backbone, about, folder)


def export_folder(
    backbone: TimmBackbone, classifier: tuple[Tensor, Tensor], about: Mapping[str, Any], folder: Path
) -> Checkpoint:
    """Write the same files in float32, and load them with timm.

    Raises:
        ExportError: The architecture has no linear classifier on its pooled features.
    """
    try:
        model = _joined(backbone, classifier)
    except BackboneError as error:
        raise ExportError(f"{error} Export with --format onnx, or fit with another backbone.") from error
    _save(model, backbone, {**about, "label_names": about["labels"]}, folder)
    loaded = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    usage = _USAGE.format(link=_LINKS[about["kind"]]) + (_DECIDING if about.get("thresholds") else "")
    return Checkpoint(run=loaded, usage=usage)


def _joined(backbone: TimmBackbone, classifier: tuple[Tensor, Tensor] | None) -> Any:
    """Return a model of timm with the weights of a backbone, and with a classifier.

    Raises:
        BackboneError: The classifier does not suit the architecture.
    """
    recipe = Recipe.from_json(dict(backbone.recipe), "The recipe of the backbone")
    model = recipe.build_whole(0 if classifier is None else len(classifier[0])).eval()
    loaded = model.load_state_dict(backbone.model.state_dict(), strict=False)
    wrong = {*loaded.missing_keys, *loaded.unexpected_keys}
    if classifier is not None:
        layers = _fill(model, classifier, backbone)
        names = tuple(f"{name}." for name, layer in model.named_modules() if any(layer is one for one in layers))
        wrong = {name for name in wrong if not name.startswith(names)}
    if wrong:
        raise BackboneError(f"{recipe.architecture} cannot be written: {sorted(wrong)[:3]} are not of both.")
    return model


def _save(model: Any, backbone: TimmBackbone, about: Mapping[str, Any], folder: Path) -> None:
    recipe = Recipe.from_json(dict(backbone.recipe), "The recipe of the backbone")
    how = {key: recipe.pretrained_cfg[key] for key in ("input_size", "mean", "std", "interpolation", "crop_pct")}
    crop_mode = recipe.pretrained_cfg["crop_mode"]
    framed = backbone.preprocessing
    if isinstance(framed, Preprocessing) and framed != recipe.preprocessing:
        how["crop_pct"], crop_mode = (
            framed.crop_fraction,
            {"letterbox": "border"}.get(framed.crop_mode, framed.crop_mode),
        )
    extra = {key: about[key] for key in ("label_names", "source", "thresholds") if about.get(key)}
    facts = {key: about[key] for key in ("description", "license") if about.get(key)}
    pretrained = {"crop_mode": crop_mode, "tag": "", **facts}
    timm.models.save_for_hf(
        model,
        folder,
        model_config={"pretrained_cfg": pretrained, **extra},
        model_args=dict(recipe.model_args),
        safe_serialization=True,
        data_config=how,
    )
    shutil.copymode(folder / "config.json", folder / "model.safetensors")  # safetensors writes for the owner alone


def _fill(model: Any, classifier: tuple[Tensor, Tensor], backbone: TimmBackbone) -> list[nn.Module]:
    """Set the weights of the classifier, and check that the model equals the backbone followed by the classifier.

    Returns:
        The layers of the classifier: distilled models average two.
    """
    weight, bias = classifier
    found = model.get_classifier()
    layers = list(found) if isinstance(found, (tuple, list)) else [found]
    with torch.no_grad():
        for layer in layers:
            linear = _linear_of(layer)
            if linear is None or linear.weight.flatten(1).shape != weight.shape or linear.bias is None:
                raise BackboneError(
                    f"{type(model).__name__} has no linear classifier with a bias on its pooled features."
                )
            linear.weight.copy_(weight.view_as(linear.weight))
            linear.bias.copy_(bias)
    images = torch.rand(2, *backbone.recipe["pretrained_cfg"]["input_size"], generator=torch.Generator().manual_seed(0))
    device = next(backbone.parameters()).device
    with torch.inference_mode():
        expected = nn.functional.linear(backbone.eval()(images.to(device)).cpu(), weight.cpu(), bias.cpu())
        outputs = model.eval()(images)
    if not bool((expected - outputs).norm() <= _MAX_RELATIVE_DIFFERENCE * expected.norm()):
        raise BackboneError(f"{type(model).__name__} does not end in a linear classifier on its pooled features.")
    return layers


def _linear_of(layer: Any) -> Any:
    """Return the linear layer of a classifier, or None; a batch norm in front of it is made to change nothing."""
    if isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1)):
        return layer
    norm, linear = getattr(layer, "bn", None), getattr(layer, "linear", None)
    if not isinstance(norm, nn.BatchNorm1d) or not isinstance(linear, nn.Linear) or norm.running_var is None:
        return None
    norm.reset_running_stats()
    norm.running_var.fill_(1 - norm.eps)
    if norm.affine:
        nn.init.ones_(norm.weight)
        nn.init.zeros_(norm.bias)
    return linear
