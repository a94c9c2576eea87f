"""Sound files: all formats and depths, wrong suffixes, damage, and limits."""

from __future__ import annotations

import io
import re
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fixtures.sounds import RATE, tone

from autotransfer.errors import UnreadableExampleError
from autotransfer_plugins.modalities.audio import reading
from autotransfer_plugins.modalities.audio.modality import AUDIO
from autotransfer_plugins.modalities.audio.reading import holds_sound, read_samples, reason_for, seconds_of


def encoded(values: np.ndarray, rate: int = RATE, kind: str = "WAV", subtype: str | None = None) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, values, rate, format=kind, subtype=subtype)
    return file.getvalue()


@pytest.mark.parametrize(
    ("kind", "subtype", "near"),
    [
        ("WAV", "PCM_U8", 1e-2),
        ("WAV", "PCM_16", 1e-4),
        ("WAV", "PCM_24", 1e-6),
        ("WAV", "PCM_32", 1e-6),
        ("WAV", "FLOAT", 1e-7),
        ("WAV", "ULAW", 2e-2),
        ("AIFF", "PCM_16", 1e-4),
        ("FLAC", "PCM_24", 1e-6),
        ("OGG", "VORBIS", 5e-2),
        ("MP3", None, 5e-2),
    ],
)
def test_every_format_is_read_whatever_its_suffix(kind: str, subtype: str | None, near: float, tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    wave = tone(440, 0.5)
    path.write_bytes(encoded(wave, kind=kind, subtype=subtype))
    found = read_samples(path)
    assert found.rate == RATE
    assert holds_sound(path)
    assert seconds_of(path) == pytest.approx(0.5, abs=0.1)
    middle = slice(2000, 6000)
    assert np.abs(np.fft.rfft(found.values[middle])).argmax() == np.abs(np.fft.rfft(wave[middle])).argmax()
    if kind != "MP3":
        np.testing.assert_allclose(found.values[middle], wave[middle], atol=near)


def test_channels_are_averaged() -> None:
    both = np.stack([np.full(800, 0.5), np.full(800, -0.25)], axis=1)
    np.testing.assert_allclose(read_samples(encoded(both)).values, 0.125, atol=1e-4)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"no sound at all, only a text that goes on for a while to fill a header" * 9, "libsndfile"),
        (b"\xff\xfb\x90\x00" + b"junk" * 50, "libsndfile|no samples"),
        (encoded(np.zeros((0, 1))), "no samples"),
        (encoded(tone(440))[:30], "libsndfile"),
        (encoded(tone(440, 2.0), kind="FLAC")[:3000], "ends after|libsndfile"),
        (encoded(np.array([0.1, np.nan] * 500), subtype="FLOAT"), "NaN or infinity"),
        (encoded(np.array([0.1, np.inf] * 500), subtype="DOUBLE"), "NaN or infinity"),
        (encoded(tone(440), rate=1), "sampling rate is 1 Hz"),
        (encoded(tone(440), rate=10_000_000), "sampling rate is 10000000 Hz"),
        (b"\0\0\0\x20ftypM4A " + bytes(100), "ffmpeg"),
        (b"\x93NUMPY" + bytes(100), "numpy.load"),
    ],
)
def test_what_is_no_sound_is_refused_with_its_reason(data: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(data)
    with pytest.raises((UnreadableExampleError, soundfile.LibsndfileError)) as refused:
        read_samples(path)
    assert re.search(reason, reason_for(refused.value))


def test_a_header_that_promises_hours_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytearray(encoded(np.zeros(4000), kind="FLAC"))
    # The count of samples has 36 bits, from bit 108 of the stream's header, which begins at byte 8.
    data[21:26] = bytes([(data[21] & 0xF0) | 0xF, 0xFF, 0xFF, 0xFF, 0xFF])
    with pytest.raises(UnreadableExampleError, match="the limit is 1,200"):
        read_samples(bytes(data))
    assert seconds_of(bytes(data)) is None


def test_a_sound_longer_than_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_SECONDS", 1)
    with pytest.raises(UnreadableExampleError, match="it lasts 2 seconds; the limit is 1"):
        read_samples(encoded(tone(440, 2.0)))


def test_a_header_without_a_length_is_no_limit(tmp_path: Path) -> None:
    data = bytearray(encoded(tone(440)))
    data[4:8] = data[40:44] = struct.pack("<I", 0xFFFFFFFF)  # as programs write that send a stream
    assert len(read_samples(bytes(data)).values) == len(tone(440))


@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff\xe0" + bytes(60), b"RIFF\0\0\0\0AVI " + bytes(60), b"ID"])
def test_other_files_hold_no_sound(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(content)
    assert not holds_sound(path)
    assert not holds_sound(Path("a\0b"))
    assert not holds_sound(tmp_path / "missing")


def test_a_decoded_file_holds_the_samples(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(encoded(tone(440, 0.5)))
    found = AUDIO.decoded(tmp_path / "a.wav")
    assert (found.rate, len(found.values)) == (RATE, RATE // 2)
    assert np.array_equal(found.values, read_samples(tmp_path / "a.wav").values)
    assert AUDIO.decoded(tmp_path / "none.wav") == tmp_path / "none.wav"
    assert AUDIO.decoded(found) is found
