"""From the result of a fit to its page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeGuard

from autotransfer._version import __version__
from autotransfer.report.closing_sections import left_out_section, reproduce_section
from autotransfer.report.error_section import error_section
from autotransfer.report.example_sections import example_sections
from autotransfer.report.page import Block, Chart, Facts, Notices, Page, Table
from autotransfer.report.provenance import Provenance
from autotransfer.report.search_section import search_section
from autotransfer.report.summary_section import page_lead, page_title, summary_blocks

if TYPE_CHECKING:
    from autotransfer.run.result import FitResult

__all__ = ["assemble", "assemble_summary"]


def assemble(result: FitResult, provenance: Provenance) -> Page:
    """Return the page of a fit: everything that ``report.json`` holds.

    Args:
        result: The result.
        provenance: Where it is from.
    """
    held_out = result.selection.out_of_fold
    errors = error_section(
        result.model.task,
        held_out.targets,
        result.selection.out_of_fold_predictions,
        held_out.group_ids,
        result.model.modality.noun,
        decided=result.selection.decided_predictions,
        calibration=result.selection.calibration,
        weights=held_out.weights,
    )
    sections = (
        errors,
        *example_sections(result),
        search_section(result),
        left_out_section(result),
        reproduce_section(result, provenance),
    )
    return Page(
        title=page_title(result),
        lead=page_lead(result),
        made=f"autotransfer {__version__}, {provenance.made}",
        summary=summary_blocks(result),
        sections=tuple(replace(section, blocks=_in_pairs(section.blocks)) for section in sections),
    )


def _in_pairs(blocks: Sequence[Block]) -> tuple[Block, ...]:
    """Give the whole width to blocks of half a page that have no other one beside them."""
    found, position = list(blocks), 0
    while position < len(found):
        first, others = found[position], found[position + 1 : position + 2]
        if not _is_half(first):
            position += 1
        elif others and _is_half(others[0]):
            position += 2
        else:
            found[position] = replace(first, layout="alone")
            position += 1
    return tuple(found)


def _is_half(block: Block) -> TypeGuard[Chart | Facts | Table]:
    return isinstance(block, (Chart, Facts, Table)) and block.layout == "half"


def assemble_summary(result: FitResult) -> Page:
    """Return the top of the page of a fit, without the parts below, and without links to them."""
    summary = tuple(
        replace(block, notices=tuple(replace(notice, target="") for notice in block.notices))
        if isinstance(block, Notices)
        else block
        for block in summary_blocks(result)
    )
    return Page(title=page_title(result), lead=page_lead(result), made="", summary=summary, sections=())
