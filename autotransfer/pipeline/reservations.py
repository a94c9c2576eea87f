"""What the steps after the search will take: reserved in the budget by name, so that the search leaves it to them."""

from __future__ import annotations

from autotransfer.evaluation.evaluator import Evaluator
from autotransfer.pipeline.model_cost import latency_seconds
from autotransfer.pipeline.prepare import Prepared
from autotransfer.pipeline.write_report import report_seconds
from autotransfer.search.budget import TimeBudget
from autotransfer.search.trials import Trials
from autotransfer.selection.costs import explanation_seconds, selection_seconds, transfer_gain_seconds
from autotransfer.selection.fold_runner import FoldRunner
from autotransfer.settings import Settings

__all__ = ["LaterSteps"]


class LaterSteps:
    """Reserves what selection and analysis will take.

    Args:
        budget: Where the seconds are reserved.
        settings: The settings.
        test_examples: Number of test examples.
    """

    def __init__(self, budget: TimeBudget, settings: Settings, test_examples: int) -> None:
        self._budget, self._settings, self._test_examples = budget, settings, test_examples
        self._fold_runner: FoldRunner | None = None

    def begin(self, data: Prepared, evaluator: Evaluator, backbone: str | None) -> None:
        """Reserve what does not depend on the trials: measuring latency, random weights, explanations, and the page.

        Args:
            data: The examples.
            evaluator: What will score the candidates.
            backbone: The backbone that is expected to take least, of those that work; None without a budget of seconds,
                or where none works.
        """
        self._fold_runner = FoldRunner(evaluator, data.resplit)
        self._budget.reserve("report", report_seconds(self._budget.limit.seconds))
        self._budget.reserve("explanations", explanation_seconds(self._budget.limit))
        if self._settings.selection.limits.latency is not None:
            self._budget.reserve("latency", latency_seconds(self._budget.limit.seconds))
        if self._settings.search.compare_scratch and backbone is not None:
            self._budget.reserve("transfer_gain", transfer_gain_seconds(self._budget.limit, evaluator, backbone))

    def update(self, trials: Trials) -> None:
        """Reserve what the selection among these trials will take."""
        assert self._fold_runner is not None  # made when the search began
        limit, ensemble = self._budget.limit, self._settings.selection.ensemble
        seconds = selection_seconds(trials, self._fold_runner, limit, self._test_examples, ensemble=ensemble)
        for step, needed in seconds.items():
            self._budget.reserve(step, needed)
