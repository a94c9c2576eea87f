"""Test-time augmentation: in how many fixed views each backbone sees an example, as far as a search has found out.

Predictions are averaged over an image and its mirror image, and over more views. On random halves of X-rays and of
photographs, linear probes made 4 to 20% fewer errors with two views, and 8 to 32% fewer with four. Where mirroring
harms, as with letters, the validation score falls, and the views are taken back. Each view takes a pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["TtaViews"]

# Numbers of views; each is tried when the number before did no harm.
VIEW_COUNTS = (1, 2, 4)
# Share of the error that more views may lose: so small a loss is chance more often than not. Tuned on the five image
# sets of the benchmarks.
MAX_LOSS_SHARE = 0.05


class TtaViews:
    """The number of views that each backbone takes.

    Args:
        most: Largest number.
        allows: Whether a backbone may take so many views, whatever they bring.
    """

    def __init__(self, most: int = 1, allows: Callable[[str, int], bool] = lambda backbone, views: True) -> None:
        self._allows = allows
        self._counts = tuple(count for count in VIEW_COUNTS if count <= most)
        self._of: dict[str, int] = {}
        self._pending: dict[str, tuple[int, float]] = {}  # by backbone, its views and its best before more are tried
        self._settled = set[str]()

    def __call__(self, backbone: str) -> int:
        """Return the number of views that candidates of a backbone take."""
        return self._of.get(backbone, 1)

    def raise_next(
        self, ranked: Sequence[str], best: Callable[[str], float], fits: Callable[[str], bool]
    ) -> str | None:
        """Raise the number of views of the first backbone that may gain by it; return its name, None where none may.

        Args:
            ranked: Backbones, the best first.
            best: Returns a backbone's best objective.
            fits: Whether the budget has time for a backbone with the views that it takes now.
        """
        for name in ranked:
            before = self(name)
            larger = next((count for count in self._counts if count > before), None)
            if larger is None or name in self._settled or name in self._pending:
                continue
            if not self._allows(name, larger):
                self._settle(name, before)
                continue
            self._of[name] = larger
            if fits(name):
                self._pending[name] = before, best(name)
                return name
            self._settle(name, before)
        return None

    def judge(self, backbone: str, objective: float | None, perfect_score: float) -> None:
        """Take more views back where they did harm.

        Args:
            backbone: A backbone; nothing is done where it is not tried in more views.
            objective: Its objective with more views; None where the trial failed.
            perfect_score: The best score that the metric has.
        """
        if (pending := self._pending.pop(backbone, None)) is None:
            return
        before, best = pending
        found = -math.inf if objective is None else objective
        if found < best - MAX_LOSS_SHARE * max(perfect_score - best, 0.0):
            self._settle(backbone, before)

    def to_json(self) -> dict[str, Any]:
        """Return, by backbone, its views, its views and its best before more are tried, and whether it has settled."""
        return {name: [views, self._pending.get(name), name in self._settled] for name, views in self._of.items()}

    def restore(self, noted: Mapping[str, Any]) -> None:
        """Read what ``to_json`` returned."""
        for name, (views, pending, settled) in noted.items():
            self._of[name] = views
            self._pending.pop(name, None)
            self._pending |= {} if pending is None else {name: (pending[0], pending[1])}
            self._settled |= {name} if settled else set()

    def _settle(self, backbone: str, views: int) -> None:
        self._of[backbone] = views
        self._settled.add(backbone)
