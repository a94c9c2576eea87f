"""Limits on the model that a search may return: its latency, the size of its files, its memory."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

from autotransfer.errors import ConfigError
from autotransfer.settings.checks import whole_number
from autotransfer.settings.fields import SettingsGroup, documented, setting

__all__ = ["Limits", "format_bytes", "format_seconds", "parse_bytes", "parse_latency"]

_SECONDS: Mapping[str, float] = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9, "min": 60.0}
_BYTES: Mapping[str, float] = {
    "b": 1.0,
    "kb": 1e3,
    "mb": 1e6,
    "gb": 1e9,
    "tb": 1e12,
    "kib": 2.0**10,
    "mib": 2.0**20,
    "gib": 2.0**30,
    "tib": 2.0**40,
}
_QUANTITY = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(?:e([+-]?\d+))?\s*([a-zµμ]*)", re.IGNORECASE)


def parse_latency(value: Any) -> float | None:
    """Return seconds from a number of seconds or from text such as ``"10ms"`` or ``"0.5s"``; None for None.

    Raises:
        ConfigError: The value is no duration, or the duration is not positive.
    """
    return _quantity(value, _SECONDS, "latency", "'10ms', '800us' or '0.5s'", "seconds")


def parse_bytes(what: str) -> Callable[[Any], int | None]:
    """Return a check that returns bytes for a number or text such as ``"20MB"`` or ``"1.5GiB"``; None for None."""

    def check(value: Any) -> int | None:
        found = _quantity(value, _BYTES, what, "'500kB', '20MB' or '1.5GiB'", "bytes")
        return None if found is None else int(found)

    return check


def format_seconds(seconds: float) -> str:
    """Return a duration with its unit and three digits, such as ``9.84 ms``."""
    for unit, factor in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= factor:
            return f"{_digits(seconds / factor)} {unit}"
    return f"{_digits(seconds / 1e-6)} µs"


def format_bytes(count: float) -> str:
    """Return a number of bytes with its unit and three digits, such as ``19.8 MB``."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{_digits(count / factor)} {unit}"
    return f"{count:.0f} bytes"


def _digits(value: float) -> str:
    """Return a number with three digits; whole numbers of more digits keep them."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _quantity(value: Any, units: Mapping[str, float], what: str, examples: str, plain: str) -> float | None:
    """Return a quantity in its plain unit.

    Raises:
        ConfigError: The value is no quantity, has no unit or an unknown one, or is not positive and finite.
    """
    if value is None:
        return None
    if isinstance(value, str):
        found = _QUANTITY.fullmatch(value.strip())
        unit = "" if found is None else found[3].lower()
        if found is None or unit not in units:
            known = ", ".join(dict.fromkeys(units))
            raise ConfigError(
                f"The {what} is a number with a unit, such as {examples} (units: {known}), or a number of {plain}; "
                f"got {value!r:.60}."
            )
        number = float(found[1]) * 10.0 ** int(found[2] or 0) * units[unit]
    else:
        number = float(value) if isinstance(value, Real) and value is not True else math.nan
    if not 0 < number < math.inf:
        raise ConfigError(
            f"The {what} is a positive number of {plain}, or a text such as {examples}; got {value!r:.60}."
        )
    return number


@documented
@dataclass(frozen=True, kw_only=True)
class Limits(SettingsGroup):
    """What the model may take, as it is saved and on this device. Candidates that take more are never trained."""

    latency: str | float | None = setting(
        None,
        help="Most time that the model takes for an example, such as 10ms.",
        more="It is the median of warm runs on the device of the search, from an example in memory to its "
        "probabilities: preprocessing counts, reading a file does not.",
        none="no limit",
        check=parse_latency,
        metavar="TIME",
        option="max_latency",
    )
    size: str | int | None = setting(
        None,
        help="Most bytes that the files of the model take, such as 20MB.",
        more="A MB has 10^6 bytes, a MiB 2^20.",
        none="no limit",
        check=parse_bytes("size"),
        metavar="SIZE",
        option="max_size",
    )
    memory: str | int | None = setting(
        None,
        help="Most bytes of memory that the loaded model takes to predict, such as 500MB.",
        more="These are its weights as they are held to predict, and the peak of what a prediction adds to them.",
        none="no limit",
        check=parse_bytes("memory"),
        metavar="SIZE",
        option="max_memory",
    )
    batch: int = setting(
        1,
        help="Examples that are predicted at once where latency and memory are measured.",
        more="The limit is on the time of all of them together.",
        check=whole_number("number of examples", 1),
        metavar="N",
        option="latency_batch",
    )

    @property
    def is_set(self) -> bool:
        """Whether there is a limit."""
        return not (self.latency is None and self.size is None and self.memory is None)

    @property
    def latency_seconds(self) -> float:
        """The limit on the latency in seconds; infinite without one."""
        return math.inf if self.latency is None else float(self.latency)

    @property
    def size_bytes(self) -> float:
        """The limit on the bytes of the files; infinite without one."""
        return math.inf if self.size is None else float(self.size)

    @property
    def memory_bytes(self) -> float:
        """The limit on the bytes of memory; infinite without one."""
        return math.inf if self.memory is None else float(self.memory)

    def to_json(self) -> dict[str, Any]:
        """Return the limits as JSON, in the units in which costs are written."""
        latency = None if self.latency is None else self.latency_seconds * 1e3
        return {"latency_ms": latency, "size_bytes": self.size, "memory_bytes": self.memory, "batch": self.batch}

    def __str__(self) -> str:
        """Return the limits in words, such as ``10 ms, 20 MB``."""
        examples = f" for {self.batch} examples" if self.batch > 1 else ""
        parts = [
            "" if self.latency is None else f"{format_seconds(self.latency_seconds)}{examples}",
            "" if self.size is None else format_bytes(self.size_bytes),
            "" if self.memory is None else f"{format_bytes(self.memory_bytes)} of memory",
        ]
        return ", ".join(filter(None, parts)) or "no limit"
