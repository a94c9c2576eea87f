"""A run goes on after whatever broke it off: nothing finished is lost or repeated, and other data are refused."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
import pytest
from fixtures.fitting import fit_with
from optuna.storages.journal import JournalFileBackend, JournalStorage

import autotransfer
from autotransfer.errors import (
    AutoTransferError,
    ConfigError,
    DataError,
    DataNotFoundError,
    OutputError,
    RunExistsError,
    RunFormatError,
)
from autotransfer.run.interrupts import interruptible
from autotransfer.runtime.storage import close_storage, open_storage
from autotransfer.search.budget import TimeBudget
from autotransfer.search.trials import TrialRecord
from autotransfer.settings import Budget

Digits = tuple[np.ndarray, np.ndarray]


def _options(zoo: Path, cache: Path, **more: Any) -> dict[str, Any]:
    return {
        "zoo": zoo,
        "cache_dir": cache,
        "trials": 14,
        "epochs": 2,
        "progress": False,
        "compare_scratch": False,
        **more,
    }


def _rows(run: Path) -> list[dict[str, str]]:
    with (run / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    # A column is there when a trial has it.
    return [
        {name: value for name, value in row.items() if value and name not in ("seconds", "latency_ms")} for row in rows
    ]


def _command(data: Path, zoo: Path, cache: Path, out: Path) -> list[str]:
    paths = ["--zoo", zoo, "--cache-dir", cache, "--out", out]
    options = ["--trials", "14", "--epochs", "2", "--no-compare-scratch"]
    return [sys.executable, "-m", "autotransfer", "fit", str(data), *map(str, paths), *options]


def _resume(run: Path, *options: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "autotransfer", "resume", str(run), "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _finished(run: Path) -> int:
    return len(_rows(run)) if (run / "trials.csv").exists() else 0


@pytest.mark.slow
def test_a_killed_run_goes_on_to_where_it_would_have_come(digit_folder: Path, tiny_zoo: Path, tmp_path: Path) -> None:
    whole, killed, cache = tmp_path / "whole", tmp_path / "killed", tmp_path / "cache"
    subprocess.run(_command(digit_folder / "train", tiny_zoo, cache, whole), check=True, capture_output=True)
    process = subprocess.Popen(
        _command(digit_folder / "train", tiny_zoo, cache, killed), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while _finished(killed) < 5 and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = _rows(killed)
    assert 0 < len(before) < 14, "killed in the middle"
    result = _resume(killed)
    rows = _rows(killed)
    assert rows[: len(before)] == before, "what was finished is as it was"
    assert rows == _rows(whole), "the rest is what would have come"
    assert result["validation"] == json.loads((whole / "result.json").read_text())["validation"]
    assert (killed / "model" / "model.json").is_file()
    assert not (killed / "checkpoints").exists()


@pytest.mark.slow
def test_going_on_with_more_trials_keeps_the_ones_that_there_are(
    digits: Digits, tiny_zoo: Path, tmp_path: Path
) -> None:
    options = _options(tiny_zoo, tmp_path / "cache", out=tmp_path / "run")
    first = fit_with(*digits, **options)
    again = fit_with(*digits, **options, resume=True)
    assert [r.to_row() for r in again.trials] == [r.to_row() for r in first.trials], "nothing is left of the budget"
    assert again.validation == first.validation
    more = fit_with(*digits, **{**options, "trials": 18}, resume=True)
    assert [r.candidate for r in more.trials][:14] == [r.candidate for r in first.trials]
    assert len(more.trials) == 18


@pytest.mark.slow
def test_where_there_is_no_run_one_begins(digits: Digits, tiny_zoo: Path, tmp_path: Path) -> None:
    options = _options(tiny_zoo, tmp_path / "cache", trials=1, out=tmp_path / "run", resume=True)
    assert len(fit_with(*digits, **options).trials) == 1


@pytest.mark.slow
def test_resume_searches_what_the_run_began_with(digits: Digits, tiny_zoo: Path, tmp_path: Path) -> None:
    options = _options(tmp_path / "zoo", tmp_path / "cache", out=tmp_path / "run", heads="ridge", freeze="frozen")
    shutil.copytree(tiny_zoo, tmp_path / "zoo")
    shutil.move(tmp_path / "zoo" / "test_vit", tmp_path / "later")
    first = fit_with(*digits, **{**options, "trials": 3})
    shutil.move(tmp_path / "later", tmp_path / "zoo" / "test_vit")
    same = fit_with(*digits, **{**options, "trials": 4}, resume=True)
    assert _backbones(same) == {"test_resnet"}, "what came meanwhile is not searched"
    both = fit_with(*digits, **{**options, "trials": 8}, backbones="test_*", resume=True)
    assert [r.candidate for r in both.trials][:3] == [r.candidate for r in first.trials]
    assert _backbones(both) == {"test_resnet", "test_vit"}
    assert both.trials.best is not None
    best = both.trials.best.candidate.backbone if both.trials.best.candidate else ""
    (other,) = {"test_resnet", "test_vit"} - {best}
    shutil.move(tmp_path / "zoo" / other, tmp_path / other)
    left = fit_with(*digits, **{**options, "trials": 9}, backbones="test_*", resume=True)
    assert _backbones(left) == {best}
    assert [record.number for record in left.trials] == list(range(9))
    (warning,) = [warning for warning in left.warnings if warning.code == "trials_not_restored"]
    changed = [warning.details["backbone"] for warning in left.warnings if warning.code == "folds_changed"]
    assert changed == ([] if other != "test_resnet" else ["test_resnet"]), "it showed near-duplicates"
    assert f"({other})" in warning.message
    shutil.move(tmp_path / other, tmp_path / "zoo" / other)
    shutil.rmtree(tmp_path / "zoo" / best)
    with pytest.raises(RunFormatError, match=rf"all of its 9 trials used what is not here \(missing: {best}\)"):
        fit_with(*digits, **{**options, "trials": 12}, backbones=other, resume=True)
    again = _rows(tmp_path / "run")
    with pytest.raises(AutoTransferError, match=r"cannot be had|nothing of what it searched is here"):
        fit_with(*digits, **{**options, "trials": 12}, backbones="test_*", resume=True)
    assert _rows(tmp_path / "run") == again, "a refused run is as it was"


def _backbones(result: autotransfer.FitResult) -> set[str]:
    return {record.candidate.backbone for record in result.trials if record.candidate}


@pytest.mark.slow
def test_resume_uses_the_zoo_and_cache_of_the_run(
    digit_folder: Path, tiny_zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_zoo.parent)
    monkeypatch.setenv("AUTOTRANSFER_ZOO", tiny_zoo.name)  # a relative path
    monkeypatch.setenv("AUTOTRANSFER_CACHE", str(tmp_path / "cache"))
    options = _options(tiny_zoo, tmp_path / "cache", out=tmp_path / "run", heads="ridge", trials=2, freeze="frozen")
    fit_with(digit_folder / "train", **{**options, "zoo": None, "cache_dir": None})
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AUTOTRANSFER_ZOO")
    monkeypatch.setenv("AUTOTRANSFER_CACHE", str(tmp_path / "another"))
    result = autotransfer.resume(tmp_path / "run", trials=4, progress=False)
    assert _backbones(result) == {"test_resnet", "test_vit"}
    assert len(result.trials) == 4
    assert not (tmp_path / "another").exists()
    # The same call in such a shell is refused: all trials would be lost, and another model would come of the run.
    call = {**options, "zoo": None, "cache_dir": None, "trials": 6, "backbones": "mobilenet*"}
    with pytest.raises(AutoTransferError):
        fit_with(digit_folder / "train", **call, resume=True)
    assert len(_rows(tmp_path / "run")) == 4


@pytest.mark.slow
def test_resume_finds_listed_files_below_their_root(
    digit_folder: Path, tiny_zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = sorted((digit_folder / "train").rglob("*.png"))
    names = [str(file.relative_to(digit_folder)) for file in files]
    options = _options(tiny_zoo, tmp_path / "cache", out=tmp_path / "run", heads="ridge", trials=1, freeze="frozen")
    monkeypatch.chdir(digit_folder.parent)
    fit_with(names, [file.parent.name for file in files], **options, root=digit_folder.name)
    monkeypatch.chdir(tmp_path)
    assert len(autotransfer.resume(tmp_path / "run", trials=2, progress=False).trials) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"metric": "f1_macro"}, r"began with \{'metric': 'accuracy'\}, and now has \{'metric': 'f1_macro'\}"),
        ({"folds": 3}, r"began with \{'folds': None\}, and now has \{'folds': 3\}"),
        ({"seed": 5}, r"began with \{'seed': 0\}, and now has \{'seed': 5\}"),
    ],
)
def test_scores_that_cannot_be_compared_are_refused(
    digits: Digits, tiny_zoo: Path, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    options = _options(tiny_zoo, tmp_path / "cache", out=tmp_path / "run", heads="ridge", trials=1, freeze="frozen")
    fit_with(*digits, **options)
    with pytest.raises(ConfigError, match=said):
        fit_with(*digits, **{**options, **change, "trials": 2}, resume=True)
    assert len(_rows(tmp_path / "run")) == 1


@pytest.mark.slow
def test_a_resumed_run_divides_the_examples_as_it_began(digits: Digits, tmp_path: Path) -> None:
    # The backbones that come with the package are searched where there are no others, in an order of their own.
    options = {**_options(tmp_path, tmp_path / "cache", out=tmp_path / "run", heads="ridge"), "zoo": None}
    fit_with(*digits, **{**options, "trials": 1})
    again = fit_with(*digits, **{**options, "trials": 2}, resume=True)
    assert len(again.trials) == 2
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "run" / "study.journal")))
    assert len(optuna.get_all_study_names(storage)) == 1


@pytest.mark.slow
def test_resume_keeps_integer_keys_of_class_weights(digit_folder: Path, tiny_zoo: Path, tmp_path: Path) -> None:
    files = sorted((digit_folder / "train").rglob("*.png"))
    rows = [f"{file},{int(file.parent.name == 'one')}" for file in files]
    (tmp_path / "labels.csv").write_text("path,label\n" + "\n".join(rows))
    options = _options(tiny_zoo, tmp_path / "cache", out=tmp_path / "run", heads="ridge", trials=2, freeze="frozen")
    first = fit_with(tmp_path / "labels.csv", **options, class_weight={0: 1.0, 1: 5.0})
    again = autotransfer.resume(tmp_path / "run", trials=3, progress=False)
    assert len(again.trials) == 3
    assert [r.candidate for r in again.trials][:2] == [r.candidate for r in first.trials]


@pytest.mark.slow
def test_second_resume_uses_the_rest_of_the_latest_budget(digit_folder: Path, tiny_zoo: Path, tmp_path: Path) -> None:
    options = _options(tiny_zoo, tmp_path / "cache", out=tmp_path / "run", heads="ridge", trials=2, freeze="frozen")
    fit_with(digit_folder / "train", **options)
    assert len(autotransfer.resume(tmp_path / "run", trials=4, progress=False).trials) == 4
    assert len(autotransfer.resume(tmp_path / "run", progress=False).trials) == 4


@pytest.mark.slow
def test_resume_shows_earlier_trials_and_untried_backbones(
    digit_folder: Path, tiny_zoo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = _options(tiny_zoo, tmp_path / "cache", out=tmp_path / "run", heads="ridge", freeze="frozen")
    first = fit_with(digit_folder / "train", **{**options, "trials": 1})
    (warning,) = [warning for warning in first.warnings if warning.code == "backbones_not_tried"]
    (name,) = {"test_resnet", "test_vit"} - _backbones(first)
    assert warning.details["backbones"] == [name]
    assert warning.message.startswith(f"1 of 2 backbones were not tried, since the budget ended before: {name}.")
    capsys.readouterr()
    again = autotransfer.resume(tmp_path / "run", trials=3)
    assert first.trials.best is not None
    said = capsys.readouterr().err
    assert f"resuming after 1 trials, best {first.trials.best.objective:.4f}: test_" in said
    assert "backbones_not_tried" not in {warning.code for warning in again.warnings}


@pytest.mark.slow
def test_changed_data_are_refused(digits: Digits, tiny_zoo: Path, tmp_path: Path) -> None:
    images, labels = digits
    options = _options(tiny_zoo, tmp_path / "cache", trials=1, out=tmp_path / "run")
    fit_with(images, labels, **options)
    with pytest.raises(DataError, match=r"The data have changed since the run in .* began: it had 120 examples, now"):
        fit_with(images[:90], labels[:90], **options, resume=True)
    with pytest.raises(DataError, match="or some of them are others"):
        fit_with(images, (labels + 1) % 3, **options, resume=True)


@pytest.mark.slow
def test_a_run_that_cannot_go_on_says_why(digits: Digits, tiny_zoo: Path, tmp_path: Path) -> None:
    options = _options(tiny_zoo, tmp_path / "cache", trials=1, out=tmp_path / "run")
    fit_with(*digits, **options)
    with pytest.raises(RunExistsError, match="go on with it"):
        fit_with(*digits, **options)
    no_file = r"data, or a metric, that no file holds: call fit with the same arguments.*resume=True"
    with pytest.raises(RunFormatError, match=no_file):
        autotransfer.resume(tmp_path / "run")
    for content in ("{", "[]", "{}", '{"data": 3}'):
        (tmp_path / "run" / "run.json").write_text(content)
        with pytest.raises(RunFormatError, match=r"run\.json"):
            autotransfer.resume(tmp_path / "run")
    (tmp_path / "empty").mkdir()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.txt").write_text("mine")
    what = {"photos": "it holds no run.json", "photos/a.txt": "it is a file"}
    for name, reason in {"nothing": "it does not exist", "empty": "it holds no run.json", **what}.items():
        with pytest.raises(DataNotFoundError, match=rf"no run in .*{name}: {reason}\. Name the folder that fit wrote"):
            autotransfer.resume(tmp_path / name)


def test_a_storage_that_cannot_be_used_is_named(digits: Digits, tiny_zoo: Path, tmp_path: Path) -> None:
    options = _options(tiny_zoo, tmp_path / "cache", trials=1, out=tmp_path / "run")
    with pytest.raises(ConfigError, match="The storage 'nonsense://x' cannot be used"):
        fit_with(*digits, **options, storage="nonsense://x")


@pytest.mark.slow
def test_the_study_can_live_in_a_database(digits: Digits, tiny_zoo: Path, tmp_path: Path) -> None:
    import optuna

    url = f"sqlite:///{tmp_path / 'studies.db'}"
    options = _options(tiny_zoo, tmp_path / "cache", trials=3, out=tmp_path / "run", storage=url)
    first = fit_with(*digits, **options, study="bees", seed=3)
    storage = open_storage(url)
    assert optuna.get_all_study_names(storage) == ["bees"]
    study = optuna.load_study(study_name="bees", storage=storage)
    assert study.metric_names == ["accuracy"]
    about = {"metric": "accuracy", "task": "multiclass", "examples": 120, "seed": 3, "trials": 3, "epochs": 2}
    assert study.user_attrs.items() >= about.items()
    assert "storage" not in study.user_attrs, "its URL may hold a password"
    assert study.user_attrs["winner"] == list(first.selection.selected.trials)
    assert {trial.params["views"] for trial in study.trials} <= {1, 2, 4}
    assert all(trial.state.name in ("COMPLETE", "PRUNED") for trial in study.trials)
    shown = {trial.user_attrs["trial"]: trial.user_attrs["score"] for trial in study.trials}
    assert shown == {record.number: record.score for record in first.trials}
    assert not (tmp_path / "run" / "study.journal").exists()
    again = fit_with(*digits, **{**options, "trials": 5}, study="bees", seed=3, resume=True)
    assert len(again.trials) == 5
    assert optuna.get_all_study_names(storage) == ["bees"]
    close_storage(storage)


# --- interrupts ----------------------------------------------------------------------------------------------------


@pytest.fixture
def interrupts() -> Iterator[None]:
    """Interrupts as in a foreground program: one that a shell started in the background ignores them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_second_interrupt_ends_the_program(interrupts: None) -> None:
    time_budget, said = TimeBudget(Budget(trials=5)), list[str]()
    with interruptible(time_budget, said.append):
        os.kill(os.getpid(), signal.SIGINT)
        assert time_budget.stopped
        assert time_budget.exhausted(1)
        assert not time_budget.exhausted(0), "there is always a result"
        assert said == ["interrupted: the search ends here, and the best so far is trained; once more stops at once"]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.slow
