"""Power spectra by products with sines and cosines are those of Fourier transforms."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from autotransfer_plugins.backbones._log_mel import LogMel as PictureOfMel
from autotransfer_plugins.backbones._log_mel import MelSettings
from autotransfer_plugins.backbones._mel_cnn_model import LogMel
from autotransfer_plugins.backbones._sound_frontends import KaldiMel, WhisperMel
from autotransfer_plugins.backbones._spectrum import power_of_wave, waves_of
from autotransfer_plugins.modalities.audio.formats import WaveFormat

PROBE = WaveFormat(seconds=0.5).probe(3)
SIZE = (3, 24)


@pytest.mark.parametrize(("length", "size", "pad_mode"), [(400, 400, "reflect"), (300, 512, "constant")])
def test_power_is_that_of_stft(length: int, size: int, pad_mode: str) -> None:
    wave, window = PROBE["wave"], torch.hann_window(length)
    spectrum = torch.stft(
        wave, size, 160, win_length=length, window=window, pad_mode=pad_mode, return_complex=True
    ).abs()
    found = power_of_wave(wave, waves_of(window, size), 160, pad_mode)
    torch.testing.assert_close(found, spectrum.square(), atol=1e-5 * float(spectrum.square().max()), rtol=1e-4)


@pytest.mark.parametrize(
    "frontend",
    [
        WhisperMel(80),
        KaldiMel(64, -4.0, 4.5, 16),
        LogMel(),
        PictureOfMel(MelSettings(), rate=16_000, length=8_000, size=(64, 64), mean=(0.5,) * 3, std=(0.5,) * 3),
    ],
    ids=lambda frontend: f"{type(frontend).__module__.rpartition('.')[2]}",
)
def test_a_frontend_gives_the_same_in_its_exported_form(frontend: nn.Module) -> None:
    takes = (PROBE["wave"], PROBE["samples"]) if isinstance(frontend, (KaldiMel, LogMel)) else (PROBE["wave"],)
    expected = frontend(*takes)
    frontend.before_export()  # type: ignore[operator]
    torch.testing.assert_close(frontend(*takes), expected, atol=2e-3, rtol=0)
