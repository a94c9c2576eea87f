"""Images as a modality. Nothing heavy is imported before it is needed: plugins are listed without it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotransfer.contract.modality import Forms, Item, Modality, ModalityOption, Preview
from autotransfer.contract.specs import BackboneSpec
from autotransfer.errors import ConfigError
from autotransfer.warnings import FitWarning
from autotransfer_plugins.modalities.image.formats import (
    COLOURS,
    GRID,
    MAX_CHANNELS,
    WHOLE_IMAGE_MODES,
    CropMode,
    Preprocessing,
    at_channels,
    at_side,
    channels_of,
    read_side,
)
from autotransfer_plugins.modalities.image.framings import LeftOut, framed, with_framings

if TYPE_CHECKING:
    import numpy as np

    from autotransfer.contract.demo_data import DemoData
    from autotransfer_plugins.modalities.image.export import ImageExport
    from autotransfer_plugins.modalities.image.images import Images

__all__ = ["AUGMENTATIONS", "IMAGE", "OPTIONS", "VIEWS", "WARNINGS", "ImageModality"]

VIEWS = ("center", "flip", "top_left", "bottom_right", "top_right", "bottom_left")
AUGMENTATIONS = ("none", "light", "medium", "strong")
# Images by name: those that cannot be decoded are reported, with the package that reads them, and not passed over.
_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".avif"}
    | {".heic", ".heif", ".jp2", ".j2k", ".tga", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".mpo", ".jxl", ".dcm"}
    | {".npy", ".svg", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf"}
)
WARNINGS = {
    "constant_images": "Images whose values are all equal.",
    "cropped": "The crop removes more than a third of the area of the images, and nothing else was tried.",
    "multiple_frames": "Files with several frames or pages, of which the first is used.",
    "transparent_images": "Transparent images are drawn on another ground than white.",
    "value_range": "Values outside of the value range of the training examples.",
}
# Each framing keeps every image once more, in memory or on the disk.
_MAX_IMAGES_FOR_FRAMINGS = 20_000
_WITH_FOURTH_CHANNEL = 4
_SIDE, _CHANNELS = re.compile(r"(\d{1,4})px"), re.compile(r"(\d{1,2})channels")


def _fourth_channel_warning() -> FitWarning:
    message = (
        "Arrays of four channels are read as four of one kind: of the values of the fourth, fewer than half are wholly "
        "opaque or transparent. Where it is opacity, say --fourth-channel opacity, or "
        "modality_options={'fourth_channel': 'opacity'}."
    )
    return FitWarning(code="input_assumed", message=message, details={"fourth_channel": "channel"})


def low_and_high(given: Any) -> tuple[float, float]:
    """Return the values that are black and white as two numbers.

    Raises:
        ConfigError: The value is no such pair.
    """
    values = () if isinstance(given, str) or not isinstance(given, Iterable) else tuple(given)
    numbers = tuple(float(value) if isinstance(value, Real) else math.nan for value in values)
    if len(numbers) != 2 or not -math.inf < numbers[0] < numbers[1] < math.inf:
        raise ConfigError(f"The value range is two numbers, such as (0, 4095), the lower one first; got {given!r}.")
    return numbers[0], numbers[1]


def parse_low_and_high(text: str) -> Any:
    """Return the two numbers of a text such as ``0,4095``; another text as it is, which ``low_and_high`` refuses."""
    try:
        return tuple(map(float, text.split(",")))
    except ValueError:
        return text


def fourth_channel(given: Any) -> str:
    """Return what the fourth channel is.

    Raises:
        ConfigError: The value is nothing that it can be.
    """
    if given not in ("opacity", "channel"):
        raise ConfigError(f"The fourth channel is 'opacity' or a 'channel' like the others; got {given!r:.40}.")
    return str(given)


OPTIONS = {
    "value_range": ModalityOption(
        help="Values of images that are black and white, such as 0,4095. Useful for 12-bit images in 16-bit files.",
        none="decided by the training images: 0 to 255 for those of 8 bits that exceed 16, 0 to 1 for fractions up to "
        "1, else their least and greatest value",
        metavar="LOW,HIGH",
        parse=parse_low_and_high,
        check=low_and_high,
    ),
    "fourth_channel": ModalityOption(
        help="What the fourth channel of arrays with four is: opacity, or a channel like the others.",
        none="opacity where half of its values, or more, are wholly opaque or transparent",
        metavar="opacity|channel",
        check=fourth_channel,
    ),
}


class ImageModality(Modality):
    """Images: files that Pillow reads, PIL images, arrays and tensors."""

    name = "image"
    noun = "image"
    hub_task = "image-classification"
    suffixes = _SUFFIXES
    accepted = "an array or tensor of images, or a list of paths, PIL images or arrays"
    views = VIEWS
    augmentations = AUGMENTATIONS
    options = OPTIONS
    forms = (
        "NAME@5channels for images of other channels; NAME@128px for those of another side, a multiple of 32; "
        "NAME@squash and NAME@letterbox for whole images; and several of these, NAME@128px@squash"
    )
    remark_code = "value_range"
    warnings = WARNINGS

    def holds(self, file: Path) -> bool:
        """Whether the header of a file is one of an image."""
        from autotransfer_plugins.modalities.image.reading import holds_image
        from autotransfer_plugins.modalities.image.stacks import shape_in_header

        return shape_in_header(file) is not None or holds_image(file)

    def item(self, value: Any) -> Item | None:
        """Return a PIL image as it is, and an array or tensor as an array (H, W) or (H, W, C)."""
        from autotransfer_plugins.modalities.image.arrays import item_of

        return item_of(value)

    def batch(self, value: Any, reading: Mapping[str, Any] | None = None) -> list[Item] | None:
        """Split an array or tensor into its images."""
        from autotransfer_plugins.modalities.image.arrays import batch_of_images, split_images

        return batch_of_images(value) if reading is None else split_images(value, reading.get("channels"))

    def load(
        self,
        items: Sequence[Item],
        names: Sequence[str],
        formats: Sequence[Preprocessing],
        *,
        options: Mapping[str, Any],
        reading: Mapping[str, Any] | None = None,
        exact: bool = True,
        strict: bool = False,
        memory_limit: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Images:
        """Decode every image once, to squares as large as the largest backbone needs."""
        from autotransfer.data.examples import Examples
        from autotransfer_plugins.modalities.image.decode import decode
        from autotransfer_plugins.modalities.image.decoding import Decoding

        sides: dict[CropMode, int] = {}
        for how in formats:
            sides[how.crop_mode] = max(how.resized, sides.get(how.crop_mode, 0))
        channels = next((how.channels for how in formats if how.channels not in COLOURS), max(COLOURS))
        exact = exact and reading is not None
        if exact and reading is not None:
            sides = dict.fromkeys(sides, reading["side"])
        images = decode(
            Examples(items=items, names=tuple(names)),
            sides,
            decoding=None if reading is None else Decoding.from_json(reading),
            value_range=options.get("value_range"),
            channels=channels,
            exact=exact,
            strict=strict,
            memory_limit=memory_limit,
            progress=progress,
        )
        first = items[0] if isinstance(items, (list, tuple)) else None
        is_array = not isinstance(first, Path) or first.suffix.lower() == ".npy"  # pages are channels in any case
        if reading is None and channels == _WITH_FOURTH_CHANNEL and "fourth_channel" not in options and is_array:
            return replace(images, warnings=(*images.warnings, _fourth_channel_warning()))
        return images

    def decoded(self, item: Item) -> Item:
        """Return the first frame of a file as a PIL image, or the array that it holds."""
        from autotransfer_plugins.modalities.image.stacks import decoded_file

        return decoded_file(item) if isinstance(item, Path) else item

    def check(self, items: Sequence[Item], names: Sequence[str], reading: Mapping[str, Any]) -> None:
        """Decode every image to a single pixel."""
        from autotransfer.data.examples import Examples
        from autotransfer_plugins.modalities.image.decode import decode
        from autotransfer_plugins.modalities.image.decoding import Decoding

        decode(
            Examples(items=items, names=tuple(names)), {"center": 1}, decoding=Decoding.from_json(reading), strict=True
        )

    def read_reading(self, reading: Any) -> Mapping[str, Any]:
        """Return how a saved model decodes images: the side of their squares, and what their values mean."""
        from autotransfer_plugins.modalities.image.decoding import Decoding

        return {"side": read_side(super().read_reading(reading).get("side")), **Decoding.from_json(reading).to_json()}

    def read_format(self, about: Any, files: Mapping[str, bytes] | None = None) -> Preprocessing:
        """Return how a saved model wants its images."""
        return Preprocessing.from_json(about)

    def export_inputs(self, formats: Sequence[Preprocessing], reading: Mapping[str, Any]) -> ImageExport:
        """Return how decoded pixels of any size enter an exported model."""
        from autotransfer_plugins.modalities.image.decoding import Decoding
        from autotransfer_plugins.modalities.image.export import ImageExport

        return ImageExport(formats, reading["side"], Decoding.from_json(reading))

    def fitted(
        self, specs: Sequence[BackboneSpec], items: Sequence[Item], options: Mapping[str, Any]
    ) -> list[BackboneSpec]:
        """Return each backbone for the channels of the images, ``NAME@5channels``; those for grey and colours as is."""
        from autotransfer_plugins.modalities.image.stacks import count_channels

        count = count_channels(items, options.get("fourth_channel"))
        suited = COLOURS if count in COLOURS else (count,)
        return [spec if channels_of(spec) in suited else at_channels(spec, count) for spec in specs]

    def variants(self, specs: Sequence[BackboneSpec], items: Sequence[Item]) -> list[Forms]:
        """Return each backbone at its own side and at a smaller one, and with framings that show the whole images."""
        from statistics import median

        from autotransfer_plugins.modalities.image.decode import some_sizes
        from autotransfer_plugins.modalities.image.resolutions import resolutions

        sizes = some_sizes(items)
        typical = median(map(min, sizes)) if sizes else None
        left_out = LeftOut.of(sizes if len(items) <= _MAX_IMAGES_FOR_FRAMINGS else ())
        return [with_framings(forms, left_out) for forms in resolutions(specs, typical)]

    def check_variants(self, spec: BackboneSpec, how: Preprocessing) -> Sequence[BackboneSpec]:
        """Return a backbone for larger images, which none is too deep for."""
        larger = at_side(replace(spec, preprocessing=how), GRID * (max(how.size) // GRID + 1))
        return () if larger is None else (larger,)

    def variant(self, spec: BackboneSpec, form: str) -> BackboneSpec | None:
        """Return a backbone for other channels (``NAME@5channels``), another side (``NAME@128px``), or framing."""
        if form in WHOLE_IMAGE_MODES:
            return framed(spec, form)
        if (channels := _CHANNELS.fullmatch(form)) is not None:
            if not 0 < (count := int(channels[1])) <= MAX_CHANNELS:
                raise ConfigError(
                    f"Images have 1 to {MAX_CHANNELS} channels; got {count} in {f'{spec.name}@{form}'!r}."
                )
            return at_channels(spec, count)
        if (side := _SIDE.fullmatch(form)) is None:
            return None
        if (found := at_side(spec, int(side[1]))) is None:
            raise ConfigError(
                f"The backbone {spec.name!r} does not take images of the size in {f'{spec.name}@{form}'!r}: give a "
                "multiple of 32, or leave the size out; not every architecture takes another size than its own."
            )
        return found

    def preview(self, item: Item, reading: Mapping[str, Any]) -> Preview:
        """Return a thumbnail of the whole image, upright, with its values as they are read."""
        from autotransfer_plugins.modalities.image.preview import thumbnail

        return thumbnail(item, reading)

    def overlay(self, item: Item, reading: Mapping[str, Any], how: Preprocessing, heat: np.ndarray) -> Preview:
        """Return a thumbnail with a heatmap over the part of the image that a backbone sees."""
        from autotransfer_plugins.modalities.image.preview import heated

        return heated(item, reading, how, heat)

    def demo_data(self) -> DemoData:
        """Return handwritten digits."""
        from autotransfer_plugins.modalities.image.demo import digits

        return digits()


IMAGE = ImageModality()
