"""Lengths: a backbone is searched with fewer tokens of a text than it takes, where texts are long.

The time of a text grows with its tokens, and texts that are shorter than the limit cost no more under a higher one. So
a backbone is tried first at the least length that covers nearly all texts; where there is none below the backbone's
own, at its own, and at half of it after that.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from autotransfer.contract.modality import Item
from autotransfer.contract.specs import BackboneSpec
from autotransfer_plugins.modalities.text.formats import at_length, max_length_of

__all__ = ["LENGTHS", "lengths_of", "typical_gmacs", "typical_lengths"]

LENGTHS = (64, 128, 256, 512)
# Share of the texts that a length must cover.
_COVERED_SHARE = 0.95
# Tokens for each word or sign, about what WordPiece and BPE make of English; special tokens come on top.
_TOKENS_PER_WORD, _SPECIAL_TOKENS = 1.3, 2
# Texts that are looked at, and bytes of a file.
_MEASURED_TEXTS, _MEASURED_BYTES = 500, 2**16
_WORD = re.compile(r"\w+|[^\w\s]")


def typical_lengths(items: Sequence[Item]) -> np.ndarray:
    """Return the estimated number of tokens of some of the texts, spread over all of them."""
    chosen = np.unique(np.linspace(0, len(items) - 1, min(len(items), _MEASURED_TEXTS)).astype(int))
    found = [_words(items[int(i)]) for i in chosen] if len(items) else []
    return np.array([words * _TOKENS_PER_WORD + _SPECIAL_TOKENS for words in found if words])


def _words(item: Item) -> float:
    if isinstance(item, Path):
        try:
            size = item.stat().st_size
            with item.open("rb") as file:
                item = file.read(_MEASURED_BYTES).decode(errors="replace")
        except OSError:
            return 0
        return len(_WORD.findall(item)) * max(size / _MEASURED_BYTES, 1)
    return sum(len(_WORD.findall(part)) for part in ((item,) if isinstance(item, str) else item))


def typical_gmacs(specs: Sequence[BackboneSpec], tokens: np.ndarray) -> list[float | None]:
    """Return the multiply-accumulates, in 10^9, of each backbone on a typical text; None for unknown.

    They grow with the tokens, as those of all layers but attention do, whose share is small.

    Args:
        specs: The backbones; what they say is for as many tokens as they take.
        tokens: Estimated number of tokens of some texts.
    """
    found: list[float | None] = []
    for spec in specs:
        own = max_length_of(spec)
        if own is None or spec.gmacs is None or not len(tokens):
            found.append(spec.gmacs)
        else:
            found.append(spec.gmacs * float(np.minimum(tokens, own).mean()) / own)
    return found


def lengths_of(specs: Sequence[BackboneSpec], tokens: np.ndarray) -> list[tuple[BackboneSpec, ...]]:
    """Return each backbone at its own length and at shorter ones, the one to try first in front.

    Args:
        specs: The backbones.
        tokens: Estimated number of tokens of some texts.
    """
    return [_forms(spec, tokens) for spec in specs]


def _forms(spec: BackboneSpec, tokens: np.ndarray) -> tuple[BackboneSpec, ...]:
    own = max_length_of(spec)
    if own is None or not len(tokens) or tokens.max() <= own:
        return (spec,)  # shorter forms see the same, or less, for the same time
    shorter = [length for length in LENGTHS if length < own]
    covering = [length for length in shorter if (tokens <= length).mean() >= _COVERED_SHARE]
    first = covering[0] if covering else own if own <= LENGTHS[-1] else LENGTHS[-1]
    cheaper = [length for length in reversed(shorter) if length < first][: 0 if covering else 1]
    forms = [spec if length == own else at_length(spec, length) for length in (first, *cheaper)]
    found = [form for form in forms if form is not None]
    return tuple(found) if spec in found else (*found, spec)
