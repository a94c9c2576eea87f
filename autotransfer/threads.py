"""How threads wait for each other; it must be said before torch is loaded, which reads it once."""

from __future__ import annotations

import os
import sys

__all__ = ["settle_threads"]

# OpenMP's threads spin while they wait. On shared cores they then take the core that the one they wait for needs: one
# and the same training step on two shared cores took 0.35 to 4.5 s spinning, and 0.25 to 0.36 s sleeping.
_SETTINGS = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}


def settle_threads() -> None:
    """Let waiting OpenMP threads sleep, unless the environment says otherwise or torch has been loaded already."""
    if "torch" not in sys.modules:
        for name, value in _SETTINGS.items():
            os.environ.setdefault(name, value)
