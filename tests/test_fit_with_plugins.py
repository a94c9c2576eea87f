"""A whole search among other people's plugins, which are really installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import autotransfer

NOSY = """
from autotransfer import hookimpl

@hookimpl
def trial_finished(result):
    print("trial", result.number, result.state)
    raise RuntimeError("the tracker is down")

@hookimpl
def search_finished(result):
    print("search", result.best.backbone)
"""


SAD = "raise RuntimeError('built for another version')\n"

Install = Callable[..., Path]


def test_a_search_among_other_peoples_plugins(install: Install, digit_folder: Path, tmp_path: Path) -> None:
    site = install(nosy=NOSY, sad=SAD)

    def autotransfer_cli(*arguments: object) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(site), "AUTOTRANSFER_CACHE": str(tmp_path / "cache")}
        command = [sys.executable, "-m", "autotransfer", *map(str, arguments)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120)

    names = ["--backbones", "bright_tiny", "--heads", "cosine", "--freeze", "last_two"]
    budget = ["--trials", 2, "--epochs", 2, "--out", tmp_path / "run", "--json"]
    done = autotransfer_cli("fit", digit_folder / "train", *names, *budget)
    result = json.loads(done.stdout)  # what plugins print does not end up here
    assert (result["best"]["backbone"], result["best"]["head"], result["best"]["freeze"]) == (
        "bright_tiny",
        "cosine",
        "last_two",
    )
    assert result["trials"] == {"complete": 2, "paused": 0, "pruned": 0, "failed": 0}
    assert done.stderr.count("The plugin 'sad' (sad-plugin 6.6, left out) is broken: RuntimeError: built for") == 1
    assert "trial 0 complete" in done.stderr  # the observer was told,
    assert "the tracker is down" in done.stderr  # what it raised was logged,
    assert "search bright_tiny" in done.stderr  # and the search went on

    images = sorted((digit_folder / "test").glob("*/*.png"))
    rows = json.loads(autotransfer_cli("predict", tmp_path / "run", *images, "--json").stdout)
    assert len(rows) == 30
    assert {row["prediction"] for row in rows} <= {"zero", "one", "two"}

    # Here the plugin is not installed.
    with pytest.raises(autotransfer.AutoTransferError, match="the plugin 'bright-backbone' made it: install it"):
        autotransfer.load(tmp_path / "run")
