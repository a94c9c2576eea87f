"""How backbones want their sounds, and at which other lengths they take them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from autotransfer.contract.specs import BackboneSpec
from autotransfer.errors import ModelFormatError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "MAX_RATE_HZ",
    "MAX_WINDOW_SECONDS",
    "MIN_RATE_HZ",
    "WaveFormat",
    "at_seconds",
    "names_seconds",
    "read_rate",
    "seconds_name",
]

# Sampling rates that sounds have: from telegraph lines to bats. A rate outside is a mistake.
MIN_RATE_HZ, MAX_RATE_HZ = 1_000, 768_000
# Longest window that a network sees at a time.
MAX_WINDOW_SECONDS = 60.0
_MIN_WINDOW_SECONDS = 0.05
_SECONDS_FORM = re.compile(r"@[0-9.]+s$")


@dataclass(frozen=True, kw_only=True)
class WaveFormat:
    """How a backbone wants its sounds: windows of one length at one sampling rate.

    Its inputs are ``"wave"``, float32 (N, T) from -1 to 1 with zeros behind the end of a sound that is shorter, and
    ``"samples"``, int64 (N,): how many of the T samples are of the sound, at least 1.

    Attributes:
        rate: Samples a second, in Hz.
        seconds: Length of the window.
    """

    rate: int = 16_000
    seconds: float = 2.0

    @property
    def length(self) -> int:
        """Number of samples T of the window."""
        return round(self.rate * self.seconds)

    def probe(self, count: int, seed: int = 0) -> dict[str, Tensor]:
        """Return noise of different lengths, the first of which fills the window.

        Noise that fills the band evenly would leave the lower bands of a spectrogram nearly empty, so that its
        loudness falls with the frequency, as that of speech and music does.
        """
        import torch

        generator = torch.Generator().manual_seed(seed)
        spectrum = torch.fft.rfft(torch.randn(count, self.length, generator=generator))
        pink = torch.fft.irfft(spectrum / torch.arange(1, spectrum.shape[1] + 1).sqrt(), n=self.length)
        wave = pink / pink.abs().amax(1, keepdim=True) * (0.5 + 0.5 * torch.rand(count, 1, generator=generator))
        samples = (self.length * (1 - 0.25 * (torch.arange(count) % 3))).long().clamp(min=1)
        wave[torch.arange(self.length) >= samples[:, None]] = 0.0
        return {"wave": wave, "samples": samples}

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON; ``from_json`` reads it."""
        return asdict(self)

    @classmethod
    def from_json(cls, saved: Any) -> WaveFormat:
        """Read what ``to_json`` returned.

        Raises:
            ModelFormatError: A value is none that it can have.
        """
        if not isinstance(saved, Mapping) or set(saved) != {"rate", "seconds"}:
            raise ModelFormatError(f"How a model wants sounds is an object with a rate and seconds; got {saved!r:.60}.")
        return cls(rate=read_rate(saved["rate"]), seconds=_read_seconds(saved["seconds"]))


def read_rate(value: Any) -> int:
    """Return a sampling rate in Hz.

    Raises:
        ModelFormatError: It is none that sounds have.
    """
    if type(value) is not int or not MIN_RATE_HZ <= value <= MAX_RATE_HZ:
        raise ModelFormatError(f"A sampling rate is from {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz; got {value!r:.60}.")
    return value


def _read_seconds(value: Any) -> float:
    if type(value) not in (int, float) or not _MIN_WINDOW_SECONDS <= value <= MAX_WINDOW_SECONDS:
        limits = f"{_MIN_WINDOW_SECONDS} to {MAX_WINDOW_SECONDS:.0f} seconds"
        raise ModelFormatError(f"The window of a sound is from {limits} long; got {value!r:.60}.")
    return float(value)


def seconds_name(seconds: float) -> str:
    """Return the form of a backbone for windows of this length, such as ``2s`` or ``0.5s``."""
    return f"{seconds:g}s"


def names_seconds(name: str) -> bool:
    """Whether the name of a backbone says the length of its window."""
    return _SECONDS_FORM.search(name) is not None


def at_seconds(spec: BackboneSpec, seconds: float) -> BackboneSpec | None:
    """Return the same backbone for windows of another length; None where it does not take that.

    ``BackboneSpec.load_at`` gets the seconds. The name of a form replaces that of another length.
    """
    if spec.load_at is None or not _MIN_WINDOW_SECONDS <= seconds <= MAX_WINDOW_SECONDS or not math.isfinite(seconds):
        return None
    how = replace(spec.preprocessing, seconds=seconds) if isinstance(spec.preprocessing, WaveFormat) else None
    return replace(
        spec,
        name=f"{_SECONDS_FORM.sub('', spec.name)}@{seconds_name(seconds)}",
        load=partial(spec.load_at, seconds),
        default=False,
        fallback=False,
        gmacs=_gmacs_at(spec, seconds),
        accuracy=None,
        preprocessing=how,
    )


def _gmacs_at(spec: BackboneSpec, seconds: float) -> float | None:
    """Return the cost of a window, which grows with it; that of a picture of the window does not."""
    if spec.gmacs is None or (spec.input_size is not None and len(spec.input_size) > 1):
        return spec.gmacs
    return spec.gmacs * seconds / spec.preprocessing.seconds if isinstance(spec.preprocessing, WaveFormat) else None
