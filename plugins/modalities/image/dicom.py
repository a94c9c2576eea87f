"""DICOM files, where the package pydicom is installed: values as they were measured, dark where little was."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from autotransfer.errors import UnreadableExampleError

__all__ = ["DicomImage", "is_dicom", "read_dicom"]

_MARK, _MARK_AT = b"DICM", 128


@dataclass(frozen=True, kw_only=True)
class DicomImage:
    """The image of a DICOM file.

    Attributes:
        values: (H, W) or (H, W, 3): rescaled as the file says, such as to Hounsfield units; bright where values are
            great, also where the file says that they are drawn the other way round.
        several: Whether the file holds further frames.
    """

    values: np.ndarray
    several: bool


def is_dicom(start: bytes) -> bool:
    """Whether a file begins as DICOM does."""
    return start[_MARK_AT : _MARK_AT + len(_MARK)] == _MARK


def read_dicom(data: bytes) -> DicomImage:
    """Return the image of a file, the first frame of several.

    Raises:
        UnreadableExampleError: pydicom is not installed, or the file holds no image, or one that pydicom cannot read.
    """
    try:
        import pydicom
    except ImportError:
        raise UnreadableExampleError(
            'a DICOM file, which the package pydicom reads: pip install "autotransfer[dicom]"'
        ) from None
    from pydicom.pixels.processing import apply_color_lut
    from pydicom.pixels.utils import pixel_array

    file = pydicom.dcmread(BytesIO(data))
    if "PixelData" not in file:
        raise UnreadableExampleError("a DICOM file without an image")
    pixels, limit = int(file.Rows) * int(file.Columns), Image.MAX_IMAGE_PIXELS
    if limit is not None and pixels > limit:
        raise UnreadableExampleError(f"{file.Columns} x {file.Rows} pixels are more than Pillow allows")
    frames = int(file.get("NumberOfFrames") or 1)
    values = pixel_array(file, index=0)  # colours come as red, green and blue
    if file.get("PhotometricInterpretation") == "PALETTE COLOR":
        values = apply_color_lut(values, file)
        return DicomImage(
            values=values if values.dtype == np.uint8 else (values >> 8).astype(np.uint8), several=frames > 1
        )
    return DicomImage(values=_measured(file, values), several=frames > 1)


def _measured(file: Any, values: np.ndarray) -> np.ndarray:
    """Return values as they were measured: in their units, and great where much was."""
    if values.ndim > 2 or int(file.get("SamplesPerPixel") or 1) > 1:
        return values
    if file.get("PhotometricInterpretation") == "MONOCHROME1":
        values = _ends(file) - values.astype(np.int64)
    slope, intercept = float(file.get("RescaleSlope") or 1), float(file.get("RescaleIntercept") or 0)
    if (slope, intercept) != (1, 0):
        is_whole = slope.is_integer() and intercept.is_integer()
        values = values * np.int64(slope) + np.int64(intercept) if is_whole else values * slope + intercept
    if values.dtype.kind == "f":
        return values.astype(np.float32)
    low, high = int(values.min()), int(values.max())
    return values.astype(np.uint16 if low >= 0 and high < 2**16 else np.int32)


def _ends(file: Any) -> int:
    """Return the sum of the least and the greatest value that the pixels of a file may have."""
    return -1 if int(file.get("PixelRepresentation") or 0) else 2 ** int(file.BitsStored) - 1
