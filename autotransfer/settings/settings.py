"""All settings of a fit in one frozen object."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotransfer.errors import ConfigError
from autotransfer.settings.checks import (
    Folders,
    Patterns,
    metric_name,
    optional_duration,
    path_or_none,
    patterns,
    whole_number,
    zoos_from,
)
from autotransfer.settings.fields import SettingsGroup, documented, group, setting
from autotransfer.settings.groups import Compute, DataOptions, RunOptions, SearchOptions, Selection

__all__ = ["Budget", "DataArguments", "Settings"]

# Seconds of a search that is given neither a time budget nor a number of trials.
_DEFAULT_BUDGET_SECONDS = 300.0


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a search may spend; it ends at whichever comes first.

    Attributes:
        seconds: Wall time of search and refit together.
        trials: Number of trials, whatever their end.
    """

    seconds: float | None = None
    trials: int | None = None

    def __post_init__(self) -> None:
        if self.seconds is not None and not 0 < self.seconds < float("inf"):
            raise ConfigError(f"A time budget must be positive; got {self.seconds}.")
        whole_number("number of trials", 1, optional=True)(self.trials)


@dataclass(frozen=True, kw_only=True)
class DataArguments:
    """The data of a call, in any form that ``fit`` takes.

    Attributes:
        data: The examples.
        targets: One target for each example, where ``data`` does not hold them.
        test: Examples to score the final model on.
    """

    data: Any
    targets: Any = None
    test: Any = None


@documented
@dataclass(frozen=True, kw_only=True)
class Settings(SettingsGroup):
    """All settings of a fit: its arguments without the data."""

    time_budget: str | float | None = setting(
        None,
        help="Wall time for search and refit together, such as 90s, 5m, 1h30m.",
        none="5m without a number of trials, else no limit",
        check=optional_duration,
        metavar="TIME",
    )
    trials: int | None = setting(
        None,
        help="Number of trials.",
        more="With a number of trials alone, equal seeds give equal results on one machine.",
        none="as many as the time allows",
        check=whole_number("number of trials", 1, optional=True),
        metavar="N",
    )
    backbones: Patterns = setting(
        (),
        help="Backbones to search, by name or pattern; repeatable.",
        more="Without any, those of the zoo are searched, or a short portfolio.",
        check=patterns,
        metavar="PATTERN",
    )
    heads: Patterns = setting(
        (), help="Heads to search, by name or pattern; repeatable.", check=patterns, metavar="PATTERN"
    )
    zoo: Folders | None = setting(
        None,
        help="Folder of checkpoints; repeatable.",
        environment="AUTOTRANSFER_ZOO",
        check=zoos_from,
        metavar="DIR",
    )
    metric: str | Callable[..., Any] | None = setting(
        None,
        help="A scikit-learn scorer.",
        more="In Python, its name, an object as make_scorer gives, a callable (estimator, X, y) whose greater values "
        "are better, or a function such as sklearn.metrics.f1_score. A run folder cannot keep an object that no name "
        "says: to go on with such a run, call fit again.",
        none="accuracy, or balanced accuracy when classes are imbalanced; macro F1 for multilabel; R2 for regression",
        check=metric_name,
        metavar="NAME",
        parse=str,
    )
    seed: int = setting(
        0, help="Seed of sampler, split and training.", check=whole_number("seed", 0, 2**32 - 1), metavar="N"
    )
    out: str | Path | None = setting(
        None,
        help="The run folder.",
        none="runs/DATE-TIME",
        check=path_or_none,
        metavar="RUN",
        saved=False,
    )
    data_options: DataOptions = group(DataOptions(), "How the data are read")
    search: SearchOptions = group(SearchOptions(), "What is searched")
    selection: Selection = group(Selection(), "What becomes the model")
    compute: Compute = group(Compute(), "Where candidates are evaluated")
    run: RunOptions = group(RunOptions(), "The run folder")

    @property
    def budget(self) -> Budget:
        """Time and trials together."""
        seconds = optional_duration(self.time_budget)
        if seconds is None and self.trials is None:
            seconds = _DEFAULT_BUDGET_SECONDS
        return Budget(seconds=seconds, trials=self.trials)

    @property
    def zoos(self) -> tuple[Path, ...]:
        """Folders of checkpoints."""
        return zoos_from(self.zoo)
