"""What the page of a run shows, as data: sections of blocks, which ``report.json`` holds and ``render`` lays out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from autotransfer.contract.preview import Preview

__all__ = [
    "Block",
    "Card",
    "Chart",
    "Column",
    "Facts",
    "Gallery",
    "Notice",
    "Notices",
    "Page",
    "Program",
    "Section",
    "Table",
    "Text",
    "Tile",
    "Tiles",
]

Tone = Literal["plain", "good", "caution", "bad"]
Layout = Literal["wide", "half", "alone"]
"""All of the width; half of it, with another block beside it; or all of it, with the words beside the picture."""

Cell = str | float | int | None | tuple[float | None, ...]
"""Text, a number, or a number with the two ends of its interval."""


@dataclass(frozen=True, kw_only=True)
class Text:
    """A paragraph.

    Attributes:
        text: What it says.
        tone: How it is coloured.
    """

    text: str
    tone: Tone = "plain"


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One figure that the reader should see first.

    Attributes:
        label: What it is.
        value: The figure.
        detail: How sure it is, and where it comes from.
        tone: How it is coloured.
    """

    label: str
    value: str
    detail: str = ""
    tone: Tone = "plain"


@dataclass(frozen=True, kw_only=True)
class Tiles:
    """Figures side by side.

    Attributes:
        tiles: The figures.
    """

    tiles: tuple[Tile, ...]


@dataclass(frozen=True, kw_only=True)
class Notice:
    """A warning, or something to do.

    Attributes:
        text: What it says.
        title: A few words or a code before it.
        tone: How it is coloured.
        target: Id of the section that has more; empty for none.
    """

    text: str
    title: str = ""
    tone: Tone = "plain"
    target: str = ""


@dataclass(frozen=True, kw_only=True)
class Notices:
    """A list of warnings, or of steps.

    Attributes:
        title: What stands above it.
        notices: The entries.
        numbered: Whether the entries are steps in an order.
    """

    title: str
    notices: tuple[Notice, ...]
    numbered: bool = False


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Names with their values.

    Attributes:
        facts: Pairs of name and value.
        title: What stands above them.
        layout: How much of the width of the page it takes.
    """

    facts: tuple[tuple[str, str], ...]
    title: str = ""
    layout: Layout = "wide"


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a table.

    Attributes:
        title: What heads it.
        kind: How its cells are shown: as text, as a number, as a bar of a share, or as a share in its interval.
    """

    title: str
    kind: Literal["text", "number", "share", "interval"] = "text"


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table.

    Attributes:
        columns: Its columns.
        rows: Its rows, one cell for each column.
        caption: What it shows.
        shown: Number of rows that are open at once; the others fold out. None shows all.
        marked: Positions of rows that stand out.
        layout: How much of the width of the page it takes.
    """

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    shown: int | None = None
    marked: tuple[int, ...] = ()
    layout: Layout = "wide"


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A picture that is drawn from numbers.

    Attributes:
        chart: Name of what draws it; see ``autotransfer.report.charts``.
        data: The numbers, as JSON.
        title: What stands above it.
        caption: How to read it.
        alt: What it shows, for readers that see no pictures.
        layout: How much of the width of the page it takes.
    """

    chart: str
    data: Mapping[str, Any]
    title: str = ""
    caption: str = ""
    alt: str = ""
    layout: Layout = "wide"


@dataclass(frozen=True, kw_only=True)
class Card:
    """One example.

    Attributes:
        title: What it is called.
        preview: What to show of it; None for nothing.
        lines: What the model says of it, as pairs of name and value.
        tone: How it is coloured.
    """

    title: str
    preview: Preview | None = None
    lines: tuple[tuple[str, str], ...] = ()
    tone: Tone = "plain"


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """Examples side by side.

    Attributes:
        cards: The examples.
        title: What stands above them.
        caption: How to read them.
        shown: Number of examples that are open at once; the others fold out. None shows all.
    """

    cards: tuple[Card, ...]
    title: str = ""
    caption: str = ""
    shown: int | None = None


@dataclass(frozen=True, kw_only=True)
class Program:
    """Lines to type or to copy.

    Attributes:
        text: The lines.
        title: What they do.
    """

    text: str
    title: str = ""


Block = Text | Tiles | Notices | Facts | Table | Chart | Gallery | Program


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page with a heading.

    Attributes:
        id: Its address within the page.
        title: Its heading.
        blocks: What it shows, in order.
        lead: A sentence below the heading.
    """

    id: str
    title: str
    blocks: tuple[Block, ...]
    lead: str = ""


@dataclass(frozen=True, kw_only=True)
class Page:
    """What the page of a run shows.

    Attributes:
        title: Its heading: what was found.
        lead: A sentence below the heading: what won.
        made: When and by which version it was made.
        summary: What a reader should see first.
        sections: The parts below.
    """

    title: str
    lead: str
    made: str
    summary: tuple[Block, ...]
    sections: tuple[Section, ...]

    def blocks(self) -> Iterator[Block]:
        """Yield all blocks, in order."""
        yield from self.summary
        for section in self.sections:
            yield from section.blocks
