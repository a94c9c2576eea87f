"""What a page shows of one example: a thumbnail, the words, or a short clip."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autotransfer.errors import RunFormatError

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["MEDIA_TYPES", "Occlusions", "Preview", "Shown", "Words"]

# What a page may embed: each of them is passive, unlike a drawing in SVG or a page.
MEDIA_TYPES = frozenset({"text/plain", "image/png", "image/jpeg", "audio/wav", "audio/flac"})


@dataclass(frozen=True, kw_only=True)
class Words:
    """Some words of a text, with their weight for a prediction.

    Attributes:
        text: The words, with the white space around them.
        weight: From -1, the words speak against the prediction, to 1, they speak for it; 0 where they do not matter.
    """

    text: str
    weight: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What a page shows of one example. Text in it comes from data: a page has to escape it.

    Attributes:
        media_type: One of ``MEDIA_TYPES``.
        data: The file, as small as it may be; empty for ``"text/plain"``.
        text: The words of a text, or what is said of another example in place of its file.
        words: The words of ``text`` in order, each with its weight; empty where nothing weighed them.
    """

    media_type: str
    data: bytes = b""
    text: str = ""
    words: tuple[Words, ...] = ()

    @property
    def uri(self) -> str:
        """The file as a ``data:`` URI for ``src``; empty for a text."""
        return f"data:{self.media_type};base64,{base64.b64encode(self.data).decode()}" if self.data else ""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON, the file in base64; ``from_json`` reads it."""
        return {
            "media_type": self.media_type,
            "data": base64.b64encode(self.data).decode(),
            "text": self.text,
            "words": [[part.text, part.weight] for part in self.words],
        }

    @classmethod
    def from_json(cls, about: Any) -> Preview:
        """Read what ``to_json`` returned, which may come from a stranger.

        Raises:
            RunFormatError: It is none, or of a type that a page does not embed.
        """
        try:
            kind, data, text, words = (about[key] for key in ("media_type", "data", "text", "words"))
            found = tuple(Words(text=_text(part), weight=_weight(weight)) for part, weight in words)
            if kind not in MEDIA_TYPES:
                raise ValueError(f"it is one of {sorted(MEDIA_TYPES)}; got {kind!r:.60}")
            return cls(media_type=kind, data=base64.b64decode(data, validate=True), text=_text(text), words=found)
        except (KeyError, TypeError, ValueError, binascii.Error) as error:
            raise RunFormatError(f"What is shown of an example cannot be read: {error}.") from error


@dataclass(frozen=True, kw_only=True)
class Occlusions:
    """An example in parts, and the same example without each of them.

    Attributes:
        preview: What to show of the example.
        parts: What to show of each part, in order; for a text, they make up ``preview.text``.
        items: The example without each of the parts, in order.
    """

    preview: Preview
    parts: tuple[str, ...]
    items: tuple[Any, ...]


class Shown:
    """A dataclass with what is said of one example, and the field ``preview``: what to show of it."""

    preview: Preview | None

    def to_json(self, *, previews: bool = True) -> dict[str, Any]:
        """Return it as JSON, with what to show of it or without."""
        about = {key: value for key, value in self.__dict__.items() if key != "preview"}
        return about | ({"preview": self.preview.to_json() if self.preview else None} if previews else {})

    @classmethod
    def from_json(cls, about: Mapping[str, Any]) -> Self:
        """Read what ``to_json`` returned.

        Raises:
            RunFormatError: What is shown of it is damaged.
            TypeError: A value is missing.
        """
        given = about.get("preview")
        return cls(**{**about, "preview": None if given is None else Preview.from_json(given)})


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a text is expected; got a {type(value).__name__}")
    return value


def _weight(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise TypeError(f"a weight is a number; got {value!r:.60}")
    return float(value)
