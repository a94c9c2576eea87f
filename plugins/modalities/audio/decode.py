"""Decoding: every sound is read, decoded and resampled once, on all usable cores."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np

from autotransfer.contract.modality import Item, Skipped
from autotransfer.data.examples import Examples
from autotransfer.errors import DataError, UnreadableExampleError
from autotransfer.runtime.threads import usable_cores
from autotransfer.warnings import FitWarning
from autotransfer_plugins.modalities.audio.formats import WaveFormat
from autotransfer_plugins.modalities.audio.packed import Limit, PackedWriter
from autotransfer_plugins.modalities.audio.reading import reason_for
from autotransfer_plugins.modalities.audio.single import Decoded, decode_one
from autotransfer_plugins.modalities.audio.sounds import Sounds, length_key, start_key, wave_key
from autotransfer_plugins.modalities.audio.survey import Survey, decide_full_scale, remark_on

__all__ = ["decode"]


def decode(
    examples: Examples,
    formats: Sequence[WaveFormat],
    *,
    views: int,
    sampling_rate: int | None = None,
    full_scale: float | None = None,
    strict: bool = False,
    memory_limit: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Sounds:
    """Decode sounds, and resample each to the rates that backbones want.

    Channels are averaged. Which value stands for 1.0 in arrays of floats, and in files of floats that hold samples of
    16 bits or more, is decided once, over all examples.

    Args:
        examples: What to decode.
        formats: What the backbones want; each distinct rate is kept.
        views: Number of windows of a sound that networks may see.
        sampling_rate: Rate in Hz of arrays that do not say theirs.
        full_scale: What was decided for other examples; None decides over these.
        strict: Raise on the first unreadable sound instead of leaving it out.
        memory_limit: Bytes above which samples are kept in temporary files; None keeps them in memory.
        progress: Called with the number of sounds done and the number of all.

    Raises:
        UnreadableExampleError: A sound cannot be decoded, and ``strict`` is set.
        DataError: No sound can be decoded, or the disk is too small for them.
    """
    if not len(examples):
        raise DataError("There are no sounds.")
    rates, limit, total = sorted({how.rate for how in formats}), Limit(memory_limit), len(examples)
    found = _Found(writers={rate: PackedWriter(limit) for rate in rates}, full_scale=full_scale)
    with closing(_results(examples.items, rates, sampling_rate)) as results:
        for i, result in enumerate(results):
            if isinstance(result, Decoded):
                found.add(i, result)
            elif strict:
                raise UnreadableExampleError(f"{examples.names[i]} cannot be used: {result}.")
            else:
                found.skipped.append(Skipped(name=examples.names[i], reason=result))
            if progress:
                progress(i + 1, total)
    if not found.kept:
        first = found.skipped[0]
        raise DataError(f"None of the {total} sounds can be decoded; the first, {first.name}: {first.reason}.")
    window = max((how.seconds for how in formats), default=None)
    return found.sounds(window, views, [examples.names[i] for i in found.kept], sampling_rate)


@dataclass(kw_only=True)
class _Found:
    """What decoding has found."""

    writers: dict[int, PackedWriter]
    full_scale: float | None
    survey: Survey = field(default_factory=Survey)
    kept: list[int] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)
    scales: list[float] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    remarks: dict[int, str] = field(default_factory=dict)

    def add(self, i: int, found: Decoded) -> None:
        """Keep a sound, which was the i-th."""
        self.survey.add(len(self.kept), found)
        if self.full_scale is not None and (remark := remark_on(found, self.full_scale)):
            self.remarks[i] = remark
        for rate, writer in self.writers.items():
            writer.add(found.waves[rate])
        self.kept.append(i)
        self.digests.append(found.digest)
        self.scales.append(found.scale)

    def sounds(self, window: float | None, views: int, names: Sequence[str], sampling_rate: int | None) -> Sounds:
        """Return the store, now that all have been seen."""
        decided, warnings = self.full_scale, tuple[FitWarning, ...]()
        if decided is None:
            decided = decide_full_scale(self.survey.peak)
            warnings = self.survey.warnings(decided, window, views, names)
        scale = np.array(self.scales, dtype=np.float32)
        scale[self.survey.undecided] /= decided
        arrays = {"scale": scale}
        for rate, writer in self.writers.items():
            arrays[wave_key(rate)] = writer.packed()
            arrays[start_key(rate)] = np.array(writer.starts, dtype=np.int64)
            arrays[length_key(rate)] = np.array(writer.lengths, dtype=np.int64)
        return Sounds(
            arrays=arrays,
            digests=tuple(self.digests),
            kept=np.array(self.kept, dtype=np.int64),
            skipped=tuple(self.skipped),
            decoded=len(self.kept),
            warnings=warnings,
            remarks=self.remarks,
            full_scale=decided,
            sampling_rate=sampling_rate,
        )


def _results(
    items: Sequence[Item], rates: Sequence[int], sampling_rate: int | None
) -> Generator[Decoded | str, None, None]:
    """Yield each decoded sound, or the reason why it is none, in order; few are under way at any time."""
    workers = usable_cores()
    waiting: deque[Future[Decoded | str]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for i in range(len(items)):
                # Fetched here, one by one: data sets do not promise to be thread-safe.
                waiting.append(pool.submit(_attempt, _fetch(items, i), rates, sampling_rate))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _fetch(items: Sequence[Item], i: int) -> Item | Exception:
    try:
        return items[i]
    except Exception as error:  # a data set is the user's code: anything can come
        return error


def _attempt(item: Item | Exception, rates: Sequence[int], sampling_rate: int | None) -> Decoded | str:
    """Decode one sound, or say why it cannot be."""
    try:
        if isinstance(item, Exception):
            raise item
        return decode_one(item, rates, sampling_rate)
    except Exception as error:  # libsndfile and the files of strangers: anything can come
        return reason_for(error)
