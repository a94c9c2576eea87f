"""Atomic writing of files, and clear errors when a disk is full or cannot be written."""

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

_DISK_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT)
# Libraries that write from native code (safetensors, torch) raise errors with the error number in their message.
_NATIVE_ERROR = re.compile(r"\bos error \d+\b")
_DISK_FULL_MESSAGE = re.compile(r"no space left|disk quota exceeded|os error (28|122)\b|disk is full", re.IGNORECASE)


@contextlib.contextmanager
def writing(path: str | Path, advice: str = "") -> Iterator[None]:
    """Turn errors of writing within the block into ``OutputError``.

    Args:
        path: The folder or file that is written.
        advice: Sentence for the message: what to do when writing works again.

    Raises:
        OutputError: The disk is full, or the path cannot be written.
    """
    try:
        yield
    except AutoTransferError:
        raise
    except Exception as error:
        full = _DISK_FULL_MESSAGE.search(str(error)) or (
            isinstance(error, OSError) and error.errno in _DISK_FULL_ERRNOS
        )
        if not full and not isinstance(error, OSError) and not _NATIVE_ERROR.search(str(error)):
            raise
        reason = "the disk is full" if full else (isinstance(error, OSError) and error.strerror) or one_line(error)
        folder = Path(path).absolute()
        raise OutputError(f"{folder} cannot be written: {reason}. {advice}".strip()) from error


@contextlib.contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """Yield a temporary path to write to, and replace the file by it at the end of the block.

    A reader sees the old or the new file, never a part. The new file has the permissions of any new file, even if a
    library writes it for its owner only. A device or a pipe, such as ``/dev/stdout``, is written to directly.

    Raises:
        OSError: The file cannot be written; the old file remains.
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
    """Write a text file; a reader sees the old or the new file, never a part.

    Characters that UTF-8 cannot encode, such as those of a file name in another encoding, are escaped.

    Raises:
        OSError: The file cannot be written; the old file remains.
    """
    with replacing(file) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")
