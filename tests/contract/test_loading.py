"""Loading isolates: a broken plugin is named, reported once and left out, whatever is wrong with it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from autotransfer.contract.hookspecs import hookimpl
from autotransfer.contract.loading import load_plugins, warn_once
from autotransfer.errors import ConfigError, PluginError

HEAD = """
from autotransfer.contract.hookspecs import hookimpl
from autotransfer.contract.specs import HeadSpec

@hookimpl
def register_heads(register):
    register(HeadSpec(name="{name}", build=lambda shape, outputs, params: None))
"""

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install a distribution of one module: real metadata on the path, as pip leaves it."""

    def write(distribution: str, source: str, target: str = "", entry: str = "plugin", version: str = "1.2") -> None:
        module = f"{distribution.replace('-', '_')}_{tmp_path.name}".replace("-", "_")
        folder = tmp_path / f"{distribution}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        (folder / "entry_points.txt").write_text(f"[autotransfer]\n{entry} = {module}{target}\n")
        (tmp_path / f"{module}.py").write_text(source)

    monkeypatch.syspath_prepend(str(tmp_path))
    warn_once.cache_clear()
    return write


BROKEN = {
    "raises at import": ("raise OSError('no driver')", "OSError: no driver"),
    "leaves the program": ("import sys; sys.exit(3)", "SystemExit: 3"),
    "misses a dependency": ("import not_installed_anywhere", "ModuleNotFoundError"),
    "does not parse": ("def (", "SyntaxError"),
    "misspells a hook": (HEAD.replace("register_heads", "register_head"), "register_head"),
    "misspells an argument": (HEAD.replace("(register)", "(registre)", 1), "registre"),
    "forgets the marker": (HEAD.replace("@hookimpl", ""), "implements no hook"),
    "is empty": ("", "implements no hook"),
}


@pytest.mark.parametrize(("source", "reason"), BROKEN.values(), ids=BROKEN)
def test_a_broken_plugin_is_reported_once_and_left_out(
    install: Install, caplog: pytest.LogCaptureFixture, source: str, reason: str
) -> None:
    install("zz-broken", source)
    install("good-one", HEAD.format(name="nice"))
    with caplog.at_level(logging.WARNING, "autotransfer"):
        first, _ = load_plugins(), load_plugins()
    state = first.states["zz-broken:plugin"]
    assert (state.state, state.version) == ("broken", "1.2")
    assert reason in state.reason
    assert "zz-broken:plugin" not in first.managers
    assert first.states["good-one:plugin"].state == "loaded"
    (message,) = [record.getMessage() for record in caplog.records]
    assert "zz-broken 1.2" in message
    assert reason in message


def test_a_refused_plugin_leaves_no_hook_behind(install: Install) -> None:
    # pluggy registers the good hooks of a plugin before it refuses a bad one.
    install("half-good", HEAD.format(name="half") + "\n@hookimpl\ndef trial_finished(wrong): ...\n")
    assert "half-good:plugin" not in [state.key for state, _ in load_plugins().each("register_heads")]


def test_our_own_broken_plugin_raises(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autotransfer.contract.loading.OWN_DISTRIBUTION", "ours")
    install("ours", "raise OSError('half installed')")
    with pytest.raises(PluginError, match=r"ours:plugin 1\.2 is broken: OSError: half installed"):
        load_plugins()


def test_an_entry_point_may_name_a_class_or_an_object(install: Install) -> None:
    source = HEAD.format(name="x").replace(
        "\n@hookimpl\ndef register_heads(register)",
        "\nclass Plugin:\n  @hookimpl\n  def register_heads(self, register)",
    )
    install("a-class", source, target=":Plugin")
    install("an-object", source + "\nplugin = Plugin()\n", target=":plugin")
    states = load_plugins().states
    assert states["a-class:plugin"].kinds == states["an-object:plugin"].kinds == ("heads",)


def test_equal_entry_names_of_two_distributions_both_load(install: Install) -> None:
    # pluggy's own loader skips the second one silently.
    install("first-one", HEAD.format(name="a"), entry="heads")
    install("second-one", HEAD.format(name="b"), entry="heads")
    plugins = load_plugins()
    keys = [key for key in plugins.states if key.endswith("-one:heads")]
    assert keys == ["first-one:heads", "second-one:heads"]
    assert set(keys) <= set(plugins.managers)


def test_two_objects_of_one_name_are_told_apart() -> None:
    def observer() -> SimpleNamespace:
        return SimpleNamespace(trial_finished=hookimpl(lambda result: None))

    names = [state.name for state in load_plugins([observer(), observer()]).states.values() if not state.distribution]
    assert names == ["SimpleNamespace", "SimpleNamespace'"]


def test_a_missing_temporary_folder_is_no_fault_of_a_plugin(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("writes", "import tempfile; tempfile.gettempdir()\n" + HEAD.format(name="x"))
    assert load_plugins().states["writes:plugin"].state == "loaded"
    (tmp_path / "file").touch()
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr("tempfile._candidate_tempdir_list", lambda: [str(tmp_path / "file")])
    with pytest.raises(ConfigError, match=r"no folder for temporary files: No usable .* set TMPDIR to a folder that"):
        load_plugins()


def test_our_own_plugins_come_through_the_same_door() -> None:
    states = load_plugins().states
    kinds = {kind for key, state in states.items() if key.startswith("autotransfer:") for kind in state.kinds}
    assert kinds >= {"backbones", "heads", "freeze policies"}
