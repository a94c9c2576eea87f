"""Which backbones are looked at where there are too many: cheap ones that promise much, and unlike ones."""

from __future__ import annotations

import math

from autotransfer.contract.specs import BackboneSpec
from autotransfer.search.shortlist import choose_shortlist


def _never() -> None:  # type: ignore[misc]
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


def test_versions_of_an_architecture_come_last() -> None:
    specs = [_spec("vit.a", 1.0, 0.9), _spec("vit.b", 1.0, 0.89), _spec("resnet.a", 1.0, 0.7)]
    assert set(_chosen(specs, most=2)) == {"vit.a", "resnet.a"}


def test_what_is_not_known_counts_as_usual() -> None:
    specs = [_spec("cheap", 0.1, 0.75), _spec("unknown"), _spec("dear", 10.0, 0.75)]
    assert _chosen(specs, most=2) == ["cheap", "unknown"] or _chosen(specs, most=2) == ["unknown", "cheap"]
    assert len(_chosen([_spec(str(i)) for i in range(100)], allowed=1.0, most=20)) == 20
