"""Folders of checkpoints in timm's own format, ``NAME/config.json`` with ``NAME/model.safetensors``.

They may come from strangers: the configuration is checked, and only safetensors is ever read, so nothing in a folder
can run code.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from autotransfer.contract.specs import BackboneSpec
from autotransfer.errors import BackboneError, ConfigError, DataNotFoundError
from autotransfer.text import escape
from autotransfer_plugins.backbones._model import TimmBackbone
from autotransfer_plugins.backbones._recipe import Recipe

__all__ = ["check_folder", "find_checkpoints", "folder_spec", "load_folder"]

_CONFIG, _WEIGHTS = "config.json", "model.safetensors"
_LARGEST_CONFIG = 2**24  # bytes; those of timm take about a thousand
_PICKLES = (".bin", ".pth", ".pt", ".pkl", ".ckpt", ".tar")
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def find_checkpoints(zoos: Iterable[Path]) -> dict[str, Path]:
    """Return the checkpoint folders of all zoos by name, good ones and broken ones.

    Raises:
        DataNotFoundError: A zoo is no folder, or cannot be read.
        ConfigError: A zoo holds no checkpoint, or two zoos hold one of the same name.
    """
    found: dict[str, Path] = {}
    for zoo in dict.fromkeys(Path(zoo).expanduser().resolve() for zoo in zoos):
        if not zoo.is_dir():
            raise DataNotFoundError(f"There is no zoo folder {zoo}.")
        try:
            folders = [folder for folder in sorted(zoo.iterdir()) if _is_checkpoint(folder)]
        except OSError as error:
            raise DataNotFoundError(f"The zoo folder {zoo} cannot be read: {error}") from None
        if not folders:
            advice = f"It is a checkpoint itself: give {zoo.parent}." if _is_checkpoint(zoo) else ""
            raise ConfigError(f"The zoo {zoo} holds no checkpoint NAME/{_CONFIG} + NAME/{_WEIGHTS}. {advice}".rstrip())
        for folder in folders:
            name = escape(folder.name)  # names are printed, and a folder's may hold anything
            if name in found:
                raise ConfigError(f"Two zoos hold {name!r}: {found[name]} and {folder}; rename one.")
            found[name] = folder
    return found


def folder_spec(folder: Path, name: str) -> BackboneSpec:
    """Describe the checkpoint in a folder without loading it; ``check`` says what is wrong with a broken one."""
    config: Mapping[str, Any] = {}
    recipe = how = parameters = None
    try:
        data = _read_config(folder)
        recipe = Recipe.from_json(data, str(folder))
        how = recipe.preprocessing
        config = data.get("pretrained_cfg", data)
        parameters = _count_parameters(folder, config.get("classifier"))
    except BackboneError:
        pass  # check() tells
    return BackboneSpec(
        name=name,
        load=partial(load_folder, folder),
        check=partial(check_folder, folder),
        source=str(config.get("description") or config.get("tag") or ""),
        weights=f"folder {folder}",
        parameters=parameters,
        input_size=how.size if how else None,
        preprocessing=how,
        license=str(config.get("license") or ""),
        load_at=partial(load_folder, folder) if recipe is not None and recipe.resizable else None,
    )


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


def _is_checkpoint(folder: Path) -> bool:
    if not folder.is_dir() or folder.name.startswith("."):
        return False
    return any(file.name == _CONFIG or file.suffix in (".safetensors", *_PICKLES) for file in folder.iterdir())


def _read(folder: Path) -> tuple[Recipe, dict[str, Tensor]]:
    """Read and check a checkpoint.

    Returns:
        How to build the model, and exactly the weights that it takes.

    Raises:
        BackboneError: Something is wrong with it.
    """
    recipe = Recipe.from_json(_read_config(folder), str(folder / _CONFIG))
    outline, classifier = recipe.outline()
    try:
        weights = load_file(_weights_file(folder))
    except (SafetensorError, OSError, ValueError) as error:
        raise BackboneError(f"{folder / _WEIGHTS} is no sound safetensors file: {error}") from None
    weights = _fit(weights, outline, classifier, folder)
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor.float()).all():
            raise BackboneError(f"{folder / _WEIGHTS}: the tensor {name!r} holds values that are not finite.")
    return recipe, weights


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / _CONFIG
    if not path.is_file():
        raise BackboneError(f"{folder} holds no {_CONFIG}, which says how to build the model.")
    try:
        if path.stat().st_size > _LARGEST_CONFIG:
            raise ValueError("it is larger than 16 MB")
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BackboneError(f"{path} is not JSON: {error}") from None
    if not isinstance(data, dict):
        raise BackboneError(f"{path} must hold an object; got a {type(data).__name__}.")
    return data


def _weights_file(folder: Path) -> Path:
    if (folder / _WEIGHTS).is_file():
        return folder / _WEIGHTS
    pickles = sorted(file.name for file in folder.iterdir() if file.suffix in _PICKLES) if folder.is_dir() else []
    if pickles:
        raise BackboneError(
            f"{folder} holds weights only as {', '.join(pickles)}, a format that can run code and is never loaded: "
            "save them again with timm.models.save_for_hf(model, folder, safe_serialization=True)."
        )
    raise BackboneError(f"{folder} holds no {_WEIGHTS}.")


def _count_parameters(folder: Path, classifier: Any) -> int | None:
    """Count the parameters before the classifier from the header of the weights; None when it cannot be read."""
    heads = tuple(f"{name}." for name in (classifier if isinstance(classifier, list) else [classifier]))
    try:
        with safe_open(_weights_file(folder), framework="pt") as file:
            names = [n for n in file.keys() if not n.endswith(_STATISTICS) and not n.startswith(heads)]  # noqa: SIM118
            return sum(math.prod(map(int, file.get_slice(name).get_shape())) for name in names)
    except (SafetensorError, OSError, ValueError):
        return None


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
            f"{folder / _WEIGHTS} does not suit the architecture in {_CONFIG}: {len(missing)} tensors are missing "
            f"{missing[:3]}, {len(extra)} are not of this model {extra[:3]}."
        )
    fitting = {name: tensor for name, tensor in weights.items() if name in expected}
    for name, tensor in fitting.items():
        if tensor.shape != expected[name].shape or tensor.is_floating_point() != expected[name].is_floating_point():
            raise BackboneError(
                f"{folder / _WEIGHTS} does not suit the architecture in {_CONFIG}: {name!r} is {tensor.dtype} "
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