def test_after_an_interrupt_there_are_no_finals(
    interrupts: None, digits: Digits, tiny_zoo: Path, tmp_path: Path
) -> None:
    # They may take as long as the search has; the first interrupt promises the best so far.
    def interrupt(result: TrialRecord) -> None:
        if result.number == 3:
            os.kill(os.getpid(), signal.SIGINT)

    options = _options(tiny_zoo, tmp_path / "cache", heads=["knn", "ncm"], freeze="frozen", backbones="test_vit")
    whole = fit_with(*digits, **{**options, "trials": 4}, out=tmp_path / "whole")
    assert whole.selection.finals is not None
    callback = SimpleNamespace(trial_finished=interrupt)
    cut = fit_with(*digits, **{**options, "trials": 1000}, out=tmp_path / "cut", callbacks=[callback])
    assert len(cut.trials) == 4
    assert cut.selection.finals is None
    assert cut.selection.best.number == cut.trials.best.number


@pytest.mark.slow
def test_ctrl_c_on_the_command_line_keeps_what_was_found(
    interrupts: None, digit_folder: Path, tiny_zoo: Path, tmp_path: Path
) -> None:
    command = _command(digit_folder / "train", tiny_zoo, tmp_path / "cache", tmp_path / "run")
    command[command.index("14")] = "100000"
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while _finished(tmp_path / "run") < 5 and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "interrupted: the search ends here" in err
    assert "best " in out
    assert autotransfer.load(tmp_path / "run").predict([digit_folder / "test" / "one"]) is not None


