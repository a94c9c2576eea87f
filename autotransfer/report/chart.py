"""A picture of a search: what each trial scored, and when, as an SVG file that needs nothing else."""

from __future__ import annotations

import html
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence

from autotransfer.runtime.text import escape
from autotransfer.search.trials import TrialRecord

__all__ = ["draw"]

# Okabe and Ito's colours, which most colour-blind people can tell apart.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
# In pixels: the picture, its margins, the room for the legend on the right, and the height of its lines.
_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM, _LEGEND, _LINE_HEIGHT = 760, 380, 62, 46, 44, 220, 18
_TICKS = 5
# Backbones that have a colour of their own, and characters of a name beside them: more have no room.
COLOURED_BACKBONES, MAX_NAME_LENGTH = len(_COLOURS), 30
_OTHER = "#999999"
# A trial is far below the rest if its score is so many quartile ranges below the lower quartile.
QUARTILE_RANGES_BELOW = 3.0


Point = tuple[float, float, str]
"""Seconds, score and backbone of a trial."""


def draw(
    records: Sequence[TrialRecord], title: str, lines: Mapping[str, float] | None = None, *, metric: str = "score"
) -> str:
    """Draw the score of each trial against the seconds that the trials had taken together.

    Triangles at the bottom stand for trials far below the rest, such as those that were stopped in their first epoch.
    The best backbones have a colour each, all others are grey.

    Args:
        records: The trials, in order; those without a score are left out.
        title: What stands above it; any text.
        lines: Scores to compare with, by name: horizontal lines; one that is not finite is left out.
        metric: What the scores are.

    Returns:
        SVG.
    """
    points, clock = _points(records)
    lines = {name: value for name, value in (lines or {}).items() if math.isfinite(value)}
    colour, legend = _colours(points)
    scores = [score for _, score, _ in points]
    limit = _low_limit(scores)
    below = [score for score in scores if score < limit]
    axes = _Axes(clock, [score for score in scores if score >= limit] + list(lines.values()) or [0.0, 1.0])
    parts = [axes.frame(title, metric), *_lines(lines, axes)]
    for at, score, name in points:
        shape = _triangle(axes.x(at), axes.bottom) if score < limit else _circle(axes.x(at), axes.y(score), 4)
        parts.append(f"<{shape} fill='{colour.get(name, _OTHER)}' fill-opacity='0.65'/>")
    parts += _legend(legend, below, axes)
    size = f"width='{_WIDTH}' height='{_HEIGHT}' viewBox='0 0 {_WIDTH} {_HEIGHT}'"
    style = "font-family='sans-serif' font-size='12'"
    return f"<svg xmlns='http://www.w3.org/2000/svg' {size} {style}>\n" + "\n".join(parts) + "\n</svg>\n"


def _points(records: Sequence[TrialRecord]) -> tuple[list[Point], float]:
    """Return the trials that have a score, with the seconds that all trials had taken, and these seconds in all."""
    points, clock = list[Point](), 0.0
    for record in records:
        clock += record.seconds
        if record.score is not None and math.isfinite(record.score) and record.candidate is not None:
            points.append((clock, record.score, record.candidate.backbone))
    return points, clock


class _Axes:
    """Seconds to the right, scores upwards."""

    def __init__(self, seconds: float, scores: Sequence[float]) -> None:
        self.right, self.bottom = _WIDTH - _LEGEND, _HEIGHT - _BOTTOM
        self.times = _ticks(0.0, max(seconds, 1e-3))
        self.scores = _ticks(min(scores), max(scores))
        self.seconds, self.low, self.high = self.times[-1], self.scores[0], self.scores[-1]

    def x(self, seconds: float) -> float:
        return _LEFT + (self.right - _LEFT) * seconds / self.seconds

    def y(self, score: float) -> float:
        return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (self.high - score) / (self.high - self.low)

    def frame(self, title: str, metric: str) -> str:
        parts = [
            f"<rect width='{_WIDTH}' height='{_HEIGHT}' fill='#fff'/>",
            _text(_LEFT, 24, title, size=15),
            _text((_LEFT + self.right) / 2, _HEIGHT - 8, "seconds", anchor="middle"),
            _text(_LEFT - 50, _TOP - 8, metric),
        ]
        for score in self.scores:
            y = self.y(score)
            parts.append(f"<line x1='{_LEFT}' x2='{self.right}' y1='{y:.1f}' y2='{y:.1f}' stroke='#ddd'/>")
            parts.append(_text(_LEFT - 6, y + 4, f"{score:.4g}", anchor="end"))
        for at in self.times:
            parts.append(_text(self.x(at), self.bottom + 18, f"{at:.4g}", anchor="middle"))
        return "\n".join(parts)


