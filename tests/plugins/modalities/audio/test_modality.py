"""Sounds as a modality: the contract, and what is an example of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from fixtures.sounds import RATE, tone

from autotransfer.errors import ConfigError
from autotransfer.testing import check_modality
from autotransfer_plugins.modalities.audio.formats import WaveFormat
from autotransfer_plugins.modalities.audio.modality import AUDIO, check_sampling_rate
from autotransfer_plugins.modalities.audio.recordings import Recording


def test_modality_keeps_the_contract(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(300), RATE)
    soundfile.write(tmp_path / "b.flac", tone(500, 0.7, 8_000), 8_000)
    in_memory = [{"array": tone(700, 0.05), "sampling_rate": RATE}, (tone(900, 0.4, 22_050), 22_050)]
    formats = [WaveFormat(rate=RATE, seconds=0.3), WaveFormat(rate=32_000, seconds=0.5)]
    check_modality(AUDIO, [tmp_path / "a.wav", tmp_path / "b.flac", *in_memory], formats)


@pytest.mark.parametrize(
    ("value", "shape", "rate"),
    [
        (np.zeros(500, np.float32), (500,), None),
        (np.zeros((2, 500)), (500, 2), None),
        (np.zeros((500, 2)), (500, 2), None),
        ({"array": np.zeros(500), "sampling_rate": 8000, "path": None}, (500,), 8000),
        ((np.zeros(500), 8000), (500,), 8000),
        ((8000, np.zeros(500)), (500,), 8000),
    ],
)
def test_item_takes_arrays_and_cells(value: object, shape: tuple[int, ...], rate: int | None) -> None:
    found = AUDIO.item(value)
    assert isinstance(found, Recording)
    assert (found.values.shape, found.rate) == (shape, rate)


@pytest.mark.parametrize("value", ["a text", 3, None, {"a": 1}, {"bytes": b"\xff\xd8\xff\xe0JFIF"}, np.zeros((28, 28))])
def test_item_leaves_other_values_alone(value: object) -> None:
    assert AUDIO.item(value) is None


def test_batch_splits_rows_into_sounds() -> None:
    found = AUDIO.batch(np.arange(12, dtype=np.int16).reshape(3, 4))
    assert found is not None
    assert [sound.values.tolist() for sound in found] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]


@pytest.mark.parametrize("rate", ["x", 1, 10_000_000, 16_000.5, True, None])
def test_sampling_rate_is_refused_outside_of_sound(rate: object) -> None:
    with pytest.raises(ConfigError, match="sampling rate"):
        check_sampling_rate(rate)
