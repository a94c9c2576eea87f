"""Image files: read with care, and where they cannot be, the reason in words, with the package that reads them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from autotransfer.data.folders import open_regular
from autotransfer.errors import DataError, UnreadableImageError

__all__ = ["quiet_pillow", "read_file", "reason_for", "refuse_hostile", "size_in_header", "upright"]

_LARGEST_FILE = 2**30  # as many pixels as Pillow allows take less, uncompressed and in 16 bit
# Pillow starts Ghostscript for the one, and calls Windows for the other: a PostScript file is a program.
_PROGRAMS = ("EPS", "WMF")
# Pillow takes those that are TIFF files inside for their thumbnails.
_RAW = frozenset(
    {".3fr", ".arw", ".cr2", ".cr3", ".dng", ".erf", ".iiq", ".kdc", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf"}
    | {".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"}
)
# What files hold, where, and what to do with them.
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_FOREIGN: tuple[tuple[int, tuple[bytes, ...], str], ...] = (
    (4, tuple(b"ftyp" + brand for brand in _HEIF_BRANDS), "a HEIC file: pip install pillow-heif, which reads it"),
    (4, (b"ftypavif", b"ftypavis"), "an AVIF file: pip install pillow-avif-plugin, which reads it"),
    (0, (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"), "a JPEG XL file: pip install pillow-jxl-plugin, which reads it"),
    (128, (b"DICM",), "a DICOM file: read it with pydicom, and give its pixel_array or save it as a 16-bit PNG"),
    (0, (b"<svg", b"<?xml"), "a drawing, such as SVG: convert it to PNG first, with cairosvg for instance"),
    (0, (b"%PDF", b"%!PS"), "a document: convert its pages to PNG first, with pdf2image for instance"),
    (0, (b"\x93NUMPY",), "a NumPy file: give the array that numpy.load returns"),
    (0, (b"\x89HDF",), "an HDF5 file: read it with h5py, and give its arrays"),
)
_RAW_ADVICE = "a camera's raw file: develop it to JPEG, PNG or TIFF first, with rawpy for instance"


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Let no warning of Pillow through: what it warns of is refused, or told by us.

    Not for threads: it is for the one that starts them.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\b")
        yield


def read_file(path: Path) -> bytes:
    """Return the bytes of an image file.

    Raises:
        UnreadableImageError: It is empty, larger than 1 GB, or of a kind that has to be converted.
        OSError: It cannot be read.
    """
    if path.suffix.lower() in _RAW:
        raise UnreadableImageError(_RAW_ADVICE)
    with open_regular(path) as file:
        data = file.read(_LARGEST_FILE + 1)
    if not data:
        raise UnreadableImageError("the file is empty")
    if len(data) > _LARGEST_FILE:
        raise UnreadableImageError("the file is larger than 1 GB")
    return data


def refuse_hostile(image: Image.Image) -> None:
    """Refuse, before it is decoded, an image that is too large, or that another program would have to draw.

    Raises:
        UnreadableImageError: It is such an image.
    """
    width, height = image.size
    # Pillow itself only warns between its limit and twice of it.
    if Image.MAX_IMAGE_PIXELS is not None and width * height > Image.MAX_IMAGE_PIXELS:
        raise UnreadableImageError(f"{width} x {height} pixels are more than PIL.Image.MAX_IMAGE_PIXELS allows")
    if image.format in _PROGRAMS:
        raise UnreadableImageError(f"{image.format} files are drawings that another program draws: convert it first")


def upright(image: Image.Image) -> Image.Image:
    """Return an image as its EXIF data say that it is to be seen."""
    image.load()
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # damaged EXIF data raise nearly anything, and the pixels are good
        return image


def size_in_header(path: Path) -> tuple[int, int] | None:
    """Return the width and height of a file in pixels; None where it cannot be read: decoding says why."""
    try:
        with open_regular(path) as file, Image.open(file) as image:
            refuse_hostile(image)
            size: tuple[int, int] = image.size
            return size
    except Exception:  # Pillow's readers raise nearly every built-in type on damaged files
        return None


def reason_for(error: Exception, path: Path | None = None) -> str:
    """Say in a few words why an image cannot be used; ``path`` is its file, if it is one."""
    if isinstance(error, FileNotFoundError):
        return "the file is gone"
    if isinstance(error, PermissionError):
        return "permission denied"
    if isinstance(error, UnidentifiedImageError):
        return (path and _foreign(path)) or "no image that Pillow can read"
    if isinstance(error, (DataError, OSError)):
        return str(error).rstrip(".") or type(error).__name__
    return f"{type(error).__name__}: {error}".rstrip(".")


def _foreign(path: Path) -> str | None:
    """Say what a file is that Pillow cannot read, and what reads it."""
    try:
        with open_regular(path) as file:
            start = file.read(256)
    except OSError:
        return None
    for offset, marks, advice in _FOREIGN:
        if start[offset:].lstrip().startswith(marks) or start[offset:].startswith(marks):
            return advice
    return None
