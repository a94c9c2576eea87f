"""Where worker processes come from: on Linux, from one process that has imported everything, and forks.

Importing torch and what plugins need takes a core many seconds. Forked workers pay that once between them, a worker
that replaces another pays nothing, and they share the memory of what was imported. The search itself is not forked: it
has threads, and perhaps a GPU. On other systems libraries do not survive a fork, and each worker is started anew.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import struct
import subprocess
import sys
import warnings
from collections import deque
from collections.abc import Sequence
from typing import IO, Protocol

__all__ = ["Child", "Nursery", "main"]

_FORKS = sys.platform == "linux"
_NUMBER = struct.Struct("!q")
_FORK = b"fork"
_UNKNOWN = 256  # no exit code


class Child(Protocol):
    """A worker process: it reads messages from its input, and writes messages to its output."""

    stdin: IO[bytes] | None
    stdout: IO[bytes] | None

    def kill(self) -> None:
        """End it."""

    def wait(self) -> int | None:
        """Return its exit code once it has ended, negative for a signal; None where nobody knows it."""


class Nursery:
    """Starts workers.

    Args:
        threads: Number of threads of each.
    """

    def __init__(self, threads: int) -> None:
        path = os.pathsep.join(filter(None, sys.path))  # plugins are found where this process finds them
        self._environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": str(threads)}
        self._process: subprocess.Popen[bytes] | None = None
        self._line: socket.socket | None = None
        self._unborn: deque[_Forked] = deque()

    def start(self) -> Child:
        """Return a new worker, which may still be importing."""
        if not _FORKS:
            return subprocess.Popen(
                _command("worker"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=self._environment
            )
        if self._process is None or self._process.poll() is not None:
            self._open()
        assert self._line is not None  # it is open
        orders, answers = os.pipe(), os.pipe()
        child = _Forked(self, os.fdopen(orders[1], "wb"), os.fdopen(answers[0], "rb"))
        self._unborn.append(child)
        with contextlib.suppress(OSError):  # where the process has just ended the worker has, too, which is heard
            socket.send_fds(self._line, [_FORK], [orders[0], answers[1]])
        os.close(orders[0])
        os.close(answers[1])
        return child

    def close(self) -> None:
        """End all workers that were forked."""
        if self._process is not None and self._line is not None:
            self.learn_pids(wait=False)
            if self._unborn:  # it still imports; a worker that comes all the same ends when its input does
                self._process.kill()
            self._line.close()
            self._process.wait()
        self._process, self._line = None, None
        self._unborn.clear()

    def learn_pids(self, *, wait: bool) -> None:
        """Take in the process numbers of the workers that were started."""
        while self._unborn and (pid := self._hear(0 if wait else socket.MSG_DONTWAIT)) is not None:
            self._unborn.popleft().pid = pid

    def exit_code(self, pid: int) -> int | None:
        """Return the exit code of a worker once it has ended; None where nobody knows it."""
        self.learn_pids(wait=True)
        if self._line is not None:
            with contextlib.suppress(OSError):  # nobody is there any more
                self._line.sendall(_NUMBER.pack(pid))
                return None if (code := self._hear()) == _UNKNOWN else code
        return None

    def _open(self) -> None:
        self.close()
        self._line, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with other:
            command = _command("nursery", str(other.fileno()))
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, env=self._environment, pass_fds=(other.fileno(),)
            )

    def _hear(self, flags: int = 0) -> int | None:
        """Return the next number that comes; None where none does."""
        with contextlib.suppress(OSError):
            if self._line is not None and (answer := self._line.recv(_NUMBER.size, flags)):
                return int(_NUMBER.unpack(answer)[0])
        return None


class _Forked:
    """A worker that was forked."""

    def __init__(self, nursery: Nursery, stdin: IO[bytes], stdout: IO[bytes]) -> None:
        self.stdin: IO[bytes] | None = stdin
        self.stdout: IO[bytes] | None = stdout
        self.pid: int | None = None
        self._nursery = nursery

    def kill(self) -> None:
        """End it; one that is not there yet ends when the nursery closes."""
        self._nursery.learn_pids(wait=False)
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int | None:
        """Return its exit code; the nursery keeps its number from being used again until then."""
        self._nursery.learn_pids(wait=True)
        pid, self.pid = self.pid, None
        return None if pid is None else self._nursery.exit_code(pid)


def _command(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", f"autotransfer.workers.{module}", *arguments]


def main(handle: int) -> None:
    """Import everything, then fork workers as they are asked for, until nobody asks any more; then end them.

    Args:
        handle: The socket. A message with two pipes asks for a worker, and is answered by its process number; a
            process number asks for its exit code.
    """
    from autotransfer.workers.worker import main as work
    from autotransfer.workers.worker import prepare

    prepare()
    from torch import cuda

    gc.freeze()  # so that collecting garbage in a worker does not copy all that it shares
    alive = set[int]()
    with socket.socket(fileno=handle) as line, contextlib.suppress(ConnectionError):
        while True:
            order, pipes, _, _ = socket.recv_fds(line, _NUMBER.size, 2)
            if order == _FORK:
                if not (pid := _fork(pipes)):
                    line.close()
                    # By a plugin, when it was imported: a GPU does not survive a fork.
                    if cuda.is_initialized():  # type: ignore[no-untyped-call]
                        os.execv(sys.executable, _command("worker"))
                    return work()
                alive.add(pid)
                line.sendall(_NUMBER.pack(pid))
            elif order:
                line.sendall(_NUMBER.pack(_exit_code(_NUMBER.unpack(order)[0], alive)))
            else:
                break
    for pid in alive:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _exit_code(pid: int, alive: set[int]) -> int:
    """Wait for the end of a worker; one that an earlier nursery has forked is nobody's child any more."""
    if pid not in alive:
        return _UNKNOWN
    _, status = os.waitpid(pid, 0)
    alive.remove(pid)
    return os.waitstatus_to_exitcode(status)


def _fork(pipes: Sequence[int]) -> int:
    """Return the process number of a worker; in that worker 0, when the pipes are its input and output."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of OpenBLAS's threads, which it starts again
        pid = os.fork()
    for place, pipe in enumerate(pipes):
        if not pid:
            os.dup2(pipe, place)
        os.close(pipe)
    return pid


if __name__ == "__main__":
    main(int(sys.argv[1]))
