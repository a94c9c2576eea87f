"""The file of the prior: its parts keep apart, and a file that is none is named."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from autotransfer.errors import ModelFormatError
from autotransfer.search.prior_file import read_part, write_part


def test_a_part_that_is_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "prior.safetensors"
    weights = np.arange(6, dtype=np.float32).reshape(2, 3)
    write_part(path, "curves", {"layer.0": weights, "view": weights.T}, {"rungs": [1, 3], "source": "runs"})
    tensors, metadata = read_part("curves", path)
    assert set(tensors) == {"layer.0", "view"}
    np.testing.assert_array_equal(tensors["layer.0"], weights)
    np.testing.assert_array_equal(tensors["view"], weights.T)
    assert metadata == {"rungs": [1, 3], "source": "runs"}


def test_a_part_is_replaced_and_the_others_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "prior.safetensors"
    write_part(path, "curves", {"old": np.ones(1)}, {"number": 1})
    write_part(path, "models", {"weights": np.zeros(2)}, {"number": 2})
    write_part(path, "curves", {"new": np.ones(3)}, {"number": 3})
    tensors, metadata = read_part("curves", path)
    assert (set(tensors), metadata) == ({"new"}, {"number": 3})
    tensors, metadata = read_part("models", path)
    assert (set(tensors), metadata) == ({"weights"}, {"number": 2})


def test_a_file_that_is_no_prior_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.safetensors"
    with pytest.raises(ModelFormatError, match=r"broken\.safetensors is not a prior"):
        read_part("curves", path)
    path.write_bytes(b"no tensors here")
    with pytest.raises(ModelFormatError, match=r"broken\.safetensors is not a prior"):
        read_part("curves", path)
    save_file({"weights": np.ones(2)}, path)
    with pytest.raises(ModelFormatError, match="not a prior of this version"):
        read_part("curves", path)


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    path = tmp_path / "prior.safetensors"
    write_part(path, "curves", {"weights": np.ones(1)}, {})
    with pytest.raises(ModelFormatError, match="has no part 'gains'"):
        read_part("gains", path)


@pytest.mark.slow
def test_reading_needs_no_torch() -> None:
    code = "import sys, autotransfer.search.prior_file; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
