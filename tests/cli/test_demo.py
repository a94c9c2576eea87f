"""The demonstration: it needs nothing but the package, and says what it found."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from autotransfer.cli.demo import run_demo
from autotransfer.cli.main import app
from autotransfer.errors import ConfigError, UnknownNameError
from autotransfer_plugins.modalities.image.modality import ImageModality


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No network, no hub cache, no zoo, another folder."""

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("there is no network")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.delenv("AUTOTRANSFER_ZOO", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
def test_the_command_shows_everything(offline: None, tmp_path: Path) -> None:
    outcome = CliRunner().invoke(app, ["demo", "--out", "run", "--time-budget", "8s"])
    assert outcome.exit_code == 0, outcome.output
    for part in (
        "The best ",
        "transfer gain",
        "truth -> predicted",
        " -> ",
        "trials.svg",
        "autotransfer fit",
    ):
        assert part in outcome.stdout, part
    files = {
        "run.json",
        "result.json",
        "report.json",
        "report.html",
        "trials.csv",
        "trials.svg",
        "study.journal",
        "model",
    }
    found = {file.name for file in Path("run").iterdir()}
    assert files <= found <= files | {"label_errors.csv", "pareto.svg"}
    ElementTree.parse(tmp_path / "run" / "trials.svg")
    again = CliRunner().invoke(app, ["demo", "--out", "run"])
    assert again.exit_code == 2, "a run is never overwritten unasked"


@pytest.mark.slow
def test_as_json_it_is_one_object(offline: None) -> None:
    outcome = CliRunner().invoke(app, ["demo", "--json", "--out", "run", "--time-budget", "8s"])
    assert outcome.exit_code == 0, outcome.output
    result = json.loads(outcome.stdout)
    assert result["test"]["examples"] == 500
    assert result["test"]["score"] >= 0.9, "what it comes to in its own time is measured, not tested"
    assert result["gain"] == pytest.approx(result["test"]["score"] - result["scratch"]["score"])
    assert len(result["predictions"]) == 8
    assert Path(result["chart"]).is_file()


@pytest.mark.slow
@pytest.mark.parametrize("modality", ["audio", "text"])
def test_each_modality_has_a_demonstration(offline: None, modality: str) -> None:
    arguments = ["--modality", modality, "--out", "run", "--time-budget", "12s", "--json"]
    outcome = CliRunner().invoke(app, ["demo", *arguments])
    assert outcome.exit_code == 0, outcome.output
    result = json.loads(outcome.stdout)
    assert result["test"]["score"] > 0.15, "chance is 0.125, and a busy machine tries one candidate"
    assert result["test"]["examples"] == {"audio": 320, "text": 400}[modality]
    assert len(result["predictions"]) == 8


@pytest.mark.slow
def test_without_progress_it_says_nothing(offline: None, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    result = run_demo(out=tmp_path / "quiet", time_budget="5s", progress=False)
    assert capsys.readouterr() == ("", "")
    assert len(result.truth) == len(result.predicted) == 8


@pytest.mark.slow
def test_a_modality_without_examples_is_refused(offline: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageModality, "demo_data", lambda self: None)
    with pytest.raises(ConfigError, match="brings no demonstration along"):
        run_demo(modality="image")
    with pytest.raises(UnknownNameError, match="smell"):
        run_demo(modality="smell")