def _lines(lines: Mapping[str, float], axes: _Axes) -> Iterator[str]:
    """Yield a horizontal line, with its name, for each score to compare with."""
    for i, (name, value) in enumerate(lines.items()):
        y, dash = axes.y(value), f"stroke-dasharray='{6 + 4 * i} 4'"
        yield f"<line x1='{_LEFT}' x2='{axes.right}' y1='{y:.1f}' y2='{y:.1f}' stroke='#555' {dash}/>"
        yield _text(axes.right + 8, y + 4, f"{name}: {value:.3f}")


def _legend(legend: Sequence[tuple[str, str]], below: Sequence[float], axes: _Axes) -> Iterator[str]:
    """Yield the names of the backbones beside their colours, and the number of trials far below the rest."""
    if below:
        y = axes.bottom - _LINE_HEIGHT * (len(legend) + 1)
        yield f"<{_triangle(axes.right + 14, y + 5)} fill='#555'/>"
        yield _text(axes.right + 24, y + 4, f"{len(below)} far below, down to {min(below):.3g}")
    for i, (name, fill) in enumerate(legend):
        y = axes.bottom - _LINE_HEIGHT * (len(legend) - i)
        yield f"<{_circle(axes.right + 14, y, 5)} fill='{fill}'/>"
        yield _text(axes.right + 24, y + 4, name)


def _colours(points: Sequence[Point]) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Return the colours of the best backbones, and the names, with their colours, that explain them."""
    best: dict[str, float] = {}
    for _, score, name in points:
        best[name] = max(score, best.get(name, score))
    names = sorted(best, key=lambda name: (-best[name], name))
    colour = dict(zip(names[:COLOURED_BACKBONES], _COLOURS, strict=False))
    legend = [
        (name if len(name) <= MAX_NAME_LENGTH else f"{name[: MAX_NAME_LENGTH - 1]}…", fill)
        for name, fill in colour.items()
    ]
    if len(names) > COLOURED_BACKBONES:
        legend.append((f"{len(names) - COLOURED_BACKBONES} more", _OTHER))
    return colour, legend


def _low_limit(scores: Sequence[float]) -> float:
    """Return the score below which trials are far below the rest."""
    if len(scores) < 2:
        return -math.inf
    lower, _, upper = statistics.quantiles(scores, n=4, method="inclusive")
    return lower - QUARTILE_RANGES_BELOW * max(upper - lower, 1e-2)


def _circle(x: float, y: float, radius: int) -> str:
    return f"circle cx='{x:.1f}' cy='{y:.1f}' r='{radius}'"


def _triangle(x: float, tip: float) -> str:
    return f"path d='M{x - 5:.1f} {tip - 9:.1f} h10 L{x:.1f} {tip:.1f} z'"


def _ticks(low: float, high: float) -> list[float]:
    """Return round numbers, evenly spaced, from ``low`` or below to ``high`` or above."""
    rough = max(high - low, 1e-3) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 10) for i in range(first, max(last, first + 1) + 1)]


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 12) -> str:
    """Return text in SVG; names come from data and may hold anything."""
    shown = html.escape(escape(text), quote=True)
    return f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}' font-size='{size}' fill='#222'>{shown}</text>"
