"""The clip that a page shows of a sound."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fixtures.sounds import tone

from autotransfer.contract.modality import Preview
from autotransfer.errors import DataError
from autotransfer_plugins.modalities.audio.modality import AUDIO

READING = {"full_scale": 1.0, "sampling_rate": 16000}


def decoded(preview: Preview) -> tuple[np.ndarray, int]:
    assert preview.media_type == "audio/flac"
    return soundfile.read(BytesIO(preview.data))


def test_the_middle_of_a_long_sound_is_kept(tmp_path: Path) -> None:
    wave = np.concatenate([np.zeros(8 * 44100), tone(440, 4, 44100), np.zeros(8 * 44100)])
    soundfile.write(tmp_path / "a.wav", np.stack([wave, wave], 1), 44100)
    preview = AUDIO.preview(tmp_path / "a.wav", READING)
    values, rate = decoded(preview)
    assert (values.shape, rate) == ((48000,), 16000)
    assert np.abs(values).reshape(30, -1).max(1).min() > 0.4  # nothing of the silence around it
    assert preview.text == "20.0 seconds, from 8.5 to 11.5"


def test_a_short_sound_is_kept_whole_at_its_rate() -> None:
    item = AUDIO.item((tone(440, 0.5, 8000), 8000))
    preview = AUDIO.preview(item, READING)
    values, rate = decoded(preview)
    assert (values.shape, rate, preview.text) == ((4000,), 8000, "0.5 seconds")


def test_an_array_is_scaled_as_it_was_read() -> None:
    item = AUDIO.item(32768 * tone(440))
    values, _ = decoded(AUDIO.preview(item, {**READING, "full_scale": 32768.0}))
    assert 0.49 < np.abs(values).max() < 0.51


def test_a_file_of_floats_is_scaled_as_it_was_read(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", 32768 * tone(440), 16000, subtype="FLOAT")
    values, _ = decoded(AUDIO.preview(tmp_path / "a.wav", {**READING, "full_scale": 32768.0}))
    assert 0.49 < np.abs(values).max() < 0.51


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"")
    with pytest.raises(DataError, match="empty"):
        AUDIO.preview(tmp_path / "a.wav", READING)


def test_each_part_of_the_clip_is_silent_once(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(440, 6.0), 16000)
    found = AUDIO.occlusions(tmp_path / "a.wav", READING)
    assert len(found.items) == len(found.parts) == 12
    assert found.parts[0].startswith("1.5-1.8")
    silent = np.array([[item.values[i * 1600 : (i + 1) * 1600].any() for i in range(60)] for item in found.items])
    assert (~silent).sum() >= 12 * 2
    assert silent[:, :15].all()
    assert silent[:, 45:].all()
    assert {item.rate for item in found.items} == {16000}
    assert found.preview == AUDIO.preview(tmp_path / "a.wav", READING)


def test_silence_is_read_at_the_scale_of_the_training_sounds() -> None:
    item = AUDIO.item((32768 * tone(440), 16000))
    found = AUDIO.occlusions(item, {**READING, "full_scale": 32768.0})
    assert np.abs(found.items[0].values).max() == pytest.approx(16384, rel=0.01)
    assert np.abs(decoded(found.preview)[0]).max() == pytest.approx(0.5, abs=0.01)
