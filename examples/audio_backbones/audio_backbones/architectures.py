"""The four architectures by name: what is known of each without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from autotransfer.contract.lazy_import import LazyImport

__all__ = ["ARCHITECTURES", "DISTRIBUTION", "Architecture"]

DISTRIBUTION = "audio-backbones"


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A network that can be built.

    Attributes:
        module: Module whose ``build(arguments, how, recipe)`` returns the backbone with random weights, and whose
            ``rename(name)`` returns our name of a published weight, or None for one that is not used.
        rate: Samples a second that it takes, in Hz.
        parameters: Number of parameters, as it was published.
        gmacs_per_second: Multiply-accumulates for a second of sound, in 10^9, as it was published, on windows of two
            seconds; the spectrogram is not counted.
        limits: Largest value of each whole number that it can be built with.
    """

    module: str
    rate: int
    parameters: int
    gmacs_per_second: float
    limits: Mapping[str, int] = field(default_factory=dict)

    @property
    def build(self) -> LazyImport:
        """Return the function that builds it."""
        return LazyImport(f"audio_backbones.{self.module}:build")

    @property
    def rename(self) -> LazyImport:
        """Return the function that renames its published weights."""
        return LazyImport(f"audio_backbones.{self.module}:rename")


ARCHITECTURES: Mapping[str, Architecture] = {
    "WhisperEncoder": Architecture(
        module="whisper",
        rate=16_000,
        parameters=8_208_384,
        gmacs_per_second=0.385,
        limits={"d": 2048, "layers": 64, "heads": 64, "ff": 8192, "mels": 256, "length": 1500},
    ),
    "SpeakerEncoder": Architecture(
        module="speaker",
        rate=16_000,
        parameters=1_423_616,
        gmacs_per_second=0.136,
        limits={"mels": 256, "h": 2048, "layers": 16},
    ),
    "SpeechEmbedding": Architecture(
        module="speech_embedding", rate=16_000, parameters=328_152, gmacs_per_second=0.0631
    ),
    "EfficientAT": Architecture(module="efficientat", rate=32_000, parameters=516_128, gmacs_per_second=0.0114),
}
"""Architectures by the name that a ``config.json`` calls ``"class"``."""
