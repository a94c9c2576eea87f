"""Variants: each backbone in the forms that its modality has for it, such as a resolution that costs less."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Any

from autotransfer.contract.modality import Item, Modality
from autotransfer.contract.specs import BackboneSpec

__all__ = ["Variants", "offer_variants"]


@dataclass(frozen=True, kw_only=True)
class Variants:
    """Backbones in their forms.

    Attributes:
        backbones: All of them, in all forms.
        first: Those that are screened first: each backbone once.
        others: By the name of a form, the name of the same backbone in the form that is tried after that.
        unusual: Names of those that are screened in another form than their own first, or were trained on examples of
            another modality.
    """

    backbones: tuple[BackboneSpec, ...]
    first: tuple[BackboneSpec, ...]
    others: Mapping[str, str]
    unusual: frozenset[str]


def offer_variants(
    backbones: Sequence[BackboneSpec],
    named: Collection[str],
    modality: Modality,
    items: Sequence[Item],
    options: Mapping[str, Any] = MappingProxyType({}),
) -> Variants:
    """Return each backbone in the forms that its modality offers for the examples.

    Args:
        backbones: The backbones, the cheapest first.
        named: Names that the user gave in full: those are searched in one form alone.
        modality: The modality of the examples.
        items: The examples.
        options: Options of the modality that the user has set.
    """
    fitted = modality.fitted(backbones, items, options)
    free = [form for spec, form in zip(backbones, fitted, strict=True) if spec.name not in named]
    forms = dict(zip((spec.name for spec in free), modality.variants(free, items) if free else (), strict=True))
    offered, first, others, unusual = list(fitted), list[BackboneSpec](), dict[str, str](), set[str]()
    for spec in fitted:
        chosen, *rest = forms.get(spec.name, (spec,))
        offered += [form for form in (chosen, *rest) if form is not spec]
        first.append(chosen)
        others |= {before.name: form.name for before, form in pairwise((chosen, *rest))}
        unusual |= {chosen.name} if chosen is not spec or spec.distant else set()
    return Variants(backbones=tuple(offered), first=tuple(first), others=others, unusual=frozenset(unusual))
