"""An image network on log-mel spectrograms, as a backbone for sounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from autotransfer.contract.backbone import Backbone
from autotransfer.contract.modality import Inputs
from autotransfer.errors import BackboneError
from autotransfer.runtime.device import memory_format_for
from autotransfer_plugins.backbones._log_mel import LogMel, MelSettings
from autotransfer_plugins.backbones.spectrogram import PLUGIN, RATE_HZ
from autotransfer_plugins.modalities.audio.formats import WaveFormat
from autotransfer_plugins.modalities.image.formats import Preprocessing

__all__ = ["SpectrogramBackbone", "load"]


class SpectrogramBackbone(Backbone):
    """Wraps an image backbone: the spectrogram is made before its first stage; names have the prefix ``image.``.

    Args:
        image: The image backbone.
        preprocessing: How it wants its sounds.
        settings: How the spectrogram is made.

    Raises:
        BackboneError: The backbone takes no images.
    """

    exact_inputs = True  # samples have 16 bits; of the 8 that bfloat16 keeps, quiet bands drown in noise

    def __init__(self, image: Backbone, preprocessing: WaveFormat, settings: MelSettings) -> None:
        how = image.preprocessing
        if not isinstance(how, Preprocessing):
            raise BackboneError(f"Only image networks see spectrograms; got one that wants a {type(how).__name__}.")
        recipe = {
            "plugin": PLUGIN,
            "image": dict(image.recipe),
            "wave": preprocessing.to_json(),
            "spectrogram": settings.to_json(),
        }
        super().__init__(stages=image.stages, preprocessing=preprocessing, width=image.width, recipe=recipe)
        self.settings = settings
        self.spectrogram = LogMel(
            settings,
            rate=preprocessing.rate,
            length=preprocessing.length,
            size=how.size,
            mean=how.mean,
            std=how.std,
        )
        self.image = image

    def stage_of(self, parameter: str) -> int:
        """Return the stage of the image backbone that holds the parameter."""
        return self.image.stage_of(parameter.removeprefix("image."))

    def forward_map(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Map ``"wave"`` (N, T) to the last feature map of the image backbone."""
        picture = self.spectrogram(inputs["wave"])
        weights = next(self.image.parameters())
        return self.image.forward_map(picture.to(weights.dtype, memory_format=memory_format_for(weights.device)))

    def pool(self, features: Tensor, inputs: Inputs | None = None) -> Tensor:
        """Pool as the image backbone does; what lies behind the end of a sound is black, as at its edges."""
        return self.image.pool(features)

    def as_map(self, features: Tensor) -> Tensor:
        """Return the map of the image backbone: frequency and time."""
        return self.image.as_map(features)


def load(
    load_image: Callable[[], Backbone], seconds: float, settings: MelSettings | None = None
) -> SpectrogramBackbone:
    """Load an image backbone, for spectrograms of windows of a length in seconds."""
    return SpectrogramBackbone(load_image(), WaveFormat(rate=RATE_HZ, seconds=seconds), settings or MelSettings())
