"""Detection and conversion of arrays and tensors, without importing torch."""

from __future__ import annotations

from typing import Any

import numpy as np

from autotransfer.errors import DataError

__all__ = ["is_array", "is_tensor", "to_numpy"]


def is_array(value: Any) -> bool:
    """Whether ``value`` is a tensor, or an array that holds no objects along a single axis: those may be paths."""
    return is_tensor(value) or (isinstance(value, np.ndarray) and (value.ndim != 1 or value.dtype.kind in "buif"))


def is_tensor(value: Any) -> bool:
    """Whether ``value`` is a torch tensor, found out without importing torch."""
    return hasattr(value, "detach") and hasattr(value, "numpy")


def to_numpy(value: Any) -> np.ndarray:
    """Return a tensor, on any device and of any precision, or anything else that NumPy takes, as an array.

    Raises:
        DataError: Values of a masked array are hidden.
    """
    if is_tensor(value):
        value = value.detach().cpu()
        # NumPy has no bfloat16; what has more than 16 bit keeps all of them.
        return np.asarray(value.float() if value.is_floating_point() and value.element_size() < 4 else value)
    if isinstance(value, np.ma.MaskedArray) and np.ma.getmaskarray(value).any():
        raise DataError("A masked array hides some of its values: say with .filled(VALUE) what stands in their place.")
    return np.asarray(value)
