"""The run folder: never over what somebody else wrote, and readable by other tools."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from autotransfer.candidate import Candidate
from autotransfer.errors import ConfigError, RunExistsError
from autotransfer.run.folder import RunFolder
from autotransfer.search.trials import TrialRecord

RECORDS = [
    TrialRecord(
        number=0,
        state="complete",
        candidate=Candidate(backbone="b", training={"lr": 0.1}),
        score=0.5,
        epochs=2,
        depth=3,
        seconds=1.23456,
    ),
    TrialRecord(
        number=1,
        state="failed",
        candidate=Candidate(backbone="b", head="mlp", head_params={"width": 64}),
        reason='the loss became nan, "lower" the lr; \udce9',
    ),
    TrialRecord(number=2, state="failed", candidate=None, reason="no candidate"),
]


def test_a_run_is_written(tmp_path: Path) -> None:
    run = RunFolder.choose(tmp_path / "runs" / "first")
    assert not (tmp_path / "runs").exists(), "choosing touches nothing"
    run.create({"seed": 0, "zoos": (Path("zoo"),)})
    assert json.loads((run.path / "run.json").read_text()) == {"seed": 0, "zoos": ["zoo"]}
    assert run.model == run.path / "model"
    run.write_result({"score": 0.5})
    assert json.loads((run.path / "result.json").read_text()) == {"score": 0.5}


def test_trials_are_a_table_that_pandas_reads(tmp_path: Path) -> None:
    run = RunFolder.choose(tmp_path)
    run.create({})
    run.write_trials(RECORDS)
    table = pd.read_csv(tmp_path / "trials.csv")
    assert list(table["number"]) == [0, 1, 2]
    assert list(table.columns)[:7] == ["number", "state", "score", "backbone", "head", "freeze", "depth"]
    assert list(table.columns)[7:9] == ["head.width", "training.lr"]
    assert list(table.columns)[-4:] == ["best_epoch", "epochs", "seconds", "reason"]
    assert table["training.lr"][0] == 0.1
    assert table["seconds"][0] == 1.235
    assert pd.isna(table["score"][1])
    assert table["reason"][1] == 'the loss became nan, "lower" the lr; \\udce9'


@pytest.mark.slow
@settings(derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(backbone=st.text(min_size=1), value=st.text() | st.floats(), reason=st.text())
@example(backbone="=1+1", value="@SUM(1)", reason="-2+3 \x1b[31m\n\r\0")
def test_whatever_trials_hold_is_one_row_without_formulas(
    backbone: str, value: str | float, reason: str, tmp_path: Path
) -> None:
    candidate = Candidate(backbone=backbone, head_params={"x": value})
    record = TrialRecord(number=0, state="failed", candidate=candidate, reason=reason)
    RunFolder(path=tmp_path).write_trials([record])
    with (tmp_path / "trials.csv").open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    for wrote, found in ((backbone, row["backbone"]), (str(value), row["head.x"]), (reason, row["reason"])):
        expected = wrote.replace("\0", "\\x00").encode(errors="backslashreplace").decode()
        assert found.removeprefix("'") == expected.removeprefix("'")
        assert not found.startswith(("=", "@"))


def test_no_trials_are_a_table_as_well(tmp_path: Path) -> None:
    RunFolder(path=tmp_path).write_trials([])
    assert pd.read_csv(tmp_path / "trials.csv").empty


@pytest.mark.parametrize("file", ["run.json", "result.json"])
def test_a_run_is_not_overwritten_unasked(file: str, tmp_path: Path) -> None:
    (tmp_path / file).write_text("{}")
    with pytest.raises(
        RunExistsError,
        match=r"already holds a run\. Choose another folder, go on with it \(resume\), or pass --overwrite",
    ):
        RunFolder.choose(tmp_path)


def test_overwriting_removes_the_files_of_the_earlier_run_only(tmp_path: Path) -> None:
    first = RunFolder.choose(tmp_path)
    first.create({"seed": 0})
    first.write_result({})
    first.write_trials(RECORDS)
    first.model.mkdir()
    (first.model / "model.json").write_text("{}")
    (tmp_path / "notes.txt").write_text("mine")
    RunFolder.choose(tmp_path, overwrite=True).create({"seed": 1})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "run.json"]
    assert json.loads((tmp_path / "run.json").read_text()) == {"seed": 1}


def test_a_link_in_place_of_the_model_is_removed(tmp_path: Path) -> None:
    elsewhere, run = tmp_path / "elsewhere", tmp_path / "run"
    elsewhere.mkdir()
    run.mkdir()
    (elsewhere / "precious").write_text("")
    (run / "run.json").write_text("{}")
    (run / "model").symlink_to(elsewhere, target_is_directory=True)
    RunFolder.choose(run, overwrite=True).create({})
    assert (elsewhere / "precious").exists()
    assert not (run / "model").exists()


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_folder_of_something_else_is_refused(overwrite: bool, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_text("")
    with pytest.raises(ConfigError, match="not empty and holds no run"):
        RunFolder.choose(tmp_path, overwrite=overwrite)
    assert (tmp_path / "photo.jpg").exists()


def test_a_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "out"
    file.write_text("")
    with pytest.raises(ConfigError, match="is a file; give the name of a folder"):
        RunFolder.choose(file)
    with pytest.raises(ConfigError, match="cannot be written"):
        RunFolder.choose(file / "below").create({})


def test_an_empty_folder_will_do(tmp_path: Path) -> None:
    assert RunFolder.choose(str(tmp_path)) == RunFolder(path=tmp_path)


def test_without_a_name_each_run_has_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runs = []
    for _ in range(3):
        runs.append(RunFolder.choose(None))
        runs[-1].create({})
    assert len({run.path for run in runs}) == 3
    assert {run.path.parent for run in runs} == {Path("runs")}
