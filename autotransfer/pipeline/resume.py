"""Resuming an interrupted run: the data must still be the same, and its study is opened again."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from itertools import count
from numbers import Real
from typing import Any, Protocol, TypeVar
from uuid import uuid4
from warnings import catch_warnings, simplefilter

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage, JournalStorage

from autotransfer._version import __version__
from autotransfer.contract.registry import Registry
from autotransfer.errors import ConfigError, DataError, RunFormatError
from autotransfer.pipeline.context import FitContext
from autotransfer.pipeline.prepare import Prepared, fingerprint
from autotransfer.run.folder import RunFolder
from autotransfer.runtime.storage import close_storage, open_storage
from autotransfer.search.journal import copy_trials, count_steps, seconds_spent, trials_of, unusable_trials
from autotransfer.search.space import SearchSpace
from autotransfer.search.study import OneWriterJournal, make_study
from autotransfer.search.trials import Trials
from autotransfer.settings import Settings
from autotransfer.settings.serialization import described, is_complete

__all__ = ["Choices", "first_of", "known_backbones", "open_study", "pick"]

# Attributes of a study: the run that it belongs to, and the hash of its choices.
_PART_OF, _CHOICES = "part_of", "choices"


class _HasName(Protocol):
    @property
    def name(self) -> str: ...


_Named = TypeVar("_Named", bound=_HasName)


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What a run chooses from, by name: those of a run that is resumed are those that it began with.

    Attributes:
        backbones: Backbones, by the names that they are registered under.
        heads: Heads.
        freeze: Freeze policies.
        forms: Backbones in all the forms that are searched, which are those that kept the limits on the model.
    """

    backbones: tuple[str, ...] = ()
    heads: tuple[str, ...] = ()
    freeze: tuple[str, ...] = ()
    forms: tuple[str, ...] = ()

    @classmethod
    def of(cls, run: RunFolder, settings: Settings) -> Choices | None:
        """Return those that a run began with; None for a new one, or where it is now asked for others.

        Raises:
            RunFormatError: The run folder cannot be read.
        """
        recorded = run.read() if run.resumed else {}
        written = recorded.get("choices")
        if not isinstance(written, dict) or recorded.get("asked") != _asked(settings):
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


def first_of(run: RunFolder) -> str | None:
    """Return the name of the backbone that showed near-duplicates in a run that is resumed; None of a new run.

    Raises:
        RunFormatError: The run folder cannot be read.
    """
    return run.read().get("first") if run.resumed else None


def open_study(
    context: FitContext, data: Prepared, space: SearchSpace, choices: Choices, curves: float
) -> optuna.Study:
    """Make the run folder with its study, or open those of a run that is resumed.

    Args:
        context: The fit; of a run that is resumed with the same budget, the seconds that were spent count.
        data: The examples.
        space: What may be combined.
        choices: What is chosen from.
        curves: About how many trials with a learning curve the budget allows.

    Raises:
        DataError: The data are not those that the run began with.
        RunFormatError: The run folder cannot be read, or the run's best trial used what is not here.
        ConfigError: The storage cannot be used, or holds a study of that name that is none of this run's.
    """
    settings, run = context.settings, context.run
    shared = None if settings.run.storage is None else open_storage(settings.run.storage)
    now = {
        "budget": asdict(settings.budget),
        "asked": _asked(settings),
        "choices": asdict(choices),
        "folders": {"zoo": _asked(settings)["zoos"], "cache_dir": str(data.extractor.cache.root.absolute())},
    }
    try:
        recorded = _recorded_run(context, data, now, shared)
    except BaseException:  # the run is refused: nobody else closes the connections
        if shared is not None:
            close_storage(shared)
        raise
    with run.writing():
        storage = JournalStorage(OneWriterJournal(run.study)) if shared is None else shared
    study = _open(context, data, space, curves, storage, recorded)
    if run.resumed:
        if recorded.get("budget") == now["budget"]:
            context.budget.count_earlier(seconds_spent(study, recorded.get("since", 0)))
        else:
            recorded["since"] = count_steps(study)
        call = context.call if is_complete(context.call) else recorded["call"]
        run.update(**now, since=recorded.get("since", 0), call=call)
    return study


def _recorded_run(
    context: FitContext, data: Prepared, now: Mapping[str, Any], shared: BaseStorage | None
) -> dict[str, Any]:
    """Return what ``run.json`` holds of a run that is resumed; make the folder of a new run.

    Raises:
        DataError: The data are not those that the run began with.
        ConfigError: The storage holds a study of the name that a new run asks for.
    """
    settings, run = context.settings, context.run
    if run.resumed:
        _refuse_changed_data(run, data)
        _check_comparable(context, data)
        return run.read()
    if shared is not None and settings.run.study is not None:
        _refuse_taken_name(shared, settings.run.study)
    recorded = {
        "autotransfer": __version__,
        "study": settings.run.study or f"autotransfer-{uuid4().hex[:8]}",
        "data": fingerprint(data),
        "examples": len(data.store),
        "task": data.folds[0].task.to_json(),
        "division": _division(settings),
        "folds": _folds_digest(data),
        "first": data.first,
        **now,
        "call": context.call,
    }
    run.create(recorded)
    return recorded


