"""What all steps of a fit share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autotransfer.contract.observers import Observers
from autotransfer.contract.registry import Registry
from autotransfer.data.examples import Examples
from autotransfer.run.folder import RunFolder
from autotransfer.run.progress import Progress
from autotransfer.search.budget import TimeBudget
from autotransfer.settings import Settings
from autotransfer.warnings import WarningList

__all__ = ["FitContext"]


@dataclass(frozen=True, kw_only=True)
class FitContext:
    """What all steps of a fit share.

    Attributes:
        settings: The settings.
        examples: The examples to search on.
        test: The test examples; None without any.
        registry: The plugins.
        budget: The budget.
        run: The run folder.
        call: The data and the settings of the run, as JSON.
        progress: Progress, with the warnings of the fit.
        observers: The observers.
    """

    settings: Settings
    examples: Examples
    test: Examples | None
    registry: Registry
    budget: TimeBudget
    run: RunFolder
    call: Mapping[str, Any]
    progress: Progress
    observers: Observers

    @property
    def test_examples(self) -> int:
        """Number of test examples."""
        return 0 if self.test is None else len(self.test)

    @property
    def warnings(self) -> WarningList:
        """What a user should know."""
        return self.progress.warnings
