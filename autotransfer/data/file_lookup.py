"""Where the files of a table or list are: beside it, or in a root; with or without a suffix."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

from autotransfer.data.folders import kind_of
from autotransfer.errors import DataNotFoundError

__all__ = ["Places"]


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where listed files are looked for.

    Attributes:
        folder: Where relative paths start: the table's folder, or the current one.
        root: Another folder, which is looked in first; None for none.
        suffix: What a path may lack at its end, such as ``.png``.
    """

    folder: Path = Path()
    root: Path | None = None
    suffix: str = ""

    @classmethod
    def of(cls, folder: Path, root: str | os.PathLike[str] | None, suffix: str | None) -> Places:
        """Return the places, with a dot before a suffix that has none.

        Raises:
            DataNotFoundError: The root is no folder.
        """
        if root is not None and kind_of(Path(root)) != "folder":
            raise DataNotFoundError(f"The root {str(root)!r} is no folder.")
        dotted = f".{suffix}" if suffix and suffix[0].isalnum() else suffix or ""
        return cls(folder=folder, root=None if root is None else Path(root), suffix=dotted)

    def find(self, value: Any) -> Path:
        """Return the file that a value names: the first place where one is, else the first place."""
        places = list(self._candidates(_as_text(value)))
        return next((place for place in places if kind_of(place) == "file"), places[0])

    def holds(self, value: Any) -> bool:
        """Whether the file that a value names is there."""
        return kind_of(self.find(value)) == "file"

    def tried(self, value: Any) -> str:
        """Return every place where the file that a value names was looked for, and what to do."""
        places = list(dict.fromkeys(str(place.absolute()) for place in self._candidates(_as_text(value))))
        shown = ", ".join(map(repr, places[:4])) + (", …" if len(places) > 4 else "")
        advice = [] if self.root is not None else ["--root names the folder where paths start"]
        advice += [] if self.suffix else ["--suffix what they lack at the end"]
        return f"looked for {shown}" + (f"; {', '.join(advice)}" if advice else "")

    def _candidates(self, text: str) -> Iterator[Path]:
        for written in self._spellings(text):
            for base in (self.root, self.folder):
                if base is not None:
                    yield base / written  # which is what was written, if that is absolute
            if self.root is not None and (relative := _relative(written)) is not None:
                yield self.root / relative

    def _spellings(self, text: str) -> Iterator[str]:
        for written in dict.fromkeys((text, text.replace("\\", "/"))):
            yield written
            if self.suffix:
                yield written + self.suffix


def _as_text(value: Any) -> str:
    # A column of whole numbers with a gap is one of floats.
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _relative(written: str) -> str | None:
    """Return an absolute path, of any system, without its beginning; None for a relative one."""
    path = PureWindowsPath(written)
    return path.as_posix()[len(path.anchor) :] if path.anchor else None
