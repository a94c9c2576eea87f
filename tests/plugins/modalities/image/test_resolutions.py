"""Backbones at a smaller input size: which have one, and which size is looked at first."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from torch import nn

from autotransfer.contract.backbone import SequentialBackbone
from autotransfer.contract.specs import BackboneSpec
from autotransfer.search.variants import Variants, offer_variants
from autotransfer_plugins.modalities.image.formats import Preprocessing, at_side
from autotransfer_plugins.modalities.image.modality import IMAGE


def _load(side: int = 224) -> SequentialBackbone:
    return SequentialBackbone(
        {"stem": nn.Conv2d(3, 4, 3)}, preprocessing=Preprocessing(size=(side, side)), width=4, recipe={"plugin": "tiny"}
    )


def offer(specs: list[BackboneSpec], named: tuple[str, ...], typical: float | None) -> Variants:
    """Offer the variants of backbones for square images of a typical side, or for some that are read lazily."""
    items = range(9) if typical is None else [np.zeros((int(typical), int(typical)), dtype=np.uint8)]
    return offer_variants(specs, named, IMAGE, items)


def _spec(name: str, size: tuple[int, int] = (224, 224), **about: Any) -> BackboneSpec:
    how = Preprocessing(size=size)
    return BackboneSpec(
        name=name, modality="image", load=_load, load_at=_load, input_size=size, preprocessing=how, **about
    )


@pytest.mark.parametrize(("own", "smaller"), [(224, 128), (256, 160), (288, 160), (384, 224), (160, 96)])
def test_the_smaller_size_takes_a_third_of_the_time(own: int, smaller: int) -> None:
    sizes = offer([_spec("a", (own, own), gmacs=1.0)], (), None)
    assert [spec.name for spec in sizes.backbones] == ["a", f"a@{smaller}px"]
    found = sizes.backbones[1]
    assert found.input_size == (smaller, smaller)
    assert 0.25 < (found.gmacs or 0) < 0.42
    assert found.load().preprocessing.size == (smaller, smaller)


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        pytest.param(_spec("a", (128, 128)), (), id="it is small itself"),
        pytest.param(_spec("a", (224, 192)), (), id="its images are not square"),
        pytest.param(_spec("a"), ("a",), id="the user named it"),
        pytest.param(
            BackboneSpec(name="a", modality="image", load=_load, input_size=(224, 224)), (), id="it takes one size only"
        ),
    ],
)
def test_not_every_backbone_has_one(spec: BackboneSpec, named: tuple[str, ...]) -> None:
    sizes = offer([spec], named, 100.0)
    assert sizes.backbones == sizes.first == (spec,)
    assert not sizes.after
    assert not sizes.unusual


def test_backbone_of_unknown_size_is_loaded_to_be_asked() -> None:
    spec = BackboneSpec(name="a", modality="image", load=_load, load_at=_load)
    asked = replace(spec, preprocessing=Preprocessing(size=(224, 224)))  # as the search describes it
    assert [found.name for found in offer([asked], (), None).backbones] == ["a", "a@128px"]
    named = at_side(spec, 128)
    assert named is not None
    assert named.load().preprocessing.size == (128, 128)


@pytest.mark.parametrize(("typical", "first"), [(None, "a"), (400.0, "a"), (148.0, "a"), (147.0, "a@128px")])
def test_small_images_are_looked_at_in_small_first(typical: float | None, first: str) -> None:
    sizes = offer([_spec("a"), _spec("b", (64, 64))], (), typical)
    assert [spec.name for spec in sizes.first] == [first, "b"]
    assert sizes.after == {"a" if first != "a" else "a@128px": first}
    assert sizes.unusual == frozenset({first} - {"a"})
