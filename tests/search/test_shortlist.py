"""Which backbones are looked at where there are too many: cheap ones that promise much, and unlike ones."""

from __future__ import annotations

import math

from autotransfer.contract.specs import BackboneSpec
from autotransfer.search.shortlist import choose_shortlist


def _never() -> None:
    raise AssertionError("nothing may be loaded")


def _spec(name: str, gmacs: float | None = None, accuracy: float | None = None) -> BackboneSpec:
    return BackboneSpec(name=name, modality="image", load=_never, gmacs=gmacs, accuracy=accuracy)  # type: ignore[arg-type]


def _chosen(specs: list[BackboneSpec], allowed: float = math.inf, most: int = 99) -> list[str]:
    return [spec.name for spec in choose_shortlist(specs, lambda spec: spec.gmacs or 0.0, allowed, most)]


def test_what_fits_is_all_taken_the_cheapest_first() -> None:
    assert _chosen([_spec("b", 2.0, 0.9), _spec("a", 1.0, 0.7), _spec("c", 0.5, 0.8)]) == ["c", "a", "b"]


def test_accuracy_counts_against_cost() -> None:
    specs = [_spec("good", 1.0, 0.85), _spec("dear", 100.0, 0.86), _spec("poor", 1.0, 0.6)]
    assert _chosen(specs, most=1) == ["good"]
    assert _chosen(specs, most=2) == ["good", "dear"]


def test_a_shortlist_stays_within_the_budget_but_for_one() -> None:
    specs = [_spec(f"{i:03}", 1.0 + i / 10, 0.8) for i in range(120)]
    taken = _chosen(specs, allowed=20.0)
    assert sum(1.0 + int(name) / 10 for name in taken) <= 20.0
    assert len(taken) > 10
    assert _chosen([_spec("huge", 1000.0)], allowed=1.0) == ["huge"]


def test_of_equals_the_one_unlike_those_chosen_comes_first() -> None:
    specs = [_spec("vit_small.a", 1.0, 0.8), _spec("vit_small.b", 1.0, 0.8), _spec("convnext_tiny.c", 1.0, 0.8)]
    assert "convnext_tiny.c" in _chosen(specs, most=2)


def test_what_is_like_a_chosen_one_comes_before_a_poor_one() -> None:
    specs = [_spec("vit.a", 1.0, 0.9), _spec("vit.b", 1.0, 0.89), _spec("resnet.a", 1.0, 0.6)]
    assert set(_chosen(specs, most=2)) == {"vit.a", "vit.b"}


def test_cheap_backbones_are_chosen_where_time_is_short() -> None:
    specs = [_spec(f"net_{i}", 2.0**i, 0.7 + 0.015 * i) for i in range(10)]
    assert _chosen(specs, allowed=8.0)[:2] == ["net_0", "net_1"]
    assert "net_8" in _chosen(specs, allowed=1000.0, most=5)


def test_of_many_the_chosen_are_of_all_costs() -> None:
    specs = [_spec(f"{'abcdefgh'[i % 8]}net_{i}", 1.0 + i, 0.6 + 0.0002 * i) for i in range(1000)]
    chosen = _chosen(specs, allowed=2000.0, most=16)
    assert 1 < len(chosen) <= 16
    assert sum(1.0 + int(name.split("_")[1]) for name in chosen) <= 2000


def test_what_is_not_known_counts_as_usual() -> None:
    specs = [_spec("cheap", 0.1, 0.75), _spec("unknown"), _spec("dear", 10.0, 0.75)]
    assert _chosen(specs, most=2) == ["cheap", "unknown"] or _chosen(specs, most=2) == ["unknown", "cheap"]
    assert len(_chosen([_spec(str(i)) for i in range(100)], allowed=1.0, most=20)) == 20
