"""Pictures as SVG: drawn by matplotlib, coloured by the page that they stand in.

A chart is drawn in stand-in colours. Within a page, each becomes a variable of its style sheet, so that one picture
suits light and dark; in a file of its own, each becomes the colour for a light background.
"""

from __future__ import annotations

import io
import re
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from autotransfer.runtime.text import escape

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["INK", "MUTED", "OTHER", "PAPER", "SERIES", "Draw", "axes_of", "inline_svg", "limits", "shorten", "svg_file"]

Draw = Callable[["Figure", Mapping[str, Any]], None]
"""Draws numbers into an empty figure."""

# Stand-ins; nothing else in a picture has these colours.
INK, MUTED, PAPER, OTHER = "#fe0a01", "#fe0a02", "#fe0a03", "#fe0a04"
SERIES = tuple(f"#fe0b0{number}" for number in range(1, 8))
_VARIABLES: Mapping[str, str] = {
    **{INK: "--ink", MUTED: "--line", PAPER: "--paper", OTHER: "--other"},
    **{stand_in: f"--series-{number}" for number, stand_in in enumerate(SERIES, 1)},
}
# On white. The series are Okabe and Ito's colours, which most colour-blind people can tell apart.
_OKABE_ITO = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f6bb3")
_ON_WHITE: Mapping[str, str] = {
    **{INK: "#1c2024", MUTED: "#d5d9de", PAPER: "#ffffff", OTHER: "#8b939c"},
    **dict(zip(SERIES, _OKABE_ITO, strict=True)),
}
# A point of the picture is a pixel of the page.
POINTS_PER_INCH = 72.0
FONT_POINTS = 12.0
_STYLE: Any = {  # a type for each setting is too much
    "svg.fonttype": "none",  # text stays text: it can be searched, read aloud, and takes the font of the page
    "svg.hashsalt": "autotransfer",  # equal pictures are equal files
    "text.parse_math": False,  # names of data may hold dollars
    "font.family": ["DejaVu Sans"],
    "font.size": FONT_POINTS,
    "axes.titlesize": FONT_POINTS,
    "axes.labelsize": FONT_POINTS,
    "xtick.labelsize": FONT_POINTS,
    "ytick.labelsize": FONT_POINTS,
    "legend.fontsize": FONT_POINTS,
    "legend.frameon": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": MUTED,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.unicode_minus": False,
}
_SVG, _XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
_LINK, _STAND_IN, _TAG = re.compile(r"#([\w.-]+)"), re.compile(r"#fe0[ab]0\d"), re.compile(r"<[^>]*>")
# matplotlib keeps its settings in one place for the whole process.
_LOCK = threading.Lock()


def shorten(text: object, characters: int) -> str:
    """Return a name in at most so many characters, without control characters; the middle of a long one is left out."""
    shown = escape(text)
    if len(shown) <= characters:
        return shown
    last = (characters - 1) // 2
    return f"{shown[: characters - 1 - last]}…{shown[len(shown) - last :]}"


def axes_of(figure: Figure, *, width: float, height: float, **options: Any) -> Axes:
    """Make a figure of a size in points, and return axes that fill it."""
    figure.set_size_inches(width / POINTS_PER_INCH, height / POINTS_PER_INCH)
    axes = figure.subplots(**options)
    return axes  # type: ignore[no-any-return]  # a single one, as no rows and columns are asked for


def svg_file(draw: Draw, data: Mapping[str, Any]) -> str:
    """Return a picture as an SVG file of its own, on white."""
    return _coloured(_drawn(draw, data, background=True), _ON_WHITE)


def inline_svg(draw: Draw, data: Mapping[str, Any], *, prefix: str, alt: str) -> str:
    """Return a picture as an element of a page.

    Args:
        draw: What draws it.
        data: The numbers.
        prefix: What tells its ids apart from those of other pictures of the page.
        alt: What it shows, in words.
    """
    variables = {stand_in: f"var({name})" for stand_in, name in _VARIABLES.items()}
    root = ElementTree.fromstring(_coloured(_drawn(draw, data, background=False), variables))
    _, _, width, height = root.get("viewBox", "0 0 1 1").split()
    _tidy(root, prefix)
    root.attrib.clear()
    root.attrib.update(
        {
            "viewBox": f"0 0 {width} {height}",
            "width": width,
            "height": height,
            "style": f"--width: {width}px",
            "role": "img",
            "aria-label": escape(alt),
        }
    )
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=False)


def _coloured(svg: str, colours: Mapping[str, str]) -> str:
    """Put colours in the place of the stand-ins: in tags only, since a text may be the name of a class."""
    return _TAG.sub(lambda tag: _STAND_IN.sub(lambda found: colours[found[0]], tag[0]), svg)


def _drawn(draw: Draw, data: Mapping[str, Any], *, background: bool) -> str:
    """Return a picture as SVG, in stand-in colours; nothing of matplotlib's state outside of it changes."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    file = io.StringIO()
    with _LOCK, matplotlib.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # letters that its own font lacks, which the page's font has
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(dict(_STYLE))
        figure = Figure(layout="constrained", facecolor=PAPER)
        FigureCanvasSVG(figure)
        draw(figure, _printable(data))
        for axes in figure.axes:
            axes.set_facecolor("none")
            axes.tick_params(which="both", left=False, bottom=False)
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(file, format="svg", metadata=nothing, transparent=not background)
    return file.getvalue()


def _printable(value: Any) -> Any:
    """Return numbers and names with all control characters of the names escaped, which XML does not allow."""
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, Mapping):
        return {escape(key): _printable(one) for key, one in value.items()}
    return [_printable(one) for one in value] if isinstance(value, (list, tuple)) else value


def _tidy(root: ElementTree.Element, prefix: str) -> None:
    """Make a file's SVG an element of a page: no names of other documents, no style for all, no ids that clash."""
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{_SVG}style", f"{_SVG}metadata"):
                parent.remove(child)
    links = [value for element in root.iter() for value in element.attrib.values() if "#" in value]
    used = {name for value in links for name in _LINK.findall(value)}
    for element in root.iter():
        element.tag = element.tag.removeprefix(_SVG)
        for name, value in list(element.attrib.items()):
            del element.attrib[name]
            if name != "id" or value in used:
                element.set(name.removeprefix(_XLINK), _with_prefix(name, value, prefix))


def _with_prefix(name: str, value: str, prefix: str) -> str:
    """Return the value of an attribute, where it is or has an id, with a prefix before that."""
    if name == "id":
        return f"{prefix}-{value}"
    if name == f"{_XLINK}href" or value.startswith("url(#"):
        return _LINK.sub(rf"#{prefix}-\1", value)
    return value


def limits(values: Sequence[float], *, margin: float = 0.06) -> tuple[float, float]:
    """Return the ends of an axis that holds values with a margin."""
    low, high = min(values), max(values)
    room = margin * (high - low) if high > low else max(abs(high) * margin, margin)
    return low - room, high + room
