"""What is seen of all sounds while they are decoded: what is decided from it, and what a user should know."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from autotransfer.warnings import FitWarning
from autotransfer_plugins.modalities.audio.single import MIN_COUNTS, Decoded

__all__ = ["Survey", "decide_full_scale", "remark_on"]

_MAX_NAMES_IN_MESSAGE = 3
# Fractions up to this are on a scale of 1.0: decoders and resamplers overshoot.
_OVERSHOOT = 1.5
_BITS = (15, 23, 31)
# Share of the sounds' time that lies outside all views, in the mean, from which on there is a warning.
_MAX_CUT_OFF_SHARE = 1 / 3
# A sound this much quieter than full scale, in another scale than the training sounds were, is probably a mistake.
_DIM = 1 / 128


def decide_full_scale(peak: float) -> float:
    """Return the value that stands for 1.0, given the greatest magnitude over all sounds whose own is not known.

    It is 1.0 for fractions; the next power of two for larger values, as those of sounds that were standardised; and
    32,768 (16 bits), 2^23 or 2^31 for values that are samples of so many bits.
    """
    if peak <= _OVERSHOOT:
        return 1.0
    if peak > MIN_COUNTS and (bits := next((bits for bits in _BITS if peak <= 2.0**bits), None)) is not None:
        return 2.0**bits
    return 2.0 ** math.ceil(math.log2(peak))


@dataclass
class Survey:
    """Facts of the sounds that were decoded, by their position."""

    seconds: list[float] = field(default_factory=list)
    peak: float = 0.0
    undecided: list[int] = field(default_factory=list)
    silent: list[int] = field(default_factory=list)
    clipped: list[int] = field(default_factory=list)

    def add(self, position: int, found: Decoded) -> None:
        """Take note of a sound."""
        self.seconds.append(found.seconds)
        if not found.plain:
            self.undecided.append(position)
            self.peak = max(self.peak, found.peak)
        if found.silent:
            self.silent.append(position)
        if found.clipped:
            self.clipped.append(position)

    def warnings(
        self, full_scale: float, window: float | None, views: int, names: Sequence[str]
    ) -> tuple[FitWarning, ...]:
        """Return what a user should know.

        Args:
            full_scale: What was decided.
            window: Seconds that a network sees at a time; None for no network.
            views: Number of windows of a sound that networks may see.
            names: What to call each sound.
        """
        found: list[FitWarning] = []
        if full_scale != 1.0:
            message = (
                f"The values of {_count(self.undecided)} reach {self.peak:.5g}: {full_scale:.7g} is taken for full "
                "scale. Values from -1 to 1, or whole numbers of 16 bits, need no such decision."
            )
            details = {"full_scale": full_scale, "peak": self.peak, "count": len(self.undecided)}
            found.append(FitWarning(code="full_scale", message=message, details=details))
        if self.silent:
            message = f"Silence, which teaches nothing, is all of {_count(self.silent)}: {_some(self.silent, names)}."
            found.append(FitWarning(code="silent", message=message, details={"count": len(self.silent)}))
        if self.clipped:
            message = (
                f"Many samples are at full scale in {_count(self.clipped)}, as where a recording is clipped: "
                f"{_some(self.clipped, names)}."
            )
            found.append(FitWarning(code="clipped", message=message, details={"count": len(self.clipped)}))
        return (*found, *self._cut_off(window, views))

    def _cut_off(self, window: float | None, views: int) -> tuple[FitWarning, ...]:
        if window is None or not self.seconds:
            return ()
        share = sum(max(0.0, 1 - views * window / each) for each in self.seconds) / len(self.seconds)
        if share <= _MAX_CUT_OFF_SHARE:
            return ()
        longest = max(self.seconds)
        message = (
            f"{share:.0%} of the sounds' time, on average, lies outside of all {views} windows of {window:g} seconds "
            f"in which networks see a sound; the longest lasts {longest:.0f} seconds. Where all of it matters, cut the "
            "sounds into clips."
        )
        details = {"share": round(share, 3), "window": window, "longest": round(longest, 2)}
        return (FitWarning(code="cut_off", message=message, details=details),)


def remark_on(found: Decoded, full_scale: float) -> str | None:
    """Say what is lost of a sound whose values do not suit the scale that was decided before; None for nothing."""
    if found.plain or found.silent:
        return None
    if found.peak > _OVERSHOOT * full_scale:
        return f"its values reach {found.peak:.5g}; the full scale of the training sounds is {full_scale:.7g}"
    if full_scale >= MIN_COUNTS and found.peak <= full_scale * _DIM:
        return f"its values reach {found.peak:.5g} only; the full scale of the training sounds is {full_scale:.7g}"
    return None


def _count(positions: Sequence[int]) -> str:
    return "1 sound" if len(positions) == 1 else f"{len(positions)} sounds"


def _some(positions: Sequence[int], names: Sequence[str]) -> str:
    shown = ", ".join(names[i] for i in positions[:_MAX_NAMES_IN_MESSAGE])
    return shown + (", …" if len(positions) > _MAX_NAMES_IN_MESSAGE else "")
