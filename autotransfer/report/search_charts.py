"""Charts of a search: objective over time, against cost and by depth, and score over epochs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from autotransfer.report.drawing import INK, OTHER, SERIES, axes_of, limits, shorten
from autotransfer.report.wording import score_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_cost", "draw_curves", "draw_depths", "draw_search"]

# Points of a chart across half of a page, and across all of it.
HALF_WIDTH, WIDTH, HEIGHT = 440.0, 900.0, 300.0
NAME_CHARACTERS = 30
# Share of the span of a logarithmic axis below which a linear one is easier to read.
MIN_RATIO_FOR_LOG = 10.0


def draw_search(figure: Figure, data: Mapping[str, Any]) -> None:
    """Draw the objective of each trial against time, in a colour by its source, and the best so far as a line.

    Args:
        figure: An empty figure.
        data: ``series`` (name to points of time and objective), ``best`` (points), ``lines`` (name to a score to
            compare with), ``low`` (the objective below which points are triangles at the edge), ``time`` and ``metric``
            (names).
    """
    axes = axes_of(figure, width=WIDTH, height=340)
    low = -math.inf if data["low"] is None else data["low"]
    shown = [value for points in data["series"].values() for _, value in points if value >= low]
    bottom, top = limits([*shown, *data["lines"].values()] or [0.0, 1.0])
    for (name, points), colour in zip(data["series"].items(), _colours(len(data["series"])), strict=True):
        inside = [point for point in points if point[1] >= low]
        axes.scatter(*_columns(inside), s=24, color=colour, alpha=0.75, linewidths=0, label=f"{name} ({len(points)})")
        far = [(at, bottom) for at, value in points if value < low]
        if far:
            axes.scatter(*_columns(far), s=30, color=colour, alpha=0.75, linewidths=0, marker="v", clip_on=False)
    best = [*data["best"], (data["end"], data["best"][-1][1])] if data["best"] else []
    axes.step(*_columns(best), where="post", color=INK, linewidth=1.6, label="best so far")
    for number, (name, score) in enumerate(data["lines"].items()):
        label = f"{shorten(name, NAME_CHARACTERS)} {score_text(score)}"
        axes.axhline(score, color=INK, linewidth=1.1, linestyle=(0, (5 - 2 * (number % 2), 3)), label=label)
    axes.set_ylim(bottom, top)
    axes.set_xlim(left=0.0)
    axes.set_xlabel(data["time"])
    axes.set_title(data["metric"])
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), handletextpad=0.5)


def draw_cost(figure: Figure, data: Mapping[str, Any]) -> None:
    """Draw the objective of candidates against what they cost, with a line through those that none beats in both.

    Args:
        figure: An empty figure.
        data: ``points`` (cost and objective), ``front`` (cost, objective and name), ``cost`` and ``metric`` (names).
    """
    axes = axes_of(figure, width=HALF_WIDTH, height=HEIGHT)
    axes.scatter(*_columns(data["points"]), s=20, color=OTHER, alpha=0.6, linewidths=0)
    front = [point[:2] for point in data["front"]]
    axes.plot(*_columns(front), color=SERIES[0], marker="o", markersize=5, linewidth=1.6, drawstyle="steps-post")
    costs = [point[0] for point in (*data["points"], *front) if point[0] > 0]
    if costs and max(costs) >= MIN_RATIO_FOR_LOG * min(costs):
        _make_logarithmic(axes)
    axes.margins(0.08, 0.12)
    if front:
        left, _ = axes.transAxes.inverted().transform(axes.transData.transform(front[-1]))
        axes.annotate(
            shorten(data["front"][-1][2], NAME_CHARACTERS),
            front[-1],
            xytext=(0, 8),
            textcoords="offset points",
            ha="left" if left < 0.5 else "right",
            color=SERIES[0],
        )
    axes.set_xlabel(data["cost"])
    axes.set_title(data["metric"])


def draw_curves(figure: Figure, data: Mapping[str, Any]) -> None:
    """Draw the score after each epoch of candidates that trained stages, the best ones in colour.

    Args:
        figure: An empty figure.
        data: ``curves`` (the best first, each with ``name`` and ``scores``), ``named`` (how many of them have a colour
            and a name), and ``metric`` (a name).
    """
    from matplotlib.ticker import MaxNLocator

    axes = axes_of(figure, width=HALF_WIDTH, height=HEIGHT)
    named = data["curves"][: data["named"]]
    for curve in data["curves"][data["named"] :]:
        axes.plot(range(1, len(curve["scores"]) + 1), curve["scores"], color=OTHER, alpha=0.4, linewidth=1)
    for curve, colour in zip(named, _colours(len(named)), strict=True):
        epochs = range(1, len(curve["scores"]) + 1)
        marker = "o" if len(curve["scores"]) == 1 else None
        name = shorten(curve["name"], NAME_CHARACTERS)
        axes.plot(epochs, curve["scores"], color=colour, linewidth=1.8, marker=marker, markersize=4, label=name)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("epoch")
    axes.set_title(data["metric"])
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=1)


def draw_depths(figure: Figure, data: Mapping[str, Any]) -> None:
    """Draw the best objective of backbones against the number of stages that trained.

    Args:
        figure: An empty figure.
        data: ``series`` (name to points of trained stages and objective, the best first) and ``metric`` (a name).
    """
    from matplotlib.ticker import MaxNLocator

    axes = axes_of(figure, width=HALF_WIDTH, height=HEIGHT)
    for (name, points), colour in zip(data["series"].items(), _colours(len(data["series"])), strict=True):
        label = shorten(name, NAME_CHARACTERS)
        axes.plot(*_columns(points), color=colour, marker="o", markersize=5, linewidth=1.6, label=label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.margins(0.06, 0.12)
    axes.set_xlabel("stages that trained")
    axes.set_title(data["metric"])
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=1)


def _make_logarithmic(axes: Axes) -> None:
    """Scale the horizontal axis logarithmically, with plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    low, high = axes.get_xlim()
    subs = (1.0,) if high > 100 * low else (1.0, 2.0, 5.0)
    axes.xaxis.set_major_locator(LogLocator(subs=subs))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _colours(count: int) -> list[str]:
    return [SERIES[number] if number < len(SERIES) else OTHER for number in range(count)]


def _columns(points: Sequence[Sequence[float]]) -> tuple[list[float], list[float]]:
    return [point[0] for point in points], [point[1] for point in points]
