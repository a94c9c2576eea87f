"""TargetFormat from end to end: divided, listed and linked data in fit, resume and predict, by hand and by command."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fixtures.fitting import fit_with
from typer.testing import CliRunner

import autotransfer
from autotransfer.cli.main import app
from autotransfer.errors import DataError, UnreadableExampleError
from autotransfer.settings import DataOptions, Settings, grouped

Codes = dict[str, dict[str, Any]]


def coded(result: autotransfer.FitResult) -> Codes:
    return {warning.code: warning.to_json() for warning in result.warnings}


@pytest.fixture
def quick(tiny_zoo: Path, tmp_path: Path) -> dict[str, Any]:
    return {
        "zoo": tiny_zoo,
        "backbones": "test_resnet",
        "heads": "ridge",
        "trials": 1,
        "views": 1,
        "compare_scratch": False,
        "cache": False,
        "progress": False,
        "out": tmp_path / "run",
    }


@pytest.fixture
def messy(digit_folder: Path, tmp_path: Path) -> Path:
    """The digits as a folder of links without suffixes, in parts, with a small class and a file that is no image."""
    root = tmp_path / "messy"
    for part, place in (("train_set", "train"), ("test_set", "test")):
        for source in sorted((digit_folder / place).glob("*/*.png")):
            link = root / part / source.parent.name / source.stem
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(source)
    (root / "train_set" / "four").mkdir()
    shutil.copy(source, root / "train_set" / "four" / "single.png")
    (root / "train_set" / "one" / "broken.png").write_bytes(b"no image")
    (root / "train_set" / "one" / "broken").write_bytes(b"no image")
    return root


@pytest.mark.slow
def test_run_on_messy_data_is_described_and_resumed(messy: Path, quick: dict[str, Any]) -> None:
    result = fit_with(messy, follow_links=True, min_examples=2, **quick)
    assert result.validation.examples == 90
    assert result.test is not None
    assert result.test.examples == 30
    said = coded(result)
    assert (said["split_used"]["train"], said["split_used"]["test"]) == (91 + 1, 30)
    assert said["small_classes"]["classes"] == {"four": 1}
    one = said["examples_skipped"]["classes"]["one"]
    assert (one["skipped"], one["used"], sum(one["reasons"].values())) == (2, 30, 2), "decoded in vain or not at all"
    assert json.loads((quick["out"] / "result.json").read_text())["warnings"] == [
        warning.to_json() for warning in result.warnings
    ]
    again = autotransfer.resume(quick["out"], progress=False)
    assert (again.validation, coded(again)) == (result.validation, said)


@pytest.mark.slow
def test_links_are_named_with_the_option_that_follows_them(messy: Path, quick: dict[str, Any]) -> None:
    for source in list((messy / "train_set").glob("*/0[0-4]*")):
        data = source.read_bytes()
        source.unlink()
        source.write_bytes(data)
    result = fit_with(messy, min_examples=2, **quick)
    said = coded(result)["examples_skipped"]
    assert said["reasons"]["a link that leads out of the folder"] == 70
    assert "--follow-links (follow_links=True)" in said["message"]


@pytest.mark.slow
def test_a_table_predicts_what_it_trained_on(
    digit_folder: Path, quick: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = sorted((digit_folder / "train").glob("*/*.png"))
    rows = [
        f"{path.parent.name}\\{path.stem};{path.parent.name};{'test' if i % 6 == 0 else 'train'}"
        for i, path in enumerate(paths)
    ]
    table = tmp_path / "t.csv"
    table.write_bytes("\n".join(["sep=;", "id;digit;fold", *rows, ";;", ""]).encode("utf-16"))
    reading = {"root": digit_folder / "train", "suffix": "png"}
    result = fit_with(table, **reading, **{**quick, "progress": True})
    assert "90 images from" in capsys.readouterr().err
    assert result.test is not None
    assert result.test.examples == 15

    done = CliRunner().invoke(
        app,
        ["predict", str(quick["out"]), str(table), "--root", str(reading["root"]), "--suffix", "png", "--json"],
    )
    assert done.exit_code == 0, done.output
    rows_told = json.loads(done.stdout)
    by_path = result.model.predict([str(path) for path in paths])
    assert [row["prediction"] for row in rows_told] == by_path.tolist()
    assert rows_told[1]["path"] == rf"{paths[1].parent.name}\{paths[1].stem}"


@pytest.mark.slow
def test_one_reader_serves_every_form(
    digits: tuple[np.ndarray, np.ndarray], digit_folder: Path, quick: dict[str, Any]
) -> None:
    images, labels = digits
    model = fit_with(images[:90], labels[:90], **quick).model
    paths = [str(path) for path in sorted((digit_folder / "test").glob("*/*.png"), key=lambda path: path.name)]
    expected = model.predict(images[90:])
    frame = pd.DataFrame({"path": paths, "label": "?"})
    for data in (paths, np.array(paths), pd.Series(paths), frame, images[90:, ..., None], list(images[90:])):
        np.testing.assert_array_equal(model.predict(data), expected)
    for loaded in (model, autotransfer.load(quick["out"])):  # trained on grey images, it takes three for three
        np.testing.assert_array_equal(loaded.predict(images[:3]), model.predict(images)[:3])
    with pytest.raises(UnreadableExampleError, match=r"gone\.png"):
        model.predict(frame.assign(path=[*paths[:-1], "gone.png"]))
    with pytest.raises(DataError, match="Not every row"):
        model.predict(frame.assign(path=[*paths[:-1], None]))


@pytest.mark.slow
def test_model_of_grey_files_takes_arrays_of_grey_images(digit_folder: Path, quick: dict[str, Any]) -> None:
    model = fit_with(digit_folder / "test", **quick).model
    assert model.predict(np.zeros((3, 32, 32), np.uint8)).shape == (3,)
    assert model.predict(np.zeros((32, 32, 1), np.uint8)).shape == (1,)


@pytest.mark.slow
def test_the_estimator_takes_three_grey_images_for_three(
    digits: tuple[np.ndarray, np.ndarray], quick: dict[str, Any]
) -> None:
    settings = grouped(Settings, {name: value for name, value in quick.items() if name not in ("out", "progress")})
    estimator = autotransfer.AutoTransferClassifier(**settings)
    estimator.fit(digits[0][:60], digits[1][:60], data_options=DataOptions(min_examples=2))
    np.testing.assert_array_equal(estimator.predict(digits[0][:3]), estimator.predict(digits[0][:60])[:3])
