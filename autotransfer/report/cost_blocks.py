"""What candidates cost, beside how good they are: a picture, and a table of the best for their cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from autotransfer.report.page import Chart, Column, Table
from autotransfer.report.wording import count_text
from autotransfer.search.trials import TrialRecord
from autotransfer.settings.limits import format_bytes, format_seconds

if TYPE_CHECKING:
    from autotransfer.run.result import FitResult

__all__ = ["Point", "cost_chart", "front_table", "thinned"]

# Trials that a chart shows at most: the others are drawn from at random.
MAX_POINTS = 600
# Rows of a table that are open at once.
SHOWN_ROWS = 8

Point = tuple[float, float]
"""What stands to the right, and what stands upwards."""


def cost_chart(result: FitResult) -> Chart | None:
    """Return the objective of candidates against the latency of a prediction, with those that none beats in both.

    Where latencies are not known, the seconds of the trial take their place.
    """
    able = [record for record in result.trials if record.can_win and record.candidate is not None]
    timed = [record for record in able if record.latency_seconds is not None]
    if len(timed) > 1:
        costs, cost, what = (
            [1e3 * (record.latency_seconds or 0.0) for record in timed],
            "latency in ms",
            "their latency",
        )
    else:
        timed, costs, cost, what = able, [record.seconds for record in able], "seconds of the trial", "their time"
    if len(timed) < 2:
        return None
    points = list(zip(costs, (record.objective or 0.0 for record in timed), strict=True))
    front = _front(points, timed)
    return Chart(
        chart="cost",
        data={
            "points": thinned({"": points})[""],
            "front": front,
            "cost": cost,
            "metric": result.validation.metric_label,
        },
        title="Objective against cost",
        caption=f"Candidates on the line are the best for {what}.",
        alt=f"{count_text(len(timed), 'candidate')}, of which {len(front)} are the best for {what}.",
        layout="half",
    )


def front_table(result: FitResult) -> tuple[Table, ...]:
    """Return the best candidates for what a prediction takes; nothing where there is no choice."""
    rows = tuple(
        (
            point.trial,
            str(point.candidate),
            point.objective,
            format_seconds(point.latency_seconds),
            format_bytes(point.size_bytes),
        )
        for point in result.pareto
    )
    if len(rows) < 2:
        return ()
    columns = (
        Column(title="Trial", kind="number"),
        Column(title="Candidate"),
        Column(title="Objective", kind="number"),
        Column(title="Latency", kind="number"),
        Column(title="Size", kind="number"),
    )
    caption = (
        "The best for their cost: no other candidate is better and takes less. result.pick(latency=...) trains one."
    )
    return (Table(columns=columns, rows=rows, caption=caption, shown=SHOWN_ROWS),)


def thinned(points: dict[str, list[Point]]) -> dict[str, list[Point]]:
    """Return at most ``MAX_POINTS`` points, of each series the same share."""
    total = sum(map(len, points.values()))
    if total <= MAX_POINTS:
        return points
    rng, share = np.random.default_rng(0), MAX_POINTS / total
    return {
        name: [series[i] for i in np.sort(rng.permutation(len(series))[: max(1, round(share * len(series)))])]
        for name, series in points.items()
    }


def _front(points: Sequence[Point], records: Sequence[TrialRecord]) -> list[tuple[float, float, str]]:
    """Return cost, objective and name of those that none beats in both, the cheapest first."""
    front, leader = list[tuple[float, float, str]](), -math.inf
    for (cost, objective), record in sorted(zip(points, records, strict=True), key=lambda one: (one[0][0], -one[0][1])):
        if objective > leader and record.candidate is not None:
            leader = objective
            front.append((cost, objective, f"{record.number}: {record.candidate.backbone}"))
    return front
