"""Views: in how many fixed views backbones see each image, the more for those that gain by it.

An image and its mirror image, averaged, say more than the image alone: over random halves of X-rays and of photographs,
probes made 4 to 20% fewer errors with two views, and 8 to 32% fewer with four. Where mirroring harms, as with letters,
validation says so. Each view takes a pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["Views"]

# Numbers of views, each tried when the one before did no harm.
_STEPS = (1, 2, 4)
# Share of what is missing to the best score that may be lost by more of them: so little is chance, and they are worth
# something more often than not.
_LOST = 0.05


class Views:
    """How many views each backbone takes, as far as a search has found out.

    Args:
        most: Largest number.
    """

    def __init__(self, most: int = 1) -> None:
        self._steps = tuple(step for step in _STEPS if step <= most)
        self._of: dict[str, int] = {}
        self._looks: dict[str, tuple[int, float]] = {}  # by backbone, its views and its best before more are tried
        self._settled = set[str]()

    def __call__(self, backbone: str) -> int:
        """Return the number of views that candidates of a backbone take."""
        return self._of.get(backbone, 1)

    def look_closer(
        self, ranked: Sequence[str], best: Callable[[str], float], fits: Callable[[str], bool]
    ) -> str | None:
        """Let the first backbone that may gain by it take more views, and return its name; None where none may.

        Args:
            ranked: Backbones, the best first.
            best: Returns a backbone's best objective.
            fits: Whether a backbone has time for the views that it takes now.
        """
        for name in ranked:
            before = self(name)
            larger = next((step for step in self._steps if step > before), None)
            if larger is None or name in self._settled or name in self._looks:
                continue
            self._of[name] = larger
            if fits(name):
                self._looks[name] = before, best(name)
                return name
            self._settle(name, before)
        return None

    def judge(self, backbone: str, objective: float | None, perfect_score: float) -> None:
        """Take more views back where they did harm.

        Args:
            backbone: A backbone that was looked at more closely; of others nothing is learned.
            objective: What came of it; None where nothing did.
            perfect_score: The best score that the metric has.
        """
        if (look := self._looks.pop(backbone, None)) is None:
            return
        before, best = look
        found = -math.inf if objective is None else objective
        if found < best - _LOST * max(perfect_score - best, 0.0):
            self._settle(backbone, before)

    def to_json(self) -> dict[str, Any]:
        """Return, by backbone, its views, its views and its best before more are tried, and whether it has settled."""
        return {name: [views, self._looks.get(name), name in self._settled] for name, views in self._of.items()}

    def restore(self, noted: Mapping[str, Any]) -> None:
        """Take in what ``to_json`` returned."""
        for name, (views, look, settled) in noted.items():
            self._of[name] = views
            self._looks.pop(name, None)
            self._looks |= {} if look is None else {name: (look[0], look[1])}
            self._settled |= {name} if settled else set()

    def _settle(self, backbone: str, views: int) -> None:
        self._of[backbone] = views
        self._settled.add(backbone)