def _refuse_changed_data(run: RunFolder, data: Prepared) -> None:
    """Refuse to resume a run on other data: its scores would not be comparable.

    Raises:
        DataError: The examples or their targets are not those that the run began with.
        RunFormatError: The run folder cannot be read.
    """
    recorded = run.read()
    if recorded["data"] != fingerprint(data):
        raise DataError(
            f"The data have changed since the run in {run.path} began: it had {recorded.get('examples')} examples, now "
            f"there are {len(data.store)}, or some of them are others. Start a new run, in another folder."
        )


def _check_comparable(context: FitContext, data: Prepared) -> None:
    """Refuse to resume a run by another metric or on other folds: its scores would not be comparable.

    Folds that differ although the same ones are asked for are a warning: features show near-duplicates, which differ
    a little between machines, and the backbone that they are of may be gone.

    Raises:
        ConfigError: The task, the metric or the folds are not those that the run began with.
        RunFormatError: The run folder cannot be read.
    """
    recorded, task = context.run.read(), data.folds[0].task.to_json()
    is_divided_alike = recorded["folds"] == _folds_digest(data)
    began = {**recorded["task"], **({} if is_divided_alike else recorded["division"])}
    now = json.loads(json.dumps({**task, **_division(context.settings)}))
    if changed := {name: value for name, value in began.items() if now[name] != value}:
        asked = {name: now[name] for name in changed}
        raise ConfigError(
            f"The run in {context.run.path} began with {changed}, and now has {asked}: scores would not be comparable. "
            "Resume it with the settings that it began with, or start a new run, in another folder."
        )
    if not is_divided_alike:
        context.warnings.warn(
            "folds_changed",
            "The examples are divided in another way than when the run began: what is a near-duplicate is seen "
            f"otherwise, since the backbone {recorded['first']!r} is gone or the machine is another one. Scores of "
            "earlier trials are of other folds.",
            backbone=recorded["first"],
        )


def _division(settings: Settings) -> dict[str, Any]:
    """Return what settings say of the folds, as JSON."""
    options = settings.data_options
    return {
        "seed": settings.seed,
        "folds": options.folds,
        "validation": options.validation if isinstance(options.validation, Real) else "examples",
    }


def _folds_digest(data: Prepared) -> str:
    """Return a hash of which examples train and which score in each fold."""
    digest = blake2b(digest_size=8)
    for fold in data.folds:
        for rows in (fold.train_rows, fold.validation_rows):
            digest.update(f"{len(rows)}:".encode() + rows.astype("<i8").tobytes())
    return digest.hexdigest()


def _refuse_taken_name(storage: BaseStorage, name: str) -> None:
    """Refuse to begin a run with the study of another one: its trials would be taken for this run's.

    Raises:
        ConfigError: There is one of that name.
    """
    if name in optuna.get_all_study_names(storage) or _latest(storage, name) is not None:
        raise ConfigError(
            f"The storage already holds a study named {name!r}. Choose another name, or resume the run that it "
            "belongs to."
        )


def _open(
    context: FitContext,
    data: Prepared,
    space: SearchSpace,
    curves: float,
    storage: BaseStorage,
    recorded: Mapping[str, Any],
) -> optuna.Study:
    """Open the run's study for these choices; make one where there is none, with the trials under other choices."""
    settings, run = context.settings, context.run
    digest, latest = _digest(space), _latest(storage, recorded["study"])
    goes_on = latest is not None and latest[1] == digest
    earlier = None if goes_on or latest is None else optuna.load_study(study_name=latest[0], storage=storage)
    lost = frozenset[int]() if earlier is None else unusable_trials(earlier, space.suggest)
    if earlier is not None and lost:
        _refuse_lost_best(run, recorded, space, trials_of(earlier), lost)
    study = make_study(
        seed=settings.seed,
        curves=curves,
        startup=len(space.screening()),
        storage=storage,
        name=latest[0] if goes_on and latest is not None else _free_name(storage, recorded["study"]),
        parallel=(settings.compute.workers or 1) > 1 or settings.compute.executor == "ray",
    )
    if earlier is not None:
        copy_trials(study, earlier, space.suggest)
    if not goes_on:
        _describe(study, settings, data, run, {_PART_OF: recorded["study"], _CHOICES: digest})
    if lost:
        missing = _missing(recorded, space)
        context.warnings.warn(
            "trials_not_restored",
            f"{len(lost)} trials of the run could not be taken over: what they used is not here ({_listed(missing)}).",
            trials=sorted(lost),
            missing=missing,
        )
    return study


