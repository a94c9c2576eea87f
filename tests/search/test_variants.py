"""Backbones of many forms: the next form is tried where the one before was no worse."""

from __future__ import annotations

from typing import Any

from autotransfer.contract.modality import Modality
from autotransfer.contract.specs import BackboneSpec
from autotransfer.search.variants import offer_variants

FORMS = ("a", "a@2", "a@3", "a@4")
CHAIN = dict(zip(FORMS[1:], FORMS, strict=False))


class ManyForms(Modality):
    """A modality whose backbones have four forms."""

    name = "many"

    def variants(self, specs: Any, items: Any) -> Any:
        """Return them, another one than its own first."""
        return [(form(f"{spec.name}@2"), spec, form(f"{spec.name}@3"), form(f"{spec.name}@4")) for spec in specs]


def form(name: str) -> BackboneSpec:
    size = (int(name.partition("@")[2] or 1),)
    return BackboneSpec(name=name, modality="many", load=lambda: None, input_size=size)  # type: ignore[arg-type, return-value]


def test_forms_follow_one_another() -> None:
    offered = offer_variants([form("a")], (), ManyForms(), ())
    assert [spec.name for spec in offered.first] == ["a@2"]
    assert offered.after == {"a": "a@2", "a@3": "a", "a@4": "a@3"}
    assert sorted(spec.name for spec in offered.backbones) == ["a", "a@2", "a@3", "a@4"]
    assert offered.unusual == {"a@2"}


def test_what_follows_a_form_left_out_follows_the_one_before_it() -> None:
    offered = offer_variants([form("a"), form("b")], ("b",), ManyForms(), ())
    kept = offered.keep({"a@3", "a@4"}.__contains__)
    assert [spec.name for spec in kept.first] == ["a@3"]
    assert kept.after == {"a@4": "a@3"}
    assert sorted(spec.name for spec in kept.backbones) == ["a@3", "a@4"]
    assert kept.unusual == {"a@3"}
    assert offered.keep(lambda name: True) == offered


class Branches(Modality):
    """A modality whose backbones have forms that branch."""

    name = "many"

    def variants(self, specs: Any, items: Any) -> Any:
        """Return two that follow the first, one of them with a form after it."""
        return [(spec, (form(f"{spec.name}@2"),), form(f"{spec.name}@3"), (form(f"{spec.name}@4"),)) for spec in specs]


def test_tuple_of_forms_branches_off_the_form_before_it() -> None:
    offered = offer_variants([form("a"), form("b")], ("b",), Branches(), ())
    assert [spec.name for spec in offered.first] == ["a", "b"]
    assert offered.after == {"a@2": "a", "a@3": "a", "a@4": "a@3"}
