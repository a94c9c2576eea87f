"""Windows: how much of a sound a network sees at a time, chosen from the data.

The window covers all of nearly every sound, where that is no longer than ten seconds; longer sounds are seen in several
windows, as views. A window of half that length costs half the time: it is tried as another form of the best backbones.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from autotransfer.contract.modality import Item
from autotransfer.contract.specs import BackboneSpec
from autotransfer_plugins.modalities.audio.formats import WaveFormat, at_seconds, names_seconds
from autotransfer_plugins.modalities.audio.reading import seconds_of
from autotransfer_plugins.modalities.audio.recordings import Encoded, Recording

__all__ = ["WINDOWS_SECONDS", "fitted", "fitting_window", "forms"]

# Few lengths, so that equal lengths are asked for on data that are alike.
WINDOWS_SECONDS = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
# Share of the sounds that the window covers wholly, up to the longest window.
_COVERED_PERCENT = 95
# A sound may be this much longer than its window: 1.02 seconds fit into one of 1 second.
_SLACK = 1.05
_MEASURED_FILES, _MEASURED_OF_LAZY = 256, 16
# The window of which there is a shorter form is this long, or longer.
_MIN_SECONDS_FOR_SHORTER = 2.0


def fitting_window(items: Sequence[Item], sampling_rate: int | None) -> float | None:
    """Return the seconds of the window that suits sounds, by the lengths of some of them; None for unknown."""
    most = _MEASURED_FILES if isinstance(items, (list, tuple)) else _MEASURED_OF_LAZY
    chosen = dict.fromkeys(np.linspace(0, len(items) - 1, min(len(items), most)).astype(int).tolist())
    found = [seconds for i in chosen if (seconds := _seconds(items, i, sampling_rate)) is not None]
    if not found:
        return None
    covered = float(np.percentile(found, _COVERED_PERCENT))
    return next((window for window in WINDOWS_SECONDS if covered <= window * _SLACK), WINDOWS_SECONDS[-1])


def fitted(specs: Sequence[BackboneSpec], window: float | None) -> list[BackboneSpec]:
    """Return each backbone for a window, or as it is where it takes no other one, or the user has named its own."""
    if window is None:
        return list(specs)
    return [spec if names_seconds(spec.name) else at_seconds(spec, window) or spec for spec in specs]


def forms(spec: BackboneSpec) -> tuple[BackboneSpec, ...]:
    """Return a backbone for its window, and for one of half that length where that costs less."""
    how = spec.preprocessing
    if not isinstance(how, WaveFormat) or how.seconds < _MIN_SECONDS_FOR_SHORTER:
        return (spec,)
    shorter = at_seconds(spec, how.seconds / 2)
    costs_less = shorter is not None and (spec.gmacs is None or (shorter.gmacs or 0.0) < spec.gmacs)
    return (spec, shorter) if shorter is not None and costs_less else (spec,)


def _seconds(items: Sequence[Item], i: int, sampling_rate: int | None) -> float | None:
    try:
        item: Any = items[i]
    except Exception:  # it comes again, and is reported, when its turn comes
        return None
    if isinstance(item, (Path, Encoded)):
        return seconds_of(item.data if isinstance(item, Encoded) else item)
    if not isinstance(item, Recording) or (rate := item.rate or sampling_rate) is None:
        return None
    return len(item.values) / rate
