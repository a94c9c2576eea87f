"""Small convolutional networks on log-mel spectrograms, and their checkpoints.

A spectrogram goes through two convolutions over frequency and time, then through inverted residual blocks over time
alone, whose channels are what the first two made of all bands, as in TC-ResNet (Choi et al., 2019). Features are the
mean and the standard deviation over time (Snyder et al., *X-vectors*, 2018).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from autotransfer.contract.backbone import Backbone
from autotransfer.contract.modality import Inputs
from autotransfer.errors import BackboneError, ModelFormatError
from autotransfer_plugins.backbones._spectrum import power_of_wave, waves_of
from autotransfer_plugins.backbones._zoo import CONFIG, WEIGHTS, read_config, weights_file
from autotransfer_plugins.backbones.mel_cnn import PLUGIN, RATE, recipe_of, shape_of
from autotransfer_plugins.modalities.audio.formats import WaveFormat

__all__ = ["LogMel", "MelCNN", "build", "check_folder", "load_folder", "write_folder"]

BANDS = 64
WINDOW, HOP = 400, 160  # samples: 25 ms and 10 ms
_LOWEST_HZ, _HIGHEST_HZ = 50.0, 7600.0
_FLOOR = 1e-6  # power of a band that counts as silence; 16 bit rounds to about as much
_TIME_STRIDE = 4  # of the network
_KERNEL = 7  # steps of time
_LEAST_DEVIATION = 1e-5
STAGES = ("stem", "bands", "first", "second", "third", "fourth")


class LogMel(nn.Module):
    """Log-mel spectrogram, less its mean over what is there of a sound: loudness does not matter."""

    waves: Tensor | None
    filters: Tensor | None

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("waves", None)
        self.register_buffer("filters", None)

    def before_export(self) -> None:
        """Take a form that other programs have."""
        window, self.filters = _constants("cpu")
        self.waves = waves_of(window, WINDOW)

    def forward(self, wave: Tensor, samples: Tensor) -> Tensor:
        """Map waves (N, T) at 16 kHz, of which ``samples`` (N,) are there, to (N, 1, bands, frames)."""
        with torch.autocast(wave.device.type, enabled=False):
            bands = self._bands(wave.float()).clamp(min=_FLOOR).log()
            there = _there(bands.shape[-1], samples, HOP)[:, None]
            mean = (bands * there).sum((1, 2), keepdim=True) / (there.sum((1, 2), keepdim=True) * BANDS)
            scaled: Tensor = ((bands - mean) * there / 4).unsqueeze(1)  # about a deviation
        return scaled.to(wave.dtype)

    def _bands(self, wave: Tensor) -> Tensor:
        """Map waves (N, T) to the power (N, bands, frames) of each band."""
        if self.waves is not None and self.filters is not None:
            return self.filters @ power_of_wave(wave, self.waves, HOP, "constant")
        window, filters = _constants(str(wave.device))
        spectrum = torch.stft(wave, WINDOW, HOP, window=window, center=True, pad_mode="constant", return_complex=True)
        power: Tensor = filters @ spectrum.abs().square()
        return power


class MelCNN(Backbone):
    """A network of this module."""

    exact_inputs = True  # samples have 16 bits; of the 8 that bfloat16 keeps, quiet bands drown in noise

    def __init__(self, recipe: Mapping[str, Any]) -> None:
        shape, seconds = shape_of(recipe["network"]), float(recipe["seconds"])
        super().__init__(
            stages=STAGES,
            preprocessing=WaveFormat(rate=RATE, seconds=seconds),
            width=2 * shape.width,
            recipe=recipe,
        )
        self.frontend = LogMel()
        self.stem = _convolution(1, shape.stem, stride=(2, 1))
        self.bands = nn.Sequential(
            _convolution(shape.stem, shape.stem, stride=(2, 2), groups=shape.stem),
            _convolution(shape.stem, 2 * shape.stem, kernel=1),
            nn.Flatten(1, 2),
            nn.Conv1d(2 * shape.stem * BANDS // 4, shape.width, 1, bias=False),
            nn.BatchNorm1d(shape.width),
        )
        for name, stride in zip(STAGES[2:], (1, 2, 1, 1), strict=True):
            self.add_module(name, _Residual(shape.width, stride))

    def stage_of(self, parameter: str) -> int:
        """Return the stage of a parameter or buffer."""
        return STAGES.index(parameter.partition(".")[0])

    def forward_map(self, inputs: Any) -> Tensor:
        """Map ``"wave"`` (N, T) and ``"samples"`` (N,) to features (N, frames / 4, width)."""
        features: Tensor = self.frontend(inputs["wave"], inputs["samples"])
        features = features.to(next(self.parameters()).dtype)
        for name in STAGES:
            features = self.get_submodule(name)(features)
        return features.transpose(1, 2)

    def pool(self, features: Tensor, inputs: Inputs | None = None) -> Tensor:
        """Return mean and standard deviation over the time that is there of each sound."""
        assert isinstance(inputs, Mapping)
        there = _there(features.shape[1], inputs["samples"], HOP * _TIME_STRIDE)[..., None].to(features.dtype)
        count = there.sum(1)
        mean = (features * there).sum(1) / count
        variance = ((features - mean[:, None]).square() * there).sum(1) / count
        return torch.cat([mean, (variance + _LEAST_DEVIATION).sqrt()], 1)


class _Residual(nn.Module):
    """An inverted residual block over time (Sandler et al., *MobileNetV2*, 2018)."""

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.body = nn.Sequential(
            nn.Conv1d(width, width, _KERNEL, stride, _KERNEL // 2, groups=width, bias=False),
            nn.BatchNorm1d(width),
            nn.Conv1d(width, 2 * width, 1, bias=False),
            nn.BatchNorm1d(2 * width),
            nn.ReLU(inplace=True),
            nn.Conv1d(2 * width, width, 1, bias=False),
            nn.BatchNorm1d(width),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Map features (N, width, L) to (N, width, L / stride)."""
        found: Tensor = features[..., :: self.stride] + self.body(features)
        return found


