"""What the saved model takes, measured; and which candidates take less, where that is more than the limits."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from autotransfer.candidate import Candidate
from autotransfer.contract.plugin_call import plugin_call
from autotransfer.evaluation.inference_cost import InferenceCost
from autotransfer.model.inference_costs import InferenceCosts
from autotransfer.model.saved_cost import NEW_PROCESS_SECONDS, measure_saved_model
from autotransfer.model.transfer_model import TransferModel
from autotransfer.pipeline.context import FitContext
from autotransfer.search.jobs import describe
from autotransfer.search.trials import TrialRecord
from autotransfer.selection.records import candidate_of, rank_records
from autotransfer.selection.selected_model import SelectedModel

__all__ = ["candidates_of", "cheaper_records", "latency_seconds", "measure_saved", "warn_of_exceeded"]

log = logging.getLogger("autotransfer")

# Largest share of a budget of seconds that is reserved for measuring the latency of the saved model.
MAX_BUDGET_SHARE = 0.2


def measure_saved(context: FitContext, costs: InferenceCosts, model: TransferModel) -> InferenceCost | None:
    """Return what the model in the run folder takes.

    None where that cannot be measured, since a search must not be lost for it.
    """
    try:
        with plugin_call("A backbone or head of the model"):
            limits = context.settings.selection.limits
            return measure_saved_model(model, costs.sample, context.run.model, limits, clock=costs.clock)
    except Exception as error:  # a data set is the user's code, and a backbone that of a plugin
        log.warning("What the model takes could not be measured: %s", describe(error))
        return None


def latency_seconds(budget: float | None) -> float:
    """Return the seconds that measuring the latency of the saved model may take of a budget of seconds."""
    return NEW_PROCESS_SECONDS if budget is None else min(NEW_PROCESS_SECONDS, MAX_BUDGET_SHARE * budget)


def candidates_of(selected: SelectedModel) -> list[Candidate]:
    """Return the candidates that a model runs: one for each member."""
    return [member.candidate for member in selected.members]


def cheaper_records(
    failed: SelectedModel, measured: InferenceCost, records: Sequence[TrialRecord], costs: InferenceCosts
) -> list[TrialRecord]:
    """Return the trials that keep the limits by what a model has shown that does not, the best first.

    Args:
        failed: The model that was expected to keep the limits.
        measured: What it takes.
        records: The trials.
        costs: Knows what candidates take.
    """
    expected, limits = costs.of_members(candidates_of(failed)), costs.limits
    slower = max(measured.latency_seconds / expected.latency_seconds, 1.0)
    larger = max(measured.size_bytes - expected.size_bytes, 0)
    more = max((measured.memory_bytes or 0) - (expected.memory_bytes or 0), 0)

    def keeps(record: TrialRecord) -> bool:
        cost = costs.of(candidate_of(record))
        if cost is None or record.predictions is None:
            return False
        memory = None if cost.memory_bytes is None else cost.memory_bytes + more
        likely = InferenceCost(
            latency_seconds=cost.latency_seconds * slower, size_bytes=cost.size_bytes + larger, memory_bytes=memory
        )
        return not likely.exceeds(limits)

    return [record for record in rank_records(records) if (record.number,) != failed.trials and keeps(record)]


def warn_of_exceeded(context: FitContext, cost: InferenceCost, trained: int, *, are_more: bool) -> None:
    """Say that the model takes more than the limits.

    Args:
        context: The settings, and the warnings.
        cost: What it takes.
        trained: Number of models that were trained, all of which take more.
        are_more: Whether there are candidates that are likely to keep the limits, but were not trained any more.
    """
    limits = context.settings.selection.limits
    why = "No other candidate is likely to keep them"
    if trained > 1:
        rest = "no more are tried" if are_more else "no other candidate is likely to keep them"
        why = f"It comes closest to them of the {trained} models that were trained; {rest}"
    context.warnings.warn(
        "limits_exceeded",
        f"The saved model takes {cost}, more than the limits ({limits}). {why}. Was the machine busy? Search again on "
        "a quiet one, or raise the limits.",
        cost=cost.to_json(),
        limits=limits.to_json(),
        trained=trained,
    )
