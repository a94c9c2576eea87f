"""The command of a run makes the same call again."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import autotransfer
from autotransfer import api
from autotransfer.cli.main import app
from autotransfer.report.provenance import Provenance, call_text
from autotransfer.settings import (
    Compute,
    DataArguments,
    DataOptions,
    Limits,
    RunOptions,
    SearchOptions,
    Selection,
    Settings,
)
from autotransfer.settings.serialization import call_to_json

HOSTILE = 'a folder\'; rm -rf "$HOME" #'


def text_of(settings: Settings, data: Any = "photos", **more: Any) -> str:
    return call_text(call_to_json(DataArguments(data=data, **more), settings), settings)


SETTINGS = Settings(
    time_budget="90s",
    trials=7,
    backbones=["*resnet*", "vit"],
    heads="linear",
    metric="f1_macro",
    seed=3,
    zoo=["zoo a", "zoo b"],
    data_options=DataOptions(folds=3, groups=r"(\w+)_", target_column=["a", "b"], follow_links=True, validation=0.5),
    search=SearchOptions(compare_scratch=False, epochs=4),
    selection=Selection(ensemble=False, calibrate=False),
    compute=Compute(cache=False, device="cpu"),
)


@pytest.mark.parametrize("settings", [Settings(), SETTINGS])
def test_the_command_gives_the_same_settings(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    def fit(data: Any, **arguments: Any) -> None:
        given.update(arguments, data=data)
        raise autotransfer.AutoTransferError("enough")

    monkeypatch.setattr(api, "fit", fit)
    words = shlex.split(text_of(settings, HOSTILE, test="photos/test"))
    assert words[:3] == ["autotransfer", "fit", str(Path(HOSTILE).absolute())]
    CliRunner().invoke(app, words[1:])
    assert given.pop("data") == str(Path(HOSTILE).absolute())
    assert given.pop("test") == str(Path("photos/test").absolute())
    assert Settings(**given) == settings


def test_what_no_command_line_can_give_is_python() -> None:
    arrays = text_of(Settings(trials=3), np.zeros((2, 4, 4, 3)), targets=[0, 1])
    assert arrays == "autotransfer.fit(data, targets, trials=3)"
    weights = Settings(search=SearchOptions(class_weight={"a": 2.0, "b": 1.0}), selection=Selection(calibrate=False))
    text = text_of(weights, "photos", test="photos/test")
    assert "search=autotransfer.SearchOptions(class_weight={'a': 2.0, 'b': 1.0})" in text
    assert "selection=autotransfer.Selection(calibrate=False)" in text
    compile(text, "call", "eval")


@pytest.mark.parametrize(
    "changes",
    [
        {"selection": Selection(limits=Limits(latency="10ms", batch=8))},
        {"selection": Selection(ensemble=False, limits=Limits(size="20MB", memory="500MB")), "trials": 3},
        {"search": SearchOptions(class_weight={np.int64(0): np.float64(2.0), np.int64(1): 1.0}), "zoo": ["a", "b"]},
        SETTINGS.__dict__,
    ],
)
def test_python_gives_the_same_settings(changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(**changes)
    text = text_of(settings, np.zeros((2, 4, 4, 3)), targets=[0, 1])
    monkeypatch.setattr(autotransfer, "fit", lambda data, targets, **given: Settings(**given), raising=False)
    assert eval(text, {"autotransfer": autotransfer, "data": None, "targets": None}) == settings


def test_what_no_literal_says_is_left_open() -> None:
    weights = Settings(data_options=DataOptions(sample_weight=np.ones(3)), search=SearchOptions(class_weight={"a": 2}))
    text = text_of(weights, np.zeros((3, 4, 4, 3)), targets=[0, 1, 0])
    assert "data_options=autotransfer.DataOptions(sample_weight=...)" in text
    compile(text, "call", "eval")


def test_where_a_run_is_and_who_looks_on_is_no_part_of_the_call(tmp_path: Path) -> None:
    settings = Settings(out=tmp_path, run=RunOptions(progress=False, overwrite=True))
    assert text_of(settings, "/photos") == "autotransfer fit /photos"


def test_a_password_stays_out_of_the_page() -> None:
    settings = Settings(trials=3, run=RunOptions(storage="postgresql+psycopg://me:secret@host/db", study="s"))
    call = call_to_json(DataArguments(data="photos"), settings)
    found = Provenance.of(call, settings, fingerprint="abc", examples=2)
    assert "secret" not in f"{found.command}{found.settings}"


def test_versions_and_settings_are_named() -> None:
    settings = Settings(trials=3)
    call = call_to_json(DataArguments(data="photos"), settings)
    found = Provenance.of(call, settings, fingerprint="abc", examples=2)
    assert {"autotransfer", "python", "torch", "numpy"} <= set(found.versions)
    assert found.settings == {"trials": "3"}
    assert (found.seed, found.fingerprint) == (0, "abc")
