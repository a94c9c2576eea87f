"""Which modality files are of, where suffixes do not say it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from autotransfer.contract.modality import Modality
from autotransfer.data.recognition import modality_of_files
from autotransfer_plugins.modalities.image.modality import IMAGE


class Signals(Modality):
    """Signals, in files of NumPy."""

    name, noun, suffixes = "signal", "signal", frozenset({".npy"})


def test_files_of_a_suffix_of_two_modalities_are_looked_into(tmp_path: Path) -> None:
    np.save(tmp_path / "signal.npy", np.zeros(20))
    np.save(tmp_path / "image.npy", np.zeros((20, 20, 5)))
    for modalities in ([IMAGE, signals := Signals()], [signals, IMAGE]):
        assert modality_of_files([tmp_path / "signal.npy"], modalities) is signals
        assert modality_of_files([tmp_path / "image.npy"], modalities) is IMAGE
        assert modality_of_files([tmp_path / "a.png", tmp_path / "signal.npy"], modalities) is IMAGE, "most are images"
