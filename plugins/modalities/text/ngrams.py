"""Counts of n-grams of words and characters, hashed to buckets; all of a block of texts in a few passes of NumPy.

A substring's hash is the difference of two prefix sums of a polynomial in its characters, modulo 2^64, so that n-grams
of any length cost the same. Source of the hashing trick: Weinberger et al., Feature Hashing (ICML 2009).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from autotransfer.errors import ModelFormatError
from autotransfer_plugins.modalities.text.packed import PackedWriter

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["CHARACTER_BUCKETS", "WORD_BUCKETS", "NGramFormat", "NGrams", "count_ngrams"]

WORD_BUCKETS, CHARACTER_BUCKETS = 2**20, 2**20
# Lengths of the n-grams: of words, and of characters within a word and the spaces beside it.
_WORDS, _CHARACTERS = (1, 2), (2, 3, 4, 5)
# Characters of a text that are counted, and of texts that are counted at a time.
_MAX_CHARACTERS, _BLOCK_CHARACTERS = 2**16, 2**18
_MAX_COUNT = 2**8 - 1
_BASE = np.uint64(0x9E3779B97F4A7C15)
_SPACE, _APOSTROPHES = 32, (39, 0x2019)


@dataclass(frozen=True)
class NGramFormat:
    """Texts as counts: ``{"buckets": int64 (rows, L), "counts": int64 (rows, L), "mask": bool (rows, L)}``.

    L is the number of different buckets of the text among the rows that has most. Buckets below ``WORD_BUCKETS`` are
    of words, the others of characters.
    """

    def probe(self, count: int, seed: int = 0) -> Mapping[str, Tensor]:
        """Return random buckets (count, L) with their counts; rows have different lengths."""
        import torch

        rng = torch.Generator().manual_seed(seed)
        lengths = 24 - torch.arange(count) * 5 % 12
        mask = torch.arange(24) < lengths[:, None]
        buckets = torch.randint(WORD_BUCKETS + CHARACTER_BUCKETS, (count, 24), generator=rng).sort(1).values
        counts = torch.randint(1, 4, (count, 24), generator=rng)
        return {"buckets": buckets * mask, "counts": counts * mask, "mask": mask}

    def to_json(self) -> dict[str, Any]:
        """Return what tells this format from others."""
        return {"ngrams": {"words": list(_WORDS), "characters": list(_CHARACTERS)}}

    @classmethod
    def from_json(cls, saved: Any) -> NGramFormat:
        """Read what ``to_json`` returned.

        Raises:
            ModelFormatError: The n-grams are others than this version counts.
        """
        if saved != cls().to_json():
            raise ModelFormatError(f"This version counts n-grams as {cls().to_json()}; the model has {saved!r:.80}.")
        return cls()


class NGrams:
    """Counts the n-grams of texts, block by block."""

    key = "ngrams"
    dtypes: Mapping[str, np.typing.DTypeLike] = {"buckets": np.int32, "counts": np.uint8}

    def add(self, texts: Sequence[tuple[str, ...]], writer: PackedWriter) -> None:
        """Count the n-grams of a block of texts, each of one part or several."""
        block: list[str] = []
        size = 0
        for parts in texts:
            block.append(_plain(parts))
            size += len(block[-1])
            if size > _BLOCK_CHARACTERS:
                _write(block, writer)
                block, size = [], 0
        if block:
            _write(block, writer)


def _write(block: Sequence[str], writer: PackedWriter) -> None:
    lengths, buckets, counts = count_ngrams(block)
    writer.add(lengths, {"buckets": buckets, "counts": counts})


def _plain(parts: Sequence[str]) -> str:
    """Return a text in lower case, with a space at both ends and single spaces within."""
    return f" {' '.join(' '.join(parts)[:_MAX_CHARACTERS].lower().split())} "


def count_ngrams(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the counts of the n-grams of texts, each with a space at both ends.

    Returns:
        The number of different buckets of each text (N,), then the buckets of all texts, in order within a text, and
        the count of each.
    """
    codes = np.frombuffer("".join(texts).encode("utf-32-le", "replace"), np.uint32)
    owners = np.repeat(np.arange(len(texts), dtype=np.uint64), [len(text) for text in texts])
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(_mixed(codes) * _powers(len(codes))[0][: len(codes)])])
    found = [*_words(codes, owners, sums), *_characters(codes, owners, sums)]
    keys, counts = np.unique(np.concatenate(found), return_counts=True)
    lengths = np.bincount((keys >> np.uint64(32)).astype(np.int64), minlength=len(texts))
    buckets = (keys & np.uint64(0xFFFFFFFF)).astype(np.int32)
    return lengths, buckets, np.minimum(counts, _MAX_COUNT).astype(np.uint8)


