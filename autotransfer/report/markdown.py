"""Text from data within Markdown and YAML: names of classes and files can neither format nor break a page."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from autotransfer.runtime.text import escape

__all__ = ["front_matter", "plain", "table"]

# What formats text anywhere in a line of GitHub's Markdown: links, code, emphasis, HTML, mathematics, cells of a table.
_FORMATTING = re.compile(r"([\\`*_{}\[\]<>#|~&$!@^]|:(?=\S))")
_ADDRESS = re.compile(r"(?i)\b(www)\.")


def plain(text: object) -> str:
    """Return text that Markdown shows as it is, in one line; it is not for the start of a line."""
    return _ADDRESS.sub(r"\1\\.", _FORMATTING.sub(r"\\\1", escape(text)))


def table(titles: Sequence[str], rows: Iterable[Sequence[object]], *, right: Collection[str] = ()) -> str:
    """Return a table in Markdown.

    Args:
        titles: What heads the columns.
        rows: Their cells: texts are shown as they are, and numbers, which are shares, with four decimal places.
        right: Titles of columns of texts that stand at the right, as numbers do.
    """
    rows = [*rows]
    numeric = [
        title in right or any(isinstance(row[i], (int, float)) for row in rows) for i, title in enumerate(titles)
    ]
    lines = [titles, ["---:" if is_right else "---" for is_right in numeric]]
    lines += [[f"{cell:.4f}" if isinstance(cell, float) else plain(cell) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def front_matter(values: Mapping[str, Any]) -> str:
    """Return values as the YAML at the top of a page; those that are None or empty are left out."""
    kept = {name: value for name, value in values.items() if value not in (None, "", (), [], {})}
    return "\n".join(["---", *_lines(kept), "---"])


def _lines(value: Any) -> list[str]:
    """Return a mapping or a list as lines of YAML."""
    if isinstance(value, Mapping):
        found = []
        for name, one in value.items():
            nested = isinstance(one, (Mapping, list, tuple))
            found += [f"{name}:", *(f"  {line}" for line in _lines(one))] if nested else [f"{name}: {_scalar(one)}"]
        return found
    found = []
    for one in value:
        first, *others = _lines(one) if isinstance(one, Mapping) else [_scalar(one)]
        found += [f"- {first}", *(f"  {line}" for line in others)]
    return found


def _scalar(value: Any) -> str:
    """Return a text, a truth value or a number as YAML."""
    if isinstance(value, str):
        return json.dumps(escape(value), ensure_ascii=False)  # a text of JSON is one of YAML, too
    text = json.dumps(value)
    return text if "." in text else text.replace("e", ".0e") if isinstance(value, float) else text
