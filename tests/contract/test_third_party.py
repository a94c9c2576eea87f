"""Someone else's distribution, really built and installed, comes in; a broken one beside it stays out."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "third_party_backbone"

LIST = """
import json
from autotransfer.contract.registry import Registry
print(json.dumps(Registry.load().rows()))
"""


SAD = "raise RuntimeError('built for another version')\n"

Install = Callable[..., Path]


def _run(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(site)}
    return subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, check=True)


def test_installed_plugin_registers_and_broken_one_is_reported(install: Install) -> None:
    done = _run(install(sad=SAD), "-c", LIST)
    rows = {(row["kind"], row["distribution"]): row for row in json.loads(done.stdout)}
    for kind, name in (("backbones", "bright_tiny"), ("heads", "cosine"), ("freeze policies", "last_two")):
        row = rows[kind, "bright-backbone"]
        assert (row["name"], row["version"], row["state"], row["provides"]) == ("bright", "0.1.0", "loaded", [name])
        assert rows[kind, "autotransfer"]["state"] == "loaded"  # ours are not disturbed
    sad = rows["", "sad-plugin"]
    assert (sad["name"], sad["version"], sad["state"]) == ("sad", "6.6", "broken")
    assert sad["reason"] == "RuntimeError: built for another version"
    assert done.stderr.count("sad-plugin 6.6") == 1


@pytest.mark.slow
def test_the_example_passes_its_own_conformance_tests(example_site: Path, tmp_path: Path) -> None:
    tests = shutil.copytree(EXAMPLE / "tests", tmp_path / "tests")
    done = _run(example_site, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tests), str(tests))
    assert "1 passed" in done.stdout
