"""Variants: each backbone in the forms that its modality has for it, such as a resolution that costs less."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
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

    @property
    def families(self) -> list[list[BackboneSpec]]:
        """The forms of each backbone, the one to try first in front."""
        known, families = {spec.name: spec for spec in self.backbones}, {spec.name: [spec] for spec in self.first}
        for name in self.after:
            root = name
            while root in self.after:
                root = self.after[root]
            families[root].append(known[name])
        return list(families.values())

    def keep(self, is_kept: Callable[[str], bool]) -> Variants:
        """Return some of the forms; what follows a form that is left out, follows the one before it.

        Args:
            is_kept: Whether the form of a name is kept.
        """
        first, after, changed = list[BackboneSpec](), dict[str, str](), set[str]()
        for family in self.families:
            kept = {form.name: form for form in family if is_kept(form.name)}
            if not kept:
                continue
            root = next(iter(kept))
            first.append(kept.pop(root))
            changed |= {root} - {family[0].name}
            for form in kept:
                before = self.after.get(form, root)
                while before not in kept and before in self.after:
                    before = self.after[before]
                after[form] = before if before in kept else root
        names = {spec.name for spec in first} | set(after)
        return Variants(
            backbones=tuple(spec for spec in self.backbones if spec.name in names),
            first=tuple(first),
            after=after,
            unusual=frozenset((self.unusual | changed) & names),
        )


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
