"""What exported models take of sounds: samples of any number, and how many are there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fixtures.sounds import RATE, tone

from autotransfer_plugins.modalities.audio.export import AudioExport
from autotransfer_plugins.modalities.audio.formats import WaveFormat
from autotransfer_plugins.modalities.audio.modality import AUDIO, VIEWS

READING = {"full_scale": 1.0, "sampling_rate": RATE}
HOW = WaveFormat(seconds=0.3)


def waves(*seconds: float) -> list[object]:
    return [item for each in seconds if (item := AUDIO.item(tone(440.0, each))) is not None]


@pytest.mark.parametrize("view", VIEWS)
def test_windows_are_those_of_the_room(view: str) -> None:
    items = waves(0.1, 0.3, 0.3001, 0.75)
    export = AudioExport(AUDIO, [HOW], READING)
    (arrays,) = export.arrays(items)
    assert arrays["wave"].shape == (4, round(0.75 * RATE))
    given = export.reader()(*(torch.from_numpy(arrays[one.name]) for one in export.inputs))
    found = export.view(HOW, view)(given)
    store = AUDIO.load(items, list("abcd"), [HOW], options={}, reading=READING)
    expected = store.inputs(slice(None), HOW, torch.device("cpu"), view)
    torch.testing.assert_close(found["wave"], expected["wave"], atol=1e-7, rtol=0)
    assert torch.equal(found["samples"], expected["samples"])


def test_two_rates_are_inputs_of_their_own() -> None:
    export = AudioExport(AUDIO, [HOW, WaveFormat(rate=8_000, seconds=0.5)], READING)
    assert [one.name for one in export.inputs] == ["wave_8000", "samples_8000", "wave_16000", "samples_16000"]
    (arrays,) = export.arrays(waves(0.2, 0.5))
    assert arrays["wave_8000"].shape[1] == arrays["wave_16000"].shape[1] // 2
    np.testing.assert_array_equal(arrays["samples_8000"], [1600, 4000])
