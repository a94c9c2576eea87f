"""Sounds as a modality. Nothing heavy is imported before it is needed: plugins are listed without it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotransfer.contract.modality import Item, Modality, ModalityOption, Occlusions, Preview
from autotransfer.contract.specs import BackboneSpec
from autotransfer.errors import ConfigError, DataError, ModelFormatError
from autotransfer_plugins.modalities.audio.formats import (
    MAX_RATE_HZ,
    MIN_RATE_HZ,
    WaveFormat,
    at_seconds,
    read_rate,
    seconds_name,
)

if TYPE_CHECKING:
    from autotransfer.contract.demo_data import DemoData
    from autotransfer_plugins.modalities.audio.export import AudioExport
    from autotransfer_plugins.modalities.audio.sounds import Sounds

__all__ = ["AUDIO", "AUGMENTATIONS", "OPTIONS", "VIEWS", "WARNINGS", "AudioModality"]

VIEWS = ("center", "start", "end", "early", "late")
AUGMENTATIONS = ("none", "light", "medium", "strong")
WARNINGS = {
    "clipped": "Sounds of which many samples are at full scale.",
    "cut_off": "More than a third of the sounds' time lies outside of all windows.",
    "full_scale": "Values of arrays, or of files of floats, that are not from -1 to 1.",
    "silent": "Sounds whose samples are all equal.",
}
# Sounds by name: those that cannot be decoded are reported, with what converts them, and not passed over.
_SUFFIXES = frozenset(
    {".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".mp2", ".aif", ".aiff", ".aifc", ".au", ".snd"}
    | {".caf", ".w64", ".rf64", ".sph", ".voc", ".m4a", ".aac", ".wma", ".amr", ".weba"}
)
_SECONDS = re.compile(r"(\d{1,3}(?:\.\d{1,3})?)s")
_LARGEST_FULL_SCALE = 2.0**64


def check_sampling_rate(given: Any) -> int:
    """Return a sampling rate in Hz.

    Raises:
        ConfigError: The value is none that sounds have.
    """
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not float(given).is_integer():
        raise ConfigError(f"The sampling rate is a whole number in Hz, such as 16000; got {given!r}.")
    if not MIN_RATE_HZ <= given <= MAX_RATE_HZ:
        raise ConfigError(f"The sampling rate of sounds is from {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz; got {given!r}.")
    return int(given)


def parse_sampling_rate(text: str) -> Any:
    """Return the number of a text; another text as it is, which ``check_sampling_rate`` refuses."""
    try:
        return int(text)
    except ValueError:
        return text


OPTIONS = {
    "sampling_rate": ModalityOption(
        help="Samples a second of sounds that are given as arrays, in Hz. Files say their own.",
        none="arrays must say theirs, as the cells of Hugging Face data sets do",
        metavar="HZ",
        parse=parse_sampling_rate,
        check=check_sampling_rate,
    )
}


class AudioModality(Modality):
    """Sounds: files that libsndfile reads, arrays and tensors, and the cells of data sets."""

    name = "audio"
    noun = "sound"
    forms = "NAME@2s for a window of so many seconds"
    hub_task = "audio-classification"
    suffixes = _SUFFIXES
    accepted = "an array or tensor of sounds (N, samples), or a list of paths or arrays (samples,)"
    claims_arrays = False  # rows of numbers may be anything, and do not say their sampling rate
    views = VIEWS
    augmentations = AUGMENTATIONS
    options = OPTIONS
    warnings = WARNINGS

    def holds(self, file: Path) -> bool:
        """Whether the header of a file is one of a sound."""
        from autotransfer_plugins.modalities.audio.reading import holds_sound

        return holds_sound(file)

    def item(self, value: Any) -> Item | None:
        """Return an array, a cell of a data set, or a pair of an array and its rate as a recording."""
        from autotransfer_plugins.modalities.audio.recordings import item_of

        return item_of(value, self.suffixes)

    def batch(self, value: Any, reading: Mapping[str, Any] | None = None) -> list[Item] | None:
        """Split an array or tensor (N, samples) or (N, channels, samples) into its sounds."""
        from autotransfer_plugins.modalities.audio.recordings import recordings_of

        return recordings_of(value, one=reading is not None)

    def decoded(self, item: Item) -> Item:
        """Return the samples of a file, with their rate."""
        from autotransfer_plugins.modalities.audio.single import decoded_item

        return decoded_item(item)

    def load(
        self,
        items: Sequence[Item],
        names: Sequence[str],
        formats: Sequence[WaveFormat],
        *,
        options: Mapping[str, Any],
        reading: Mapping[str, Any] | None = None,
        exact: bool = True,
        strict: bool = False,
        memory_limit: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Sounds:
        """Decode every sound once, and resample it once to each rate that a backbone wants.

        A sound takes two bytes a sample at each of the rates.

        Raises:
            DataError: No sound can be read; or arrays do not say their sampling rate, and nothing else does.
        """
        from autotransfer.data.examples import Examples
        from autotransfer_plugins.modalities.audio.decode import decode

        known = {} if reading is None else reading
        rate = options.get("sampling_rate", known.get("sampling_rate"))
        if rate is None:
            _refuse_unknown_rate(items)
        return decode(
            Examples(items=items, names=tuple(names)),
            formats,
            views=len(self.views),
            sampling_rate=rate,
            full_scale=known.get("full_scale"),
            strict=strict,
            memory_limit=memory_limit,
            progress=progress,
        )

    def read_reading(self, reading: Any) -> Mapping[str, Any]:
        """Return how a saved model reads sounds: the full scale of floats, and the sampling rate of arrays."""
        about = super().read_reading(reading)
        scale, rate = about.get("full_scale"), about.get("sampling_rate")
        if isinstance(scale, bool) or not isinstance(scale, (int, float)) or not 0 < scale <= _LARGEST_FULL_SCALE:
            raise ModelFormatError(f"The full scale of a model's sounds is a positive number; got {scale!r:.60}.")
        return {"full_scale": float(scale), "sampling_rate": None if rate is None else read_rate(rate)}

    def read_format(self, about: Any, files: Mapping[str, bytes] | None = None) -> WaveFormat:
        """Return how a saved model wants its sounds."""
        return WaveFormat.from_json(about)

    def adopt(self, specs: Sequence[BackboneSpec]) -> Sequence[BackboneSpec]:
        """Return image backbones on log-mel spectrograms, ``NAME@mel``."""
        from autotransfer_plugins.backbones.spectrogram import adopted

        return adopted(specs)

    def fitted(
        self, specs: Sequence[BackboneSpec], items: Sequence[Item], options: Mapping[str, Any]
    ) -> list[BackboneSpec]:
        """Return each backbone for the window that suits the sounds, ``NAME@2s``."""
        from autotransfer_plugins.modalities.audio.windows import fitted, fitting_window

        return fitted(specs, fitting_window(items, options.get("sampling_rate")))

    def typical_gmacs(
        self, specs: Sequence[BackboneSpec], items: Sequence[Item], options: Mapping[str, Any]
    ) -> list[float | None]:
        """Return what a window costs that suits the sounds."""
        return [spec.gmacs for spec in self.fitted(specs, items, options)]

    def export_inputs(self, formats: Sequence[WaveFormat], reading: Mapping[str, Any]) -> AudioExport:
        """Return how samples of any number enter an exported model."""
        from autotransfer_plugins.modalities.audio.export import AudioExport

        return AudioExport(self, formats, reading)

    def variants(self, specs: Sequence[BackboneSpec], items: Sequence[Item]) -> list[tuple[BackboneSpec, ...]]:
        """Return each backbone for its window, and for a shorter one where that costs less."""
        from autotransfer_plugins.modalities.audio.windows import forms

        return [forms(spec) for spec in specs]

    def check_variants(self, spec: BackboneSpec, how: WaveFormat) -> Sequence[BackboneSpec]:
        """Return a backbone for a window of half the length."""
        from dataclasses import replace

        shorter = at_seconds(replace(spec, preprocessing=how), how.seconds / 2)
        return () if shorter is None else (shorter,)

    def variant(self, spec: BackboneSpec, form: str) -> BackboneSpec | None:
        """Return a backbone for windows of another length, ``NAME@2s``."""
        if (seconds := _SECONDS.fullmatch(form)) is None:
            return None
        if (found := at_seconds(spec, float(seconds[1]))) is None:
            raise ConfigError(
                f"The backbone {spec.name!r} does not take windows of {seconds_name(float(seconds[1]))}: leave the "
                "length out; not every backbone takes another length than its own."
            )
        return found

    def preview(self, item: Item, reading: Mapping[str, Any]) -> Preview:
        """Return the middle of a sound as a small file."""
        from autotransfer_plugins.modalities.audio.preview import clip

        return clip(item, reading)

    def occlusions(self, item: Item, reading: Mapping[str, Any]) -> Occlusions:
        """Return a sound with silence in place of each part of its middle."""
        from autotransfer_plugins.modalities.audio.preview import with_silence

        return with_silence(item, reading)

    def demo_data(self) -> DemoData:
        """Return syllables that made-up voices say in noise."""
        from autotransfer_plugins.modalities.audio.demo import syllables

        return syllables()


def _refuse_unknown_rate(items: Sequence[Item]) -> None:
    """Refuse arrays whose sampling rate nothing says.

    Raises:
        DataError: The first item is one.
    """
    from autotransfer_plugins.modalities.audio.recordings import Recording

    first = items[0] if len(items) and isinstance(items, (list, tuple)) else None
    if isinstance(first, Recording) and first.rate is None:
        raise DataError(
            f"Arrays do not say their sampling rate; the first holds {len(first.values):,} samples. Give it: "
            "sampling_rate=16000, or --sampling-rate 16000, for 16,000 samples a second; or give pairs of an array "
            "and its rate."
        )


AUDIO = AudioModality()
