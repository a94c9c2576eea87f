"""Files that are never half written, and disks that are full or cannot be written."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from autotransfer.errors import AutoTransferError, OutputError
from autotransfer.runtime.text import one_line

__all__ = ["replacing", "write_atomically", "writing"]

_FULL = (errno.ENOSPC, errno.EDQUOT)
# Libraries that write from native code (safetensors, torch) say it in words.
_NATIVE = re.compile(r"\bos error \d+\b")
_FULL_WORDS = re.compile(r"no space left|disk quota exceeded|os error (28|122)\b|disk is full", re.IGNORECASE)


@contextlib.contextmanager
def writing(place: str | Path, advice: str = "") -> Iterator[None]:
    """Say what it means when something cannot be written within the block.

    Args:
        place: The folder or file that is written.
        advice: What to do once it can be written.

    Raises:
        OutputError: The disk is full, or the place cannot be written.
    """
    try:
        yield
    except AutoTransferError:
        raise
    except Exception as error:
        full = _FULL_WORDS.search(str(error)) or (isinstance(error, OSError) and error.errno in _FULL)
        if not full and not isinstance(error, OSError) and not _NATIVE.search(str(error)):
            raise
        reason = "the disk is full" if full else (isinstance(error, OSError) and error.strerror) or one_line(error)
        folder = Path(place).absolute()
        raise OutputError(f"{folder} cannot be written: {reason}. {advice}".strip()) from error


@contextlib.contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """Give a temporary path to write to; at the end what is there takes the place of the file.

    A reader sees the old file or the new one, never half. Its permissions are those of any new file, also where a
    library makes it for its owner alone. A device or a pipe, such as ``/dev/stdout``, is written to as it is.

    Raises:
        OSError: It cannot be written; then the old one is still there.
    """
    if file.exists() and not file.is_file():
        yield file
        return
    temporary = file.with_name(f".{file.name}.{os.getpid()}.new")
    try:
        temporary.touch()
        permissions = stat.S_IMODE(temporary.stat().st_mode)
        yield temporary
        temporary.chmod(permissions)
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(file: Path, text: str) -> None:
    """Write a text file so that a reader sees the old one or the new one, never half.

    What UTF-8 cannot hold, such as a file name in another encoding, is written as an escape.

    Raises:
        OSError: It cannot be written; then the old one is still there.
    """
    with replacing(file) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")
