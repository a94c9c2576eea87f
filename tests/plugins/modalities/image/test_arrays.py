"""An array to predict on is read as the training images tell, and one that cannot be N images is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from autotransfer.data.sources import find_examples
from autotransfer.errors import DataError
from autotransfer_plugins.modalities.image.arrays import split_images

GREY, COLOURS = 1, 3


def shapes(array: object, channels: int | None) -> list[tuple[int, ...]]:
    return [item.shape for item in find_examples(array, reading={"channels": channels}).items]  # type: ignore[union-attr]


@pytest.mark.parametrize("channels", [GREY, COLOURS, None])
@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((5, 64, 60), [(64, 60)] * 5),
        ((1, 64, 60), [(64, 60)]),
        ((64, 60, 1), [(64, 60, 1)]),
        ((64, 60, 3), [(64, 60, 3)]),
        ((64, 60, 4), [(64, 60, 4)]),
        ((2, 64, 60, 3), [(64, 60, 3)] * 2),
        ((2, 3, 64, 60), [(64, 60, 3)] * 2),
        ((2, 1, 64, 60), [(64, 60, 1)] * 2),
    ],
)
def test_unambiguous_array_is_read_so_whatever_was_trained(
    shape: tuple[int, ...], expected: list[tuple[int, ...]], channels: int | None
) -> None:
    assert shapes(np.zeros(shape), channels) == expected
    assert shapes(torch.zeros(shape), channels) == expected


@pytest.mark.parametrize(
    ("shape", "array", "tensor"),
    [
        ((2, 64, 60, 5), (64, 60, 5), (64, 60, 5)),
        ((2, 5, 64, 60), (64, 60, 5), (64, 60, 5)),
        ((2, 28, 28, 13), (28, 28, 13), (28, 28, 13)),
        ((2, 13, 28, 28), (28, 28, 13), (28, 28, 13)),
        ((2, 64, 60, 2), (64, 60, 2), (64, 60, 2)),
        ((2, 8, 16, 8), (8, 16, 8), (16, 8, 8)),
        ((2, 5, 16, 3), (5, 16, 3), (5, 16, 3)),
        ((2, 4, 16, 3), (4, 16, 3), (16, 3, 4)),
    ],
)
def test_channels_are_the_axis_that_can_be_no_side(
    shape: tuple[int, ...], array: tuple[int, ...], tensor: tuple[int, ...]
) -> None:
    assert [item.shape for item in find_examples(np.zeros(shape)).items] == [array] * 2  # type: ignore[union-attr]
    assert [item.shape for item in find_examples(torch.zeros(shape)).items] == [tensor] * 2  # type: ignore[union-attr]


def test_one_image_has_as_many_channels_as_those_in_training() -> None:
    assert shapes(np.zeros((64, 60, 5)), 5) == shapes(np.zeros((5, 64, 60)), 5) == [(64, 60, 5)]
    assert shapes(torch.zeros((5, 64, 60)), 5) == [(64, 60, 5)]
    assert shapes(np.zeros((7, 64, 60)), 5) == [(64, 60)] * 7, "grey images, which decoding refuses"
    assert shapes(np.zeros((7, 64, 60, 5)), 5) == [(64, 60, 5)] * 7


def test_three_axes_are_read_as_the_training_images_tell() -> None:
    array = np.arange(3 * 64 * 60).reshape(3, 64, 60)
    assert shapes(array, COLOURS) == [(64, 60, 3)]
    assert shapes(array, GREY) == [(64, 60)] * 3
    assert shapes(torch.from_numpy(array), COLOURS) == shapes(torch.from_numpy(array), None) == [(64, 60, 3)]
    assert shapes(torch.from_numpy(array), GREY) == [(64, 60)] * 3
    with pytest.raises(DataError, match=r"\(3, 64, 60\) could be 3 grey images or one image with 3 channels in front"):
        split_images(array, None)
    assert shapes(array[None], None) == [(64, 60, 3)]
    assert shapes(list(array), None) == [(64, 60)] * 3


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((64, 64)), r"shape \(64, 64\).*x\[None\]"),
        (np.zeros(64), r"\(N, height, width\)"),
        (np.zeros((2, 33, 64, 64)), r"up to 32 channels.*\(33, 64, 64\)"),
        (np.zeros((2, 64, 64, 40)), "choose some"),
        (np.zeros((1, 2, 3, 64, 64)), r"\(1, 2, 3, 64, 64\)"),
        (np.zeros(()), r"shape \(\)"),
        (np.zeros((0, 64, 64)), "no examples"),
        (np.zeros((2, 0, 64)), "at least one pixel"),
        (np.zeros((2, 8, 8), dtype=complex), "complex128"),
        (np.zeros((2, 8, 8), dtype=object), "object"),
        (np.zeros((2, 8, 8), dtype=[("r", "u1")]), "type"),
        (np.ma.masked_equal(np.zeros((2, 8, 8)), 0), "filled"),
        ([[1, 2], [3]], "Item 0 is list"),
    ],
)
def test_array_of_no_images_is_refused_with_shape_and_advice(array: object, said: str) -> None:
    with pytest.raises(DataError, match=said):
        find_examples(array, reading={"channels": None})


def test_arrays_of_any_memory_layout_keep_their_values() -> None:
    plain = np.random.default_rng(0).integers(0, 4000, (4, 9, 7)).astype(np.int32)
    frozen = plain.copy()
    frozen.flags.writeable = False
    for array in (frozen, plain.astype(">i4"), plain[:, ::-1][:, ::-1], np.asfortranarray(plain), np.ma.array(plain)):
        items = find_examples(array, reading={"channels": GREY}).items
        assert all(item.dtype.isnative for item in items)  # type: ignore[union-attr]
        np.testing.assert_array_equal(np.stack(items), plain)  # type: ignore[arg-type]


def test_an_object_array_of_images_is_a_list_of_them() -> None:
    ragged = np.empty(2, dtype=object)
    ragged[:] = [np.zeros((9, 9)), np.zeros((8, 7, 3))]
    assert shapes(ragged, None) == [(9, 9), (8, 7, 3)]