@pytest.mark.slow
def test_a_new_run_does_not_take_the_study_of_another_one(digits: Digits, tiny_zoo: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    options = _options(tiny_zoo, tmp_path / "cache", trials=2, storage=url, freeze="frozen")
    first = fit_with(*digits, **options, study="photos-2", out=tmp_path / "first")
    other = fit_with(*digits, **options, study="photos", out=tmp_path / "other")
    assert len(first.trials) == len(other.trials) == 2, "one name may begin like another"
    with pytest.raises(ConfigError, match=r"already holds a study named 'photos'\. Choose another name"):
        fit_with(*digits, **options, study="photos", out=tmp_path / "second")
    assert not (tmp_path / "second").exists()
    again = fit_with(*digits, **options, study="photos", out=tmp_path / "other", resume=True)
    assert [record.candidate for record in again.trials] == [record.candidate for record in other.trials]


@pytest.mark.slow
def test_resume_after_a_full_disk(digits: Digits, tiny_zoo: Path, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    options = _options(tiny_zoo, None, trials=3, out=tmp_path / "a run") | {"cache": False}
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))  # bytes: the trials fit in, a model does not
    try:
        with pytest.raises(
            OutputError, match=r"a run cannot be written: .* go on with autotransfer resume '.*a run'\."
        ):
            fit_with(*digits, **options)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    finished = (tmp_path / "a run" / "trials.csv").read_text()
    result = fit_with(*digits, **options, resume=True)
    assert (tmp_path / "a run" / "trials.csv").read_text() == finished, "no trial is lost or repeated"
    assert result.model.predict(digits[0][:2]).shape == (2,)
