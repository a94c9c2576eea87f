"""A page comes back from its JSON as it was, and JSON that is none is refused."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from autotransfer.errors import RunFormatError
from autotransfer.report.page import Column, Page, Table, Text
from autotransfer.report.page_json import page_from_json, page_to_json

MakePage = Callable[..., Page]


def test_a_page_comes_back_from_json(make_page: MakePage) -> None:
    page = make_page("a name")
    data = json.loads(json.dumps(page_to_json(page), allow_nan=False))
    again = page_from_json(data)
    assert page_to_json(again) == data
    assert again.summary == page.summary
    assert again.sections[0].blocks[0] == Text(text="a name")
    assert again.sections[0].blocks[2] == page.sections[0].blocks[2], "numbers, intervals and gaps of a table"
    assert again.sections[0].blocks[-2] == page.sections[0].blocks[-2], "pictures, words and sounds"


def test_numbers_of_numpy_and_nan_become_json() -> None:
    table = Table(columns=(Column(title="n", kind="number"),), rows=((np.float32(0.5),), (float("nan"),)))
    page = Page(title="", lead="", made="", summary=(table,), sections=())
    assert page_to_json(page)["summary"][0]["rows"] == [[0.5], [None]]


def _set(data: Any, path: tuple[Any, ...], value: Any) -> Any:
    at = data = copy.deepcopy(data)
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return data


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("format",), 2),
        (("format",), None),
        (("title",), 3),
        (("more",), "x"),
        (("summary",), "x"),
        (("summary",), [{"block": "script", "text": "x"}]),
        (("summary",), [{"block": ["text"], "text": "x"}]),
        (("summary",), ["x"]),
        (("summary", 0, "tiles", 0, "tone"), "evil"),
        (("summary", 0, "tiles", 0), {}),
        (("sections", 0, "blocks", 1, "facts", 0), ["only one"]),
        (("sections", 0, "blocks", 2, "rows", 0, 0), {"a": 1}),
        (("sections", 0, "blocks", 2, "shown"), True),
        (("sections", 0, "blocks", -2, "cards", 0, "preview", "media_type"), "image/svg+xml"),
        (("sections", 0, "blocks", -2, "cards", 0, "preview", "data"), "<script>"),
    ],
)
def test_damaged_json_is_refused(make_page: MakePage, path: tuple[Any, ...], value: Any) -> None:
    data = json.loads(json.dumps(page_to_json(make_page("a name"))))
    with pytest.raises(RunFormatError):
        page_from_json(_set(data, path, value))


@pytest.mark.parametrize("data", [None, [], "x", 3, {}, {"format": 1}])
def test_json_that_is_no_page_is_refused(data: Any) -> None:
    with pytest.raises(RunFormatError):
        page_from_json(data)
