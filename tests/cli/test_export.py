"""``autotransfer export``: a run knows its examples, a model alone has to be told some."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

import autotransfer
from autotransfer.cli.main import app
from autotransfer.errors import DataError
from autotransfer.run.result import FitResult
from autotransfer.run.training_data import training_examples
from autotransfer.settings import SearchOptions

pytestmark = pytest.mark.slow


def run_command(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture(scope="module")
def result(tiny_zoo: Path, digit_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> FitResult:
    """A search of one trial on digits in files."""
    out, search = tmp_path_factory.mktemp("export") / "run", SearchOptions(compare_scratch=False)
    names = {"zoo": tiny_zoo, "backbones": "test_resnet"}
    return autotransfer.fit(digit_folder / "train", **names, trials=1, out=out, search=search)


@pytest.fixture(scope="module")
def run(result: FitResult) -> Path:
    """Its folder."""
    return result.run


def test_a_result_is_compared_on_its_training_examples(result: FitResult, digit_folder: Path, tmp_path: Path) -> None:
    report = result.export(tmp_path / "model.pt2", format="torch")
    assert report.agreement.examples == 90
    given = result.export(tmp_path / "other.pt2", format="torch", check_data=digit_folder / "test")
    assert given.agreement.examples == 30


def test_a_run_is_compared_on_its_training_examples(run: Path, digit_folder: Path, tmp_path: Path) -> None:
    done = run_command("export", run, "--format", "torch", "--out", tmp_path / "model.pt2", "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["examples"] == 90
    assert report["labels_agree"] == 1.0
    files = {"autotransfer.json": ""}
    program = torch.export.load(tmp_path / "model.pt2", extra_files=files).module()
    about = json.loads(files["autotransfer.json"])
    assert about["trained_on"]["examples"] == 90
    assert about["labels"] == ["one", "two", "zero"]
    model = autotransfer.load(run, device="cpu")
    pixels = np.zeros((1, 40, 50, 3), np.uint8)
    pixels[0, 5:30, 20:25] = 255
    expected = model.predict_proba(pixels)
    found, outlier_scores = program(torch.from_numpy(pixels))
    assert len(outlier_scores) == len(found)
    np.testing.assert_allclose(found, expected, atol=0.02)  # the model may be in 16 bit
    again = run_command("export", run, "--format", "torch", "--out", tmp_path / "model.pt2")
    assert again.exit_code == 2
    assert "is there already" in again.output


def test_a_model_alone_is_told_examples(run: Path, digit_folder: Path, tmp_path: Path) -> None:
    alone = shutil.copytree(run / "model", tmp_path / "alone")
    refused = run_command("export", alone, "--format", "torch", "--out", tmp_path / "model.pt2")
    assert refused.exit_code == 1
    assert "is no run folder, so that its training examples are not known: name examples" in refused.output
    given = ("--check", digit_folder / "test")
    done = run_command("export", alone, "--format", "torch", "--out", tmp_path / "model.pt2", *given)
    assert done.exit_code == 0, done.output
    assert "on 30 examples, labels agree in 100.00%" in done.stdout


def test_wrong_use_is_refused_before_the_model_is_loaded(tmp_path: Path) -> None:
    for arguments, reason in (
        (("--format", "onnx", "--out", tmp_path / "model.pt2"), "ends with .onnx"),
        (("--format", "tflite", "--out", tmp_path / "model"), "No export format matches 'tflite'"),
    ):
        done = run_command("export", tmp_path / "missing", *arguments)
        assert done.exit_code == 2
        assert reason in done.output


def test_data_that_are_gone_are_said(run: Path, digit_folder: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(run, tmp_path / "run")
    about = json.loads((moved / "run.json").read_text())
    text = json.dumps(about).replace(json.dumps(str(digit_folder / "train"))[1:-1], str(tmp_path / "gone"))
    (moved / "run.json").write_text(text)
    with pytest.raises(DataError, match=r"cannot be read: .*gone.*--check DATA"):
        training_examples(moved)
