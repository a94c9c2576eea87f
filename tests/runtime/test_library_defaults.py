"""The global settings of torch, NumPy and scikit-learn that a user has changed change nothing of ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest
import sklearn
import torch

import autotransfer
from autotransfer.runtime.library_defaults import default_settings
from autotransfer.settings import Compute, RunOptions, SearchOptions

Digits = tuple[np.ndarray, np.ndarray]


@contextmanager
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


SETTINGS = {
    "pandas": lambda: sklearn.config_context(transform_output="pandas"),
    "float64": double,
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "meta_device": lambda: torch.device("meta"),
    "numpy_raises": lambda: np.errstate(all="raise"),
    "deterministic": deterministic,
}


@contextmanager
def all_of_them() -> Iterator[None]:
    with ExitStack() as stack:
        for setting in SETTINGS.values():
            stack.enter_context(setting())
        yield


@pytest.mark.slow
def test_fit_under_changed_library_settings_predicts(digits: Digits, tiny_zoo: Path, tmp_path: Path) -> None:
    (images, labels), tested = digits, slice(90, None)
    with all_of_them():
        result = autotransfer.fit(
            images[:90],
            labels[:90],
            zoo=tiny_zoo,
            backbones="test_resnet",
            heads=["linear", "ridge"],
            trials=2,
            search=SearchOptions(epochs=1),
            compute=Compute(device="cpu", cache=False),
            run=RunOptions(progress=False),
            out=tmp_path / "run",
        )
        model = autotransfer.load(result.run)
        assert np.mean(model.predict(images[tested]) == labels[tested]) > 0.8
    np.testing.assert_array_equal(model.predict(images[tested]), result.model.predict(images[tested]))
    assert {trial.state for trial in result.trials} <= {"complete", "pruned"}


def test_default_settings_hold_within_and_are_put_back_after() -> None:
    with all_of_them():
        with default_settings():
            assert torch.get_default_dtype() == torch.float32
            assert torch.is_grad_enabled()
            assert not torch.is_inference_mode_enabled()
            assert not torch.is_autocast_enabled("cpu")
            assert torch.zeros(1).device.type == "cpu"
            assert sklearn.get_config()["transform_output"] == "default"
            assert np.geterr()["invalid"] == "warn"
        assert torch.get_default_dtype() == torch.float64
        assert torch.is_inference_mode_enabled()
        assert torch.is_autocast_enabled("cpu")
        assert torch.get_default_device().type == "meta"
        assert sklearn.get_config()["transform_output"] == "pandas"
        assert np.geterr()["invalid"] == "raise"
