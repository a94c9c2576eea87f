"""The distribution that writes searches into MLflow, really built and installed, passes its own tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "mlflow_observer"


@pytest.mark.slow
def test_it_passes_its_own_tests(install_example: Callable[[Path], Path], tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    site, tests = install_example(EXAMPLE), shutil.copytree(EXAMPLE / "tests", tmp_path / "tests")
    options = ("-q", "-p", "no:cacheprovider", "-W", "error", "--rootdir", str(tests), str(tests))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options],
        env={**os.environ, "PYTHONPATH": str(site), "AUTOTRANSFER_ZOO": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "7 passed" in done.stdout  # none is skipped where it is installed
