"""The last parts of the page: what was left out and why, and how to make the run again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from autotransfer.contract.modality import Skipped
from autotransfer.report.page import Block, Column, Facts, Program, Section, Table, Text
from autotransfer.report.provenance import Provenance
from autotransfer.report.wording import count_text, duration_text, listed

if TYPE_CHECKING:
    from autotransfer.run.result import FitResult

__all__ = ["left_out_section", "reproduce_section"]

# Names that stand beside a reason, and rows of a table that are open at once.
NAMES_SHOWN, SHOWN_ROWS = 3, 12


def left_out_section(result: FitResult) -> Section:
    """Return what was not used, and what was kept together."""
    blocks: list[Block] = []
    noun, skipped = result.model.modality.noun, result.data.skipped
    if skipped:
        caption = f"{count_text(len(skipped), 'example')} that could not be used."
        blocks.append(_reasons(_by_reason(skipped), caption))
    failed: dict[str, list[str]] = {}
    for record in result.trials:
        if record.state == "failed":
            failed.setdefault(record.reason or "no reason is known", []).append(f"trial {record.number}")
    if failed:
        count = sum(map(len, failed.values()))
        blocks.append(_reasons(failed, f"{count_text(count, 'trial')} that failed."))
    if not blocks:
        blocks.append(Text(text=f"No {noun} was left out, and no trial failed."))
    grouping = result.data.grouping
    if grouping is not None:
        kinds = {"given": "groups", "found": "groups of near-duplicates", "clustered": "clusters of dependent examples"}
        blocks.append(
            Text(
                text=f"{grouping.groups:,} {kinds[grouping.source]} ({count_text(grouping.examples, 'example')}) stay "
                "on one side of each split."
            )
        )
    lead = f"{count_text(result.data.decoded, noun)} were read."
    return Section(id="left-out", title="What was left out", lead=lead, blocks=tuple(blocks))


def reproduce_section(result: FitResult, provenance: Provenance) -> Section:
    """Return all that makes the run again."""
    steps = tuple((name, duration_text(seconds)) for name, seconds in result.seconds.items())
    blocks: list[Block] = [
        Program(title="The call", text=provenance.command),
        Facts(
            title="The data",
            facts=(
                ("Fingerprint", provenance.fingerprint),
                ("Examples", f"{provenance.examples:,}"),
                ("Seed", str(provenance.seed)),
            ),
            layout="half",
        ),
        Facts(title="The machine", facts=tuple(provenance.machine.items()), layout="half"),
        Facts(title="Versions", facts=tuple(provenance.versions.items()), layout="half"),
        Facts(title="Where the time went", facts=steps, layout="half"),
        Facts(title="Settings that are not the default", facts=tuple(provenance.settings.items()) or (("none", ""),)),
    ]
    lead = "Equal seeds give equal results within a budget of trials. A budget of time is as repeatable as the clock."
    return Section(id="reproduce", title="Make it again", lead=lead, blocks=tuple(blocks))


def _by_reason(skipped: Iterable[Skipped]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for each in skipped:
        found.setdefault(each.reason, []).append(each.name)
    return found


def _reasons(names: Mapping[str, list[str]], caption: str) -> Table:
    """Return reasons with how often each applies, the commonest first."""
    reasons = sorted(names, key=lambda reason: -len(names[reason]))
    return Table(
        columns=(Column(title="Reason"), Column(title="Count", kind="number"), Column(title="Which")),
        rows=tuple((reason, len(names[reason]), listed(names[reason], NAMES_SHOWN)) for reason in reasons),
        caption=caption,
        shown=SHOWN_ROWS,
    )
