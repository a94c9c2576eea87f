"""The last step of a fit: the page and the picture of the search in the run folder."""

from __future__ import annotations

import logging
import os
import platform
from dataclasses import replace
from datetime import datetime

import torch

from autotransfer.pipeline.context import FitContext
from autotransfer.pipeline.prepare import fingerprint
from autotransfer.pipeline.search import SearchResult
from autotransfer.report.assemble import assemble
from autotransfer.report.drawing import svg_file
from autotransfer.report.provenance import Provenance
from autotransfer.report.render import read_page, write_page
from autotransfer.report.search_charts import draw_search
from autotransfer.report.search_section import search_chart
from autotransfer.report.summary_section import summary_blocks
from autotransfer.run.result import FitResult
from autotransfer.runtime.files import write_atomically
from autotransfer.search.jobs import describe

__all__ = ["REPORT_SECONDS", "renew_summary", "report_seconds", "write_report"]

log = logging.getLogger("autotransfer")

# What the page takes, the import of what draws it included; measured with 10 and 77 classes on two cores. Share of a
# time budget that is reserved for it at most.
REPORT_SECONDS = 1.5
MAX_REPORT_SHARE = 0.1


def report_seconds(budget_seconds: float | None) -> float:
    """Return the seconds of a time budget to reserve for the page."""
    return 0.0 if budget_seconds is None else min(REPORT_SECONDS, MAX_REPORT_SHARE * budget_seconds)


def write_report(context: FitContext, found: SearchResult, result: FitResult) -> FitResult:
    """Write ``report.json``, ``report.html`` and ``trials.svg`` into the run folder.

    Returns:
        The result; with a warning where the page cannot be made: a page costs no result.

    Raises:
        OutputError: A file cannot be written.
    """
    run = context.run
    try:
        with run.writing():
            write_atomically(run.path / "trials.svg", svg_file(draw_search, search_chart(result).data))
            write_page(run.path, assemble(result, _provenance(context, found)))
    except OSError:
        raise
    except Exception as error:
        log.debug("The page cannot be made", exc_info=error)
        context.warnings.warn(
            "report_failed",
            f"The page report.html could not be made: {describe(error)}. The model and result.json are complete.",
            reason=describe(error),
        )
        return replace(result, warnings=tuple(context.warnings))
    return result


def renew_summary(result: FitResult) -> None:
    """Write the page of a result again, whose top shows what came last: a warning of an observer at the very end.

    Raises:
        OSError: A file cannot be written.
    """
    if result.report.exists():
        write_page(result.run, replace(read_page(result.run), summary=summary_blocks(result)))


def _provenance(context: FitContext, found: SearchResult) -> Provenance:
    device = found.evaluator.device.torch
    named = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return Provenance.of(
        context.call,
        context.settings,
        fingerprint=fingerprint(found.data),
        examples=len(found.data.store),
        machine={
            "Device": named,
            "System": platform.platform(),
            "Processors": str(os.cpu_count()),
        },
        made=datetime.now().strftime("%Y-%m-%d %H:%M"),
    )
