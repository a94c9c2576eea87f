"""Observers: plugins and callbacks are told how a search goes, and what goes wrong in them never ends it."""

from __future__ import annotations

import inspect
import logging
import pydoc
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pluggy
import pytest

from autotransfer.contract import hookspecs
from autotransfer.contract.hookspecs import hookimpl
from autotransfer.contract.loading import _KIND_OF_HOOK, OBSERVER_HOOKS, load_plugins
from autotransfer.contract.observers import Observers
from autotransfer.errors import ConfigError, SearchError
from autotransfer.warnings import WarningList


class Diary:
    """Writes down what it is told; it is no plugin, and marks nothing."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []

    @property
    def expensive(self) -> None:
        pytest.fail("what is no hook is not touched")

    def search_started(self, settings: Any) -> None:
        self.told.append(("started", settings))

    def trial_finished(self, result: Any) -> None:
        self.told.append(("trial", result))

    def search_failed(self, error: Any) -> None:
        self.told.append(("failed", error))


def _observers(*callbacks: Any, plugins: tuple[Any, ...] = ()) -> tuple[Observers, WarningList]:
    warnings = WarningList()
    return Observers(load_plugins(plugins), callbacks, warnings.warn), warnings


def test_every_hook_has_a_kind_and_is_documented() -> None:
    manager = pluggy.PluginManager("autotransfer")
    hooks = [name for name in vars(hookspecs) if manager.parse_hookspec_opts(hookspecs, name) is not None]
    assert set(hooks) == set(_KIND_OF_HOOK)
    page = pydoc.plain(pydoc.render_doc(hookspecs))
    for hook in hooks:
        assert f"    {hook}(" in page
        assert inspect.getdoc(getattr(hookspecs, hook))
    assert "FUNCTIONS" in page


def test_the_example_in_the_documentation_is_a_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = (hookspecs.__doc__ or "").splitlines()
    begin = lines.index("    from autotransfer import hookimpl")
    end = next(i for i in range(begin, len(lines)) if lines[i] and not lines[i].startswith("    "))
    module = SimpleNamespace()
    exec(inspect.cleandoc("\n".join(lines[begin:end])), vars(module))  # our own text
    (state,) = [state for state in load_plugins([module]).states.values() if not state.distribution]
    assert (state.state, state.kinds) == ("loaded", ("backbones", "observers"))
    assert all(hasattr(module, hook) for hook in OBSERVER_HOOKS)


@pytest.mark.parametrize("hook", sorted(_KIND_OF_HOOK))
def test_a_plugin_with_any_one_hook_alone_is_one(hook: str) -> None:
    source = f"def {hook}({', '.join(inspect.signature(getattr(hookspecs, hook)).parameters)}): ..."
    made: dict[str, Any] = {}
    exec(source, made)
    *_, state = load_plugins([SimpleNamespace(**{hook: hookimpl(made[hook])})]).states.values()
    assert (state.state, state.kinds) == ("loaded", (_KIND_OF_HOOK[hook],))


def test_callback_needs_no_hookimpl_and_not_all_arguments() -> None:
    diary, counted = Diary(), list[int]()
    observers, _ = _observers(diary, SimpleNamespace(trial_finished=lambda: counted.append(1)))
    with observers.observe({"seed": 3}):
        observers.notify("trial_finished", result=7)
        observers.notify("epoch_finished", epoch=1)  # the diary has no such method
    assert diary.told == [("started", {"seed": 3}), ("trial", 7)]
    assert counted == [1]


def test_a_single_callback_needs_no_list() -> None:
    warnings, diary = WarningList(), Diary()
    Observers(load_plugins(), diary, warnings.warn).notify("trial_finished", result=1)  # type: ignore[arg-type]
    assert diary.told == [("trial", 1)]


@pytest.mark.parametrize("error", [SearchError("nothing worked"), KeyboardInterrupt(), SystemExit(2)])
def test_an_end_that_is_no_success_is_told_and_goes_on(error: BaseException) -> None:
    diary = Diary()
    observers, _ = _observers(diary)
    with pytest.raises(type(error)), observers.observe({}):
        raise error
    assert diary.told == [("started", {}), ("failed", error)]


@pytest.mark.parametrize(
    ("callback", "reason"),
    [
        (object(), "at least one of the methods search_started, epoch_finished"),
        (Diary, r"an object, not a class: give Diary\(\.\.\.\)"),
        (SimpleNamespace(trial_finished=lambda outcome: None), "The callback SimpleNamespace: .*outcome"),
        (7, "got 7"),
    ],
)
def test_what_is_no_callback_is_refused(callback: Any, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        _observers(callback)


def test_observers_are_all_told_and_never_fatal(caplog: pytest.LogCaptureFixture) -> None:
    def fails(result: Any) -> None:
        raise ConnectionError(f"tracker is down, {result}")

    def leaves(result: Any) -> None:
        raise SystemExit(3)

    tracker = SimpleNamespace(__name__="tracker", trial_finished=hookimpl(fails))
    seen: list[Any] = []
    watcher = SimpleNamespace(__name__="watcher", trial_finished=hookimpl(lambda result: seen.append(result)))
    diary = Diary()
    observers, warnings = _observers(SimpleNamespace(trial_finished=leaves), diary, plugins=(tracker, watcher))
    with caplog.at_level(logging.WARNING, "autotransfer"):
        for number in range(3):
            observers.notify("trial_finished", result=number)
    assert seen == [0, 1, 2]
    assert [told for _, told in diary.told] == [0, 1, 2]
    assert [warning.code for warning in warnings] == ["plugin_failed"] * 2, "once for each, whatever it says"
    first, second = warnings
    assert first.message.startswith("The plugin tracker failed in trial_finished: ConnectionError: tracker is down, 0.")
    assert dict(second.details) == {
        "observer": "The callback SimpleNamespace",
        "hook": "trial_finished",
        "reason": "SystemExit: 3",
    }
    assert len(caplog.records) == 2


def test_a_plugin_may_be_an_object_that_cannot_be_hashed() -> None:
    # pluggy's own way to call one plugin of many puts them into a set.
    @dataclass
    class Tracker:
        told: list[int] = field(default_factory=list)

        @hookimpl
        def trial_finished(self, result: int) -> None:
            self.told.append(result)

    trackers = [Tracker(), Tracker()]
    observers, _ = _observers(plugins=tuple(trackers))
    observers.notify("trial_finished", result=7)
    assert [tracker.told for tracker in trackers] == [[7], [7]]
