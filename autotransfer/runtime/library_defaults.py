"""The defaults of torch, NumPy and scikit-learn, whatever global settings the user has changed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch

__all__ = ["default_settings"]

# Defaults of scikit-learn's settings that change results.
_SKLEARN_DEFAULTS = {"transform_output": "default", "assume_finite": False, "enable_metadata_routing": False}


@contextmanager
def default_settings() -> Iterator[None]:
    """Run a block, or a decorated function, with the defaults of the libraries, then restore the user's settings.

    The settings are torch's default type and device, gradients, inference mode and autocast, NumPy's handling of
    floating-point errors, and the output type of scikit-learn's transformers. Deterministic algorithms and numbers of
    threads remain the user's.
    """
    before = torch.get_default_dtype()
    with ExitStack() as stack:
        stack.enter_context(np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"))
        if "sklearn" in sys.modules:  # otherwise its settings are the defaults
            from sklearn import config_context

            stack.enter_context(config_context(**_SKLEARN_DEFAULTS))
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
