"""What the networks share: a spectrogram that is made on the device, stages, and a mean over what is real of a clip."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autotransfer.contract.backbone import Backbone
from autotransfer.contract.modality import Inputs
from autotransfer_plugins.modalities.audio.formats import WaveFormat

__all__ = ["AudioBackbone", "Frontend"]


class Frontend(nn.Module):
    """Turns waves into what the first stage takes, in float32, whatever the network computes in.

    16 bit would drown what is quiet in a wave, so that waves in 16 bit are refused.

    Args:
        shortest: Samples below which zeros are appended.
        longest: Samples beyond which a wave is cut off; None for no limit.
    """

    def __init__(self, shortest: int, longest: int | None = None) -> None:
        super().__init__()
        self.shortest, self.longest = shortest, longest

    def forward(self, wave: Tensor, samples: Tensor) -> Tensor:
        """Turn waves (N, T) from -1 to 1, with ``samples`` (N,) real ones each, into what the first stage takes."""
        if wave.dtype not in (torch.float32, torch.float64):
            raise TypeError(f"A wave is in 32 bit or more; got {wave.dtype}.")
        with torch.autocast(wave.device.type, enabled=False):
            wave = F.pad(wave.float(), (0, max(self.shortest - wave.shape[1], 0)))[:, : self.longest]
            return self.spectrogram(wave, samples)

    def spectrogram(self, wave: Tensor, samples: Tensor) -> Tensor:
        """Turn waves in float32, long enough, into what the first stage takes."""
        raise NotImplementedError

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Frontend:
        """Follow the network to another device, and not to another type."""
        super()._apply(lambda tensor: tensor.to(fn(tensor).device), recurse)
        return self


class AudioBackbone(Backbone):
    """A frontend, and stages that run one after the other; features are the mean over what is real of a clip.

    Args:
        frontend: It has no parameters, and belongs to the first stage.
        stages: The stages by name.
        positions: ``positions(samples)`` returns how many positions of the last stage stand for so many samples.
        how: The waves that it takes.
        width: Number of pooled features.
        recipe: JSON from which it is built again.
        time: Axis of the last stage's output that runs in time.
    """

    exact_inputs = True  # the frontend takes waves in float32, whatever the stages compute in

    def __init__(
        self,
        frontend: Frontend,
        stages: Mapping[str, nn.Module],
        positions: Callable[[Tensor], Tensor],
        *,
        how: WaveFormat,
        width: int,
        recipe: Mapping[str, Any],
        time: int,
    ) -> None:
        super().__init__(stages=tuple(stages), preprocessing=how, width=width, recipe=recipe)
        self.frontend, self.body = frontend, nn.ModuleDict(stages)
        self.positions, self.time = positions, time
        self.register_buffer("zero", torch.zeros(()), persistent=False)  # has the type that the stages compute in

    def stage_of(self, parameter: str) -> int:
        """Return the stage: the frontend belongs to the first, and what follows the stages to the last."""
        part, _, rest = parameter.partition(".")
        if part == "body":
            return self.stages.index(rest.partition(".")[0])
        return 0 if part == "frontend" else len(self.stages) - 1

    def forward_map(self, inputs: Any) -> Tensor:
        """Map ``wave`` (N, T) and ``samples`` (N,) to the output of the last stage."""
        features = self.frontend(inputs["wave"], inputs["samples"])
        features = features.to(self.zero.dtype)
        for stage in self.body.values():
            features = stage(features)
        return features

    def real(self, features: Tensor, inputs: Inputs | None) -> Tensor:
        """Return how many positions of each clip (N,) are real: at least one; all without ``samples``."""
        length = features.shape[self.time]
        if not isinstance(inputs, Mapping):
            return torch.full((len(features),), length, device=features.device)
        return self.positions(inputs["samples"].to(features.device)).clamp(1, length)

    def pool(self, features: Tensor, inputs: Inputs | None = None) -> Tensor:
        """Average over the real positions in time, and over what else there is beside channels."""
        ordered = features.movedim(self.time, 1)  # (N, positions, ...)
        channels = ordered if ordered.ndim == 3 else ordered.mean(3)
        real = self.real(features, inputs)[:, None]
        there = torch.arange(channels.shape[1], device=real.device) < real
        return channels.masked_fill(~there[..., None], 0).sum(1) / real
