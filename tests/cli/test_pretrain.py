"""``autotransfer pretrain`` on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import autotransfer
from autotransfer.candidate import Candidate
from autotransfer.cli.main import app
from autotransfer.settings import Compute


def run(*arguments: str | Path) -> tuple[int, str, str]:
    outcome = CliRunner().invoke(app, ["pretrain", *map(str, arguments)])
    return outcome.exit_code, outcome.stdout, outcome.stderr


def test_what_it_prints_says_what_to_do_next(digit_folder: Path, tmp_path: Path) -> None:
    given = ["--architecture", "test_resnet", "--input-size", "32", "--epochs", "1", "--out", tmp_path / "zoo" / "mine"]
    code, answer, progress = run(digit_folder / "train", *given)
    assert code == 0
    assert "accuracy" in answer
    assert f"autotransfer fit DATA --zoo {tmp_path / 'zoo'}" in answer
    assert "epoch 1: loss" in progress
    assert "epoch 1" not in answer
    code, _, error = run(digit_folder / "train", *given)
    assert code == 2
    assert "there already" in error


@pytest.mark.slow
def test_a_teacher_without_labels_as_json(digit_folder: Path, tiny_zoo: Path, tmp_path: Path) -> None:
    folders = [digit_folder / "train" / name for name in ("zero", "one")]
    given = ["--architecture", "test_efficientnet", "--input-size", "32", "--time-budget", "1s", "--no-labels"]
    teacher_objective = ["--teacher", "test_vit", "--zoo", tiny_zoo, "--cache-dir", tmp_path / "cache", "--json"]
    code, answer, _ = run(*folders, *given, *teacher_objective, "--out", tmp_path / "mine")
    assert code == 0
    assert json.loads(answer)["match"] <= 1
    assert json.loads(answer)["score"] is None


def test_several_labelled_folders_are_no_task(digit_folder: Path, tmp_path: Path) -> None:
    code, _, error = run(digit_folder, digit_folder, "--architecture", "test_resnet", "--out", tmp_path / "mine")
    assert code == 2
    assert "one folder or table" in error


@pytest.mark.slow
def test_distill_saves_a_student(digit_folder: Path, tiny_zoo: Path, tmp_path: Path) -> None:
    teacher = saved_model(digit_folder / "train", tiny_zoo, tmp_path / "teacher")
    given = ["--architecture", "test_resnet", "--input-size", "32", "--epochs", "1", "--out", tmp_path / "small"]
    arguments = [teacher, digit_folder / "train", "--test", digit_folder / "test", *given]
    outcome = CliRunner().invoke(app, ["distill", *map(str, arguments)])
    assert outcome.exit_code == 0, outcome.output
    assert "agreement" in outcome.stdout
    assert "are lost" in outcome.stdout
    assert f"autotransfer predict {tmp_path / 'small'} DATA" in outcome.stdout
    assert len(autotransfer.load(tmp_path / "small").predict(digit_folder / "test")) > 0
    again = CliRunner().invoke(app, ["distill", *map(str, arguments)])
    assert again.exit_code == 2, "what is there is kept"
    assert "there already" in again.stderr
    replaced = CliRunner().invoke(app, ["distill", *map(str, arguments), "--overwrite"])
    assert replaced.exit_code == 0, replaced.output


def saved_model(data: Path, zoo: Path, folder: Path) -> Path:
    """Return the folder of a model of one trial."""
    candidate = Candidate(backbone="test_vit", freeze="frozen", head="logistic")
    found = autotransfer.evaluate(candidate, data, zoo=zoo, compute=Compute(cache=False))
    return found.model.save(folder)
