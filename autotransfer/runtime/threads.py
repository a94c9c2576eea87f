"""How many threads compute, and how they wait; it must be said before torch is loaded, which reads it once."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path

__all__ = ["configure_threads", "usable_cores"]

# OpenMP's threads spin while they wait. On shared cores they then take the core that the one they wait for needs: one
# and the same training step on two shared cores took 0.35 to 4.5 s spinning, and 0.25 to 0.36 s sleeping.
_SETTINGS = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def configure_threads() -> None:
    """Let waiting OpenMP threads sleep, and have no more of them than a container's quota allows.

    What the environment says comes first; once torch has been loaded, nothing is done.
    """
    if "torch" in sys.modules:
        return
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    if (cores := usable_cores()) < _allowed_cores():  # libraries look at the cores only
        os.environ.setdefault("OMP_NUM_THREADS", str(cores))


def usable_cores() -> int:
    """Return how many cores this process may use: its affinity, cut by the quota of its container."""
    cores = _allowed_cores()
    try:
        quota, period = _QUOTA.read_text().split()
        cores = min(cores, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):
        pass  # no control group, or no quota ("max")
    return max(cores, 1)


def _allowed_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
