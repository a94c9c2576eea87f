"""In how many views backbones see images: the best ones in more, as long as it does no harm and fits."""

from __future__ import annotations

import pytest

from autotransfer.search.tta import TtaViews

BEST = {"a": 0.9, "b": 0.8}


def _look(views: TtaViews, *, fits: bool = True) -> str | None:
    return views.raise_next(list(BEST), BEST.__getitem__, lambda name: fits)


def test_the_best_backbone_gets_more_views_while_they_pay() -> None:
    views = TtaViews(4)
    assert (views("a"), views("b")) == (1, 1)
    for name, seen in (("a", 2), ("a", 4), ("b", 2), ("b", 4)):
        assert _look(views) == name
        assert views(name) == seen
        views.judge(name, 0.95, 1.0)
    assert _look(views) is None
    assert (views("a"), views("b")) == (4, 4)


@pytest.mark.parametrize(("found", "kept"), [(0.91, 2), (0.896, 2), (0.894, 1), (0.2, 1), (None, 1)])
def test_what_does_harm_is_taken_back(found: float | None, kept: int) -> None:
    # A twentieth of what is missing to 1 is chance.
    views = TtaViews(2)
    _look(views)
    views.judge("a", found, 1.0)
    assert views("a") == kept
    assert _look(views) == "b", "it is not tried again"


def test_what_does_not_fit_is_not_tried() -> None:
    views = TtaViews(4)
    assert _look(views, fits=False) is None
    assert (views("a"), views("b")) == (1, 1)
    assert _look(views) is None, "there will be no more time later"


def test_what_fits_is_asked_of_the_larger_number() -> None:
    views, asked = TtaViews(4), list[int]()

    def fits(name: str) -> bool:
        asked.append(views(name))
        return len(asked) == 1

    assert views.raise_next(["a"], lambda name: 0.5, fits) == "a"
    views.judge("a", 0.6, 1.0)
    assert views.raise_next(["a"], lambda name: 0.6, fits) is None
    assert asked == [2, 4]
    assert views("a") == 2, "two did no harm"


@pytest.mark.parametrize(("most", "expected"), [(1, 1), (2, 2), (3, 2), (4, 4), (9, 4)])
def test_no_more_than_allowed(most: int, expected: int) -> None:
    views = TtaViews(most)
    while (name := views.raise_next(["a"], lambda name: 0.5, lambda name: True)) is not None:
        views.judge(name, 0.5, 1.0)
    assert views("a") == expected


def test_pending_views_are_not_proposed_again() -> None:
    views = TtaViews(2)
    assert [_look(views), _look(views), _look(views)] == ["a", "b", None]
    views.judge("c", 0.1, 1.0)
    views.judge("b", 0.1, 1.0)
    assert (views("a"), views("b"), views("c")) == (2, 1, 1)
