"""Decoding: every image is read once and decoded once, to squares that every backbone can take its input from."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from autotransfer.contract.specs import CropMode
from autotransfer.data.arrays import to_storable
from autotransfer.data.examples import Examples, Images, Item, Skipped
from autotransfer.data.folders import open_regular
from autotransfer.errors import DataError, UnreadableImageError
from autotransfer.threads import usable_cores

__all__ = ["decode", "typical_side"]

_SMALLEST = 8
# A JPEG is decoded at a reduced scale only down to this multiple of the wanted side: the resize hides the rest.
_DRAFT_GAP = 2
# Longer than this, an image is resized inside the crop only: the whole of it could be gigabytes.
_PANORAMA = 4
_PEEKED, _MEASURED = 16, 64
_LARGEST_FILE = 2**30  # as many pixels as Pillow allows take less, uncompressed and in 16 bit
# Pillow starts Ghostscript for the one, and calls Windows for the other: a PostScript file is a program.
_PROGRAMS = ("EPS", "WMF")


@dataclass(frozen=True)
class _Decoded:
    squares: dict[str, np.ndarray]
    digest: str


def decode(
    examples: Examples,
    sides: Mapping[CropMode, int],
    *,
    exact: bool = False,
    strict: bool = False,
    memory_limit: int | None = None,
    scratch: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Images:
    """Decode examples to squares, on all usable cores.

    ``"center"`` resizes the shorter side and crops the centre, ``"squash"`` resizes both sides; bicubic, pixel for
    pixel as torchvision and timm do it. All squares have one side: the largest that is asked for, unless every image
    is smaller than that. Images are turned upright by their EXIF data, transparent ones are laid on white, 16-bit
    ones scaled to 8, and of animated ones the first frame is taken.

    Args:
        examples: What to decode.
        sides: Side in pixels that each crop mode needs.
        exact: Store the sides asked for, however small the images: a model sees what its training saw.
        strict: Raise on the first unreadable image instead of leaving it out.
        memory_limit: Bytes above which pixels are kept in temporary files; None keeps them in memory.
        scratch: Folder of these files; None means the system's.
        progress: Called with the number of images done and the number of all.

    Raises:
        UnreadableImageError: An image cannot be decoded, and ``strict`` is set.
        DataError: No image can be decoded, or the disk is too small for them.
    """
    total = len(examples)
    if not total:
        raise DataError("There are no images.")
    lazy = not isinstance(examples.items, (list, tuple))
    held = _peek(examples.items) if lazy else {}
    small = held.values() if lazy else examples.items
    side = max(sides.values()) if exact else _stored_side(small, sides, lazy=lazy)
    pixels = _allocate(list(sides), (total, side, side, 3), memory_limit, scratch)
    kept: list[int] = []
    digests: list[str] = []
    skipped: list[Skipped] = []
    with closing(_results(examples.items, held, list(sides), side)) as results:
        for i, result in enumerate(results):
            if isinstance(result, _Decoded):
                for mode, square in result.squares.items():
                    pixels[mode][len(kept)] = square
                kept.append(i)
                digests.append(result.digest)
            elif strict:
                raise UnreadableImageError(f"{examples.names[i]} cannot be used: {result}.")
            else:
                skipped.append(Skipped(name=examples.names[i], reason=result))
            if progress:
                progress(i + 1, total)
    if not kept:
        first = skipped[0]
        raise DataError(f"None of the {total} images can be decoded; the first, {first.name}: {first.reason}.")
    return Images(
        pixels={mode: array[: len(kept)] for mode, array in pixels.items()},
        digests=tuple(digests),
        kept=np.array(kept, dtype=np.int64),
        skipped=tuple(skipped),
        decoded=len(kept),
        side=side,
    )


def _results(
    items: Sequence[Item], held: dict[int, Item], modes: Sequence[CropMode], side: int
) -> Generator[_Decoded | str, None, None]:
    """Yield each decoded image, or the reason why it is none, in order; few are under way at any time."""
    workers = usable_cores()
    waiting: deque[Future[_Decoded | str]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for i in range(len(items)):
                # Fetched here, one by one: neither data sets nor lazily opened PIL images promise to be thread-safe.
                waiting.append(pool.submit(_attempt, _fetch(items, held, i), modes, side))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _fetch(items: Sequence[Item], held: dict[int, Item], i: int) -> Item | Exception:
    try:
        item = held.pop(i) if i in held else items[i]
        if isinstance(item, Image.Image):
            _refuse_hostile(item)
            item.load()
        return item
    except Exception as error:  # a data set is the user's code: anything can come
        return error


def _attempt(item: Item | Exception, modes: Sequence[CropMode], side: int) -> _Decoded | str:
    """Decode one image, or say why it cannot be."""
    try:
        if isinstance(item, Exception):
            raise item
        return _decode_one(item, modes, side)
    except FileNotFoundError:
        return "the file is gone"
    except PermissionError:
        return "permission denied"
    except UnidentifiedImageError:
        return "no image that Pillow can read"
    except (DataError, OSError) as error:
        return str(error).rstrip(".") or type(error).__name__
    except Exception as error:  # Pillow's readers raise nearly every built-in type on damaged files
        return f"{type(error).__name__}: {error}".rstrip(".")


def _decode_one(item: Item, modes: Sequence[CropMode], side: int) -> _Decoded:
    """Decode one image once, and make all squares from it."""
    if isinstance(item, Path):
        data = _read(item)
        digest = blake2b(data, digest_size=16)
        with Image.open(BytesIO(data)) as opened:
            _refuse_hostile(opened)
            opened.draft("RGB", (_DRAFT_GAP * side, _DRAFT_GAP * side))
            image = _to_rgb(_upright(opened))
    elif isinstance(item, Image.Image):
        image = _to_rgb(_upright(item))
        digest = blake2b(f"{image.size}".encode() + image.tobytes(), digest_size=16)
    else:
        digest = blake2b(f"{item.shape} {item.dtype}".encode() + item.tobytes(), digest_size=16)
        image = _to_rgb(_from_array(item))
    return _Decoded({mode: np.asarray(_square(image, mode, side)) for mode in modes}, digest.hexdigest())


def _read(path: Path) -> bytes:
    with open_regular(path) as file:
        data = file.read(_LARGEST_FILE + 1)
    if not data:
        raise UnreadableImageError("the file is empty")
    if len(data) > _LARGEST_FILE:
        raise UnreadableImageError("the file is larger than 1 GB")
    return data


def _refuse_hostile(image: Image.Image) -> None:
    """Refuse, before it is decoded, an image that is too large, or that another program would have to draw."""
    width, height = image.size
    # Pillow itself only warns between its limit and twice of it.
    if Image.MAX_IMAGE_PIXELS is not None and width * height > Image.MAX_IMAGE_PIXELS:
        raise UnreadableImageError(f"{width} x {height} pixels are more than PIL.Image.MAX_IMAGE_PIXELS allows")
    if image.format in _PROGRAMS:
        raise UnreadableImageError(f"{image.format} files are drawings that another program draws: convert it first")


def _upright(image: Image.Image) -> Image.Image:
    image.load()
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # damaged EXIF data raise nearly anything, and the pixels are good
        return image


def _from_array(array: np.ndarray) -> Image.Image:
    """Turn (H, W) or (H, W, C) of any type into an 8-bit image."""
    (array,) = to_storable([array])
    if array.dtype == np.uint16:
        array = _scaled(array, 1 / 257)
    return Image.fromarray(array[..., 0] if array.shape[2:] == (1,) else array)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F" or image.mode.startswith("I"):
        return Image.fromarray(_eight_bit(image)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _eight_bit(image: Image.Image) -> np.ndarray:
    """Scale the modes with more than 8 bits: 16-bit integers, 32-bit integers that hold 8 or 16 bits, and floats."""
    values = np.asarray(image)
    high = values.max()
    if image.mode == "F":
        if not np.isfinite(values).all():
            raise UnreadableImageError("it holds NaN or infinity")
        return _scaled(values, 255 if high <= 1 else 1)
    return _scaled(values, 1 / 257 if image.mode.startswith("I;16") or high > 255 else 1)


def _scaled(values: np.ndarray, factor: float) -> np.ndarray:
    return np.clip(np.rint(values * factor), 0, 255).astype(np.uint8)


def _square(image: Image.Image, mode: CropMode, side: int) -> Image.Image:
    """Resize and crop as torchvision's ``Resize(side)`` and ``CenterCrop(side)`` do, or squash both sides."""
    width, height = image.size
    if mode == "squash":
        return image.resize((side, side), Image.Resampling.BICUBIC)
    short = min(width, height)
    wide, high = (int(side * length / short) for length in (width, height))
    left, top = round((wide - side) / 2), round((high - side) / 2)
    if max(wide, high) > _PANORAMA * side:
        x, y = width / wide, height / high
        box = (left * x, top * y, (left + side) * x, (top + side) * y)
        return image.resize((side, side), Image.Resampling.BICUBIC, box=box)
    return image.resize((wide, high), Image.Resampling.BICUBIC).crop((left, top, left + side, top + side))


