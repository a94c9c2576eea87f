"""The global settings of torch, NumPy and scikit-learn are the user's: within ours, their defaults hold."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch

__all__ = ["default_settings"]

# What scikit-learn's settings are before anybody changes them, as far as they change what comes out.
_SKLEARN = {"transform_output": "default", "assume_finite": False, "enable_metadata_routing": False}


@contextmanager
def default_settings() -> Iterator[None]:
    """Run a block, or a function that this decorates, with default settings; those of the user are put back after it.

    These are torch's default type and device, gradients, inference mode and autocast, NumPy's floating-point errors,
    and what scikit-learn's transformers return. Deterministic algorithms and numbers of threads stay as the user wants.
    """
    before = torch.get_default_dtype()
    with ExitStack() as stack:
        stack.enter_context(np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"))
        if "sklearn" in sys.modules:  # nobody has changed the settings of what nobody has imported
            from sklearn import config_context

            stack.enter_context(config_context(**_SKLEARN))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        stack.callback(torch.set_default_dtype, before)
        torch.set_default_dtype(torch.float32)
        yield
