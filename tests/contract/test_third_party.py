"""Someone else's distribution, really built and installed, comes in; a broken one beside it stays out."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "third_party_backbone"

LIST = """
import json
from autotransfer.contract.registry import Registry
print(json.dumps(Registry.load().rows()))
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of installed distributions: the example, built by pip, and one that raises at import."""
    pytest.importorskip("setuptools")
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    # Built from a copy: setuptools writes beside what it builds.
    shutil.copytree(EXAMPLE, source / "example", ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "--quiet"]
    pip = [sys.executable, "-m", "pip", "install", *options, "--target", str(target), str(source / "example")]
    subprocess.run(pip, check=True, capture_output=True, text=True)
    metadata = target / "sad_plugin-6.6.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: sad-plugin\nVersion: 6.6\n")
    (metadata / "entry_points.txt").write_text("[autotransfer]\nsad = sad_plugin\n")
    (target / "sad_plugin.py").write_text("raise RuntimeError('built for another version')\n")
    return target


def _run(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(site)}
    return subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, check=True)


def test_an_installed_distribution_registers_and_a_broken_one_is_reported(site: Path) -> None:
    done = _run(site, "-c", LIST)
    rows = {(row["kind"], row["distribution"]): row for row in json.loads(done.stdout)}
    for kind, name in (("backbones", "bright_tiny"), ("heads", "cosine"), ("freeze policies", "last_two")):
        row = rows[kind, "bright-backbone"]
        assert (row["name"], row["version"], row["state"], row["provides"]) == ("bright", "0.1.0", "loaded", [name])
        assert rows[kind, "autotransfer"]["state"] == "loaded"  # ours are not disturbed
    sad = rows["", "sad-plugin"]
    assert (sad["name"], sad["version"], sad["state"]) == ("sad", "6.6", "broken")
    assert sad["reason"] == "RuntimeError: built for another version"
    assert done.stderr.count("sad-plugin 6.6") == 1


def test_the_example_passes_its_own_conformance_tests(site: Path, tmp_path: Path) -> None:
    tests = shutil.copytree(EXAMPLE / "tests", tmp_path / "tests")
    done = _run(site, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tests), str(tests))
    assert "1 passed" in done.stdout
