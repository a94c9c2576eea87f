"""What no split may tear apart, as the user gives it: one for each image, or a regular expression on paths."""

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

# Seconds that a regular expression may take, and for each name.
_PATIENCE, _EACH = 10.0, 1e-3
_SEARCH = """
import json, re, sys
pattern, names = json.load(sys.stdin)
search = re.compile(pattern).search
json.dump([(m := search(name)) and (m.groups() or m.group()) for name in names], sys.stdout)
"""


def known_groups(values: Sequence[Any]) -> list[Hashable]:
    """Return the groups as they are, but None for those that are NaN: such an example is alone.

    Raises:
        DataError: One is neither text nor a number.
    """
    for value in values:
        try:
            hash(value)
        except TypeError:
            raise DataError(f"A group is a text or a number; got {value!r}.") from None
    return [None if isinstance(value, float) and math.isnan(value) else value for value in values]


def groups_in_names(pattern: str, names: Sequence[str]) -> tuple[Hashable, ...]:
    """Return what a regular expression finds in each name: its groups, or all of the match where it has none.

    Some expressions take longer than the universe lasts on some names, and nothing can stop one within this process.
    So another one searches, for a limited time.

    Raises:
        DataError: It is none, it matches no name, or it takes too long.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what other versions of Python will read otherwise
            re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise DataError(f"The groups {pattern!r} are no column and no regular expression: {error}.") from None
    command = [sys.executable, "-I", "-S", "-W", "ignore", "-c", _SEARCH]
    patience = _PATIENCE + _EACH * len(names)
    try:
        done = subprocess.run(
            command, input=json.dumps([pattern, names]), capture_output=True, text=True, timeout=patience, check=True
        )
    except subprocess.TimeoutExpired:
        raise DataError(
            f"The groups {pattern!r} are no column, and as a regular expression they take more than {patience:.0f} "
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
