"""Every command and snippet of the README runs as it stands there; only its budgets are cut."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import autotransfer
from autotransfer.cli.main import app
from autotransfer.warnings import WARNING_CODES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
CUT = {"--time-budget 5m": "--trials 3", "--time-budget 10m": "--trials 4", "--epochs 30": "--epochs 1"}
COMMANDS = re.findall(r"^    (autotransfer .*)$", README, flags=re.MULTILINE)


@pytest.fixture
def place(tmp_path: Path, tiny_zoo: Path, digit_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with everything that the README names."""
    shutil.copytree(digit_folder, tmp_path / "photos")
    shutil.copytree(tiny_zoo, tmp_path / "zoo")
    shutil.copytree(digit_folder / "test" / "one", tmp_path / "more_photos")
    shutil.copytree(digit_folder / "train", tmp_path / "source_photos")
    shutil.copy(next((digit_folder / "test" / "two").iterdir()), tmp_path / "new.jpg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUTOTRANSFER_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_the_readme_holds_what_these_tests_look_for() -> None:
    assert len(SNIPPETS) == 6
    assert [shlex.split(command)[1] for command in COMMANDS] == [
        "fit",
        "predict",
        "score",
        "resume",
        "pretrain",
        "backbones",
        "plugins",
        "cache",
        "fit",
        "fit",
    ]


def test_every_code_of_a_warning_is_explained() -> None:
    assert {code for code in WARNING_CODES if f"`{code}`" not in README} == set()


def test_the_first_snippet_fits_predicts_and_saves(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exec(SNIPPETS[0].replace('time_budget="5m"', "trials=3"), {})
    assert "validation" in capsys.readouterr().out
    assert (place / "model" / "model.safetensors").is_file()
    assert (place / "run" / "result.json").is_file()


def test_the_snippet_with_groups_of_settings_fits(place: Path) -> None:
    names: dict[str, Any] = {}
    exec(SNIPPETS[1].replace('time_budget="5m"', "trials=2"), names)
    assert len(names["result"].trials) == 2


def test_the_estimator_snippet_fits_and_scores(place: Path, digits: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = digits
    names = {"X": images[:90], "y": labels[:90], "X_test": images[90:], "y_test": labels[90:]}
    exec(SNIPPETS[2].replace('time_budget="2m"', "trials=3"), names)
    assert len(names["classifier"].classes_) == 3


def test_the_classic_recipe_trains(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # VGG16's weights are half a gigabyte away: a small network stands in for it, everything else is as written.
    monkeypatch.setenv("AUTOTRANSFER_ZOO", str(place / "zoo"))
    exec(SNIPPETS[3].replace("vgg16.tv_in1k", "test_resnet"), {})
    assert "accuracy" in capsys.readouterr().out


def test_a_winner_becomes_a_small_model(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = "epochs=1, training=autotransfer.TrainingOptions(input_size=32)"
    exec(
        SNIPPETS[4].replace('time_budget="5m"', "trials=3").replace("epochs=20", small), {"autotransfer": autotransfer}
    )
    assert "are lost" in capsys.readouterr().out
    assert (place / "small" / "model.safetensors").is_file()


def test_the_plugin_snippet_registers_a_backbone() -> None:
    names = {"load_mine": lambda: None}
    exec(SNIPPETS[5], names)
    seen = []
    names["register_backbones"](seen.append)
    assert [spec.name for spec in seen] == ["mine"]


def _cut(command: str) -> list[str]:
    for long, short in CUT.items():
        command = command.replace(long, short)
    return [sys.executable, "-m", *shlex.split(command)]


def test_the_command_for_several_machines_runs(place: Path) -> None:
    # There is no cluster at that address: one on this machine stands in for it.
    done = subprocess.run(
        _cut(COMMANDS[-1].replace(" --ray-address db:6379", "")), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_commands_run_in_their_order(place: Path) -> None:
    for command in COMMANDS[:-1]:
        arguments = _cut(command)[3:]
        outcome = CliRunner().invoke(app, arguments)
        assert outcome.exit_code == 0, (command, outcome.output)


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize("target", re.findall(r"^    make (\w+) ", README, flags=re.MULTILINE))
def test_make_knows_the_targets(target: str) -> None:
    # What they do takes minutes and a package index; the tests themselves run through the second one.
    done = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