def _describe(
    study: optuna.Study, settings: Settings, data: Prepared, run: RunFolder, marks: Mapping[str, str]
) -> None:
    """Write down what a study is about, for whoever looks at it with Optuna's tools; at last, that it is whole."""
    task = data.folds[0].task
    with catch_warnings():
        simplefilter("ignore", ExperimentalWarning)
        study.set_metric_names([str(task.metric)])
    about = {name: value for name, value in described(settings).items() if name not in ("storage", "ray_address")}
    about |= {"time_budget": settings.budget.seconds, "trials": settings.budget.trials, "run": str(run.path.absolute())}
    about |= {"autotransfer": __version__, "task": task.kind, "metric": str(task.metric), "examples": len(data.store)}
    for name, value in {**about, **marks}.items():
        study.set_user_attr(name, json.loads(json.dumps(value, default=str)))


def _latest(storage: BaseStorage, name: str) -> tuple[str, str] | None:
    """Return the name of a run's latest study, and the hash of its choices; None where the run has no study.

    A run has one study for each set of choices that it had.
    """
    found = dict[int, tuple[str, str]]()
    for one in optuna.get_all_study_names(storage):
        if one.startswith(name):
            number = storage.get_study_id_from_name(one)
            attributes = storage.get_study_user_attrs(number)
            if attributes.get(_PART_OF) == name and _CHOICES in attributes:
                found[number] = one, attributes[_CHOICES]
    return found[max(found)] if found else None


def _free_name(storage: BaseStorage, name: str) -> str:
    """Return the name for a run's next study: the run's own, or that with a number."""
    for number in count(1):
        free = name if number == 1 else f"{name}-{number}"
        if free not in optuna.get_all_study_names(storage):
            return free
        study = storage.get_study_id_from_name(free)
        if not storage.get_all_trials(study, deepcopy=False) and not storage.get_study_user_attrs(study):
            return free  # it was interrupted when it had just been made
    raise AssertionError  # there is always a number


def _digest(space: SearchSpace) -> str:
    """Return a hash of the choices of a space: those of a study cannot change."""
    choices = [[spec.name for spec in specs] for specs in (space.backbones, space.heads, space.policies)]
    return blake2b(json.dumps(choices).encode(), digest_size=4).hexdigest()


def _asked(settings: Settings) -> dict[str, list[str]]:
    """Return what a call says of the choices, as JSON."""
    return {
        "backbones": list(settings.backbones),
        "heads": list(settings.heads),
        "freeze": list(settings.search.freeze),
        "limits": [str(settings.selection.limits)],
        "zoos": [str(zoo.absolute()) for zoo in settings.zoos],
    }


def _refuse_lost_best(
    run: RunFolder, recorded: Mapping[str, Any], space: SearchSpace, trials: Trials, lost: Collection[int]
) -> None:
    """Refuse to resume where all trials would be lost, or the best one: the run would give another model.

    Raises:
        RunFormatError: That is so.
    """
    if len(lost) == len(trials):
        what = f"all of its {len(trials)} trials used what is not here"
    elif trials.best is not None and trials.best.number in lost:
        what = f"its best trial, {trials.best.candidate}, used what is not here"
    else:
        return
    raise RunFormatError(_cannot_go_on(run, what, _missing(recorded, space)))


def _missing(recorded: Mapping[str, Any], space: SearchSpace) -> dict[str, list[str]]:
    """Return, by kind, what a run chose from and what is not here."""
    there: dict[str, Sequence[_HasName]] = {
        "backbones": space.backbones,
        "heads": space.heads,
        "freeze": space.policies,
    }
    return {
        kind: [name for name in recorded.get("choices", {}).get(kind, ()) if name not in {spec.name for spec in specs}]
        for kind, specs in there.items()
    }


def _cannot_go_on(run: RunFolder, what: str, missing: Mapping[str, Sequence[str]]) -> str:
    zoos = run.read().get("folders", {}).get("zoo") or ()
    where = f" It was given the zoo {', '.join(zoos)}." if zoos else ""
    return (
        f"The run in {run.path} cannot go on: {what}"
        f"{f' (missing: {_listed(missing)})' if any(missing.values()) else ''}.{where} Bring it back, give its folder "
        "with --zoo, or install its plugin; or start a new run, in another folder."
    )


def _listed(missing: Mapping[str, Sequence[str]]) -> str:
    return ", ".join(name for names in missing.values() for name in names)
