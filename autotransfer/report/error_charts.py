"""Charts of the errors of a model: confusion, reliability, predicted against true values, residuals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from autotransfer.report.drawing import INK, MUTED, OTHER, PAPER, SERIES, axes_of, limits, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "HALF_WIDTH",
    "MAX_NAMED_CLASSES",
    "draw_confusion",
    "draw_predicted",
    "draw_reliability",
    "draw_residuals",
    "matrix_size",
]

# Points of a chart across half of a page.
HALF_WIDTH, HEIGHT = 440.0, 320.0
# Most classes whose names and counts have room beside a matrix.
MAX_NAMED_CLASSES = 20
NAME_CHARACTERS = 22
# Characters of names that have room side by side.
MAX_LEVEL_CHARACTERS = 4
# Points of a cell with a count, and of a whole matrix without counts.
CELL, MATRIX = 34.0, 560.0
# Cells across a matrix of fewer classes.
MIN_CELLS = 5
# Steps of opacity of the cells of a matrix: cells of one step are one shape of the file.
OPACITY_STEPS, LOWEST_OPACITY = 8, 0.1
# Opacity from which on a count is written in the colour of the paper.
DARK_OPACITY = 0.55


def draw_confusion(figure: Figure, data: Mapping[str, Any]) -> None:
    """Draw how often each class was taken for each other one.

    Args:
        figure: An empty figure.
        data: ``classes`` (names) and ``cells`` (true class, predicted class, count), those without a count left out.
    """
    classes, cells = data["classes"], data["cells"]
    count, names = len(classes), [shorten(name, NAME_CHARACTERS) for name in classes]
    is_named, longest = count <= MAX_NAMED_CLASSES, max(map(len, names))
    width, height = matrix_size(classes)
    axes = axes_of(figure, width=width, height=height)
    totals = np.zeros(count)
    for true, _, number in cells:
        totals[true] += number
    opacities = {(true, predicted): _opacity(number / totals[true]) for true, predicted, number in cells}
    _draw_cells(axes, opacities)
    if is_named:
        for true, predicted, number in cells:
            colour = PAPER if opacities[true, predicted] >= DARK_OPACITY else INK
            axes.text(predicted, true, str(number), ha="center", va="center", color=colour, fontsize=11)
        turned: Any = {"rotation": 45, "ha": "right"} if longest > MAX_LEVEL_CHARACTERS else {}
        axes.set_xticks(range(count), names, **turned)
        axes.set_yticks(range(count), names)
    else:
        axes.set_xticks([])
        axes.set_yticks([])
    axes.grid(visible=False)
    axes.set_xlim(-0.5, count - 0.5)
    axes.set_ylim(count - 0.5, -0.5)
    axes.set_aspect("equal")
    axes.spines[["left", "bottom"]].set_visible(not is_named)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")


def matrix_size(classes: Sequence[str]) -> tuple[float, float]:
    """Return the width and height in points of a matrix of these classes."""
    if len(classes) > MAX_NAMED_CLASSES:
        return MATRIX, MATRIX
    longest = max(len(shorten(name, NAME_CHARACTERS)) for name in classes)
    side = CELL * max(len(classes), MIN_CELLS)
    turned = 5.6 * longest if longest > MAX_LEVEL_CHARACTERS else 14
    return side + 7.2 * longest + 46, side + turned + 40


def draw_reliability(figure: Figure, data: Mapping[str, Any]) -> None:
    """Draw how often predictions come true against the probability that they were given.

    Args:
        figure: An empty figure.
        data: ``bins`` (probability, share, low end and high end of its interval, count) and ``share`` (a name).
    """
    axes = axes_of(figure, width=HALF_WIDTH, height=HEIGHT)
    bins = data["bins"]
    at, share = [each[0] for each in bins], [each[1] for each in bins]
    errors = [[each[1] - each[2] for each in bins], [each[3] - each[1] for each in bins]]
    axes.plot([0, 1], [0, 1], color=OTHER, linewidth=1.2, linestyle=(0, (4, 3)))
    axes.errorbar(
        at, share, yerr=errors, color=SERIES[0], marker="o", markersize=6, linewidth=1.6, elinewidth=1.2, capsize=0
    )
    lowest = min((min(each[0], each[2]) for each in bins), default=0.0)
    start = max(np.floor(10 * lowest - 0.3) / 10, 0.0)
    axes.set_xlim(start, 1.01)
    axes.set_ylim(start, 1.01)
    axes.set_xlabel("probability given")
    axes.set_title(data["share"])


def draw_predicted(figure: Figure, data: Mapping[str, Any]) -> None:
    """Draw predicted against true values of a regression.

    Args:
        figure: An empty figure.
        data: ``points`` (true and predicted value) and ``name`` (of the target).
    """
    axes = axes_of(figure, width=HALF_WIDTH, height=HEIGHT)
    true, predicted = [point[0] for point in data["points"]], [point[1] for point in data["points"]]
    ends = limits([*true, *predicted])
    axes.plot(ends, ends, color=OTHER, linewidth=1.2, linestyle=(0, (4, 3)))
    axes.scatter(true, predicted, s=16, color=SERIES[0], alpha=0.55, linewidths=0)
    axes.set_xlim(*ends)
    axes.set_ylim(*ends)
    axes.set_xlabel("true")
    axes.set_title("predicted")


def draw_residuals(figure: Figure, data: Mapping[str, Any]) -> None:
    """Draw how many predictions of a regression are too low and too high, and by how much.

    Args:
        figure: An empty figure.
        data: ``edges`` of the bins, ``counts`` of the residuals in each.
    """
    axes = axes_of(figure, width=HALF_WIDTH, height=HEIGHT)
    axes.stairs(data["counts"], data["edges"], fill=True, color=SERIES[0], alpha=0.75)
    axes.axvline(0.0, color=INK, linewidth=1.1)
    axes.set_xlabel("predicted less true")
    axes.set_title("examples")
    axes.grid(visible=False, axis="x")


def _opacity(share: float) -> float:
    """Return the opacity of a cell, in a few steps."""
    step = max(1, round(share * OPACITY_STEPS))
    return LOWEST_OPACITY + (0.95 - LOWEST_OPACITY) * step / OPACITY_STEPS


def _draw_cells(axes: Axes, opacities: Mapping[tuple[int, int], float]) -> None:
    """Draw the cells of a matrix: those on the diagonal in one colour, the errors in another."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    shapes: dict[tuple[bool, float], list[Path]] = {}
    gap = 0.0 if len(opacities) > MAX_NAMED_CLASSES**2 else 0.03
    for (true, predicted), opacity in opacities.items():
        left, right, top, bottom = predicted - 0.5 + gap, predicted + 0.5 - gap, true - 0.5 + gap, true + 0.5 - gap
        corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
        shapes.setdefault((true == predicted, opacity), []).append(Path(corners, closed=True))
    for (is_right, opacity), paths in sorted(shapes.items()):
        whole, colour = Path.make_compound_path(*paths), SERIES[0] if is_right else SERIES[1]
        axes.add_patch(PathPatch(whole, facecolor=colour, alpha=opacity, linewidth=0, edgecolor=MUTED))
