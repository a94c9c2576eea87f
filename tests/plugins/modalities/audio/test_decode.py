"""Decoding: once, to every rate, in 16 bit without loss, with what a user should know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from fixtures.sounds import RATE, tone

from autotransfer.errors import DataError
from autotransfer_plugins.modalities.audio.formats import WaveFormat
from autotransfer_plugins.modalities.audio.modality import AUDIO
from autotransfer_plugins.modalities.audio.recordings import Recording
from autotransfer_plugins.modalities.audio.sounds import Sounds
from autotransfer_plugins.modalities.audio.survey import decide_full_scale

FORMAT = WaveFormat(rate=RATE, seconds=0.5)
CPU = torch.device("cpu")


def load(*items: Any, formats: tuple[WaveFormat, ...] = (FORMAT,), **given: Any) -> Sounds:
    names = [f"item {i}" for i in range(len(items))]
    return AUDIO.load(list(items), names, formats, **{"options": {}, **given})


def wave_of(store: Sounds, row: int = 0, how: WaveFormat = FORMAT) -> np.ndarray:
    inputs = store.inputs(slice(row, row + 1), how, CPU)
    return inputs["wave"][0, : int(inputs["samples"][0])].numpy()


def test_16_bit_samples_are_kept_to_the_bit() -> None:
    values = np.array([-32768, -7, 0, 1, 12345, 32767] * 100, dtype=np.int16)
    np.testing.assert_array_equal(wave_of(load(Recording(values, RATE))) * 2**15, values)


@pytest.mark.parametrize("scale", [1.0, 1e-4])
def test_quiet_floats_keep_16_bits(scale: float) -> None:
    found = wave_of(load(Recording(tone(440) * scale, RATE)))
    np.testing.assert_allclose(found, tone(440) * scale, atol=2e-5 * scale)


def test_each_rate_is_resampled_once_and_pitch_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    formats = (WaveFormat(rate=8000, seconds=1.0), WaveFormat(rate=32_000, seconds=1.0), WaveFormat(rate=8000))
    store = load(Recording(tone(1000, 0.5), RATE), formats=formats)
    assert store.decoded == 1
    assert {name for name in store.arrays if name.startswith("wave")} == {"wave 8000", "wave 32000"}
    for how in formats[:2]:
        wave = wave_of(store, how=how)
        assert len(wave) == how.rate // 2
        assert np.abs(np.fft.rfft(wave)).argmax() * how.rate / len(wave) == pytest.approx(1000, abs=4)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.full(500, 64, np.int8), 0.5),
        (np.full(500, 192, np.uint8), 0.5),
        (np.full(500, -(2**30), np.int32), -0.5),
        (np.full(500, 0.5, np.float64), 0.5),
    ],
)
def test_whole_numbers_are_shares_of_their_type(values: np.ndarray, expected: float) -> None:
    np.testing.assert_allclose(wave_of(load(Recording(values, RATE))), expected)


@pytest.mark.parametrize(
    ("peak", "scale"), [(0.3, 1.0), (1.2, 1.0), (3.7, 4.0), (30_000.0, 32_768.0), (8e6, 2.0**23), (1e12, 2.0**40)]
)
def test_full_scale_follows_the_greatest_value(peak: float, scale: float) -> None:
    assert decide_full_scale(peak) == scale


def test_full_scale_is_decided_once_said_and_kept() -> None:
    store = load(Recording(20_000 * tone(440), RATE), Recording(100 * tone(440), RATE))
    assert store.reading == {"full_scale": 32_768.0, "sampling_rate": None}
    assert [warning.code for warning in store.warnings] == ["full_scale"]
    np.testing.assert_allclose(wave_of(store), 20_000 / 32_768 * tone(440), atol=1e-4)
    later = load(Recording(tone(440), RATE), reading=store.reading)
    assert "full scale of the training sounds is 32768" in later.remarks[0]
    assert later.digests != store.digests


@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_files_of_floats_are_scaled_as_arrays_are(tmp_path: Path, subtype: str) -> None:
    # As scipy.io.wavfile writes a float32 array of 16 bit samples.
    wave = tone(440)
    soundfile.write(tmp_path / "counts.wav", 40_000 * wave, RATE, subtype=subtype)
    soundfile.write(tmp_path / "shares.wav", wave, RATE, subtype=subtype)
    store = load(tmp_path / "counts.wav", tmp_path / "shares.wav")
    assert store.reading["full_scale"] == 32_768.0
    assert [warning.code for warning in store.warnings] == ["full_scale"], "nothing of them is clipped"
    np.testing.assert_allclose(wave_of(store), 40_000 / 32_768 * wave, atol=1e-4)
    np.testing.assert_allclose(wave_of(store, 1), wave, atol=1e-4)
    later = load(tmp_path / "counts.wav", tmp_path / "shares.wav", reading=store.reading)
    np.testing.assert_array_equal(wave_of(later), wave_of(store))
    np.testing.assert_array_equal(wave_of(later, 1), wave_of(store, 1))
    assert not later.remarks


def test_files_of_floats_that_overshoot_stay_as_loud_as_they_are(tmp_path: Path) -> None:
    for name, peak in (("quiet", 0.5), ("hot", 2.5), ("counts", 20_000.0)):
        soundfile.write(tmp_path / f"{name}.wav", 2 * peak * tone(440), RATE, subtype="FLOAT")
    store = load(tmp_path / "quiet.wav", tmp_path / "hot.wav", tmp_path / "counts.wav")
    peaks = [float(np.abs(wave_of(store, i)).max()) for i in range(3)]
    assert peaks == pytest.approx([0.5, 2.5, 20_000 / 32_768], rel=0.01)


def test_file_of_counts_is_remarked_on_where_others_were_shares(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "counts.wav", 40_000 * tone(440), RATE, subtype="FLOAT")
    found = load(tmp_path / "counts.wav", reading={"full_scale": 1.0, "sampling_rate": None})
    assert "full scale of the training sounds is 1" in found.remarks[0]


def test_equal_samples_have_equal_digests_whatever_the_file(tmp_path: Path) -> None:
    values = (tone(440) * 2**15).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", values, RATE)
    soundfile.write(tmp_path / "b.flac", values, RATE)
    store = load(tmp_path / "a.wav", tmp_path / "b.flac", Recording(values, RATE), Recording(values, RATE + 1))
    assert len(set(store.digests[:3])) == 1
    assert store.digests[3] != store.digests[0]


def test_what_a_user_should_know_is_said() -> None:
    square = np.sign(tone(440, 1.0))
    store = load(Recording(np.zeros(4000, np.int16), RATE), Recording((square * 32767).astype(np.int16), RATE))
    assert [warning.code for warning in store.warnings] == ["silent", "clipped"]
    assert "item 0" in store.warnings[0].message
    long = load(Recording(tone(440, 8.0), RATE))
    (cut_off,) = long.warnings
    assert cut_off.code == "cut_off"
    assert cut_off.details["share"] == pytest.approx(1 - 5 * 0.5 / 8, abs=1e-3)
    assert not load(Recording(tone(440, 2.0), RATE)).warnings


def test_arrays_without_a_rate_are_refused_until_one_is_given() -> None:
    with pytest.raises(DataError, match="--sampling-rate"):
        load(Recording(tone(440)))
    store = load(Recording(tone(440)), options={"sampling_rate": 8000})
    assert store.reading["sampling_rate"] == 8000
    assert len(wave_of(store, how=FORMAT)) == FORMAT.length
    assert len(wave_of(load(Recording(tone(440, 0.1)), reading=store.reading))) == 0.2 * RATE


@pytest.mark.parametrize("limit", [None, 0, 5000])
def test_samples_beyond_the_limit_are_in_files(limit: int | None) -> None:
    store = load(*(Recording(tone(hertz, 0.1), RATE) for hertz in (200, 400, 800)), memory_limit=limit)
    assert isinstance(store.arrays[f"wave {RATE}"], np.memmap) == (limit is not None)
    for row, hertz in enumerate((200, 400, 800)):
        np.testing.assert_allclose(wave_of(store, row), tone(hertz, 0.1), atol=1e-4)


def test_each_unusable_sound_is_left_out_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"")
    items = [tmp_path / "a.wav", Recording(tone(440), RATE), tmp_path / "gone.wav", Recording(np.zeros(3), RATE)]
    store = load(*items, Recording(tone(440), 5))
    assert store.kept.tolist() == [1]
    reasons = [left_out.reason for left_out in store.skipped]
    expected = ("the file is empty", "the file is gone", "it lasts 0.0002 seconds", "its sampling rate is 5 Hz")
    assert all(reason.startswith(start) for reason, start in zip(reasons, expected, strict=True))
