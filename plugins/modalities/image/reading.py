"""Image files: read with care, and where they cannot be, the reason in words, with the package that reads them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from autotransfer.data.folders import open_regular
from autotransfer.errors import DataError, UnreadableExampleError
from autotransfer_plugins.modalities.image.dicom import is_dicom

__all__ = [
    "holds_image",
    "open_image",
    "quiet_pillow",
    "read_file",
    "reason_for",
    "refuse_hostile",
    "size_in_header",
    "upright",
]

_LARGEST_FILE = 2**30  # as many pixels as Pillow allows take less, uncompressed and in 16 bit
# Pillow starts Ghostscript for the one, and calls Windows for the other: a PostScript file is a program.
_PROGRAMS = ("EPS", "WMF")
# Pillow takes those that are TIFF files inside for their thumbnails.
_RAW = frozenset(
    {".3fr", ".arw", ".cr2", ".cr3", ".dng", ".erf", ".iiq", ".kdc", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf"}
    | {".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"}
)
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


@dataclass(frozen=True)
class _Foreign:
    """A format that Pillow alone does not read: its first bytes, and the place of them.

    ``module`` adds it to Pillow, once it is installed.
    """

    at: int
    marks: tuple[bytes, ...]
    advice: str
    module: str | None = None


_FOREIGN = (
    _Foreign(4, tuple(b"ftyp" + brand for brand in _HEIF_BRANDS), "HEIC: pip install pillow-heif", "pillow_heif"),
    _Foreign(4, (b"ftypavif", b"ftypavis"), "AVIF: pip install pillow-avif-plugin", "pillow_avif"),
    _Foreign(0, (b"\xff\x0a", b"\0\0\0\x0cJXL "), "JPEG XL: pip install pillow-jxl-plugin", "pillow_jxl"),
    _Foreign(0, (b"<svg", b"<?xml"), "a drawing, such as SVG: convert it to PNG, with cairosvg for instance"),
    _Foreign(0, (b"%PDF", b"%!PS"), "a document: convert its pages to PNG, with pdf2image for instance"),
    _Foreign(0, (b"\x89HDF",), "HDF5: read it with h5py, and give its arrays"),
)
# Formats that cannot be taken for another one. Others have so weak a mark that any file may pass, or run programs.
_BY_CONTENT = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "HEIF", "JPEG2000", "PPM", "PSD", "ICO", "QOI")
_HEAD = 256
_RAW_ADVICE = "a camera's raw file: develop it to JPEG, PNG or TIFF first, with rawpy for instance"


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Suppress warnings of Pillow and pydicom; this package refuses such files or warns itself.

    Not for threads: it is for the one that starts them.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"(PIL|pydicom)\b")
        yield


def read_file(path: Path) -> bytes:
    """Return the bytes of an image file.

    Raises:
        UnreadableExampleError: It is empty, larger than 1 GB, or of a kind that has to be converted.
        OSError: It cannot be read.
    """
    if path.suffix.lower() in _RAW:
        raise UnreadableExampleError(_RAW_ADVICE)
    with open_regular(path) as file:
        data = file.read(_LARGEST_FILE + 1)
    if not data:
        raise UnreadableExampleError("the file is empty")
    if len(data) > _LARGEST_FILE:
        raise UnreadableExampleError("the file is larger than 1 GB")
    return data


def refuse_hostile(image: Image.Image) -> None:
    """Refuse, before it is decoded, an image that is too large, or that another program would have to draw.

    Raises:
        UnreadableExampleError: It is such an image.
    """
    width, height = image.size
    # Pillow itself only warns between its limit and twice of it.
    if Image.MAX_IMAGE_PIXELS is not None and width * height > Image.MAX_IMAGE_PIXELS:
        raise UnreadableExampleError(f"{width} x {height} pixels are more than PIL.Image.MAX_IMAGE_PIXELS allows")
    if image.format in _PROGRAMS:
        raise UnreadableExampleError(f"{image.format} files are drawings that another program draws: convert it first")


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


def holds_image(path: Path) -> bool:
    """Whether the header of a file is one of an image."""
    if not Image.OPEN.get(_BY_CONTENT[-1]):
        Image.init()
    try:
        with open_regular(path) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Image.open(file, formats=[name for name in _BY_CONTENT if name in Image.OPEN]).close()
    except Image.DecompressionBombError:  # it is one, and refused when its turn comes
        return True
    except Exception:  # Pillow's readers raise nearly every built-in type
        return is_dicom(_start(path))  # these files often have no suffix
    return True


def open_image(data: bytes) -> Image.Image:
    """Open an image, with a package that adds its format to Pillow where it is needed and installed.

    Raises:
        UnidentifiedImageError: It is none, or none that can be read here.
    """
    try:
        return Image.open(BytesIO(data))
    except UnidentifiedImageError:
        foreign = _foreign(data[:_HEAD])
        if foreign is None or foreign.module is None or not _can_read(foreign.module):
            raise
        return Image.open(BytesIO(data))


def reason_for(error: Exception, path: Path | None = None) -> str:
    """Say in a few words why an image cannot be used; ``path`` is its file, if it is one."""
    if isinstance(error, FileNotFoundError):
        return "the file is gone"
    if isinstance(error, PermissionError):
        return "permission denied"
    if isinstance(error, UnidentifiedImageError):
        foreign = None if path is None else _foreign(_start(path))
        return "no image that Pillow can read" + (f", but {foreign.advice}" if foreign else "")
    if isinstance(error, (DataError, OSError)):
        return str(error).rstrip(".") or type(error).__name__
    return f"{type(error).__name__}: {error}".rstrip(".")


def _start(path: Path) -> bytes:
    try:
        with open_regular(path) as file:
            return file.read(_HEAD)
    except (OSError, ValueError):  # a name with a NUL character, too
        return b""


def _foreign(start: bytes) -> _Foreign | None:
    """Return the format of a file that Pillow does not know, by its first bytes."""
    return next((each for each in _FOREIGN if start[each.at :].startswith(each.marks)), None)


@cache
def _can_read(module: str) -> bool:
    """Let Pillow read what an installed package adds to it."""
    try:
        found = import_module(module)
    except ImportError:
        return False
    if register := getattr(found, "register_heif_opener", None):  # the others register by being imported
        register()
    return True
