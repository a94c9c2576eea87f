"""The distribution of audio networks, really built and installed, keeps the contract and gives published features."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "audio_backbones"


@pytest.fixture(scope="module")
def site(install_example: Callable[[Path], Path]) -> Path:
    """A folder where pip installed the distribution."""
    return install_example(EXAMPLE)


def run(site: Path, zoo: Path | None, *arguments: str) -> str:
    """Return what Python prints where the distribution is installed."""
    environment = {**os.environ, "PYTHONPATH": str(site), "AUTOTRANSFER_ZOO": str(zoo or "")}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def own_tests(site: Path, folder: Path, zoo: Path | None, *chosen: str) -> str:
    """Return the last line of the distribution's own tests."""
    tests = shutil.copytree(EXAMPLE / "tests", folder / "tests")
    options = ("-q", "-p", "no:cacheprovider", "-W", "error", "--rootdir", str(tests), str(tests))
    return run(site, zoo, "-m", "pytest", *options, *chosen).splitlines()[-1]


@pytest.mark.slow
def test_it_passes_its_own_tests(site: Path, tmp_path: Path) -> None:
    summary = own_tests(site, tmp_path, None)
    assert "passed" in summary
    assert "1 skipped" in summary  # no published weights are here


@pytest.mark.shared
@pytest.mark.slow
def test_published_features_are_reproduced(site: Path, tmp_path: Path, shared: Path) -> None:
    assert "4 passed" in own_tests(site, tmp_path, shared / "zoo" / "audio", "-k", "published_weights")


@pytest.mark.shared
@pytest.mark.slow
def test_networks_of_a_zoo_are_listed(site: Path, shared: Path) -> None:
    arguments = ("-m", "autotransfer", "backbones", "*", "--json", "--zoo", str(shared / "zoo" / "audio"))
    rows = {row["name"]: row for row in json.loads(run(site, None, *arguments))}
    assert rows["ge2e_speaker_encoder"]["license"] == "Apache-2.0"
    assert rows["efficientat_mn04_audioset"]["input_size"] == [64_000]  # two seconds at 32 kHz
    assert {"google_speech_embedding", "whisper_tiny_en_encoder.audio-backbones"} <= rows.keys()
