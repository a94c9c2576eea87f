"""Texts as a modality. Nothing heavy is imported before it is needed: plugins are listed without it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotransfer.contract.modality import InputFormat, Item, Modality, ModalityOption, Occlusions, Preview
from autotransfer.contract.specs import BackboneSpec
from autotransfer.errors import ConfigError, ModelFormatError
from autotransfer_plugins.modalities.text.formats import MAX_LENGTH, MIN_LENGTH, TokenFormat, at_length, max_length_of

if TYPE_CHECKING:
    from autotransfer.contract.demo_data import DemoData
    from autotransfer_plugins.modalities.text.export import TextExport
    from autotransfer_plugins.modalities.text.store import TextStore

__all__ = ["AUGMENTATIONS", "TEXT", "TextModality"]

AUGMENTATIONS = ("none", "light", "medium")
_LENGTH = re.compile(r"(\d{1,6})tokens")
# Length of the form on which a plugin's ``load_at`` is checked.
_CHECKED_LENGTH = 64


def _checked_length(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not MIN_LENGTH <= value <= MAX_LENGTH:
        raise ConfigError(f"The maximum length is {MIN_LENGTH} to {MAX_LENGTH} tokens, a whole number; got {value!r}.")
    return value


def _parsed_length(value: str) -> Any:
    return int(value) if value.strip().isdecimal() else value


_OPTIONS = {
    "max_length": ModalityOption(
        help="Most tokens of a text that are used; the rest is cut off.",
        none="as many as the backbone takes, and fewer where nearly all texts are shorter",
        metavar="TOKENS",
        parse=_parsed_length,
        check=_checked_length,
    )
}


class TextModality(Modality):
    """Texts: strings, tuples of strings, and text files."""

    name = "text"
    noun = "text"
    forms = "NAME@128tokens for texts of at most so many tokens"
    hub_task = "text-classification"
    suffixes = frozenset({".txt", ".md"})
    accepted = "a list or array of texts, or a list of paths of text files"
    augmentations = AUGMENTATIONS
    options = _OPTIONS
    warnings = {"truncated": "Many texts are longer than what backbones take of them."}  # noqa: RUF012

    def item(self, value: Any) -> Item | None:
        """Return a string without lone surrogates, and a tuple of strings as one text of several parts."""
        from autotransfer_plugins.modalities.text.reading import to_text

        if isinstance(value, str):
            return to_text(str(value))
        if isinstance(value, tuple) and len(value) > 1 and all(isinstance(part, str) for part in value):
            return tuple(to_text(str(part)) for part in value)
        return None

    def reads(self, values: Sequence[str]) -> bool:
        """Whether fewer than half of the strings look like names of files."""
        from autotransfer_plugins.modalities.text.reading import is_file_name

        return 2 * sum(map(is_file_name, values)) < len(values)

    def join(self, values: Sequence[Any]) -> Item:
        """Return one text of several parts; the tokenizer puts its separator between them."""
        from autotransfer_plugins.modalities.text.reading import to_text

        parts = tuple("" if value is None else to_text(str(value)) for value in values)
        return parts[0] if len(parts) == 1 else parts

    def batch(self, value: Any, reading: Mapping[str, Any] | None = None) -> list[Item] | None:
        """Return the texts of an array of strings (N,), or (N, columns) for texts of several parts."""
        from autotransfer_plugins.modalities.text.reading import texts_of_array

        return texts_of_array(value)

    def decoded(self, item: Item) -> Item:
        """Return the text of a file."""
        from autotransfer.errors import UnreadableExampleError
        from autotransfer_plugins.modalities.text.reading import read_text, to_text

        if not isinstance(item, Path):
            return item
        with contextlib.suppress(UnreadableExampleError):
            return to_text(read_text(item))
        return item

    def load(
        self,
        items: Sequence[Item],
        names: Sequence[str],
        formats: Sequence[Any],
        *,
        options: Mapping[str, Any],
        reading: Mapping[str, Any] | None = None,
        exact: bool = True,
        strict: bool = False,
        memory_limit: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> TextStore:
        """Read every text once, and tokenise it once for each tokenizer."""
        from autotransfer_plugins.modalities.text.load import load_texts

        return load_texts(
            self,
            items,
            names,
            formats,
            max_length=(options if reading is None else reading).get("max_length"),
            strict=strict,
            memory_limit=memory_limit,
            progress=progress,
        )

    def read_reading(self, reading: Any) -> Mapping[str, Any]:
        """Return the most tokens of a text that a saved model uses."""
        length = super().read_reading(reading).get("max_length")
        try:
            return {"max_length": None if length is None else _checked_length(length)}
        except ConfigError as error:
            raise ModelFormatError(str(error)) from error

    def read_format(self, about: Any, files: Mapping[str, bytes] | None = None) -> InputFormat:
        """Return how a saved model wants its texts; the file of its tokenizer is beside it."""
        if isinstance(about, Mapping) and "ngrams" in about:
            from autotransfer_plugins.modalities.text.ngrams import NGramFormat

            return NGramFormat.from_json(about)
        return TokenFormat.from_json(about, files or {})

    def format_files(self, how: Any) -> Mapping[str, bytes]:
        """Return the file of the tokenizer."""
        return {how.tokenizer.name: how.tokenizer.data} if isinstance(how, TokenFormat) else {}

    def fitted(
        self, specs: Sequence[BackboneSpec], items: Sequence[Item], options: Mapping[str, Any]
    ) -> list[BackboneSpec]:
        """Return each backbone for no more tokens of a text than the user wants."""
        length = options.get("max_length")
        return [spec if length is None else at_length(spec, length) or spec for spec in specs]

    def typical_gmacs(
        self, specs: Sequence[BackboneSpec], items: Sequence[Item], options: Mapping[str, Any]
    ) -> list[float | None]:
        """Return what texts cost that are as long as these, which is mostly far less than the longest that fits."""
        from autotransfer_plugins.modalities.text.lengths import typical_gmacs, typical_lengths

        return typical_gmacs(specs, typical_lengths(items))

    def export_inputs(self, formats: Sequence[Any], reading: Mapping[str, Any]) -> TextExport:
        """Return how tokens enter an exported model."""
        from autotransfer_plugins.modalities.text.export import TextExport

        return TextExport(formats, reading.get("max_length"))

    def variants(self, specs: Sequence[BackboneSpec], items: Sequence[Item]) -> list[tuple[BackboneSpec, ...]]:
        """Return each backbone at its own length and, where texts are longer, at shorter ones."""
        from autotransfer_plugins.modalities.text.lengths import lengths_of, typical_lengths

        return lengths_of(specs, typical_lengths(items))

    def check_variants(self, spec: BackboneSpec, how: TokenFormat) -> Sequence[BackboneSpec]:
        """Return a backbone for short texts."""
        shorter = at_length(replace(spec, preprocessing=how), _CHECKED_LENGTH)
        return () if shorter is None else (shorter,)

    def variant(self, spec: BackboneSpec, form: str) -> BackboneSpec | None:
        """Return a backbone for at most so many tokens of a text, ``NAME@128tokens``."""
        if (found := _LENGTH.fullmatch(form)) is None:
            return None
        if (shorter := at_length(spec, int(found[1]))) is None:
            raise ConfigError(
                f"The backbone {spec.name!r} does not take {found[1]} tokens: give fewer than its own "
                f"{max_length_of(spec) or 'maximum'}, {MIN_LENGTH} at least, or leave the length out."
            )
        return shorter

    def preview(self, item: Item, reading: Mapping[str, Any]) -> Preview:
        """Return the first words of a text, each part of it on a line."""
        from autotransfer_plugins.modalities.text.preview import first_words

        return first_words(item)

    def occlusions(self, item: Item, reading: Mapping[str, Any]) -> Occlusions:
        """Return a text without each of its first words."""
        from autotransfer_plugins.modalities.text.preview import without_words

        return without_words(item)

    def demo_data(self) -> DemoData:
        """Return short notes on eight subjects."""
        from autotransfer_plugins.modalities.text.demo import notes

        return notes()


TEXT = TextModality()
