"""Checkpoint folders, ``NAME/config.json`` with ``NAME/model.safetensors``, and the recipes of saved models.

Both may come from a stranger: numbers are checked before anything is built, and weights are safetensors only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audio_backbones.architectures import ARCHITECTURES, DISTRIBUTION, Architecture
from autotransfer.errors import BackboneError, WeightsUnavailableError
from autotransfer_plugins.modalities.audio.formats import WaveFormat

if TYPE_CHECKING:
    from torch import Tensor

    from audio_backbones.backbone import AudioBackbone
    from autotransfer.contract.backbone import Backbone

__all__ = ["CONFIG", "WEIGHTS", "Recipe", "check", "load", "locate", "read_config", "write"]

CONFIG, WEIGHTS = "config.json", "model.safetensors"
_MAX_CONFIG_BYTES = 2**20


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A network and the waves that it takes.

    Attributes:
        name: A key of ``ARCHITECTURES``.
        arguments: Whole numbers that differ from the published network.
        how: The waves.
    """

    name: str
    arguments: Mapping[str, int] = field(default_factory=dict)
    how: WaveFormat

    @classmethod
    def from_json(cls, data: Mapping[str, Any], where: str) -> Recipe:
        """Check a recipe, or the configuration of a checkpoint.

        Args:
            data: The parsed JSON.
            where: Where it is from, for messages.

        Raises:
            BackboneError: It is none, or has arguments that are not allowed.
            ModelFormatError: A rate or a window is none that sounds have.
        """
        name, arguments = data.get("class"), data.get("arguments", {})
        if not isinstance(name, str) or name not in ARCHITECTURES:
            raise BackboneError(f"{where}: 'class' is one of {', '.join(ARCHITECTURES)}; got {name!r:.60}.")
        architecture = ARCHITECTURES[name]
        limits = architecture.limits
        if not isinstance(arguments, dict) or not all(
            key in limits and type(value) is int and 1 <= value <= limits[key] for key, value in arguments.items()
        ):
            known = ", ".join(f"{key} (1 to {limit})" for key, limit in limits.items()) or "none"
            raise BackboneError(f"{where}: the arguments of a {name} are {known}; got {arguments!r:.100}.")
        if arguments.get("d", 0) % arguments.get("heads", 1):
            raise BackboneError(f"{where}: 'd' is a multiple of 'heads'; got {arguments!r:.100}.")
        how = WaveFormat.from_json({"rate": architecture.rate, "seconds": data.get("seconds", WaveFormat.seconds)})
        return cls(name=name, arguments=arguments, how=how)

    @property
    def architecture(self) -> Architecture:
        """What is known of the network."""
        return ARCHITECTURES[self.name]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON; ``from_json`` reads it."""
        return {
            "plugin": DISTRIBUTION,
            "class": self.name,
            "arguments": dict(self.arguments),
            "seconds": self.how.seconds,
        }

    def build(self) -> AudioBackbone:
        """Build the network with random weights."""
        backbone: AudioBackbone = self.architecture.build(self.arguments, self.how, self.to_json())
        return backbone


def read_config(folder: Path) -> dict[str, Any]:
    """Return the configuration of a checkpoint.

    Raises:
        BackboneError: There is none, or it is no JSON object.
    """
    path = folder / CONFIG
    try:
        if path.stat().st_size > _MAX_CONFIG_BYTES:
            raise ValueError("it is larger than 1 MB")
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BackboneError(f"{path} cannot be read: {error}") from None
    if not isinstance(data, dict):
        raise BackboneError(f"{path} holds an object; got a {type(data).__name__}.")
    return data


def locate(folder: Path) -> None:
    """Find the weights of a checkpoint, without reading them.

    Raises:
        WeightsUnavailableError: The file of the weights is gone.
    """
    if not (folder / WEIGHTS).is_file():
        raise WeightsUnavailableError(f"{folder} holds no {WEIGHTS}.")


def check(folder: Path) -> None:
    """Read a checkpoint, and load it into its network.

    Raises:
        BackboneError: The folder holds no valid checkpoint.
        WeightsUnavailableError: The file of the weights is gone.
    """
    load(folder)


def load(folder: Path, seconds: float | None = None) -> AudioBackbone:
    """Build the network of a checkpoint folder and load its weights, in float32.

    Args:
        folder: The folder.
        seconds: Length of its windows; None takes that of the configuration.

    Raises:
        BackboneError: The folder holds no valid checkpoint.
        WeightsUnavailableError: The file of the weights is gone.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    config = read_config(folder)
    recipe = Recipe.from_json(config if seconds is None else {**config, "seconds": seconds}, str(folder / CONFIG))
    locate(folder)
    try:
        weights = load_file(folder / WEIGHTS)
    except (SafetensorError, OSError, ValueError) as error:
        raise BackboneError(f"{folder / WEIGHTS} is no valid safetensors file: {error}") from None
    backbone = recipe.build()
    try:
        backbone.load_state_dict(_renamed(weights, recipe), strict=True)
    except (RuntimeError, ValueError, IndexError) as error:
        raise BackboneError(f"{folder / WEIGHTS} does not suit the {recipe.name} in {CONFIG}: {error}") from None
    return backbone.eval()


def write(backbone: Backbone, about: Mapping[str, Any], folder: Path) -> None:
    """Write a network into a folder, as a checkpoint of a zoo.

    Args:
        backbone: The network.
        about: What is known of it; ``description`` and ``license`` are kept.
        folder: It is made where it is missing.

    Raises:
        BackboneError: A weight is not finite.
    """
    from safetensors.torch import save_file

    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in backbone.state_dict().items()}
    try:
        _require_finite(weights)
    except ValueError as error:
        raise BackboneError(f"The network cannot be written: {error}.") from None
    recipe = {key: value for key, value in backbone.recipe.items() if key != "plugin"}
    config = {**recipe, "source": about.get("description", ""), "license": about.get("license", "")}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(config, indent=1), encoding="utf-8")


def _renamed(weights: Mapping[str, Tensor], recipe: Recipe) -> dict[str, Tensor]:
    """Return the weights by our names, without those that are not used.

    Raises:
        ValueError: A weight is not finite.
    """
    ours = any(name.startswith("body.") for name in weights)  # as ``write`` names them
    renamed = {name if ours else recipe.architecture.rename(name): tensor for name, tensor in weights.items()}
    used = {name: tensor for name, tensor in renamed.items() if name is not None}
    _require_finite(used)
    return used


def _require_finite(weights: Mapping[str, Tensor]) -> None:
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise ValueError(f"{name!r} holds values that are not finite")
