"""The charts of a page by name, each drawn from the numbers that ``report.json`` holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from autotransfer.errors import RunFormatError
from autotransfer.report.drawing import Draw, inline_svg
from autotransfer.report.error_charts import draw_confusion, draw_predicted, draw_reliability, draw_residuals
from autotransfer.report.search_charts import draw_cost, draw_curves, draw_depths, draw_search

if TYPE_CHECKING:
    from autotransfer.report.page import Chart

__all__ = ["CHARTS", "chart_as_svg"]

CHARTS: Mapping[str, Draw] = {
    "confusion": draw_confusion,
    "cost": draw_cost,
    "curves": draw_curves,
    "depths": draw_depths,
    "predicted": draw_predicted,
    "reliability": draw_reliability,
    "residuals": draw_residuals,
    "search": draw_search,
}


def chart_as_svg(chart: Chart, number: int) -> str:
    """Return a chart as an element of a page.

    Args:
        chart: The chart.
        number: Its position among the charts of the page.

    Raises:
        RunFormatError: There is no such chart, or its numbers are damaged.
    """
    if chart.chart not in CHARTS:
        raise RunFormatError(f"There is no chart {chart.chart!r:.80}; there are {sorted(CHARTS)}.")
    try:
        return inline_svg(CHARTS[chart.chart], chart.data, prefix=f"chart{number}", alt=_alt(chart))
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise RunFormatError(f"The numbers of the chart {chart.chart!r} are damaged: {error!r}.") from error


def _alt(chart: Chart) -> Any:
    return chart.alt or chart.title or chart.chart
