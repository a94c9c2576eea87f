"""Image backbones for sounds: each sees log-mel spectrograms of the size of its images, as ``NAME@mel``.

A network that knows photographs is often a good source for sounds, too (Palanisamy et al., 2020; Gong et al.,
Interspeech 2021). Listing backbones imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from autotransfer.contract.hookspecs import hookimpl
from autotransfer.contract.lazy_import import LazyImport
from autotransfer.contract.specs import BackboneSpec
from autotransfer.errors import ModelFormatError
from autotransfer_plugins.modalities.audio.formats import WaveFormat

if TYPE_CHECKING:
    from autotransfer.contract.backbone import Backbone

__all__ = ["FORM", "PLUGIN", "RATE_HZ", "adopted", "rebuild_backbone"]

PLUGIN, FORM = "spectrogram", "mel"
# Speech and most of music lie below 8,000 Hz.
RATE_HZ = 16_000
# The window where nothing says how long the sounds are.
_SECONDS = 2.0
_LOAD = LazyImport("autotransfer_plugins.backbones._spectrogram_model:load")


def adopted(specs: Sequence[BackboneSpec]) -> list[BackboneSpec]:
    """Return the image backbones among some, each for spectrograms."""
    return [_on_spectrograms(spec) for spec in specs if spec.modality == "image"]


def _on_spectrograms(spec: BackboneSpec) -> BackboneSpec:
    load = partial(_LOAD, spec.load)
    return replace(
        spec,
        name=f"{spec.name}@{FORM}",
        modality="audio",
        load=partial(load, _SECONDS),
        load_at=load,
        accuracy=None,  # what is published is for images
        preprocessing=WaveFormat(rate=RATE_HZ, seconds=_SECONDS),
        distant=True,
    )


@hookimpl
def rebuild_backbone(recipe: Mapping[str, Any], rebuild: Callable[[Mapping[str, Any]], Backbone]) -> Backbone | None:
    """Build the backbone of a saved model with random weights; None for a recipe of another plugin.

    Raises:
        ModelFormatError: The recipe is broken.
    """
    if recipe.get("plugin") != PLUGIN:
        return None
    from autotransfer_plugins.backbones._log_mel import MelSettings
    from autotransfer_plugins.backbones._spectrogram_model import SpectrogramBackbone

    image = recipe.get("image")
    if not isinstance(image, Mapping) or image.get("plugin") == PLUGIN:
        raise ModelFormatError(f"The recipe of a network on spectrograms names no image network; got {image!r:.60}.")
    how, settings = WaveFormat.from_json(recipe.get("wave")), MelSettings.from_json(recipe.get("spectrogram"))
    return SpectrogramBackbone(rebuild(image), how, settings)
