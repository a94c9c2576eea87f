"""Whether backbones can be had, and what is said of those that cannot."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace

from autotransfer.contract.plugin_call import plugin_call
from autotransfer.contract.specs import BackboneSpec
from autotransfer.errors import AutoTransferError, BackboneError, PluginError, WeightsUnavailableError

__all__ = ["describe_unavailable", "check_usable", "why_not"]

# Names of backbones that a message lists; the details of the warning have all.
_NAMED = 8


def why_not(spec: BackboneSpec) -> AutoTransferError | None:
    """Return why a backbone cannot be had; None where it can be, as far as can be told at once.

    Raises:
        BackboneError: It is broken.
    """
    question = spec.locate or spec.check
    try:
        with plugin_call(f"The backbone {spec.name!r}"):
            if question is not None:
                question()
    except (WeightsUnavailableError, PluginError) as error:
        return error
    except BackboneError as error:
        raise _broken(spec, error) from error
    return None


def check_usable(spec: BackboneSpec, sound: dict[str, BackboneSpec], left_out: dict[str, AutoTransferError]) -> bool:
    """Look closely at a backbone that is to be searched, once: whether it is sound.

    Args:
        spec: The backbone.
        sound: Gets it, with its preprocessing, where it is.
        left_out: Gets the reason where it is not.

    Raises:
        BackboneError: It is broken.
    """
    if spec.name in sound:
        return True
    try:
        with plugin_call(f"The backbone {spec.name!r}"):
            if spec.check is not None and spec.locate is not None:  # otherwise it was asked already
                spec.check()
            how = spec.preprocessing or spec.load().preprocessing
            if not callable(getattr(how, "probe", None)):
                raise TypeError(f"its preprocessing is a {type(how).__name__}; expected an InputFormat")
    except (WeightsUnavailableError, PluginError) as error:
        left_out[spec.name] = error
        return False
    except BackboneError as error:
        raise _broken(spec, error) from error
    sound[spec.name] = replace(spec, preprocessing=how)
    return True


def describe_unavailable(
    unavailable: Mapping[str, AutoTransferError],
    over_budget: Sequence[str],
    asked: int,
    fallbacks: Sequence[BackboneSpec],
) -> str:
    """Say in one message which backbones are left out, and why.

    Args:
        unavailable: Those that cannot be had, and why.
        over_budget: Those that the budget allows no look at.
        asked: How many were asked for.
        fallbacks: What is searched instead.
    """
    alike: dict[str, list[str]] = {}  # names by what is said of them all
    for name, error in unavailable.items():
        alike.setdefault(str(error).replace(name, ""), []).append(name)
    parts = [f"{_some(names)} ({str(unavailable[names[0]]).rstrip('.')})" for names in alike.values()]
    if over_budget:
        parts.append(
            f"{_some(over_budget)} (the budget allows no look at all of them, and the others promise more for their "
            "cost; one that --backbones names in full is always searched)"
        )
    message = f"{len(unavailable) + len(over_budget)} of {asked} backbones are left out: {'; '.join(parts)}."
    if fallbacks:
        message += f" The {len(fallbacks)} small ones that come with the package are searched instead."
    return message


def _broken(spec: BackboneSpec, error: BackboneError) -> BackboneError:
    """Return the error of a broken backbone with what to do about it."""
    advice = f"leave it out with exclude={spec.name!r} (--exclude {shlex.quote(spec.name)})"
    return BackboneError(f"The backbone {spec.name!r} cannot be used: {error} Repair it, or {advice}.")


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NAMED])
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED} more"
