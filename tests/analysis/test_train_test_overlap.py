"""Test and validation examples that repeat examples to train on are warned of in the result."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fixtures.fitting import fit_with

from autotransfer.warnings import FitWarning

Digits = tuple[np.ndarray, np.ndarray]


def warned(
    digits: Digits, zoo: Path, out: Path, code: str, scored: tuple[np.ndarray, np.ndarray], key: str
) -> FitWarning | None:
    """Fit on 60 digits with others to score on, and return the warning with a code."""
    result = fit_with(
        digits[0][:60],
        digits[1][:60],
        **{key: scored[0], f"{key}_targets": scored[1]},
        zoo=zoo,
        backbones="test_resnet",
        heads="ridge",
        freeze="frozen",
        trials=1,
        cache=False,
        progress=False,
        out=out,
    )
    return next((warning for warning in result.warnings if warning.code == code), None)


@pytest.mark.slow
@pytest.mark.parametrize("key", ["test", "validation"])
def test_copies_and_near_duplicates_are_counted(key: str, digits: Digits, tiny_zoo: Path, tmp_path: Path) -> None:
    images, labels = digits[0][:90].copy(), digits[1][:90]
    images[10:20, 0, 0] ^= 1  # what is written anew is no copy any more
    scored = (np.concatenate([images[:20], images[60:]]), np.concatenate([labels[:20], labels[60:]]))
    warning = warned(digits, tiny_zoo, tmp_path / "run", f"{key}_overlaps_training", scored, key)
    assert warning is not None
    assert (warning.details["copies"], warning.details["examples"]) == (10, 50)
    assert 10 <= warning.details["near_duplicates"] <= 13, "a digit of another image may look the same, too"


@pytest.mark.slow
@pytest.mark.parametrize("key", ["test", "validation"])
def test_other_images_do_not_overlap(key: str, digits: Digits, tiny_zoo: Path, tmp_path: Path) -> None:
    scored = (digits[0][60:], digits[1][60:])
    assert warned(digits, tiny_zoo, tmp_path / "run", f"{key}_overlaps_training", scored, key) is None
