"""The page as one HTML file: it needs no network, runs no script, and escapes every name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotransfer.errors import DataNotFoundError, RunFormatError
from autotransfer.report.charts import chart_as_svg
from autotransfer.report.page import Block, Chart, Page
from autotransfer.report.page_json import page_from_json, page_to_json
from autotransfer.report.wording import score_text, share_text
from autotransfer.runtime.files import write_atomically
from autotransfer.runtime.text import escape, one_line

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["read_page", "render", "render_summary", "write_page"]

# Line breaks, tabs, and what joins letters of some scripts, or parts of an emoji.
KEPT_CHARACTERS = "\n\t\u200c\u200d"
# What ends a part of a name.
BREAKS = re.compile(r"[_/@.\\-]+")
PAGE_FILE, HTML_FILE = "report.json", "report.html"


def render(page: Page) -> str:
    """Return a page as HTML.

    Raises:
        RunFormatError: The numbers of a chart are damaged.
    """
    return _environment().get_template("page.html").render(page=page, svg=_charts(page.blocks()))


def render_summary(page: Page, place: Path | None = None) -> str:
    """Return what a reader should see first, as a piece of HTML for a notebook.

    Args:
        page: The page; its sections are not shown.
        place: Where the whole page is; None where it is nowhere.
    """
    return _environment().get_template("summary.html").render(page=page, place=place)


def write_page(folder: Path, page: Page) -> Path:
    """Write ``report.json`` and ``report.html`` into a run folder, and return the latter.

    Raises:
        OSError: A file cannot be written.
    """
    write_atomically(folder / PAGE_FILE, json.dumps(page_to_json(page), allow_nan=False, separators=(",", ":")))
    write_atomically(folder / HTML_FILE, render(page))
    return folder / HTML_FILE


def read_page(folder: Path) -> Page:
    """Read ``report.json`` of a run folder.

    Raises:
        DataNotFoundError: There is none.
        RunFormatError: It is damaged, or of another version.
    """
    file = folder / PAGE_FILE
    if not file.is_file():
        raise DataNotFoundError(f"There is no {PAGE_FILE} in {folder}: name the folder of a run that has ended.")
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        return page_from_json(data)
    except (OSError, ValueError, RecursionError) as error:  # errors of the page's format are among them
        advice = "Make the page with the version of autotransfer that the run was made with, or run again."
        raise RunFormatError(f"{file} cannot be read: {one_line(error)} {advice}") from error


def _charts(blocks: Iterator[Block]) -> dict[int, Any]:
    """Return the picture of each chart, by the identity of its block."""
    from markupsafe import Markup

    numbers = count(1)
    # What a chart makes of a name is a text of the picture, which is escaped there.
    return {id(block): Markup(chart_as_svg(block, next(numbers))) for block in blocks if isinstance(block, Chart)}


def _without_controls(value: Any) -> Any:
    """Escape what would turn or break the line that a name stands in; line breaks and joiners of letters stay."""
    if type(value) is not str:  # what a macro returns is of another type, and went through here in pieces
        return value
    return "".join(c if c.isprintable() or c in KEPT_CHARACTERS else escape(c) for c in value)


def _breakable(name: str) -> Any:
    """Return a name, escaped, that may go on in the next line after each of its parts."""
    from markupsafe import Markup, escape

    return Markup(BREAKS.sub(r"\g<0><wbr>", str(escape(_without_controls(name)))))


@lru_cache(maxsize=1)
def _environment() -> Environment:
    """Return what lays out the templates; every value is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    found = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_without_controls,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.tests["longer_than"] = lambda text, characters: len(text) > characters
    found.filters["breakable"] = _breakable
    found.filters["end_of_path"] = lambda name: "/".join(re.split(r"[\\/]+", name)[-2:])
    found.filters["score"] = score_text
    found.filters["share"] = share_text
    found.filters["identity"] = id
    found.filters["kind"] = lambda block: type(block).__name__.lower()
    found.filters["percent"] = lambda share: f"{100 * min(max(share, 0.0), 1.0):.1f}%"
    return found