def _words(codes: np.ndarray, owners: np.ndarray, sums: np.ndarray) -> list[np.ndarray]:
    """Return the keys of words and signs, and of two in a row."""
    letters = _letters(codes)
    inner = np.isin(codes[1:-1], _APOSTROPHES) & letters[:-2] & letters[2:]
    letters[1:-1] |= inner  # "don't" is one word
    follows = np.concatenate([[False], letters[1:] & letters[:-1]])
    starts = np.flatnonzero((codes != _SPACE) & ~follows)
    ends = np.append(starts[1:], len(codes))
    spaces = np.flatnonzero(codes == _SPACE)
    ends = np.minimum(ends, spaces[np.searchsorted(spaces, starts)]) if len(starts) else ends
    single, owner = _hashes(sums, starts, ends), owners[starts]
    pairs = owner[1:] == owner[:-1]
    double = _mixed(single[:-1][pairs] * _BASE ^ single[1:][pairs])
    return [_keys(owner, _mixed(single), 0, WORD_BUCKETS), _keys(owner[1:][pairs], double, 0, WORD_BUCKETS)]


def _characters(codes: np.ndarray, owners: np.ndarray, sums: np.ndarray) -> list[np.ndarray]:
    """Return the keys of runs of characters, in which a space stands at an end only."""
    space = codes == _SPACE
    before = np.concatenate([[0], np.cumsum(space)])
    found = []
    for length in _CHARACTERS:
        starts = np.arange(max(len(codes) - length + 1, 0))
        within = before[starts + length - 1] - before[starts + 1]  # spaces that are not at an end
        alone = length == 2  # such as " a" and "a ", and "  " at the seam of two texts
        good = (within == 0) & ~(space[starts] & space[starts + length - 1] & alone)
        starts = starts[good]
        hashes = _mixed(_hashes(sums, starts, starts + length) + np.uint64(length))
        found.append(_keys(owners[starts], hashes, WORD_BUCKETS, CHARACTER_BUCKETS))
    return found


def _hashes(sums: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    hashes: np.ndarray = (sums[ends] - sums[starts]) * _powers(len(sums))[1][starts]
    return hashes


def _keys(owners: np.ndarray, hashes: np.ndarray, first: int, buckets: int) -> np.ndarray:
    """Return the text in the upper 32 bits and the bucket in the lower ones."""
    bucket = (hashes >> np.uint64(32)) % np.uint64(buckets) + np.uint64(first)
    keys: np.ndarray = owners << np.uint64(32) | bucket
    return keys


def _mixed(values: np.ndarray) -> np.ndarray:
    """Return hashes whose bits all depend on all bits (the finaliser of SplitMix64)."""
    x = values.astype(np.uint64) + _BASE
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = x ^ (x >> np.uint64(31))
    return mixed


def _letters(codes: np.ndarray) -> np.ndarray:
    """Whether each character is a letter, a digit, a mark on one or an underscore."""
    different, where = np.unique(codes, return_inverse=True)
    known = np.array([(c := chr(code)).isalnum() or c == "_" or 0x300 <= code < 0x370 for code in different.tolist()])
    return np.asarray(known[where])


def _powers(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the powers of the base and of its inverse, modulo 2^64, at least so many."""
    return _table(1 << max(count, 2**19).bit_length())


@cache
def _table(count: int) -> tuple[np.ndarray, np.ndarray]:
    inverse = np.uint64(pow(int(_BASE), -1, 2**64))
    first = np.ones(1, np.uint64)
    return tuple(np.cumprod(np.concatenate([first, np.full(count - 1, base)])) for base in (_BASE, inverse))  # type: ignore[return-value]
