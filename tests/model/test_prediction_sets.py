"""Sets, intervals and outlier scores in tables of predictions: as text, JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures.fitting import fit_with
from PIL import Image
from typer.testing import CliRunner

from autotransfer.cli.main import app
from autotransfer.errors import ConfigError
from autotransfer.model.predictions import Prediction, to_csv
from autotransfer.model.transfer_model import TransferModel
from autotransfer.tasks.task import Task

Digits = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def run(tiny_zoo: Path, digits: Digits, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a frozen network of digits."""
    folder = tmp_path_factory.mktemp("run") / "run"
    fit_with(
        digits[0][:80], digits[1][:80], zoo=tiny_zoo, out=folder, cache=False, progress=False, trials=2,
        backbones="test_resnet", heads="ridge", freeze="frozen", compare_scratch=False,
    )  # fmt: skip
    return folder


@pytest.fixture
def photos(digits: Digits, tmp_path: Path) -> Path:
    """Five digits, then noise, then what is no image."""
    folder = tmp_path / "photos"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, digits[0][0].shape)
    for number, image in enumerate([*digits[0][80:85], noise]):
        Image.fromarray(image.astype(np.uint8)).save(folder / f"{number}.png")
    (folder / "6.png").write_text("no image")
    return folder


@pytest.mark.slow
def test_the_command_line_gives_sets_and_unknown_ones(run: Path, photos: Path, tmp_path: Path) -> None:
    options = ["--coverage", "0.9", "--unknown", "?", "--device", "cpu"]
    model = TransferModel.load(run, device="cpu")
    files = [str(photos / f"{number}.png") for number in range(6)]
    sets, labels = model.predict_set(files, 0.9), model.predict(files, unknown="?")
    assert labels[5] == "?"

    lines = CliRunner().invoke(app, ["predict", str(run), str(photos), *options]).stdout.splitlines()
    fields = [(line + "\t\t").split("\t") for line in lines]
    assert [row[1] for row in fields] == list(map(str, labels))
    assert [row[3] for row in fields] == [",".join(map(str, found)) for found in sets]
    assert fields[5][2] == ""  # an unknown example has no probability

    rows = json.loads(CliRunner().invoke(app, ["predict", str(run), str(photos), *options, "--json"]).stdout)
    assert [row.get("set") for row in rows] == [*map(list, sets), None]
    assert [row["prediction"] for row in rows] == [*labels, None]
    np.testing.assert_allclose([row["outlier_score"] for row in rows[:6]], model.outlier_scores(files), rtol=1e-4)

    table = tmp_path / "out.csv"
    CliRunner().invoke(app, ["predict", str(run), str(photos), *options, "--csv", str(table)])
    written = list(csv.DictReader(io.StringIO(table.read_text())))
    assert [row["set"] for row in written] == [*(",".join(map(str, found)) for found in sets), ""]
    assert float(written[5]["outlier_score"]) > 1
    assert written[6]["outlier_score"] == ""

    wrong = CliRunner().invoke(app, ["predict", str(run), str(photos), "--coverage", "90"])
    assert isinstance(wrong.exception, (ConfigError, SystemExit))
    plain = CliRunner().invoke(app, ["predict", str(run), files[0], "--json"])
    assert set(json.loads(plain.stdout)[0]) == {"path", "prediction", "probabilities"}


def _csv(task: Task, *rows: Prediction) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(to_csv(rows, task))))


def test_intervals_are_two_columns_of_each_target() -> None:
    one = Prediction(path="a", prediction=1.5, prediction_set=[1.0, 2.0])
    assert one.cells() == ("a", "1.5", "", "1 to 2")
    assert _csv(Task(kind="regression"), one, Prediction(path="b", error="gone")) == [
        {"path": "a", "prediction": "1.5", "low": "1.0", "high": "2.0"},
        {"path": "b", "prediction": "", "low": "", "high": ""},
    ]
    two = Prediction(path="a", prediction=[1.5, 3.0], prediction_set=[[1.0, 2.0], [-np.inf, np.inf]])
    assert two.cells()[3] == "1 to 2,-inf to inf"
    (row,) = _csv(Task(kind="regression", width=2, target_names=("x", "y")), two)
    assert list(row) == ["path", "prediction_x", "prediction_y", "low_x", "high_x", "low_y", "high_y"]
    assert (row["low_x"], row["high_y"]) == ("1.0", "inf")


def test_json_has_no_infinite_ends_and_no_nan() -> None:
    row = Prediction(path="a", prediction=float("nan"), prediction_set=[-np.inf, 2.0], outlier_score=1.5)
    found: dict[str, Any] = row.to_json()
    assert found == {"path": "a", "prediction": None, "probabilities": None, "set": [None, 2.0], "outlier_score": 1.5}
    assert row.cells() == ("a", "nan", "", "-inf to 2")
