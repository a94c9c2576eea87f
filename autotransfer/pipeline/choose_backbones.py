"""Which backbones are searched: those that can be had, keep the limits on the model, and fit into the budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from functools import partial

from autotransfer.backbones.availability import check_usable, describe_unavailable, unavailable_reason
from autotransfer.contract.modality import Modality
from autotransfer.contract.registry import Registry
from autotransfer.contract.specs import BackboneSpec
from autotransfer.errors import AutoTransferError, ConfigError, WeightsUnavailableError
from autotransfer.pipeline.within_limits import BackbonesWithinLimits
from autotransfer.runtime.device import Device
from autotransfer.search.shortlist import choose_shortlist
from autotransfer.settings import Budget, Settings
from autotransfer.warnings import WarningList

__all__ = ["available_backbones", "pass_seconds"]

# Multiply-accumulates a second (10^9) that a device is taken for, before anything is measured. On two cores, frozen
# passes made 50 without 16 bit, and 170 (MobileNetV1) and at least 80 (MiniLM) with it.
_SPEED = {"cpu": 50.0, "cuda": 3000.0, "mps": 300.0}
_SPEED_OF_CPU_WITH_16_BIT = 100.0
# Share of the time budget that one pass of a backbone over the examples may take.
_PASS_SHARE = 0.2
# Share that the passes of all of them may take; none is left out where all passes take no more than the second one.
_SCREENING_SHARE, _SHARE_OF_ALL = 0.3, 0.4
# Most backbones of a search, fewest that a budget of trials allows, and trials for each backbone.
_MAX_BACKBONES, _ALWAYS, _TRIALS_EACH = 64, 8, 8


def available_backbones(
    registry: Registry,
    settings: Settings,
    device: Device,
    examples: int,
    report: Callable[[str], None],
    warnings: WarningList | None = None,
    *,
    modality: Modality | None = None,
    gmacs: Callable[[Sequence[BackboneSpec]], Sequence[float | None]] | None = None,
    limits: BackbonesWithinLimits | None = None,
) -> list[BackboneSpec]:
    """Return the backbones to search, the cheapest first.

    All are asked first whether they can be had, then the budget chooses among those that can. What is left out is
    named, with its reason, in the warning ``backbones_skipped``; a broken checkpoint is an error: the user put it
    there. Where none is named and none can be had, the fallbacks are searched.

    Args:
        registry: What there is.
        settings: The settings.
        device: Where examples pass through them.
        examples: Number of examples.
        report: Called with a line of text.
        warnings: Gets the warning.
        modality: What kind of examples they are to take; None for any.
        gmacs: Returns the multiply-accumulates, in 10^9, of each backbone on a typical example; None takes what the
            backbones say.
        limits: Knows which backbones keep the limits on the model; None where there are no limits.

    Raises:
        UnknownNameError: A pattern matches nothing.
        ConfigError: All are excluded, or none keeps the limits.
        BackboneError: A backbone is broken.
        WeightsUnavailableError: No backbone is left.
        PluginError: The same, and the plugin of the first is broken.
    """
    kind = None if modality is None else modality.name
    asked = _asked_for(registry, settings, kind)
    named = registry.named_in_full(settings.backbones, modality=kind)
    costs = [spec.gmacs for spec in asked] if gmacs is None else gmacs(asked)
    seconds = {spec.name: pass_seconds(cost, device, examples) for spec, cost in zip(asked, costs, strict=True)}
    left_out = {spec.name: error for spec in asked if (error := unavailable_reason(spec)) is not None}
    sound: dict[str, BackboneSpec] = {}
    choose = partial(_cut, named=named, budget=settings.budget, seconds=lambda spec: seconds[spec.name])
    reachable, chosen = _usable(asked, choose, sound, left_out, limits)
    over_budget = [spec.name for spec in reachable if spec not in chosen]
    pretrained = any(spec.heads is None for spec in reachable)  # others have no weights to be had or not
    fallbacks = [] if pretrained or settings.backbones else registry.fallbacks(settings.search.exclude, modality=kind)
    if limits is not None:
        fallbacks = [spec for spec in fallbacks if spec.name not in limits.over(fallbacks)]
        if not reachable and not fallbacks and limits.has_refused:
            raise limits.refuse()
    if not reachable and not fallbacks:
        raise next(iter(left_out.values()))
    if left_out or over_budget:
        message = describe_unavailable(left_out, over_budget, len(asked), fallbacks)
        report(message)
        if warnings is not None:
            reasons = {name: str(error) for name, error in left_out.items()}
            warnings.warn("backbones_skipped", message, unavailable=reasons, over_budget=over_budget)
    return [*([sound[spec.name] for spec in chosen] if reachable else ()), *fallbacks]


def _asked_for(registry: Registry, settings: Settings, modality: str | None) -> list[BackboneSpec]:
    """Return the backbones that the settings ask for, the cheapest first.

    Raises:
        ConfigError: All are excluded.
        WeightsUnavailableError: There is none.
    """
    asked = registry.select_backbones(settings.backbones, settings.search.exclude, modality=modality)
    if not asked and settings.search.exclude and registry.select_backbones(settings.backbones, modality=modality):
        raise ConfigError(
            f"All backbones are left out by exclude: {', '.join(settings.search.exclude)}; leave out fewer."
        )
    if not asked:
        of = "" if modality is None else f" of the modality {modality!r}"
        raise WeightsUnavailableError(f"No backbone{of} is registered: give a zoo with --zoo, or names by --backbones.")
    return sorted(asked, key=lambda spec: (spec.gmacs or 0.0, spec.parameters or 0, spec.name))


def _usable(
    asked: Sequence[BackboneSpec],
    choose: Callable[[list[BackboneSpec]], list[BackboneSpec]],
    sound: dict[str, BackboneSpec],
    left_out: dict[str, AutoTransferError],
    limits: BackbonesWithinLimits | None,
) -> tuple[list[BackboneSpec], list[BackboneSpec]]:
    """Return the backbones that can be had and keep the limits, and those of them that the budget allows.

    Others take the places of what turns out to be broken, or to take too much.
    """
    beyond, chosen = set[str](), list[BackboneSpec]()
    while reachable := [spec for spec in asked if spec.name not in left_out and spec.name not in beyond]:
        chosen = choose(reachable)
        if all(check_usable(spec, sound, left_out) for spec in chosen):
            over = set[str]() if limits is None else limits.over([sound[spec.name] for spec in chosen])
            if not over:
                break
            beyond |= over
    return reachable, chosen


def pass_seconds(gmacs: float | None, device: Device, examples: int) -> float:
    """Return about how long one pass over the examples takes, before anything is measured; 0 for unknown."""
    kind = device.torch.type
    speed = _SPEED_OF_CPU_WITH_16_BIT if kind == "cpu" and device.half is not None else _SPEED[kind]
    return (gmacs or 0.0) * examples / speed


def _cut(
    specs: list[BackboneSpec], named: Collection[str], budget: Budget, seconds: Callable[[BackboneSpec], float]
) -> list[BackboneSpec]:
    """Return the backbones that the budget allows a look at, the cheapest first; those named in full always."""
    always = [spec for spec in specs if spec.name in named]
    others = [spec for spec in specs if spec.name not in named and spec.heads is None]
    always += [spec for spec in specs if spec.name not in named and spec.heads is not None]  # they cost next to nothing
    allowed = math.inf
    if budget.seconds is not None and sum(map(seconds, specs)) > budget.seconds * _SHARE_OF_ALL:
        allowed = budget.seconds * _SCREENING_SHARE
        others = [spec for spec in others if seconds(spec) <= budget.seconds * _PASS_SHARE] or others[:1]
    most = _MAX_BACKBONES if budget.trials is None else max(_ALWAYS, budget.trials // _TRIALS_EACH)
    chosen = [*always, *(choose_shortlist(others, seconds, allowed, min(most, _MAX_BACKBONES)) if others else ())]
    return sorted(chosen, key=lambda spec: (spec.gmacs or 0.0, spec.parameters or 0, spec.name))
