"""The script that makes the shipped backbones again does so, on a tenth of nothing."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from autotransfer.contract.registry import Registry

SCRIPT = Path(__file__).parents[1] / "examples" / "source_models.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("source_models", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_makes_every_backbone_that_is_shipped(script: ModuleType) -> None:
    assert list(script.RECIPES) == [spec.name for spec in Registry.load().fallbacks()]


def test_letters_are_drawn_equally_each_time(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "IMAGES_PER_LETTER", 2)
    (images, names), (again, _) = script.draw_letters(), script.draw_letters()
    assert images.shape == (2 * len(script.LETTERS), 32, 32, 3)
    assert images.dtype == np.uint8
    assert len(names) == len(images)
    assert np.array_equal(images, again)
    assert all(image.std() > 5 for image in images), "ink and paper differ"


@pytest.mark.slow
def test_a_recipe_makes_a_backbone(
    script: ModuleType, digit_folder: Path, tiny_zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOTRANSFER_CACHE", str(tmp_path / "cache"))
    names = list(script.RECIPES)
    for name in (names[0], names[-1]):
        given = ["--cifar10", digit_folder / "train", "--teacher", "test_vit", "--zoo", tiny_zoo]
        monkeypatch.setattr(
            sys, "argv", [str(SCRIPT), "--out", str(tmp_path), "--only", name, "--epochs", "1", *map(str, given)]
        )
        script.main()
        assert (tmp_path / name / "model.safetensors").is_file()