def build(recipe: Mapping[str, Any]) -> MelCNN:
    """Build the network of a recipe with random weights.

    Raises:
        ModelFormatError: The recipe is none.
    """
    return MelCNN(recipe_of(recipe))


def check_folder(folder: Path) -> None:
    """Read and check a checkpoint.

    Raises:
        BackboneError: It is damaged.
    """
    load_folder(folder)


def load_folder(folder: Path, seconds: float | None = None) -> MelCNN:
    """Build the network of a checkpoint and load its weights.

    Args:
        folder: The folder.
        seconds: Length of the window; None takes that of the checkpoint.

    Raises:
        BackboneError: It is damaged.
    """
    config, file = read_config(folder), weights_file(folder)
    try:
        recipe = recipe_of(config)
        weights = load_file(file)
        network = MelCNN(recipe if seconds is None else {**recipe, "seconds": seconds})
        classifier = {name for name in weights if name.startswith("classifier.")}
        network.load_state_dict({name: t.float() for name, t in weights.items() if name not in classifier})
    except (SafetensorError, OSError, ValueError, RuntimeError, ModelFormatError) as error:
        raise BackboneError(f"{folder} holds no valid checkpoint of {PLUGIN}: {error}") from error
    if not all(bool(tensor.isfinite().all()) for tensor in network.state_dict().values()):
        raise BackboneError(f"{folder / WEIGHTS} holds values that are not finite.")
    return network


def write_folder(
    network: MelCNN, classifier: tuple[Tensor, Tensor] | None, about: Mapping[str, Any], folder: Path
) -> None:
    """Write a checkpoint in 16 bit: ``config.json`` and ``model.safetensors``.

    Raises:
        BackboneError: A weight does not fit into 16 bit.
    """
    tensors = {name: t for name, t in network.state_dict().items() if t.is_floating_point()}
    if classifier is not None:
        tensors |= {"classifier.weight": classifier[0], "classifier.bias": classifier[1]}
    half = {name: tensor.detach().cpu().half().contiguous() for name, tensor in tensors.items()}
    for name, tensor in half.items():
        if not bool(tensor.isfinite().all()):
            raise BackboneError(f"The weight {name!r} is not finite in 16 bit.")
    parameters = sum(parameter.numel() for parameter in network.parameters())
    config = {"class": PLUGIN, **network.recipe, "parameters": parameters, **about}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    save_file(half, folder / WEIGHTS)
    shutil.copymode(folder / CONFIG, folder / WEIGHTS)  # safetensors writes for the owner alone


def _convolution(
    channels: int, outputs: int, kernel: int = 3, stride: tuple[int, int] = (1, 1), groups: int = 1
) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def _there(frames: int, samples: Tensor, hop: int) -> Tensor:
    """Return which of the frames (N, frames) are of a sound: at least one."""
    count = torch.div(samples + hop - 1, hop, rounding_mode="floor").clamp(min=1)
    return torch.arange(frames, device=samples.device) < count[:, None]


@lru_cache(maxsize=8)
def _constants(device: str) -> tuple[Tensor, Tensor]:
    """Return the window (samples,) and the triangular filters (bands, frequencies), equal in mel, on a device."""
    with torch.inference_mode(False):
        mel = 2595 * torch.log10(1 + torch.tensor([_LOWEST_HZ, _HIGHEST_HZ], dtype=torch.float64) / 700)
        points = 700 * (10 ** (torch.linspace(mel[0].item(), mel[1].item(), BANDS + 2, dtype=torch.float64) / 2595) - 1)
        hertz = torch.linspace(0, RATE / 2, WINDOW // 2 + 1, dtype=torch.float64)
        rising = (hertz - points[:-2, None]) / (points[1:-1] - points[:-2])[:, None]
        falling = (points[2:, None] - hertz) / (points[2:] - points[1:-1])[:, None]
        filters = torch.minimum(rising, falling).clamp(min=0).float()
        window = torch.hann_window(WINDOW)
        return window.to(device), filters.to(device)
