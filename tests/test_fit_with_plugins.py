"""A whole search among other people's plugins, which are really installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import autotransfer

EXAMPLE = Path(__file__).parents[1] / "examples" / "third_party_backbone"

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


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of installed distributions: the example, built by pip, an observer, and one that raises at import."""
    pytest.importorskip("setuptools")
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    # Built from a copy: setuptools writes beside what it builds.
    shutil.copytree(EXAMPLE, source / "example", ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "--quiet"]
    pip = [sys.executable, "-m", "pip", "install", *options, "--target", str(target), str(source / "example")]
    subprocess.run(pip, check=True, capture_output=True, text=True)
    for name, text in {"nosy": NOSY, "sad": "raise RuntimeError('built for another version')\n"}.items():
        metadata = target / f"{name}_plugin-6.6.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-plugin\nVersion: 6.6\n")
        (metadata / "entry_points.txt").write_text(f"[autotransfer]\n{name} = {name}_plugin\n")
        (target / f"{name}_plugin.py").write_text(text)
    return target


def test_a_search_among_other_peoples_plugins(site: Path, digit_folder: Path, tmp_path: Path) -> None:
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
    assert result["trials"] == {"complete": 2, "pruned": 0, "failed": 0}
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
