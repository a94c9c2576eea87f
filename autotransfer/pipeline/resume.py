"""Going on with a run that was broken off: the data must still be the same, and its study is opened again."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from itertools import count
from typing import Any, Protocol, TypeVar
from uuid import uuid4
from warnings import catch_warnings, simplefilter

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage, JournalStorage

from autotransfer._version import __version__
from autotransfer.contract.registry import Registry
from autotransfer.errors import ConfigError, DataError, RunFormatError
from autotransfer.pipeline.prepare import Prepared, fingerprint
from autotransfer.run.folder import RunFolder
from autotransfer.runtime.storage import open_storage
from autotransfer.search.budget import TimeBudget
from autotransfer.search.journal import adopt, lost_in, records_of, seconds_spent, steps_of
from autotransfer.search.space import SearchSpace
from autotransfer.search.study import OneWriterJournal, make_study
from autotransfer.search.trials import Trials
from autotransfer.settings import SearchConfig
from autotransfer.warnings import WarningList

__all__ = ["Choices", "known_backbones", "open_study", "pick"]

# Attributes of a study: the run that it is of, and what tells its choices.
_PART_OF, _CHOICES = "part_of", "choices"


class _HasName(Protocol):
    @property
    def name(self) -> str: ...


_Named = TypeVar("_Named", bound=_HasName)


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What a run chooses from, by name: those of a run that goes on are those that it began with.

    Attributes:
        backbones: Backbones, each at the size at which it is screened first.
        heads: Heads.
        freeze: Freeze policies.
    """

    backbones: tuple[str, ...] = ()
    heads: tuple[str, ...] = ()
    freeze: tuple[str, ...] = ()

    @classmethod
    def of(cls, run: RunFolder, config: SearchConfig) -> Choices | None:
        """Return those that a run began with; None for a new one, or where it is now asked for others.

        Raises:
            RunFormatError: The run folder cannot be read.
        """
        settings = run.settings() if run.goes_on else {}
        written = settings.get("choices")
        if not isinstance(written, dict) or settings.get("asked") != _asked(config):
            return None
        return cls(**{name: tuple(names) for name, names in written.items()})


def pick(specs: Sequence[_Named], names: Sequence[str]) -> list[_Named]:
    """Return the specs of these names, in their order, as far as they are there."""
    known = {spec.name: spec for spec in specs}
    return [known[name] for name in names if name in known]


