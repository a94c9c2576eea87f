"""The part of the page on the search: what was tried, what it cost, and which choices made the difference."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from autotransfer.report.cost_blocks import cost_chart, front_table, thinned
from autotransfer.report.page import Block, Chart, Column, Section, Table, Text
from autotransfer.report.wording import count_text, duration_text, score_text
from autotransfer.search.trials import TrialRecord

if TYPE_CHECKING:
    from autotransfer.run.result import FitResult

__all__ = ["search_chart", "search_section"]

# Curves and backbones that have a colour and a name, and curves that are drawn at all.
NAMED_SERIES, MAX_CURVES = 5, 40
# A trial is far below the rest if its objective is so many quartile ranges below the lower quartile.
QUARTILE_RANGES_BELOW = 3.0
# Rows of a table that are open at once.
SHOWN_ROWS = 12
SOURCE_NAMES = {
    "screening": "screening of the backbones",
    "variants": "other forms of the best backbones",
    "frozen_heads": "heads on frozen features",
    "fine_tuning": "fine-tuning, step by step",
    "sampled_tuning": "fine-tuning, sampled",
    "sampled": "sampled",
    "planned": "planned",
    "last_resort": "last resort",
}


def search_section(result: FitResult) -> Section:
    """Return the part of the page on the search."""
    records, metric = list(result.trials), result.validation.metric_label
    charts = (_curves(records, metric), _depths(result, metric), cost_chart(result))
    blocks: list[Block] = [search_chart(result)]
    blocks += [chart for chart in charts if chart is not None]
    blocks += [*_importance(result), *front_table(result), _backbones(result), *_finals(result), _states(result)]
    total = duration_text(result.seconds["total"])
    return Section(
        id="search",
        title="The search",
        lead=f"{count_text(len(records), 'trial')} in {total}. "
        "Candidates are compared by their objective, an estimate of the score on all folds, from examples that the "
        "candidate did not train on.",
        blocks=tuple(blocks),
    )


def search_chart(result: FitResult, lines: dict[str, float] | None = None) -> Chart:
    """Return the chart of all trials.

    Args:
        result: The result.
        lines: Scores to compare with, by name; None takes the test score.
    """
    if lines is None:
        lines = {} if result.test is None else {"the model, on test": result.test.score}
    best, points, clock, leader = list[tuple[float, float]](), dict[str, list[tuple[float, float]]](), 0.0, -math.inf
    for record in result.trials:
        clock += record.seconds
        if record.objective is None:
            continue
        points.setdefault(SOURCE_NAMES.get(record.source, record.source), []).append((clock, record.objective))
        if record.can_win and record.objective > leader:
            leader = record.objective
            best.append((clock, leader))
    objectives = [objective for series in points.values() for _, objective in series]
    data = {
        "series": thinned(points),
        "best": best,
        "end": clock,
        "lines": {name: value for name, value in lines.items() if math.isfinite(value)},
        "low": _low_limit(objectives),
        "time": "seconds of all trials together",
        "metric": result.validation.metric_label,
    }
    return Chart(
        chart="search",
        data=data,
        title="Every trial, and the best so far",
        caption="Each point is the objective of a trial, in the colour of the part of the search that proposed it. "
        "Triangles lie below the picture.",
        alt=f"{count_text(len(objectives), 'trial')} over {duration_text(clock)}; "
        f"the best objective is {score_text(best[-1][1] if best else None)}.",
    )


def _low_limit(objectives: Sequence[float]) -> float | None:
    """Return the objective below which trials are far below the rest; None where none is."""
    if len(objectives) < 2:
        return None
    lower, _, upper = statistics.quantiles(objectives, n=4, method="inclusive")
    limit = lower - QUARTILE_RANGES_BELOW * max(upper - lower, 1e-2)
    return limit if min(objectives) < limit else None


def _curves(records: Iterable[TrialRecord], metric: str) -> Chart | None:
    """Return the learning curves of candidates that trained for more than one epoch."""
    trained = [record for record in records if len(record.curve) > 1 and record.candidate is not None]
    trained.sort(key=lambda record: (-_objective(record), record.number))
    if not trained:
        return None
    curves = [{"name": _name(record), "scores": list(record.curve)} for record in trained[:MAX_CURVES]]
    return Chart(
        chart="curves",
        data={"curves": curves, "named": min(NAMED_SERIES, len(curves)), "metric": metric},
        title="Learning curves",
        caption="Score on the first fold after each epoch of candidates that trained stages.",
        alt=f"{count_text(len(trained), 'learning curve')}; the best candidate is {_name(trained[0])}.",
        layout="half",
    )


def _depths(result: FitResult, metric: str) -> Chart | None:
    """Return the objective of backbones by the number of stages that trained."""
    series: dict[str, list[tuple[int, float]]] = {}
    for row in result.analysis.depths:
        series.setdefault(row.backbone, []).append((row.trained, row.objective))
    order = [row.backbone for row in result.analysis.backbones if len(series.get(row.backbone, ())) > 1]
    if not order:
        return None
    return Chart(
        chart="depths",
        data={"series": {name: series[name] for name in order[:NAMED_SERIES]}, "metric": metric},
        title="How deep to train",
        caption="Best objective of each backbone by the number of its last stages that trained; 0 is frozen.",
        alt=f"Objective by the number of trained stages of {', '.join(order[:NAMED_SERIES])}.",
        layout="half",
    )


def _backbones(result: FitResult) -> Table:
    rows, marked = [], []
    for number, row in enumerate(result.analysis.backbones):
        notes = ["negative transfer"] * bool(row.negative_transfer) + ["on a subsample"] * row.on_subsample
        rows.append((row.backbone, row.trained_on, row.objective, row.frozen, row.trial, ", ".join(notes)))
        marked += [number] * bool(row.negative_transfer)
    return Table(
        columns=(
            Column(title="Backbone"),
            Column(title="Trained on"),
            Column(title="Best objective", kind="number"),
            Column(title="Frozen", kind="number"),
            Column(title="Trial", kind="number"),
            Column(title="Note"),
        ),
        rows=tuple(rows),
        caption="Sources, the best first. Negative transfer: even the best candidate is worse than random weights.",
        shown=SHOWN_ROWS,
        marked=tuple(marked),
    )


def _importance(result: FitResult) -> list[Block]:
    if not result.analysis.importance:
        return []
    return [
        Table(
            columns=(Column(title="Choice"), Column(title="Importance", kind="share")),
            rows=tuple(result.analysis.importance.items()),
            caption="Importance: the share of the differences between candidates that each choice explains (fANOVA).",
            layout="half",
        )
    ]


def _finals(result: FitResult) -> list[Block]:
    finals = result.selection.finals
    if finals is None:
        return []
    rows: list[tuple[Any, ...]] = []
    for row in sorted(finals.rows, key=lambda row: row.state != "won"):
        error = "" if row.error is None else f" ± {score_text(row.error, row.score)}"
        behind = "" if row.behind is None else f"{score_text(row.behind, row.score)}{error}"
        rows.append((row.number, str(row.candidate), row.score, row.folds, behind, row.reason or row.state))
    columns = (
        Column(title="Trial", kind="number"),
        Column(title="Candidate"),
        Column(title="Score", kind="number"),
        Column(title="Folds", kind="number"),
        Column(title="Behind the winner"),
        Column(title="Outcome"),
    )
    caption = "The finals: the best candidates were trained again on further folds."
    return [Table(columns=columns, rows=tuple(rows), caption=caption, marked=())]


def _states(result: FitResult) -> Text:
    counts = result.trials.counts()
    said = {
        "complete": "ended with a score",
        "paused": "were paused and not taken up again",
        "pruned": "were stopped early, as poor",
        "failed": "failed",
    }
    parts = [f"{counts[state]} {words}" for state, words in said.items() if counts[state]]
    return Text(
        text=f"Of {count_text(len(result.trials), 'trial')}, {', '.join(parts)}. trials.csv has a row for each."
    )


def _name(record: TrialRecord) -> str:
    assert record.candidate is not None  # those without one are left out before
    return f"{record.number}: {record.candidate.backbone}"


def _objective(record: TrialRecord) -> float:
    return -math.inf if record.objective is None else record.objective
