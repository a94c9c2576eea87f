"""A picture of the front: objective against latency and against size, as an SVG file that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from autotransfer.analysis.pareto import ParetoPoint
from autotransfer.report.drawing import INK, POINTS_PER_INCH, SERIES, shorten, svg_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["pareto_svg"]

# In points.
WIDTH, HEIGHT = 900.0, 320.0
# Points that have a name beside them, and characters of the name.
MAX_NAMED, NAME_CHARACTERS = 8, 28
# An axis is logarithmic where its largest value is this many times its least one.
MIN_RATIO_FOR_LOG = 8.0


def pareto_svg(points: Sequence[ParetoPoint], metric: str = "score") -> str:
    """Return a picture of the objective of each point against its latency, and beside that against its size.

    Args:
        points: The points, the best first.
        metric: What the objectives estimate.
    """
    rows = [
        (point.latency_seconds * 1e3, point.size_bytes / 1e6, point.objective, point.candidate.backbone)
        for point in points
    ]
    return svg_file(_draw, {"points": rows, "metric": metric})


def _draw(figure: Figure, data: Mapping[str, Any]) -> None:
    figure.set_size_inches(WIDTH / POINTS_PER_INCH, HEIGHT / POINTS_PER_INCH)
    left, right = figure.subplots(1, 2, sharey=True)
    objectives, names = [row[2] for row in data["points"]], [row[3] for row in data["points"]]
    _draw_cost(left, [row[0] for row in data["points"]], objectives, names, "latency in ms")
    _draw_cost(right, [row[1] for row in data["points"]], objectives, names, "size in MB")
    left.set_title(data["metric"])


def _draw_cost(
    axes: Axes, costs: Sequence[float], objectives: Sequence[float], names: Sequence[str], label: str
) -> None:
    """Draw objectives against one cost; a line joins the points than which none is better and takes less of it."""
    steps = sorted(zip(costs, objectives, strict=True))
    best = [(cost, value) for i, (cost, value) in enumerate(steps) if all(value > other for _, other in steps[:i])]
    axes.step([cost for cost, _ in best], [value for _, value in best], where="post", color=SERIES[5], linewidth=1.2)
    axes.plot(costs, objectives, "o", color=SERIES[0], markersize=5)
    for name, cost, value in list(zip(names, costs, objectives, strict=True))[:MAX_NAMED]:
        shown = shorten(name, NAME_CHARACTERS)
        axes.annotate(shown, (cost, value), textcoords="offset points", xytext=(5, -11), fontsize=9, color=INK)
    if max(costs) > MIN_RATIO_FOR_LOG * min(costs):
        axes.set_xscale("log")
    axes.set_xlabel(label)
