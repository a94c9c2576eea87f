"""Which plugins keep memory: parts of candidates whose trials leave the process larger, every time."""

from __future__ import annotations

from collections import defaultdict

from autotransfer.candidate import Candidate

__all__ = ["Leaks"]

# The first trials of a part load and warm up what later ones use again.
_WARM_UP = 2
# So many trials after these, each of which left so many bytes behind, are no accident.
_ENOUGH, _LARGE = 4, 8 * 2**20

Part = tuple[str, str]


class Leaks:
    """Watches how the memory of a process grows from trial to trial."""

    def __init__(self) -> None:
        self._grown: dict[Part, list[int]] = defaultdict(list)
        self._steady: list[set[Part]] = []

    def note(self, candidate: Candidate, grown: int) -> None:
        """Take in by how many bytes the process has grown with a trial, the cache apart."""
        parts = {("backbone", candidate.backbone), ("head", candidate.head), ("freeze policy", candidate.freeze)}
        for part in parts:
            self._grown[part].append(grown)
        if grown < _LARGE:
            self._steady.append(parts)

    def suspects(self) -> dict[str, int]:
        """Return, for each part that seems to keep memory, about how many bytes a trial; the part in words.

        Every trial of such a part has left memory behind, and some trial without it has not.
        """
        found = {}
        for part, grown in sorted(self._grown.items()):
            later = grown[_WARM_UP:]
            if len(later) >= _ENOUGH and min(later) >= _LARGE and any(part not in parts for parts in self._steady):
                found["the {} {!r}".format(*part)] = sorted(later)[len(later) // 2]
        return found