def _peek(items: Sequence[Item]) -> dict[int, Item]:
    """Fetch a few items of a lazy sequence, to see how large its images are; they are not fetched again."""
    held: dict[int, Item] = {}
    for i in dict.fromkeys(np.linspace(0, len(items) - 1, _PEEKED).astype(int).tolist()):
        try:
            held[i] = items[i]
        except Exception:  # it comes again, and is reported, when its turn comes
            continue
    return held


def _stored_side(items: Iterable[Item], sides: Mapping[CropMode, int], *, lazy: bool) -> int:
    """Return the side to store: what is asked for, or the largest image's where all are smaller.

    Reads headers only, and no more of them than it takes to see one image that is large enough. A few items of a lazy
    sequence speak for the rest only if all have one size.
    """
    found: dict[CropMode, int] = dict.fromkeys(sides, 0)
    sizes = set()
    for size in map(_size_of, items):
        if size is None:
            continue
        sizes.add(size)
        found = {mode: max(least, min(size) if mode == "center" else max(size)) for mode, least in found.items()}
        if all(found[mode] >= side for mode, side in sides.items()):
            break
    if not sizes or (lazy and len(sizes) > 1):
        found = dict(sides)
    return max(_SMALLEST, *(min(side, found[mode]) for mode, side in sides.items()))


