"""Scores of a model on labelled examples: columns by name, the test part, groups; Python and command line agree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

import autotransfer
from autotransfer.candidate import Candidate
from autotransfer.cli.main import app
from autotransfer.data.sources import load_examples
from autotransfer.errors import ConfigError, DataError
from autotransfer.model.transfer_model import TransferModel
from autotransfer.settings import Compute

Digits = tuple[np.ndarray, np.ndarray]
# An interval of the mean F1 of labels takes a quarter of a second.
KINDS = ("values", pytest.param("labels", marks=pytest.mark.slow))


def _values(digits: Digits) -> pd.DataFrame:
    ink = digits[0].mean(axis=(1, 2)) / 255
    return pd.DataFrame({"low": ink, "high": 1000 + 50 * ink + digits[1]})


def _labels(digits: Digits) -> pd.DataFrame:
    return pd.DataFrame({"round": digits[1] == 0, "line": digits[1] == 1, "some": digits[1] > 0}).astype(int)


@pytest.fixture(scope="module")
def models(tiny_zoo: Path, digits: Digits) -> dict[str, TransferModel]:
    """Ridge heads on digits: of two values, of three labels, both with and without names of columns; of one class."""

    def train(targets: Any) -> TransferModel:
        how: dict[str, Any] = {"zoo": tiny_zoo, "compute": Compute(cache=False, device="cpu")}
        candidate = Candidate(backbone="test_resnet", head="ridge")
        return autotransfer.evaluate(candidate, digits[0][:60], targets[:60], **how).model

    values, labels = _values(digits), _labels(digits)
    return {
        "values": train(values),
        "labels": train(labels),
        "nameless values": train(values.to_numpy()),
        "nameless labels": train(labels.to_numpy()),
        "class": train(digits[1]),
    }


@pytest.fixture(scope="module")
def targets(digits: Digits) -> dict[str, pd.DataFrame]:
    return {"values": _values(digits), "labels": _labels(digits)}


@pytest.fixture(scope="module")
def table(digits: Digits, targets: dict[str, pd.DataFrame], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of 60 files with all targets: 40 to train on, 20 to test on in 4 groups, of which 2 are copies."""
    folder = tmp_path_factory.mktemp("table")
    for number, image in enumerate(digits[0][:60]):
        Image.fromarray(digits[0][58] if number == 59 else image).save(folder / f"{number:03d}.png")
    frame = pd.concat([targets["values"], targets["labels"]], axis=1)[:60]
    frame.insert(0, "file", [f"{number:03d}.png" for number in range(60)])
    frame["digit"], frame["patient"] = digits[1][:60], np.arange(60) // 5
    frame["split"] = np.repeat(["train", "test"], [40, 20])
    frame.to_csv(folder / "table.csv", index=False)
    return folder / "table.csv"


def _command(model: TransferModel, folder: Path, *arguments: str | Path) -> dict[str, Any]:
    """Return what ``autotransfer score --json`` prints."""
    outcome = CliRunner().invoke(app, ["score", str(model.save(folder)), *map(str, arguments), "--json"])
    assert outcome.exit_code == 0, outcome.stderr
    found = json.loads(outcome.stdout)
    return {name: value for name, value in found.items() if name not in ("skipped", "warnings")}


