"""Groups as the user gives them: one for each example, or a regular expression on paths."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import warnings
from collections.abc import Hashable, Sequence
from typing import Any

from autotransfer.errors import DataError

__all__ = ["groups_in_names", "known_groups"]

# Time limit of a regular expression in seconds: for the process, and in addition for each name.
_TIMEOUT, _TIMEOUT_PER_NAME = 10.0, 1e-3
_SEARCH = """
import json, re, sys
pattern, names = json.load(sys.stdin)
search = re.compile(pattern).search
json.dump([(m := search(name)) and (m.groups() or m.group()) for name in names], sys.stdout)
"""


def known_groups(values: Sequence[Any]) -> list[Hashable]:
    """Return the groups, with None in place of NaN: such an example has no group.

    Raises:
        DataError: A group is neither text nor a number.
    """
    for value in values:
        try:
            hash(value)
        except TypeError:
            raise DataError(f"A group is a text or a number; got {value!r}.") from None
    return [None if isinstance(value, float) and math.isnan(value) else value for value in values]


def groups_in_names(pattern: str, names: Sequence[str]) -> tuple[Hashable, ...]:
    """Return the match of a regular expression in each name: its capturing groups, else the whole match.

    A process of its own searches for at most 10 seconds, since some expressions take exponential time and Python cannot
    interrupt a search.

    Args:
        pattern: The regular expression.
        names: The names.

    Raises:
        DataError: The pattern is no regular expression, matches no name, or takes too long.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on syntax that later versions of Python change
            re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise DataError(f"The groups {pattern!r} are no column and no regular expression: {error}.") from None
    command = [sys.executable, "-I", "-S", "-W", "ignore", "-c", _SEARCH]
    timeout = _TIMEOUT + _TIMEOUT_PER_NAME * len(names)
    try:
        done = subprocess.run(
            command, input=json.dumps([pattern, names]), capture_output=True, text=True, timeout=timeout, check=True
        )
    except subprocess.TimeoutExpired:
        raise DataError(
            f"The groups {pattern!r} are no column, and as a regular expression they take more than {timeout:.0f} "
            f"seconds on {len(names)} paths: avoid repeats within repeats, such as (a+)+."
        ) from None
    except subprocess.CalledProcessError as error:
        raise DataError(f"The groups {pattern!r} cannot be searched for in the paths: {error.stderr[-200:]}") from None
    found = [tuple(match) if isinstance(match, list) else match for match in json.loads(done.stdout)]
    if all(match is None for match in found):
        raise DataError(
            f"The groups {pattern!r} are no column, and as a regular expression they match none of "
            f"{len(names)} paths; the first is {names[0]!r}."
        )
    return tuple(found)
