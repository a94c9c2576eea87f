"""Fixtures that every test may use."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

# Set before torch is imported: two test processes on two cores must not spin against each other.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and weights; tests that need it are skipped where it is missing."""
    folder = Path(os.environ.get("AUTOTRANSFER_SHARED", Path(__file__).parents[2] / "shared"))
    if not (folder / "zoo").is_dir():
        pytest.skip("the shared folder of real data and weights is not here")
    return folder


@pytest.fixture(scope="session")
def ants_bees(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """397 real photographs of two classes, unpacked: ``train/CLASS/x.jpg`` and ``test/CLASS/x.jpg``."""
    folder = tmp_path_factory.mktemp("ants_bees")
    with tarfile.open(shared / "data" / "ants_bees.tar") as archive:
        archive.extractall(folder, filter="data")
    return folder if (folder / "train").is_dir() else folder / "ants_bees"
