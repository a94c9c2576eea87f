"""The Optuna study: its sampler and its pruner."""

from __future__ import annotations

import contextlib
import json
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial

from autotransfer.runtime.files import writing

__all__ = ["OneWriterJournal", "StepwiseSampler", "make_finals_study", "make_pruner", "make_study", "quiet"]

# Learning curves below which none says whether another is poor, and from which on half of them may be stopped.
MIN_CURVES_FOR_PRUNING = 10
MIN_CURVES_FOR_MEDIAN_PRUNING = 100
# Random trials after those that are planned, before the sampler trusts its model: Optuna's default.
RANDOM_TRIALS = 10


def make_study(
    *,
    seed: int,
    curves: float,
    startup: int = 0,
    storage: optuna.storages.BaseStorage | str | None = None,
    name: str = "",
    parallel: bool = False,
) -> optuna.Study:
    """Return a study that maximises; one of that name in the storage is opened.

    Args:
        seed: Seed of the sampler.
        curves: About how many trials with a learning curve the budget allows.
        startup: Trials that are planned to come first, before any is sampled.
        storage: Where it lives; None keeps it in memory.
        name: Its name there.
        parallel: Whether several trials run at a time.
    """
    with quiet():
        return optuna.create_study(
            study_name=name or None,
            storage=storage,
            load_if_exists=True,
            direction="maximize",
            sampler=StepwiseSampler(seed, startup + RANDOM_TRIALS, parallel=parallel),
            pruner=make_pruner(curves),
        )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep Optuna from telling of studies that are made; the user's level of its log is as it was after that."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(max(level, optuna.logging.WARNING))
    try:
        yield
    finally:
        optuna.logging.set_verbosity(level)


class StepwiseSampler(optuna.samplers.BaseSampler):
    """A multivariate TPE whose random numbers depend on the seed and on the number of earlier trials alone.

    So a resumed search samples what the whole search would have sampled.

    Args:
        seed: The seed.
        startup: Random trials before the model is trusted.
        parallel: Whether several trials run at a time; those that run then count as poor, so that none is proposed
            twice (constant liar).
    """

    def __init__(self, seed: int, startup: int, *, parallel: bool = False) -> None:
        self._seed, self._startup, self._parallel = seed, startup, parallel
        self._tpe = self._tpe_of_step(0)

    def _tpe_of_step(self, step: int) -> optuna.samplers.TPESampler:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            # `group` models each combination of backbone, head and policy in its own space.
            seed = int(np.random.SeedSequence((self._seed, step)).generate_state(1)[0])
            return optuna.samplers.TPESampler(
                seed=seed,
                multivariate=True,
                group=True,
                n_startup_trials=self._startup,
                constant_liar=self._parallel,
            )

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Seed the random numbers of this trial."""
        self._tpe = self._tpe_of_step(trial.number)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """As TPE does."""
        return self._tpe.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """As TPE does."""
        return self._tpe.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """As TPE does."""
        return self._tpe.sample_independent(study, trial, param_name, param_distribution)


def make_pruner(curves: float) -> optuna.pruners.BasePruner:
    """Return a pruner for so many learning curves: the more there are, the more it may stop.

    Percentiles of many curves, not successive halving, which loses late bloomers on noisy curves: optuna's own
    benchmarks with a multivariate TPE put Percentile(75) before Median(50), and both far before halving.
    """
    if curves < MIN_CURVES_FOR_PRUNING:
        return optuna.pruners.NopPruner()
    percentile = 75.0 if curves < MIN_CURVES_FOR_MEDIAN_PRUNING else 50.0
    return optuna.pruners.PercentilePruner(percentile, n_startup_trials=5, n_warmup_steps=2)


class OneWriterJournal(JournalFileBackend):
    """Optuna's journal file for a single process, which need not lock, nor wait for the disk at each entry.

    Entries survive the end of the process at once. The disk is waited for when a trial changes its state, so that a
    power cut costs the running trial. A last line that a power cut left incomplete is cut off.

    Args:
        path: The file; made when it is not there.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and (truncated := len(path.read_bytes().rpartition(b"\n")[2])):
            os.truncate(path, path.stat().st_size - truncated)
        super().__init__(str(path))
        self._path = path

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append entries: all of them or none.

        Raises:
            OutputError: The disk is full, or the file cannot be written.
        """
        entries = b"".join(json.dumps(log, separators=(",", ":")).encode() + b"\n" for log in logs)
        folder = self._path.parent
        with writing(folder, f"Once that is put right, go on with autotransfer resume {folder}."):
            size = self._path.stat().st_size
            try:
                with self._path.open("ab") as file:
                    file.write(entries)
                    file.flush()
                    if any("state" in log for log in logs):
                        os.fsync(file.fileno())
            except OSError:
                os.truncate(self._path, size)
                raise


def make_finals_study() -> optuna.Study:
    """Return a study that stops a trial whose scores are behind those of the best one, fold by fold."""
    with warnings.catch_warnings(), quiet():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        pruner = optuna.pruners.WilcoxonPruner(p_threshold=0.1)
        return optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0), pruner=pruner)
