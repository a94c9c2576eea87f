"""The command line: what it prints and where, its exit codes, and that it agrees with the library."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import autotransfer
from autotransfer.cli.main import app
from autotransfer.errors import ConfigError
from autotransfer.runtime.text import escape
from autotransfer.settings import Settings
from autotransfer.settings.fields import flat_settings

HEAVY = ("torch", "timm", "sklearn", "optuna", "numpy", "rich")


def run(*arguments: str | Path) -> tuple[int, str, str]:
    """Run a command in this process and return its exit code, standard output and standard error."""
    outcome = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if outcome.exception is not None and not isinstance(outcome.exception, SystemExit):
        raise outcome.exception
    return outcome.exit_code, outcome.stdout, outcome.stderr


def program(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the program as a user does."""
    command = [sys.executable, "-m", "autotransfer", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def fitted(
    tiny_zoo: Path, digit_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, object]]:
    """A run folder that ``fit --json`` made, and what it printed."""
    folder = tmp_path_factory.mktemp("fitted")
    done = program(
        *("fit", digit_folder / "train", "--test", digit_folder / "test", "--zoo", tiny_zoo, "--trials", "6"),
        *("--epochs", "2", "--cache-dir", folder / "cache", "--out", folder / "run", "--json"),
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    return folder / "run", json.loads(done.stdout)


# The modalities have options of their own, and a module of heads or policies names the distributions of optuna.
@pytest.mark.parametrize(
    ("arguments", "names"),
    [(["--help"], HEAVY), (["fit", "--help"], [name for name in HEAVY if name not in ("optuna", "numpy")])],
)
def test_help_loads_nothing_heavy(arguments: list[str], names: Sequence[str], tmp_path: Path) -> None:
    code = (
        "import sys; from autotransfer.cli.main import app\n"
        f"try: app({arguments})\n"
        f"except SystemExit: print([name for name in {names} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "[]"


def test_cache_loads_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from autotransfer.cli.main import app\n"
        f"try: app(['cache', '--json', '--cache-dir', {str(tmp_path)!r}])\n"
        "except SystemExit: print([name for name in ('torch', 'timm', 'sklearn') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.slow
def test_the_program_sets_waiting_threads_to_sleep(tmp_path: Path) -> None:
    # setdefault: what the user's environment says comes first
    environment = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    code = (
        "import os, autotransfer; autotransfer.load; print(os.environ['OMP_WAIT_POLICY'], os.environ['GOMP_SPINCOUNT'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**environment, "OMP_WAIT_POLICY": "ACTIVE"},
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert done.stdout.split() == ["ACTIVE", "0"]


def test_version() -> None:
    assert run("--version") == (0, f"autotransfer {autotransfer.__version__}\n", "")


@pytest.mark.parametrize("command", ["fit", "predict", "score", "pretrain", "demo", "plugins", "backbones", "cache"])
def test_every_command_explains_itself(command: str) -> None:
    code, out, _ = run(command, "--help")
    assert code == 0
    assert f"autotransfer {command}" in out
    assert "--json" in out


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """The settings that the command hands to ``fit``, which goes no further."""
    asked: dict[str, object] = {}

    def fit(data: str, *, test: str | None, **settings: Any) -> None:
        asked.update({each.name: each.of(Settings(**settings)) for each in flat_settings(Settings)})
        raise ConfigError("that is enough")

    monkeypatch.setattr("autotransfer.api.fit", fit)
    return asked


@pytest.mark.parametrize("switched_off", [True, False])
def test_what_follows_a_search_can_be_switched_off(
    switched_off: bool, tmp_path: Path, asked: dict[str, object]
) -> None:
    names = ("ensemble", "calibrate", "thresholds")
    run("fit", tmp_path, *(f"--no-{name}" for name in names if switched_off))
    assert {asked[name] for name in names} == {not switched_off}


@pytest.mark.parametrize(("given", "taken"), [("0.4", 0.4), ("photos/val", "photos/val")])
def test_validation_is_a_share_or_data(given: str, taken: object, tmp_path: Path, asked: dict[str, object]) -> None:
    run("fit", tmp_path, "--validation", given)
    assert asked["validation"] == taken


@pytest.mark.slow
def test_what_takes_seconds_to_load_is_said_before_it(tmp_path: Path) -> None:
    done = program("predict", tmp_path, tmp_path, cwd=tmp_path)
    assert done.stderr.splitlines()[0] == "starting: loading torch"
    assert "There is no model in" in done.stderr


def test_targets_can_be_explained(tmp_path: Path, asked: dict[str, object]) -> None:
    run("fit", tmp_path, "--metric", "recall", "--positive-class", "defect", "--label-separator", "|")
    assert (asked["positive_class"], asked["label_separator"]) == ("defect", "|")


def test_fit_prints_its_result_and_nothing_else(fitted: tuple[Path, dict[str, object]]) -> None:
    # The object on standard output is the one in the run folder.
    folder, printed = fitted
    assert printed == json.loads((folder / "result.json").read_text())
    assert set(printed) >= {"best", "validation", "test", "seconds", "trials", "run", "decoded", "skipped"}
    assert set(printed) >= {"selection_bias", "transfer_gain", "backbones", "importance", "depths"}
    assert printed["decoded"] == 90


@pytest.mark.slow
def test_fit_for_people(tiny_zoo: Path, digit_folder: Path, tmp_path: Path) -> None:
    # The result, and what to do next; markup in a path prints as it is, and a control character cannot act.
    out_folder = tmp_path / "a [red]run[/red]\x1b[31m"
    data, cache = digit_folder / "train", tmp_path / "cache"
    settings = ("--zoo", tiny_zoo, "--backbones", "test_vit", "--heads", "ncm", "--freeze", "frozen", "--trials", "1")
    code, out, err = run("fit", data, *settings, "--no-compare-scratch", "--cache-dir", cache, "--out", out_folder)
    assert code == 0, err
    assert "\x1b" not in out
    assert "a [red]run[/red]\\x1b[31m" in out
    assert "\nvalidation         accuracy 0." in out
    assert "transfer gain" not in out
    assert f"autotransfer predict '{escape(out_folder)}' DATA" in out
    code, _, err = run("fit", data, *settings, "--out", out_folder)
    assert code == 2
    assert "already holds a run" in err


@pytest.mark.slow
def test_predict_agrees_with_the_score_that_fit_reported(
    fitted: tuple[Path, dict[str, object]], digit_folder: Path
) -> None:
    folder, printed = fitted
    code, out, _ = run("predict", folder, digit_folder / "test", "--json")
    rows = json.loads(out)
    right = np.mean([Path(row["path"]).parent.name == row["prediction"] for row in rows])
    assert code == 0
    assert len(rows) == 30
    assert right == printed["test"]["accuracy"]  # type: ignore[index]
    for row in rows:
        assert set(row) == {"path", "prediction", "probabilities"}
        assert list(row["probabilities"]) == ["one", "two", "zero"]
        assert max(row["probabilities"], key=row["probabilities"].get) == row["prediction"]
        assert sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    again = autotransfer.load(folder).predict_proba([row["path"] for row in rows])
    np.testing.assert_array_equal(again, np.array([list(r["probabilities"].values()) for r in rows], np.float32))


@pytest.mark.slow
def test_score_is_what_fit_reported(fitted: tuple[Path, dict[str, object]], digit_folder: Path, tmp_path: Path) -> None:
    folder, printed = fitted
    code, out, _ = run("score", folder, digit_folder / "test", "--json")
    assert code == 0
    assert json.loads(out) == {**printed["test"], "skipped": [], "warnings": []}  # type: ignore[dict-item]
    code, out, _ = run("score", folder / "model", digit_folder / "test")
    value = printed["test"]["score"]  # type: ignore[index]
    assert out.startswith(f"accuracy {value:.4f} (95% interval ")

    # A table with columns of other names; what cannot be read is named and left out.
    files = sorted((digit_folder / "test").rglob("*.png"))
    (tmp_path / "bad\x1b.png").write_text("no image")
    rows = [[str(file), file.parent.name] for file in files] + [[str(tmp_path / "bad\x1b.png"), "one"]]
    with (tmp_path / "test.csv").open("w", newline="") as table:
        csv.writer(table).writerows([["picture", "digit"], *rows])
    columns = ("--path-column", "picture", "--target-column", "digit")
    code, out, err = run("score", folder, tmp_path / "test.csv", *columns, "--json")
    assert (json.loads(out)["examples"], len(json.loads(out)["skipped"])) == (30, 1)
    assert "bad\\x1b.png is left out: no image that Pillow can read" in err
    code, out, _ = run("score", folder, digit_folder, "--json")  # which holds train and test: the latter is scored
    found = json.loads(out)
    assert (code, found["score"], [warning["code"] for warning in found["warnings"]]) == (0, value, ["split_used"])


@pytest.mark.slow
def test_predict_names_what_it_cannot_read(
    fitted: tuple[Path, dict[str, object]], digit_folder: Path, tmp_path: Path
) -> None:
    # A damaged image keeps its row; names from data are escaped on the terminal and whole in JSON.
    good = next((digit_folder / "test" / "one").iterdir())
    named = shutil.copy(good, tmp_path / "ok \x1b[31m[bold].png")
    bad = tmp_path / "bad\n.png"
    bad.write_text("no image")
    code, out, err = run("predict", fitted[0], tmp_path, "--json")
    rows = {row["path"]: row for row in json.loads(out)}
    assert code == 0
    assert rows[str(bad)] == {
        "path": str(bad),
        "prediction": None,
        "probabilities": None,
        "error": "no image that Pillow can read",
    }
    assert rows[str(named)]["prediction"] == "one"
    assert "bad\\x0a.png cannot be read: no image that Pillow can read" in err
    code, out, err = run("predict", fitted[0], tmp_path)
    (line,) = out.splitlines()
    path, prediction, probability = line.split("\t")
    assert path.endswith("ok \\x1b[31m[bold].png")
    assert prediction == "one"
    assert 0.3 < float(probability) <= 1
    code, out, err = run("predict", fitted[0], bad, "--json")
    assert (code, out) == (1, "")
    assert "None of the 1 images can be decoded" in err


@pytest.mark.slow
def test_names_from_data_steer_neither_terminal_nor_spreadsheet(
    tiny_zoo: Path, digit_folder: Path, tmp_path: Path
) -> None:
    # Classes, files, checkpoints: whoever made the data named them.
    hostile = ["=cmd|' /C calc'!A0", "\x1b[31m[bold]red\x9b2J", "\u202eeno\n<script>"]
    for folder, name in zip(("one", "two", "zero"), hostile, strict=True):
        shutil.copytree(digit_folder / "train" / folder, tmp_path / "data" / name)
        (tmp_path / "data" / name / f"{name.strip('=|/ ').replace('/', '')}.png").write_text("no image")
    shutil.copytree(tiny_zoo / "test_resnet", tmp_path / "zoo" / "=net\x1b]0;owned\x07[red]")
    done = program(
        *("fit", tmp_path / "data", "--zoo", tmp_path / "zoo", "--trials", "2", "--heads", "ridge", "--no-cache"),
        *("--out", tmp_path / "run"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    told = program("predict", tmp_path / "run", tmp_path / "data", cwd=tmp_path)
    listed = program("backbones", "--zoo", tmp_path / "zoo", cwd=tmp_path)
    written = program("predict", tmp_path / "run", tmp_path / "data", "--csv", "p.csv", cwd=tmp_path)
    for text in (done.stdout, done.stderr, told.stdout, told.stderr, listed.stdout, written.stderr):
        assert not {c for c in text if not c.isprintable()} - {"\n", "\t"}
    assert "=net\\x1b]0;owned\\x07[red]" in done.stdout
    assert "\\x1b[31m[bold]red\\x9b2J" in told.stdout
    assert json.loads((tmp_path / "run" / "result.json").read_text())["best"]["backbone"].startswith("=net")
    for table in (tmp_path / "p.csv", tmp_path / "run" / "trials.csv"):
        with table.open(newline="") as file:
            cells = {cell for row in csv.reader(file) for cell in row}
        assert [cell for cell in cells if cell.startswith("'=")]
        assert not [cell for cell in cells if cell.startswith(("=", "@"))]


def test_predict_writes_csv(fitted: tuple[Path, dict[str, object]], digit_folder: Path, tmp_path: Path) -> None:
    code, out, _ = run("predict", fitted[0], digit_folder / "test", "--csv", tmp_path / "out.csv")
    assert (code, out) == (0, "")
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["path", "prediction", "p_one", "p_two", "p_zero"]
    assert len(rows) == 30
    assert all(float(row[f"p_{row['prediction']}"]) > 1 / 3 for row in rows)
    code, _, err = run("predict", fitted[0], digit_folder / "test", "--csv", tmp_path / "no" / "out.csv")
    assert code == 2  # before any work
    assert "there is no folder" in err


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="there is no disk that is always full")
def test_a_full_disk_is_said_plainly(fitted: tuple[Path, dict[str, object]], digit_folder: Path) -> None:
    code, _, err = run("predict", fitted[0], digit_folder / "test", "--csv", "/dev/full")
    assert code == 1
    assert "error: /dev/full cannot be written: the disk is full. Make room, or name a file elsewhere" in err
    assert Path("/dev/full").is_char_device(), "a device is not replaced by a file"
    command = [sys.executable, "-m", "autotransfer", "plugins", "--json"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.endswith("error: No space left on device: standard output\n")


def test_plugins_and_backbones(tiny_zoo: Path) -> None:
    code, out, _ = run("plugins", "--json")
    assert code == 0
    rows = json.loads(out)
    assert {(row["kind"], row["name"]) for row in rows} >= {("backbones", "timm"), ("heads", "heads")}
    assert all(set(row) >= {"kind", "name", "distribution", "version", "state"} for row in rows)
    assert "timm" in run("plugins")[1]
    code, out, _ = run("backbones", "--modality", "image", "--zoo", tiny_zoo, "--json")
    rows = json.loads(out)
    assert [row["name"] for row in rows] == ["test_resnet", "test_vit"]
    assert rows[0]["input_size"] == [32, 32]
    assert rows[0]["weights"] == f"folder {tiny_zoo / 'test_resnet'}"
    assert rows[0]["parameters"] == 372688
    code, out, err = run("backbones", "--modality", "image", "--zoo", tiny_zoo)
    assert out.splitlines()[1].split()[:3] == ["test_resnet", "372688", "32x32"]
    assert "2 of " in err
    assert len(json.loads(run("backbones", "test_vit*", "--json")[1])) > 1  # beyond the default ones


@pytest.mark.parametrize("command", [["plugins"], ["backbones"], ["backbones", "*resnet50*", "--exclude", "*clip*"]])
def test_lists_need_no_torch(command: list[str], tiny_zoo: Path) -> None:
    zoo = ["--zoo", str(tiny_zoo)] if command[0] == "backbones" else []
    code = (
        "import sys\nfrom autotransfer.cli.main import app\n"
        f"app({[*command, *zoo]!r}, standalone_mode=False)\n"
        "print([m for m in ('torch', 'timm', 'sklearn', 'scipy', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) > 3
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.slow
def test_backbones_are_left_out_by_name_or_pattern(tiny_zoo: Path, digit_folder: Path, tmp_path: Path) -> None:
    shown = json.loads(run("backbones", "--modality", "image", "--zoo", tiny_zoo, "--exclude", "*_vit", "--json")[1])
    assert [row["name"] for row in shown] == ["test_resnet"]
    zoo = shutil.copytree(tiny_zoo, tmp_path / "zoo")
    (zoo / "test_vit" / "config.json").write_text("{")
    few = ("--heads", "ncm", "--trials", "1", "--no-cache", "--no-compare-scratch", "--json")
    command = ("fit", digit_folder / "train", "--zoo", zoo, "--out", tmp_path / "run", *few)
    code, _, err = run(*command)
    assert code == 1
    assert f"{zoo / 'test_vit' / 'config.json'} is not JSON" in err
    assert "(--exclude test_vit)" in err
    code, out, err = run(*command, "--exclude", "test_vit")
    assert (code, json.loads(out)["best"]["backbone"]) == (0, "test_resnet"), err
    assert run(*command, "--overwrite", "--exclude", "test_vitt")[0] == 2


def test_cache_shows_and_clears(fitted: tuple[Path, dict[str, object]], tmp_path: Path) -> None:
    folder = shutil.copytree(fitted[0].parent / "cache", tmp_path / "cache")
    held = json.loads(run("cache", "--cache-dir", folder, "--json")[1])
    assert held["folder"] == str(folder)
    assert held["bytes"] == sum(entry["bytes"] for entry in held["entries"]) > 0
    assert "test_vit" in run("cache", "--cache-dir", folder)[1]
    assert json.loads(run("cache", "--cache-dir", folder, "--clear", "--json")[1])["freed"] == held["bytes"]
    assert json.loads(run("cache", "--cache-dir", folder, "--json")[1])["entries"] == []


@pytest.mark.parametrize(
    ("arguments", "expected", "message"),
    [
        (["fit", "no-such-folder"], 2, "There is no file or folder 'no-such-folder'"),
        (["fit"], 2, "Missing argument"),
        (["fit", "{data}", "--trials", "many"], 2, "--trials"),
        (["fit", "{data}", "--trials", "0"], 2, "at least 1"),
        (["fit", "{data}", "--time-budget", "soon"], 2, "'90s', '5m' or '1h30m'"),
        (["fit", "{data}", "--device", "abacus"], 2, "got 'abacus'"),
        (["fit", "{data}", "--class-weight", "heavy"], 2, "got 'heavy'"),
        (["fit", "{data}", "--seed", "-1"], 2, "got -1"),
        (["fit", "{data}", "--zoo", "{zoo}", "--task", "guess"], 2, "No kind of task matches 'guess'"),
        (["fit", "{data}", "--zoo", "{zoo}", "--metric", "acuracy"], 2, "Did you mean accuracy"),
        (["fit", "{data}", "--zoo", "{zoo}", "--backbones", "test_vitt"], 2, "Did you mean test_vit"),
        (["fit", "{data}", "--zoo", "{zoo}", "--heads", "lineer"], 2, "Did you mean linear"),
        (["fit", "{data}", "--zoo", "nowhere"], 2, "There is no zoo folder"),
        (["fit", "{data}", "--target-column", "y"], 1, "leave target_column out"),
        (["fit", "{data}/zero"], 1, "No class with images"),
        (["fit", "{data}", "--zoo", "{zoo}", "--trials", "1", "--out", "/proc/run"], 2, "cannot be written"),
        (["predict", "{data}", "{data}"], 2, "There is no model in"),
        (["score", "{data}", "{data}"], 2, "There is no model in"),
        (["resume", "{data}/nowhere"], 2, "There is no run in"),
        (["predict", "{broken}", "{data}"], 1, "not readable JSON"),
        (["backbones", "no-such-model"], 2, "No backbone matches 'no-such-model'"),
        (["unknown"], 2, "No such command"),
    ],
)
def test_errors_are_messages(
    arguments: list[str],
    expected: int,
    message: str,
    tiny_zoo: Path,
    digit_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Nothing on standard output, no traceback, and no run folder is left behind.
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUTOTRANSFER_CACHE", str(tmp_path / "cache"))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "model.json").write_text("{")
    places = {"data": digit_folder / "train", "zoo": tiny_zoo, "broken": tmp_path / "broken"}
    code, out, err = run(*(argument.format(**places) for argument in arguments))
    assert (code, out) == (expected, "")
    assert message in err
    assert "Traceback" not in err
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_plugin_that_prints_does_not_disturb_the_answer(tmp_path: Path) -> None:
    # A real installed plugin: a folder with its metadata on the path.
    (tmp_path / "noisy.py").write_text(
        "from autotransfer.contract.hookspecs import hookimpl\n"
        "print('hello from a plugin')\n"
        "@hookimpl\ndef trial_finished(result): pass\n"
    )
    about = tmp_path / "noisy-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: noisy\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[autotransfer]\nnoisy = noisy\n")
    done = subprocess.run(
        [sys.executable, "-m", "autotransfer", "plugins", "--json"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "noisy" in {row["name"] for row in json.loads(done.stdout)}
    assert "hello from a plugin" in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")
def test_interrupting_twice_ends_at_once_with_130(tiny_zoo: Path, digit_folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "autotransfer", "fit", str(digit_folder / "train"), "--zoo", str(tiny_zoo)]
    command += ["--time-budget", "2m", "--out", str(tmp_path / "run"), "--cache-dir", str(tmp_path / "cache")]
    said = tmp_path / "stderr"
    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # what a shell starts in the background ignores it
    with said.open("w") as stderr:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True)
    signal.signal(signal.SIGINT, before)

    def wait_for(ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not ready() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)

    wait_for((tmp_path / "run" / "trials.csv").exists)
    process.send_signal(signal.SIGINT)
    wait_for(lambda: "once more stops at once" in said.read_text())  # once ends the search only, see test_resume.py
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said.read_text()
    assert out == ""
    assert "Traceback" not in said.read_text()


def test_python_m_is_the_program(tmp_path: Path) -> None:
    done = program("--version", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"autotransfer {autotransfer.__version__}\n")
