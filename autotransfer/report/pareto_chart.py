"""A picture of the front: score against latency and against size, as an SVG file that needs nothing else."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from autotransfer.analysis.pareto import ParetoPoint
from autotransfer.runtime.text import escape

__all__ = ["draw_front"]

# In inches, at 72 points each.
_WIDTH, _HEIGHT = 10.0, 4.2
# Points that have a name beside them, and characters of the name.
MAX_NAMED, MAX_NAME_LENGTH = 8, 28
# An axis is logarithmic where its largest value is this many times its least one.
LOGARITHMIC_FROM = 8.0


def draw_front(points: Sequence[ParetoPoint], metric: str = "score") -> str:
    """Draw the score of each point against its latency, and beside that against its size.

    Args:
        points: The points, the best first.
        metric: What the scores are.

    Returns:
        SVG.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    # Texts stay texts, and equal fronts are equal files.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "autotransfer", "font.size": 9, "text.parse_math": False}):
        figure = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        _draw(left, points, [point.latency_seconds * 1e3 for point in points], "latency in ms")
        _draw(right, points, [point.size_bytes / 1e6 for point in points], "size in MB")
        left.set_ylabel(escape(metric))
        figure.suptitle("The best candidates for what they take to predict")
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def _draw(axes: Any, points: Sequence[ParetoPoint], costs: Sequence[float], label: str) -> None:
    """Draw the scores against one cost; a line joins the points than which none is better and takes less of it."""
    scores = [point.score for point in points]
    steps = sorted(zip(costs, scores, strict=True))
    best = [(cost, score) for i, (cost, score) in enumerate(steps) if all(score > other for _, other in steps[:i])]
    axes.step(*zip(*best, strict=True), where="post", color="#56b4e9", linewidth=1)
    axes.plot(costs, scores, "o", color="#0072b2", markersize=5)
    for point, cost in list(zip(points, costs, strict=True))[:MAX_NAMED]:
        name = escape(point.candidate.backbone)
        shown = name if len(name) <= MAX_NAME_LENGTH else f"{name[: MAX_NAME_LENGTH - 1]}…"
        axes.annotate(shown, (cost, point.score), textcoords="offset points", xytext=(5, -9), fontsize=7, color="#444")
    if max(costs) > LOGARITHMIC_FROM * min(costs):
        axes.set_xscale("log")
    axes.set_xlabel(label)
    axes.grid(color="#ddd", linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)