@pytest.mark.parametrize("kind", KINDS)
def test_target_columns_go_by_name(
    kind: str, models: dict[str, TransferModel], targets: dict[str, pd.DataFrame], digits: Digits
) -> None:
    model, truth = models[kind], targets[kind]
    known = model.score(digits[0], truth)
    assert known == model.score(digits[0], truth.to_numpy())
    assert known.score > 0.3
    other = truth[truth.columns[::-1]]
    assert model.score(digits[0], other) == known
    assert model.score_examples(load_examples(digits[0], other))[0] == known


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_command_takes_target_columns_by_name(
    kind: str, models: dict[str, TransferModel], targets: dict[str, pd.DataFrame], table: Path, tmp_path: Path
) -> None:
    columns = list(targets[kind].columns)
    options = [[word for name in order for word in ("--target-column", name)] for order in (columns, columns[::-1])]
    first, second = (_command(models[kind], tmp_path, table, "--path-column", "file", *each) for each in options)
    assert first == second
    assert first["examples"] == 20


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        ("values", ["low", "mean"], r"columns \['low', 'mean'\], but the model predicts \['low', 'high'\]"),
        ("values", ["low", "high", "mean"], r"but the model predicts \['low', 'high'\]"),
        ("labels", ["round", "line", "many"], r"but the model predicts \['round', 'line', 'some'\]"),
        ("labels", ["round", "line"], r"but the model predicts \['round', 'line', 'some'\]"),
        ("nameless values", ["low", "high", "mean"], "but the model predicts 2 values: give the columns of"),
        ("nameless labels", ["round", "line"], "but the model predicts 3 values: give the columns of"),
        ("class", ["round", "line", "some"], "but the model predicts one label: give the columns of"),
    ],
)
def test_other_target_columns_are_refused(
    kind: str, given: list[str], message: str, models: dict[str, TransferModel], digits: Digits
) -> None:
    frame = pd.DataFrame(dict.fromkeys(given, digits[1] % 2))
    with pytest.raises(DataError, match=message):
        models[kind].score(digits[0], frame)


@pytest.mark.parametrize("kind", KINDS)
def test_columns_that_had_no_names_go_by_position(
    kind: str, models: dict[str, TransferModel], targets: dict[str, pd.DataFrame], digits: Digits
) -> None:
    model, truth = models[f"nameless {kind}"], targets[kind]
    assert model.score(digits[0], truth) == model.score(digits[0], truth.to_numpy())
    # The positions are the names of the labels, where a table has them.
    if kind == "labels":
        numbered = truth.set_axis(["0", "1", "2"], axis=1)[["2", "0", "1"]]
        assert model.score(digits[0], numbered) == model.score(digits[0], truth.to_numpy())


@pytest.mark.slow
def test_python_and_command_score_the_test_part(
    models: dict[str, TransferModel], table: Path, digits: Digits, tmp_path: Path
) -> None:
    model, how = models["class"], {"path_column": "file", "target_column": "digit"}
    found = model.score(table, **how)
    assert (found.examples, found.groups) == (20, 19)
    options = ("--path-column", "file", "--target-column", "digit")
    assert _command(model, tmp_path, table, *options) == found.to_json()
    assert model.score_examples(load_examples(table, modalities=[model.modality], **how))[0] == found  # type: ignore[arg-type]
    grouped = model.score(table, **how, groups="patient")
    assert grouped.groups == 4
    assert _command(model, tmp_path, table, *options, "--groups", "patient") == grouped.to_json()


def test_groups_and_copies_count_together(models: dict[str, TransferModel], digits: Digits) -> None:
    model, images, labels = models["class"], digits[0][:40], digits[1][:40]
    alone = model.score(images, labels)
    assert alone.groups is None
    grouped = model.score(images, labels, groups=np.arange(40) // 10)
    assert (grouped.score, grouped.groups) == (alone.score, 4)
    assert grouped.ci95 != alone.ci95
    copies = model.score(np.repeat(images, 3, axis=0), np.repeat(labels, 3))
    assert (copies.examples, copies.groups) == (120, 40)


def test_labels_of_an_example_are_divided(
    models: dict[str, TransferModel], targets: dict[str, pd.DataFrame], digits: Digits
) -> None:
    truth = targets["labels"]
    texts = ["|".join(name for name in truth.columns if row[name]) for _, row in truth.iterrows()]
    found = models["labels"].score(digits[0], texts, label_separator="|")
    assert found == models["labels"].score(digits[0], truth)


@pytest.mark.parametrize("name", ["folds", "modalities", "known"])
def test_arguments_that_say_nothing_of_the_data_are_refused(
    name: str, models: dict[str, TransferModel], digits: Digits
) -> None:
    with pytest.raises(ConfigError, match=f"No argument of score matches '{name}'"):
        models["class"].score(*digits, **{name: 3})
