"""Going on with a run that was broken off: the data must still be the same, and its study is opened again."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from hashlib import blake2b
from typing import Any
from uuid import uuid4

import optuna
from optuna.storages import BaseStorage, JournalStorage

from autotransfer._version import __version__
from autotransfer.config import SearchConfig
from autotransfer.errors import ConfigError, DataError
from autotransfer.preparation import Prepared, fingerprint
from autotransfer.run import RunFolder
from autotransfer.search.budget import Purse
from autotransfer.search.journal import adopt, seconds_spent
from autotransfer.search.space import SearchSpace
from autotransfer.search.study import OneWriterJournal, make_study
from autotransfer.storage import open_storage

__all__ = ["open_study"]


def open_study(
    config: SearchConfig,
    data: Prepared,
    space: SearchSpace,
    purse: Purse,
    run: RunFolder,
    *,
    call: Mapping[str, Any] | None,
    curves: float,
    say: Callable[[str], None],
) -> optuna.Study:
    """Make the run folder with its study, or open those of a run that goes on.

    Args:
        config: The settings.
        data: The examples.
        space: What may be combined.
        purse: The budget; of a run that goes on with the same one, what was spent is taken off.
        run: The run folder.
        call: The arguments of the run, as JSON, if it can go on without being given its data again.
        curves: About how many trials with a learning curve the budget allows.
        say: Is told what a user should know.

    Raises:
        DataError: The data are not those that the run began with.
        RunFormatError: The run folder cannot be read.
        ConfigError: The storage cannot be used, or holds a study of that name that is none of this run's.
    """
    shared = None if config.storage is None else open_storage(config.storage)
    if run.goes_on:
        _refuse_changed_data(run, data)
        settings = run.settings()
    else:
        if shared is not None and config.study is not None:
            _refuse_taken_name(shared, config.study)
        settings = {
            "autotransfer": __version__,
            "study": config.study or f"autotransfer-{uuid4().hex[:8]}",
            "data": fingerprint(data),
            "examples": len(data.images),
            "task": data.lessons[0].task.to_json(),
            "config": asdict(config),
            "call": call,
        }
        run.create(settings)
    study = make_study(
        seed=config.seed,
        curves=curves,
        startup=len(space.screening()),
        storage=JournalStorage(OneWriterJournal(run.study)) if shared is None else shared,
        name=_study_name(settings["study"], space),
        parallel=config.processes > 1 or config.spread != "local",
    )
    if run.goes_on:
        _take_over(study, settings["study"], space, say)
        if settings["config"].get("budget") == asdict(config.budget):
            purse.started -= seconds_spent(study)
    return study


def _refuse_changed_data(run: RunFolder, data: Prepared) -> None:
    """Refuse to go on with a run on other data: its scores would not be comparable.

    Raises:
        DataError: The images or their targets are not those that the run began with.
        RunFormatError: The run folder cannot be read.
    """
    settings = run.settings()
    if settings["data"] != fingerprint(data):
        raise DataError(
            f"The data have changed since the run in {run.path} began: it had {settings.get('examples')} examples, now "
            f"there are {len(data.images)}, or some of them are others. Start a new run, in another folder."
        )


def _refuse_taken_name(storage: BaseStorage, name: str) -> None:
    """Refuse to begin a run with the study of another one: its trials would be taken for this run's.

    Raises:
        ConfigError: There is one of that name.
    """
    if _studies_of(storage, name):
        raise ConfigError(
            f"The storage already holds a study named {name!r}. Choose another name, or go on with the run that it "
            "belongs to (resume)."
        )


def _studies_of(storage: BaseStorage, prefix: str) -> list[str]:
    """Return the names of a run's studies, one for each set of choices that it had; see ``_study_name``."""
    pattern = re.compile(rf"{re.escape(prefix)}-[0-9a-f]{{8}}")
    return [name for name in optuna.get_all_study_names(storage) if pattern.fullmatch(name)]


def _study_name(prefix: str, space: SearchSpace) -> str:
    """Return the name of the study for a space: the choices of a study cannot change."""
    choices = [[spec.name for spec in specs] for specs in (space.backbones, space.heads, space.policies)]
    return f"{prefix}-{blake2b(json.dumps(choices).encode(), digest_size=4).hexdigest()}"


def _take_over(study: optuna.Study, prefix: str, space: SearchSpace, say: Callable[[str], None]) -> None:
    """Fill a new study of a run that goes on with what the run tried under other choices."""
    storage = study._storage
    earlier = [
        optuna.load_study(study_name=name, storage=storage)
        for name in _studies_of(storage, prefix)
        if name != study.study_name
    ]
    if study.get_trials(deepcopy=False) or not earlier:
        return
    longest = max(earlier, key=lambda other: len(other.get_trials(deepcopy=False)))
    lost = adopt(study, longest, space.suggest)
    say(
        f"the backbones, heads or freeze policies are not those that the run began with: "
        f"{len(study.get_trials(deepcopy=False))} trials are taken over, {lost} used what is gone"
    )
