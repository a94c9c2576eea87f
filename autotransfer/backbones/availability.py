"""Availability of backbones, and the warning on unavailable ones."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace

from autotransfer.contract.plugin_call import plugin_call
from autotransfer.contract.specs import BackboneSpec
from autotransfer.errors import AutoTransferError, BackboneError, PluginError, WeightsUnavailableError

__all__ = ["describe_unavailable", "check_usable", "unavailable_reason"]

# Most names of backbones in a message; the details of the warning hold all names.
_MAX_NAMES_IN_MESSAGE = 8


def unavailable_reason(spec: BackboneSpec) -> AutoTransferError | None:
    """Return the error of an unavailable backbone; None if a quick check finds the backbone available.

    Raises:
        BackboneError: The backbone is broken.
    """
    check = spec.locate or spec.check
    try:
        with plugin_call(f"The backbone {spec.name!r}"):
            if check is not None:
                check()
    except (WeightsUnavailableError, PluginError) as error:
        return error
    except BackboneError as error:
        raise _broken(spec, error) from error
    return None


def check_usable(
    spec: BackboneSpec, usable: dict[str, BackboneSpec], unavailable: dict[str, AutoTransferError]
) -> bool:
    """Check once whether a backbone is usable.

    Args:
        spec: The backbone.
        usable: Usable backbones with their preprocessing; a usable backbone is added.
        unavailable: Errors of unavailable backbones; the error of an unavailable backbone is added.

    Raises:
        BackboneError: The backbone is broken.
    """
    if spec.name in usable:
        return True
    try:
        with plugin_call(f"The backbone {spec.name!r}"):
            if spec.check is not None and spec.locate is not None:  # without ``locate``, the quick check was ``check``
                spec.check()
            preprocessing = spec.preprocessing or spec.load().preprocessing
            if not callable(getattr(preprocessing, "probe", None)):
                raise TypeError(f"its preprocessing is a {type(preprocessing).__name__}; expected an InputFormat")
    except (WeightsUnavailableError, PluginError) as error:
        unavailable[spec.name] = error
        return False
    except BackboneError as error:
        raise _broken(spec, error) from error
    usable[spec.name] = replace(spec, preprocessing=preprocessing)
    return True


def describe_unavailable(
    unavailable: Mapping[str, AutoTransferError],
    over_budget: Sequence[str],
    requested: int,
    fallbacks: Sequence[BackboneSpec],
) -> str:
    """Return a message that lists the backbones that are left out, with the reasons.

    Args:
        unavailable: Errors of unavailable backbones.
        over_budget: Backbones that the budget does not allow to try.
        requested: Number of requested backbones.
        fallbacks: Backbones that are searched instead.
    """
    names_of: dict[str, list[str]] = {}  # names by error, without the name in it
    for name, error in unavailable.items():
        names_of.setdefault(str(error).replace(name, ""), []).append(name)
    parts = [f"{_shorten(names)} ({str(unavailable[names[0]]).rstrip('.')})" for names in names_of.values()]
    if over_budget:
        parts.append(
            f"{_shorten(over_budget)} (the budget does not allow to try all backbones, and the others promise more for "
            "their cost; a backbone that --backbones names in full is always searched)"
        )
    message = f"{len(unavailable) + len(over_budget)} of {requested} backbones are left out: {'; '.join(parts)}."
    if fallbacks:
        message += f" The {len(fallbacks)} small ones that come with the package are searched instead."
    return message


def _broken(spec: BackboneSpec, error: BackboneError) -> BackboneError:
    """Return the error of a broken backbone, with advice."""
    advice = f"leave it out with exclude={spec.name!r} (--exclude {shlex.quote(spec.name)})"
    return BackboneError(f"The backbone {spec.name!r} cannot be used: {error} Repair it, or {advice}.")


def _shorten(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_MAX_NAMES_IN_MESSAGE])
    return shown if len(names) <= _MAX_NAMES_IN_MESSAGE else f"{shown} and {len(names) - _MAX_NAMES_IN_MESSAGE} more"