def known_backbones(registry: Registry, run: RunFolder, names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of a run's backbones that are registered here.

    Raises:
        RunFormatError: None of them is.
    """
    known = []
    for name in names:
        with contextlib.suppress(ConfigError):
            known.append(registry.backbone(name).name)
    if not known:
        raise RunFormatError(_cannot_go_on(run, "nothing of what it searched is here", {"backbones": names}))
    return tuple(known)


def open_study(
    config: SearchConfig,
    data: Prepared,
    space: SearchSpace,
    budget: TimeBudget,
    run: RunFolder,
    *,
    choices: Choices,
    call: Mapping[str, Any] | None,
    curves: float,
    warnings: WarningList,
) -> optuna.Study:
    """Make the run folder with its study, or open those of a run that goes on.

    Args:
        config: The settings.
        data: The examples.
        space: What may be combined.
        budget: The budget; of a run that goes on with the same one, what was spent is taken off.
        run: The run folder.
        choices: What is chosen from.
        call: The arguments of the run, as JSON, if it can go on without being given its data again.
        curves: About how many trials with a learning curve the budget allows.
        warnings: Takes what a user should know.

    Raises:
        DataError: The data are not those that the run began with.
        RunFormatError: The run folder cannot be read, or the run's best trial used what is not here.
        ConfigError: The storage cannot be used, or holds a study of that name that is none of this run's.
    """
    shared = None if config.storage is None else open_storage(config.storage)
    now = {
        "budget": asdict(config.budget),
        "asked": _asked(config),
        "choices": asdict(choices),
        "folders": {"zoo": _asked(config)["zoos"], "cache_dir": str(data.extractor.cache.root.absolute())},
    }
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
            "examples": len(data.store),
            "task": data.folds[0].task.to_json(),
            "config": asdict(config),
            **now,
            "call": call,
        }
        run.create(settings)
    with run.writing():
        storage = JournalStorage(OneWriterJournal(run.study)) if shared is None else shared
    study = _open(config, data, space, curves, storage, settings, run, warnings)
    if run.goes_on:
        if settings.get("budget", settings["config"].get("budget")) == now["budget"]:
            budget.started -= seconds_spent(study, settings.get("since", 0))
        else:
            settings["since"] = steps_of(study)
        run.update(**now, since=settings.get("since", 0), call=call or settings.get("call"))
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
            f"there are {len(data.store)}, or some of them are others. Start a new run, in another folder."
        )


def _refuse_taken_name(storage: BaseStorage, name: str) -> None:
    """Refuse to begin a run with the study of another one: its trials would be taken for this run's.

    Raises:
        ConfigError: There is one of that name.
    """
    if name in optuna.get_all_study_names(storage) or _latest(storage, name) is not None:
        raise ConfigError(
            f"The storage already holds a study named {name!r}. Choose another name, or go on with the run that it "
            "belongs to (resume)."
        )


def _open(
    config: SearchConfig,
    data: Prepared,
    space: SearchSpace,
    curves: float,
    storage: BaseStorage,
    settings: Mapping[str, Any],
    run: RunFolder,
    warnings: WarningList,
) -> optuna.Study:
    """Open the run's study for these choices; make one where there is none, with what the run tried under others."""
    digest, latest = _digest(space), _latest(storage, settings["study"])
    goes_on = latest is not None and latest[1] == digest
    earlier = None if goes_on or latest is None else optuna.load_study(study_name=latest[0], storage=storage)
    lost = frozenset[int]() if earlier is None else lost_in(earlier, space.suggest)
    if earlier is not None and lost:
        _refuse_great_loss(run, settings, space, records_of(earlier), lost)
    study = make_study(
        seed=config.seed,
        curves=curves,
        startup=len(space.screening()),
        storage=storage,
        name=latest[0] if goes_on and latest is not None else _free_name(storage, settings["study"]),
        parallel=(config.workers or 1) > 1 or config.executor == "ray",
    )
    if earlier is not None:
        adopt(study, earlier, space.suggest)
    if not goes_on:
        _describe(study, config, data, run, {_PART_OF: settings["study"], _CHOICES: digest})
    if lost:
        missing = _missing(settings, space)
        warnings.warn(
            "trials_lost",
            f"{len(lost)} trials of the run could not be taken over: what they used is not here ({_listed(missing)}).",
            trials=sorted(lost),
            missing=missing,
        )
    return study


def _describe(
    study: optuna.Study, config: SearchConfig, data: Prepared, run: RunFolder, marks: Mapping[str, str]
) -> None:
    """Write down what a study is about, for whoever looks at it with Optuna's tools; at last, that it is whole."""
    task = data.folds[0].task
    with catch_warnings():
        simplefilter("ignore", ExperimentalWarning)
        study.set_metric_names([str(task.metric)])
    about = {name: value for name, value in asdict(config).items() if name not in ("budget", "storage", "ray_address")}
    about |= {"time_budget": config.budget.seconds, "trials": config.budget.trials, "run": str(run.path.absolute())}
    about |= {"autotransfer": __version__, "task": task.kind, "metric": str(task.metric), "examples": len(data.store)}
    for name, value in {**about, **marks}.items():
        study.set_user_attr(name, json.loads(json.dumps(value, default=str)))


def _latest(storage: BaseStorage, name: str) -> tuple[str, str] | None:
    """Return the name of a run's latest study, and what tells its choices; None where there is no study of the run.

    A run has one for each set of choices that it had. Those of earlier versions tell their choices by their names.
    """
    pattern, found = re.compile(rf"{re.escape(name)}-([0-9a-f]{{8}})"), dict[int, tuple[str, str]]()
    for one in optuna.get_all_study_names(storage):
        if one.startswith(name):
            number = storage.get_study_id_from_name(one)
            attributes, match = storage.get_study_user_attrs(number), pattern.fullmatch(one)
            if attributes.get(_PART_OF) == name and _CHOICES in attributes:
                found[number] = one, attributes[_CHOICES]
            elif match is not None and _PART_OF not in attributes:
                found[number] = one, match[1]
    return found[max(found)] if found else None


def _free_name(storage: BaseStorage, name: str) -> str:
    """Return the name for a run's next study: the run's own, or that with a number."""
    for number in count(1):
        free = name if number == 1 else f"{name}-{number}"
        if free not in optuna.get_all_study_names(storage):
            return free
        study = storage.get_study_id_from_name(free)
        if not storage.get_all_trials(study, deepcopy=False) and not storage.get_study_user_attrs(study):
            return free  # it was broken off when it had just been made
    raise AssertionError  # there is always a number


def _digest(space: SearchSpace) -> str:
    """Return what tells the choices of a space: those of a study cannot change."""
    choices = [[spec.name for spec in specs] for specs in (space.backbones, space.heads, space.policies)]
    return blake2b(json.dumps(choices).encode(), digest_size=4).hexdigest()


def _asked(config: SearchConfig) -> dict[str, list[str]]:
    """Return what a call says of the choices, as JSON."""
    return {
        "backbones": list(config.backbones),
        "heads": list(config.heads),
        "freeze": list(config.freeze),
        "zoos": [str(zoo.absolute()) for zoo in config.zoos],
    }


def _refuse_great_loss(
    run: RunFolder, settings: Mapping[str, Any], space: SearchSpace, trials: Trials, lost: Collection[int]
) -> None:
    """Refuse to go on where all trials would be lost, or the best one: another model would come of the run.

    Raises:
        RunFormatError: That is so.
    """
    if len(lost) == len(trials):
        what = f"all of its {len(trials)} trials used what is not here"
    elif trials.best is not None and trials.best.number in lost:
        what = f"its best trial, {trials.best.candidate}, used what is not here"
    else:
        return
    raise RunFormatError(_cannot_go_on(run, what, _missing(settings, space)))


def _missing(settings: Mapping[str, Any], space: SearchSpace) -> dict[str, list[str]]:
    """Return, by kind, what a run chose from and what is not here."""
    there: dict[str, Sequence[_HasName]] = {
        "backbones": space.backbones,
        "heads": space.heads,
        "freeze": space.policies,
    }
    return {
        kind: [name for name in names if name not in {spec.name for spec in there[kind]}]
        for kind, names in settings.get("choices", {}).items()
    }


def _cannot_go_on(run: RunFolder, what: str, missing: Mapping[str, Sequence[str]]) -> str:
    zoos = run.settings().get("folders", {}).get("zoo") or ()
    where = f" It was given the zoo {', '.join(zoos)}." if zoos else ""
    return (
        f"The run in {run.path} cannot go on: {what}"
        f"{f' (missing: {_listed(missing)})' if any(missing.values()) else ''}.{where} Bring it back, give its folder "
        "with --zoo, or install its plugin; or start a new run, in another folder."
    )


def _listed(missing: Mapping[str, Sequence[str]]) -> str:
    return ", ".join(name for names in missing.values() for name in names)
