"""Each benchmark runs as its own documentation says, on data and networks that take seconds."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[1] / "examples" / "benchmarks"
README = (BENCHMARKS / "README.md").read_text(encoding="utf-8")
# What each takes to end within seconds, and what a row of it says.
RUNS = {
    "throughput.py": (["--models", "test_resnet", "--rounds", "1"], {"median ratio", "lowest cosine"}),
    "trial_cost.py": (["--model", "test_resnet", "--epochs", "1"], {"following / first", "following / uncached"}),
    "scale.py": (["--images", "20", "--trials", "3"], {"seconds", "peak MB"}),
    "probe_accuracy.py": ([], {"mean difference", "lowest cosine"}),
    "worth.py": (["--seeds", "1"], {"trained, %", "random, mean %", "gain, points"}),
    "whole_fit.py": (["--cold", "8", "--warm", "6", "--repeats", "1"], {"wall (s)", "finished or pruned trials"}),
}


def run(name: str, data: Path, zoo: Path, out: Path) -> dict[str, Any]:
    command = [sys.executable, BENCHMARKS / name, "--data", data, "--zoo", zoo, "--out", out, *RUNS[name][0]]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=out.parent)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(out.read_text())
    columns = [cell.strip() for cell in done.stdout.splitlines()[-len(result["rows"]) - 2].strip("|").split("|")]
    assert columns == list(result["rows"][0]), "the table shows what the file holds"
    return result


@pytest.mark.parametrize("name", RUNS)
def test_it_measures(name: str, digit_folder: Path, tiny_zoo: Path, tmp_path: Path) -> None:
    several = name in ("probe_accuracy.py", "whole_fit.py", "worth.py")
    result = run(name, digit_folder if several else digit_folder / "train", tiny_zoo, tmp_path / "result.json")
    assert result["rows"]
    assert set(result["rows"][0]) >= RUNS[name][1]
    assert result["machine"]["cores"] >= 1


@pytest.mark.parametrize("name", sorted(file.name for file in BENCHMARKS.glob("*.py") if file.name != "common.py"))
def test_the_readme_says_how_it_is_run(name: str) -> None:
    assert re.search(rf"^    python examples/benchmarks/{name} ", README, flags=re.MULTILINE)
