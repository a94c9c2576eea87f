"""Sound files: read with care and within limits, and where they cannot be, the reason in words."""

from __future__ import annotations

import os
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from autotransfer.data.folders import open_regular
from autotransfer.errors import DataError, UnreadableExampleError
from autotransfer_plugins.modalities.audio.formats import MAX_RATE_HZ, MIN_RATE_HZ

__all__ = [
    "MAX_SECONDS",
    "Samples",
    "check_rate",
    "holds_sound",
    "is_sound",
    "read_samples",
    "reason_for",
    "seconds_of",
]

# A longer sound is refused before it is decoded, whatever its file promises: it takes 230 MB at 48,000 Hz.
MAX_SECONDS = 1200
_MAX_FRAMES, _MAX_CHANNELS = 2**26, 64
_BLOCK = 2**20
# A file that ends before this share of what its header promises is damaged; mp3 headers are a little off.
_MIN_SHARE_READ = 0.9
_HEAD_BYTES = 64
_FLOATS = ("FLOAT", "DOUBLE")  # encodings of libsndfile that have no full scale of their own

# First bytes of formats that libsndfile reads, with the place of a second mark where the first alone is weak.
_MARKS: tuple[tuple[bytes, int, tuple[bytes, ...]], ...] = (
    (b"RIFF", 8, (b"WAVE",)),
    (b"RIFX", 8, (b"WAVE",)),
    (b"RF64", 8, (b"WAVE",)),
    (b"FORM", 8, (b"AIFF", b"AIFC")),
    (b"fLaC", 0, (b"fLaC",)),
    (b"OggS", 28, (b"\x01vorbis", b"OpusHead", b"\x7fFLAC")),
    (b"caff", 0, (b"caff",)),
    (b".snd", 0, (b".snd",)),
    (b"ID3", 0, (b"ID3",)),
)
_FOREIGN = {
    b"ftyp": "AAC or ALAC in an MP4 file: convert it first, with ffmpeg -i in.m4a out.flac for instance",
    b"#!AMR": "AMR: convert it first, with ffmpeg -i in.amr out.flac for instance",
    b"\x30\x26\xb2\x75": "WMA: convert it first, with ffmpeg -i in.wma out.flac for instance",
    b"\x1aE\xdf\xa3": "Matroska or WebM: convert it first, with ffmpeg -i in.webm out.flac for instance",
    b"\x93NUMPY": "NumPy: give the array that numpy.load returns",
}


@dataclass(frozen=True, kw_only=True)
class Samples:
    """A decoded sound.

    Attributes:
        values: float32 (n,), the mean over its channels.
        rate: Samples a second, in Hz.
        floats: Whether its file holds floats, which may lie on another scale than from -1 to 1.
    """

    values: np.ndarray
    rate: int
    floats: bool = False


def is_sound(head: bytes) -> bool:
    """Whether the first bytes of a file, 64 of them or more, are those of a sound."""
    for first, at, second in _MARKS:
        if head.startswith(first) and head[at:].startswith(second):
            return True
    return _is_mpeg_frame(head)


def _is_mpeg_frame(head: bytes) -> bool:
    """Whether bytes begin with the header of an MPEG audio frame of layer III, with a rate that there is."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2 or (head[1] >> 3) & 3 == 1:
        return False
    return head[2] >> 4 not in (0, 15) and (head[2] >> 2) & 3 != 3


def holds_sound(path: Path) -> bool:
    """Whether the header of a file is one of a sound."""
    try:
        with open_regular(path) as file:
            return is_sound(file.read(_HEAD_BYTES))
    except (OSError, ValueError):  # ValueError: the path holds a NUL
        return False


def seconds_of(source: Path | bytes) -> float | None:
    """Return how long a file lasts, by its header; None where it has none to read: decoding says why."""
    try:
        with _opened(source) as file, _sound_file(file) as sound:
            _refuse(sound.frames, sound.samplerate, sound.channels)
            return float(sound.frames / sound.samplerate)
    except Exception:  # libsndfile and the files of strangers: anything can come
        return None


def read_samples(source: Path | bytes) -> Samples:
    """Decode a sound file.

    Raises:
        UnreadableExampleError: It is empty, too long, damaged, or of a format that has to be converted.
        OSError: It cannot be read.
    """
    with _opened(source) as file:
        head = file.read(_HEAD_BYTES)
        if not head:
            raise UnreadableExampleError("the file is empty")
        for mark, advice in _FOREIGN.items():
            if head.startswith(mark) or (mark == b"ftyp" and head[4:8] == mark):
                raise UnreadableExampleError(f"no sound that libsndfile can read, but {advice}")
        file.seek(0)
        return _decoded(file)


def check_rate(rate: int) -> int:
    """Return a sampling rate in Hz.

    Raises:
        UnreadableExampleError: It is none that sounds have.
    """
    if not MIN_RATE_HZ <= rate <= MAX_RATE_HZ:
        raise UnreadableExampleError(f"its sampling rate is {rate} Hz; sounds have {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz")
    return rate


def reason_for(error: Exception) -> str:
    """Say in a few words why a sound cannot be used."""
    if isinstance(error, FileNotFoundError):
        return "the file is gone"
    if isinstance(error, PermissionError):
        return "permission denied"
    if type(error).__name__ == "LibsndfileError":
        return f"no sound that libsndfile can read: {getattr(error, 'error_string', error)}".rstrip(".")
    if isinstance(error, (DataError, OSError)):
        return str(error).rstrip(".") or type(error).__name__
    return f"{type(error).__name__}: {error}".rstrip(".")


def _opened(source: Path | bytes) -> BinaryIO:
    return BytesIO(source) if isinstance(source, bytes) else open_regular(source)


def _sound_file(file: BinaryIO) -> Any:
    import soundfile

    # By its descriptor, without a name: a suffix that is wrong must not decide how the file is read.
    if isinstance(file, BytesIO):
        return soundfile.SoundFile(file)
    os.lseek(file.fileno(), 0, os.SEEK_SET)
    return soundfile.SoundFile(file.fileno(), closefd=False)


def _refuse(frames: int, rate: int, channels: int) -> None:
    check_rate(rate)
    if frames > min(MAX_SECONDS * rate, _MAX_FRAMES):
        raise UnreadableExampleError(
            f"it lasts {frames / rate:,.0f} seconds; the limit is {min(MAX_SECONDS, _MAX_FRAMES // rate):,}: "
            "cut it into clips"
        )
    if channels > _MAX_CHANNELS:
        raise UnreadableExampleError(f"it has {channels} channels; the limit is {_MAX_CHANNELS}")


def _decoded(file: BinaryIO) -> Samples:
    with _sound_file(file) as sound:
        rate, channels, promised, floats = sound.samplerate, sound.channels, sound.frames, sound.subtype in _FLOATS
        _refuse(promised, rate, channels)
        blocks, count = [], 0
        while len(block := sound.read(_BLOCK // channels, dtype="float32", always_2d=True)):
            blocks.append(block[:, 0] if channels == 1 else block.mean(axis=1, dtype=np.float64).astype(np.float32))
            count += len(block)
            _refuse(count, rate, channels)
    if not count:
        raise UnreadableExampleError("it holds no samples")
    if count < _MIN_SHARE_READ * promised:
        raise UnreadableExampleError(f"the file ends after {count / rate:.2f} of {promised / rate:.2f} seconds")
    values = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
    if not np.isfinite(values).all():
        raise UnreadableExampleError("it holds NaN or infinity")
    return Samples(values=np.ascontiguousarray(values), rate=rate, floats=floats)
