"""Signals, one-dimensional arrays of numbers, as a modality; and a backbone for them."""

from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np

from autotransfer.contract.hookspecs import hookimpl
from autotransfer.contract.lazy_import import LazyImport
from autotransfer.contract.modality import Modality, Skipped, Store
from autotransfer.contract.specs import BackboneSpec
from autotransfer.errors import DataError, ModelFormatError

LOAD = LazyImport("signals.network:load_backbone")


@dataclass(frozen=True, kw_only=True)
class SignalStore(Store):
    """Signals as bytes; ``read_as`` says what values bytes 0 and 255 stand for, and how many bytes a signal has."""

    read_as: dict

    @property
    def reading(self):
        return self.read_as

    def inputs(self, rows, how, device, view=None):
        import torch

        lengths = self.lengths(how)[rows]
        mask = torch.from_numpy(np.arange(lengths.max()) < lengths[:, None])  # as long as the longest of these signals
        levels = torch.from_numpy(self.arrays["levels"][rows][:, : mask.shape[1]] // 4).long()
        tokens = (63 - levels if view == "upside_down" else levels) * mask
        return {"tokens": tokens.to(device), "mask": mask.to(device)}

    def lengths(self, how):
        return np.minimum(self.arrays["lengths"], how.length)


class Signals(Modality):
    """Arrays (length,) of numbers, and ``.npy`` files of them."""

    name, noun, suffixes = "signal", "signal", frozenset({".npy"})
    views, accepted = ("plain", "upside_down"), "an array of signals (N, length), or a list of arrays or .npy files"

    def item(self, value):
        return value if isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in "iuf" else None

    def batch(self, value, reading=None):
        several = value[None] if value.ndim == 1 and reading is not None else value
        return list(several) if several.ndim == 2 and isinstance(value, np.ndarray) else None

    def load(self, items, names, formats, *, options, reading=None, exact=True, strict=False, **limits):
        found, skipped = {}, []
        for i in range(len(items)):
            try:
                signal = np.load(items[i], allow_pickle=False) if isinstance(items[i], Path) else np.asarray(items[i])
                if signal.ndim != 1 or not signal.size or not np.isfinite(signal).all():
                    raise ValueError("it is no array of finite numbers along one axis")
                found[i] = signal.astype(np.float64)
            except (OSError, ValueError, TypeError, EOFError) as error:
                if strict:
                    raise DataError(f"{names[i]} cannot be used: {error}") from error
                skipped.append(Skipped(name=names[i], reason=str(error)))
        if not found:
            raise DataError("No signal can be read.")
        span = reading or {name: float(end(map(end, found.values()))) for name, end in (("low", min), ("high", max))}
        length = reading["length"] if reading and exact else max(how.length for how in formats)
        levels = np.zeros((len(found), length), np.uint8)
        for row, signal in zip(levels, found.values(), strict=True):
            row[: len(signal)] = np.rint(np.interp(signal[:length], (span["low"], span["high"]), (0, 255)))
        arrays = {"levels": levels, "lengths": np.array([min(len(signal), length) for signal in found.values()])}
        digests = tuple(blake2b(signal.tobytes(), digest_size=16).hexdigest() for signal in found.values())
        about = {"read_as": {**span, "length": length}, "digests": digests, "decoded": len(found)}
        return SignalStore(modality=self, arrays=arrays, kept=np.array(list(found)), skipped=tuple(skipped), **about)

    def read_reading(self, reading):
        if not isinstance(reading, dict) or type(reading.get("length")) is not int or not 0 < reading["length"] < 10**4:
            raise ModelFormatError("How a model reads signals has a length from 1 to 9,999.")
        return {"length": reading["length"], "low": float(reading["low"]), "high": float(reading["high"])}

    def read_format(self, about, files=None):
        if not isinstance(about, dict) or type(about.get("length")) is not int:
            raise ModelFormatError("How a model wants its signals is an object with a length.")
        return LazyImport("signals.network:SignalFormat")(about["length"])


@hookimpl
def register_modalities(register):
    register(Signals())


@hookimpl
def register_backbones(register):
    register(BackboneSpec(name="tiny_signals", modality="signal", load=LOAD, version="1"))


@hookimpl
def rebuild_backbone(recipe):
    return LOAD() if recipe.get("plugin") == "signals" else None
