"""Variants: each backbone in the forms that its modality has for it, such as a resolution that costs less."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from autotransfer.contract.modality import Forms, Item, Modality
from autotransfer.contract.specs import BackboneSpec

__all__ = ["Variants", "offer_variants"]


@dataclass(frozen=True, kw_only=True)
class Variants:
    """Backbones in their forms.

    Attributes:
        backbones: All of them, in all forms.
        first: Those that are screened first: each backbone once.
        after: By the name of a form, the name of the form of the same backbone that is tried before it. Forms that are
            screened first are not among the keys.
        unusual: Names of those that are screened on inputs of another size than their own first, or were trained on
            examples of another modality.
    """

    backbones: tuple[BackboneSpec, ...]
    first: tuple[BackboneSpec, ...]
    after: Mapping[str, str]
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
    offered, first, after, unusual = list(fitted), list[BackboneSpec](), dict[str, str](), set[str]()
    for spec in fitted:
        (chosen, _), *rest = _in_order(forms.get(spec.name, (spec,)))
        offered += [form for form in (chosen, *(form for form, _ in rest)) if form is not spec]
        first.append(chosen)
        after |= {form.name: before.name for form, before in rest if before is not None}
        unusual |= {chosen.name} if chosen.input_size != spec.input_size or spec.distant else set()
    return Variants(backbones=tuple(offered), first=tuple(first), after=after, unusual=frozenset(unusual))


def _in_order(forms: Forms, before: BackboneSpec | None = None) -> Iterator[tuple[BackboneSpec, BackboneSpec | None]]:
    """Yield each form, and the one that it follows; None for the first."""
    for form in forms:
        if isinstance(form, tuple):
            yield from _in_order(form, before)
        else:
            yield form, before
            before = form
