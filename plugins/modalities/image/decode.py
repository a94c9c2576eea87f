"""Decoding: every image is read once and decoded once, to squares that every backbone can take its input from."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from autotransfer.contract.modality import Item, Skipped
from autotransfer.data.examples import Examples
from autotransfer.errors import DataError, UnreadableExampleError
from autotransfer.runtime.threads import usable_cores
from autotransfer.warnings import FitWarning
from autotransfer_plugins.modalities.image.decoding import Decoding
from autotransfer_plugins.modalities.image.formats import CropMode
from autotransfer_plugins.modalities.image.framings import LeftOut
from autotransfer_plugins.modalities.image.images import Images
from autotransfer_plugins.modalities.image.reading import quiet_pillow, reason_for, refuse_hostile, size_in_header
from autotransfer_plugins.modalities.image.single import Decoded, Plan, decode_one
from autotransfer_plugins.modalities.image.stacks import shape_in_header
from autotransfer_plugins.modalities.image.store import SquareStore
from autotransfer_plugins.modalities.image.survey import Survey, remark_on
from autotransfer_plugins.modalities.image.value_range import Range

__all__ = ["decode", "size_of_item", "some_sizes"]

_SMALLEST = 8
_PEEKED, _MEASURED = 16, 64


def decode(
    examples: Examples,
    sides: Mapping[CropMode, int],
    *,
    decoding: Decoding | None = None,
    value_range: Range | None = None,
    channels: int = 3,
    exact: bool = False,
    strict: bool = False,
    memory_limit: int | None = None,
    scratch: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Images:
    """Decode images to squares, on all usable cores.

    ``"center"`` resizes the shorter side and crops the centre, ``"squash"`` resizes both sides; bicubic, pixel for
    pixel as torchvision and timm do it. ``"letterbox"`` resizes the longer side and pads. All squares have one side:
    the largest that is asked for, unless every image is smaller than that. Images are turned upright by their EXIF
    data, and of several frames the first is taken.

    Which values are black and white, and what transparent images are laid on, is decided once, over all examples: see
    ``value_range`` and ``background``. Images that are decoded later take the same decision.

    Args:
        examples: What to decode: paths, PIL images and arrays.
        sides: Side in pixels that each crop mode needs.
        decoding: What was decided for other examples; None decides over these.
        value_range: The values that are black and white; None decides that, too.
        channels: Number of channels of the images; 3 for grey images and for those with colours. A decision that is
            given says it, too.
        exact: Store the sides asked for, however small the images: a model sees what its training saw.
        strict: Raise on the first unreadable image instead of leaving it out.
        memory_limit: Bytes above which pixels are kept in temporary files; None keeps them in memory.
        scratch: Folder of these files; None means the system's.
        progress: Called with the number of images done and the number of all.

    Raises:
        UnreadableExampleError: An image cannot be decoded, and ``strict`` is set.
        DataError: No image can be decoded, or the disk is too small for them.
    """
    if not len(examples):
        raise DataError("There are no images.")
    with quiet_pillow():
        if decoding is not None and decoding.channel_ranges:
            channels = len(decoding.channel_ranges)
        lazy = not isinstance(examples.items, (list, tuple))
        held = _peek(examples.items) if lazy else {}
        small = held.values() if lazy else examples.items
        side = max(sides.values()) if exact else _stored_side(small, sides, lazy=lazy)
        survey = Survey(given=value_range)
        store = SquareStore(list(sides), len(examples), side, memory_limit, scratch, channels)

        def plan() -> Plan:
            doubted = 0 if decoding else survey.doubted
            return Plan(modes=list(sides), side=side, decoding=decoding, doubted=doubted, channels=channels)

        return _collect(examples, held, plan, survey, store, strict, progress)


@dataclass
class _Decoded:
    """What decoding has found, by position among the examples.

    Attributes:
        kept: Positions of the images.
        digests: Their digests.
        skipped: What could not be decoded.
        remarks: What is said of single images, by position.
    """

    kept: list[int] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    remarks: dict[int, str] = field(default_factory=dict)


def _collect(
    examples: Examples,
    held: dict[int, Item],
    plan: Callable[[], Plan],
    survey: Survey,
    store: SquareStore,
    strict: bool,
    progress: Callable[[int, int], None] | None,
) -> Images:
    """Decode every image, and decide what is undecided when all have been seen."""
    decoding, total, found = plan().decoding, len(examples), _Decoded()
    with closing(_results(examples.items, held, plan)) as results:
        for i, result in enumerate(results):
            if isinstance(result, Decoded):
                store.put(len(found.kept), result)
                if decoding is None:
                    survey.add(len(found.kept), result)
                elif remark := remark_on(result, decoding):
                    found.remarks[i] = remark
                found.kept.append(i)
                found.digests.append(result.digest)
            elif strict:
                raise UnreadableExampleError(f"{examples.names[i]} cannot be used: {result}.")
            else:
                found.skipped.append(Skipped(name=examples.names[i], reason=result))
            if progress:
                progress(i + 1, total)
    if not found.kept:
        first = found.skipped[0]
        raise DataError(f"None of the {total} images can be decoded; the first, {first.name}: {first.reason}.")
    pixels = {mode: array[: len(found.kept)] for mode, array in store.pixels.items()}
    if decoding is not None:
        return _images(found, pixels, decoding)
    decoding, warnings = _decide(survey, store, pixels, [examples.names[i] for i in found.kept])
    return _images(found, pixels, decoding, warnings, LeftOut.of(survey.sizes))


def _images(
    found: _Decoded,
    pixels: Mapping[CropMode, np.ndarray],
    decoding: Decoding,
    warnings: tuple[FitWarning, ...] = (),
    left_out: LeftOut | None = None,
) -> Images:
    return Images(
        arrays={str(mode): squares for mode, squares in pixels.items()},
        digests=tuple(found.digests),
        kept=np.array(found.kept, dtype=np.int64),
        skipped=tuple(found.skipped),
        decoded=len(found.kept),
        side=next(iter(pixels.values())).shape[1],
        decoding=decoding,
        warnings=warnings,
        remarks=found.remarks,
        left_out=left_out or LeftOut(shares=()),
    )


def _decide(
    survey: Survey, store: SquareStore, pixels: Mapping[CropMode, np.ndarray], names: Sequence[str]
) -> tuple[Decoding, tuple[FitWarning, ...]]:
    """Decide how the images are read, now that all have been seen; return the decision and its warnings."""
    decided = survey.decide()
    store.settle(decided)
    return decided, survey.warnings(decided, next(iter(pixels.values())), sorted(store.constant), names)


def _results(
    items: Sequence[Item], held: dict[int, Item], plan: Callable[[], Plan]
) -> Generator[Decoded | str, None, None]:
    """Yield each decoded image, or the reason why it is none, in order; few are under way at any time."""
    workers = usable_cores()
    waiting: deque[Future[Decoded | str]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for i in range(len(items)):
                # Fetched here, one by one: neither data sets nor lazily opened PIL images promise to be thread-safe.
                waiting.append(pool.submit(_attempt, _fetch(items, held, i), plan()))
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
            refuse_hostile(item)
            item.load()
        return item
    except Exception as error:  # a data set is the user's code: anything can come
        return error


def _attempt(item: Item | Exception, plan: Plan) -> Decoded | str:
    """Decode one image, or say why it cannot be."""
    try:
        if isinstance(item, Exception):
            raise item
        return decode_one(item, plan)
    except Exception as error:  # Pillow's readers raise nearly every built-in type on damaged files
        return reason_for(error, item if isinstance(item, Path) else None)


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
    for size in map(size_of_item, items):
        if size is None:
            continue
        sizes.add(size)
        found = {mode: max(least, min(size) if mode == "center" else max(size)) for mode, least in found.items()}
        if all(found[mode] >= side for mode, side in sides.items()):
            break
    if not sizes or (lazy and len(sizes) > 1):
        found = dict(sides)
    return max(_SMALLEST, *(min(side, found[mode]) for mode, side in sides.items()))


def some_sizes(items: Sequence[Item]) -> list[tuple[int, int]]:
    """Return width and height in pixels of some images, from their headers; nothing for lazy sequences."""
    if not isinstance(items, (list, tuple)):
        return []  # to ask it for an item may decode it
    some = dict.fromkeys(np.linspace(0, len(items) - 1, _MEASURED).astype(int).tolist())
    with quiet_pillow():
        return [size for size in (size_of_item(items[i]) for i in some) if size is not None]


def size_of_item(item: Item) -> tuple[int, int] | None:
    """Return width and height in pixels, from the header of a file; None where it has none to read."""
    if isinstance(item, np.ndarray):
        return item.shape[1], item.shape[0]
    if isinstance(item, Image.Image):
        return item.size
    if item.suffix.lower() == ".npy":
        return None if (shape := shape_in_header(item)) is None else (shape[1], shape[0])
    return size_in_header(item)