def typical_side(items: Sequence[Item]) -> float | None:
    """Return the median of the images' shorter sides in pixels, from the headers of some; None for lazy sequences."""
    if not isinstance(items, (list, tuple)):
        return None  # to ask it for an item may decode it
    some = dict.fromkeys(np.linspace(0, len(items) - 1, _MEASURED).astype(int).tolist())
    sides = [min(size) for size in (_size_of(items[i]) for i in some) if size is not None]
    return median(sides) if sides else None


def _size_of(item: Item) -> tuple[int, int] | None:
    """Return width and height, from the header of a file; None where it has none to read."""
    if isinstance(item, np.ndarray):
        return item.shape[1], item.shape[0]
    if isinstance(item, Image.Image):
        return item.size
    try:
        with open_regular(item) as file, Image.open(file) as image:
            _refuse_hostile(image)
            size: tuple[int, int] = image.size
            return size
    except Exception:  # unreadable: said why when it is decoded
        return None


def _allocate(
    modes: Sequence[CropMode], shape: tuple[int, int, int, int], memory_limit: int | None, scratch: Path | None
) -> dict[str, np.ndarray]:
    """Return an array for each mode, in memory or in temporary files that go away with it."""
    needed = math.prod(shape) * len(modes)
    if memory_limit is None or needed <= memory_limit:
        return {mode: np.empty(shape, dtype=np.uint8) for mode in modes}
    folder = scratch or Path(tempfile.gettempdir())
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < needed:  # a full disk kills the process when a mapped page is written, so look before
        raise DataError(f"Decoded images need {needed / 1e9:.1f} GB in {folder}; {free / 1e9:.1f} GB are free.")
    pixels: dict[str, np.ndarray] = {}
    for mode in modes:
        with tempfile.TemporaryFile(dir=folder) as file:  # unlinked; the mapping keeps it alive
            pixels[mode] = np.memmap(file, dtype=np.uint8, mode="w+", shape=shape)
    return pixels
