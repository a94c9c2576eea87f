"""The errors of this package.

Each error is also a built-in error that callers may catch::

    AutoTransferError
    ├── ConfigError (ValueError)                a setting is wrong
    │   ├── UnknownNameError (LookupError)      a name that nothing is registered under
    │   └── RunExistsError (FileExistsError)    the output folder already holds a run
    ├── DataError (ValueError)                  the data cannot be used
    │   ├── DataNotFoundError (FileNotFoundError)
    │   └── UnreadableExampleError (OSError)    one example cannot be read
    ├── PluginError (RuntimeError)              a plugin breaks its contract
    ├── BackboneError (RuntimeError)            a backbone cannot be built or loaded
    │   └── WeightsUnavailableError (OSError)   its weights are not here and cannot be fetched
    ├── ModelFormatError (ValueError)           a saved model cannot be read
    ├── ExportError (RuntimeError)              a model cannot leave in the form that is asked for
    ├── OutputError (OSError)                   a disk is full, or cannot be written
    ├── RunFormatError (ValueError)             a run folder cannot be read, or its run cannot go on
    └── SearchError (RuntimeError)              a search ended without a usable candidate
        └── TrialError                          one trial failed; the search goes on

Messages say what was wrong, what was given and what to do.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from autotransfer.runtime.text import escape

__all__ = [
    "AutoTransferError",
    "BackboneError",
    "ConfigError",
    "DataError",
    "DataNotFoundError",
    "ExportError",
    "ModelFormatError",
    "OutputError",
    "PluginError",
    "RunExistsError",
    "RunFormatError",
    "SearchError",
    "TrialError",
    "UnknownNameError",
    "UnreadableExampleError",
    "WeightsUnavailableError",
]


# Most similar names that an error suggests, and most names that it lists where none is similar.
_MAX_SUGGESTIONS, _MAX_LISTED_NAMES = 4, 8


class AutoTransferError(Exception):
    """Base of all errors of this package.

    Args:
        message: What was wrong, what was given and what to do. Control characters are escaped, since the message may
            hold names from data.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(escape(message))


class ConfigError(AutoTransferError, ValueError):
    """A setting is wrong."""


class UnknownNameError(ConfigError, LookupError):
    """A name or pattern matches nothing.

    Args:
        kind: Kind of name, for example ``"head"``.
        name: The name that was given.
        known: The names that exist.
        hint: Sentence at the end of the message.
        meant: Names to suggest; None suggests the most similar names.
    """

    def __init__(
        self, kind: str, name: str, known: Iterable[str], hint: str = "", *, meant: Sequence[str] | None = None
    ) -> None:
        names = sorted(known)
        close = _close(name, names) if meant is None else meant
        if meant is not None and not meant:
            advice = ""
        elif close:
            advice = f"Did you mean {', '.join(close)}?"
        elif names:
            shown = ", ".join(names[:_MAX_LISTED_NAMES]) + (
                f", … ({len(names)} in all)" if len(names) > _MAX_LISTED_NAMES else ""
            )
            advice = f"Known: {shown}."
        else:
            advice = "None is registered."
        super().__init__(" ".join(filter(None, [f"No {kind} matches {name!r}.", advice, hint])))
        self._again = partial(type(self), kind, name, names, hint, meant=meant)

    def __reduce__(self) -> tuple[Any, ...]:
        return self._again, ()  # by default, exceptions are unpickled from their message


def _close(given: str, names: Sequence[str]) -> list[str]:
    """Return the names that are most similar to a name, or that contain a part similar to a glob pattern's text."""
    text = max(re.split(r"[*?]|\[[^]]*\]", given.lower()), key=len)
    lowered = {name.lower(): name for name in reversed(names)}
    close = difflib.get_close_matches(text, lowered, n=_MAX_SUGGESTIONS, cutoff=0.5) if text == given.lower() else []
    if close or not text:
        return [lowered[name] for name in close]
    # Parts of each name, from each of its words on, as long as the text; short names and early words come first.
    words = ((word.start(), len(name), name) for name in lowered for word in re.finditer(r"[a-z0-9]+", name))
    parts: dict[str, str] = {}
    for start, _, name in sorted(words):
        for length in (len(text), len(text) + 1):
            parts.setdefault(name[start : start + length], lowered[name])
    close = difflib.get_close_matches(text, parts, n=2 * _MAX_SUGGESTIONS, cutoff=0.6)
    return list(dict.fromkeys(parts[part] for part in close))[:_MAX_SUGGESTIONS]


class RunExistsError(ConfigError, FileExistsError):
    """The output folder already holds a run."""


class DataError(AutoTransferError, ValueError):
    """The data cannot be used."""


class DataNotFoundError(DataError, FileNotFoundError):
    """A file or folder of data is missing."""


class UnreadableExampleError(DataError, OSError):
    """One example cannot be read."""


class PluginError(AutoTransferError, RuntimeError):
    """A plugin breaks its contract."""


class BackboneError(AutoTransferError, RuntimeError):
    """A backbone cannot be built or loaded."""


class WeightsUnavailableError(BackboneError, OSError):
    """The weights of a backbone are not on this machine and cannot be fetched."""


class ModelFormatError(AutoTransferError, ValueError):
    """A saved model cannot be read."""


class ExportError(AutoTransferError, RuntimeError):
    """A model cannot be exported in a format, or what was exported does not predict as the model does."""


class OutputError(AutoTransferError, OSError):
    """A disk is full, or a file or folder cannot be written."""


class RunFormatError(AutoTransferError, ValueError):
    """A run folder cannot be read, or its run cannot go on."""


class SearchError(AutoTransferError, RuntimeError):
    """A search ended without a usable candidate."""


class TrialError(SearchError):
    """One trial failed; its message is recorded as the reason and the search goes on."""
