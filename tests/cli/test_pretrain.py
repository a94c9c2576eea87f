"""``autotransfer pretrain`` on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from autotransfer.cli.main import app


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
