"""The page as JSON: ``report.json`` holds all that the page shows, so that it can be laid out again from that alone."""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from autotransfer.contract.preview import Preview
from autotransfer.errors import RunFormatError
from autotransfer.report.page import Block, Page

__all__ = ["page_from_json", "page_to_json"]

# Changes when an older ``report.json`` can no longer be read.
PAGE_FORMAT = 1
# Key of a block that says its kind.
_KIND = "block"
_BLOCKS: Mapping[str, type] = {kind.__name__.lower(): kind for kind in get_args(Block)}


def page_to_json(page: Page) -> dict[str, Any]:
    """Return a page as JSON; null stands for numbers that are not finite."""
    return {"format": PAGE_FORMAT, **_to_json(page)}


def page_from_json(data: Any) -> Page:
    """Read what ``page_to_json`` wrote.

    Raises:
        RunFormatError: It is damaged, or of another version.
    """
    found = data.get("format") if isinstance(data, Mapping) else data
    if found != PAGE_FORMAT:
        raise RunFormatError(f"A page has the format {PAGE_FORMAT} here; got {found!r:.80}.")
    page = _from_json(Page, {name: value for name, value in data.items() if name != "format"}, "page")
    assert isinstance(page, Page)
    return page


def _to_json(value: Any) -> Any:
    if isinstance(value, Preview):
        return value.to_json()
    if is_dataclass(value) and not isinstance(value, type):
        kind = type(value).__name__.lower()
        content = {each.name: _to_json(getattr(value, each.name)) for each in fields(value)}
        return {_KIND: kind, **content} if kind in _BLOCKS else content
    if isinstance(value, Mapping):
        return {str(key): _to_json(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_to_json(one) for one in value]
    if hasattr(value, "item"):  # a number of NumPy
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _from_json(kind: Any, value: Any, where: str) -> Any:
    """Return a value of a type of the page.

    Raises:
        RunFormatError: The JSON is none of that type.
    """
    origin, inside = get_origin(kind), get_args(kind)
    if kind == Block:
        return _read_block(value, where)
    if kind is Preview:
        return Preview.from_json(value)
    if origin in (Union, types.UnionType):
        return _from_json(next((each for each in inside if _suits(each, value)), inside[0]), value, where)
    if not _suits(kind, value):
        raise RunFormatError(f"{where} cannot be {value!r:.80}.")
    if origin is tuple:
        kinds = [inside[0]] * len(value) if inside[-1] is ... else inside
        if len(kinds) != len(value):
            raise RunFormatError(f"{where} has {len(kinds)} values; got {value!r:.80}.")
        return tuple(_from_json(each, one, where) for each, one in zip(kinds, value, strict=True))
    return _read_object(kind, value, where) if is_dataclass(kind) else value


def _suits(kind: Any, value: Any) -> bool:
    """Whether JSON looks like a value of a type, as far as its outermost part says."""
    origin = get_origin(kind)
    if kind is Any:
        return True
    if origin is Literal:
        return value in get_args(kind)
    if origin is tuple:
        return isinstance(value, list)
    if origin is not None or is_dataclass(kind):  # the only other type with arguments is a mapping
        return isinstance(value, Mapping)
    if kind in (int, float):
        return isinstance(value, (int, kind)) and not isinstance(value, bool)
    return isinstance(value, kind)


def _read_block(value: Any, where: str) -> Any:
    """Return a block, whose kind the JSON names."""
    name = value.get(_KIND) if isinstance(value, Mapping) else None
    if not isinstance(name, str) or name not in _BLOCKS:
        raise RunFormatError(f"{where} holds a block of the kind {name!r:.80}; there are {sorted(_BLOCKS)}.")
    return _read_object(_BLOCKS[name], {key: one for key, one in value.items() if key != _KIND}, where)


def _read_object(kind: Any, value: Mapping[str, Any], where: str) -> Any:
    hints = _hints(kind)
    if unknown := set(value) - set(hints):
        raise RunFormatError(f"{where} has no {sorted(unknown)}; it has {sorted(hints)}.")
    given = {name: _from_json(hints[name], one, f"{where}.{name}") for name, one in value.items()}
    try:
        return kind(**given)
    except TypeError as error:
        raise RunFormatError(f"{where} is not complete: {error}.") from error


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)
