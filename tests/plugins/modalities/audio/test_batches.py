"""Windows of sounds: fixed views in time, and augmentation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from fixtures.sounds import RATE, tone

from autotransfer_plugins.modalities.audio.batches import AUGMENTATIONS, VIEWS
from autotransfer_plugins.modalities.audio.formats import WaveFormat
from autotransfer_plugins.modalities.audio.modality import AUDIO
from autotransfer_plugins.modalities.audio.recordings import Recording
from autotransfer_plugins.modalities.audio.sounds import Sounds

FORMAT = WaveFormat(rate=RATE, seconds=0.1)
CPU = torch.device("cpu")
ALL = slice(None)


def load(*waves: np.ndarray) -> Sounds:
    items = [Recording(wave, RATE) for wave in waves]
    return AUDIO.load(items, [str(i) for i in range(len(items))], [FORMAT], options={})


def test_windows_lie_where_their_views_say() -> None:
    ramp = np.arange(9 * FORMAT.length, dtype=np.int16)
    begins = {v: int(load(ramp).inputs(ALL, FORMAT, CPU, v)["wave"][0, 0] * 2**15) for v in VIEWS}
    spare = 8 * FORMAT.length
    assert begins == {"center": spare // 2, "start": 0, "end": spare, "early": spare // 4, "late": 3 * spare // 4}


def test_views_cover_a_sound_of_five_windows() -> None:
    ramp = np.arange(5 * FORMAT.length, dtype=np.int16)
    store = load(ramp)
    seen = {int(x * 2**15) for view in VIEWS for x in store.inputs(ALL, FORMAT, CPU, view)["wave"][0]}
    assert seen == set(range(len(ramp)))


@pytest.mark.parametrize("view", VIEWS)
def test_a_short_sound_has_zeros_behind_its_end(view: str) -> None:
    inputs = load(tone(440, 0.04)).inputs(ALL, FORMAT, CPU, view)
    assert inputs["samples"].tolist() == [0.04 * RATE]
    assert inputs["wave"].shape == (1, FORMAT.length)
    np.testing.assert_allclose(inputs["wave"][0, :640], tone(440, 0.04), atol=1e-4)
    assert not inputs["wave"][0, 640:].any()


@pytest.mark.parametrize("strength", AUGMENTATIONS[1:])
def test_augmentation_changes_each_sound_and_keeps_its_range(strength: str) -> None:
    store = load(*[tone(440, 0.08)] * 8)
    given = store.augmented(ALL, FORMAT, CPU, strength, torch.Generator().manual_seed(0))
    wave, samples = given["wave"], given["samples"]
    assert len({row.numpy().tobytes() for row in wave}) == 8
    assert float(wave.abs().max()) <= 1.0
    behind = torch.arange(FORMAT.length) >= samples[:, None]
    assert not wave[behind].any()
    assert bool((samples >= 1).all())
    strongest = torch.fft.rfft(wave).abs().argmax(1) * 10
    assert int((strongest == 440).sum()) >= 6, "most sounds keep their pitch, though a band may be masked"


def test_augmentation_keeps_the_shape_of_floats_from_a_file(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "counts.wav", 20_000 * tone(440, 0.1), RATE, subtype="FLOAT")
    store = AUDIO.load([tmp_path / "counts.wav"], ["0"], [FORMAT], options={})
    wave = store.augmented(ALL, FORMAT, CPU, "light", torch.Generator().manual_seed(0))["wave"]
    assert 0.1 < float(wave.abs().max()) < 0.5
    assert float((wave.abs() > 0.99).float().mean()) == 0.0, "a tone has become a square wave"


def test_stronger_augmentation_changes_more() -> None:
    store = load(*[tone(440, 0.1)] * 32)
    plain = store.inputs(ALL, FORMAT, CPU)["wave"]
    spectrum = torch.fft.rfft(plain).abs()

    def change(strength: str) -> float:
        given = store.augmented(ALL, FORMAT, CPU, strength, torch.Generator().manual_seed(0))["wave"]
        return float((torch.fft.rfft(given).abs() - spectrum).square().mean())

    changes = [change(strength) for strength in AUGMENTATIONS]
    assert changes[0] == 0.0
    assert changes == sorted(changes)


def test_training_sees_all_of_a_long_sound() -> None:
    store = load(*[np.arange(10 * FORMAT.length, dtype=np.int16)] * 64)
    wave = store.augmented(ALL, FORMAT, CPU, "light", torch.Generator().manual_seed(0))["wave"]
    loudness = wave.mean(1)
    assert float(loudness.min()) < 0.1
    assert float(loudness.max()) > 0.35
