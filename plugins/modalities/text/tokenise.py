"""Tokenising: every text once per tokenizer, in blocks, to packed arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from autotransfer_plugins.modalities.text.packed import PackedWriter
from autotransfer_plugins.modalities.text.tokenizer import TokenizerFile

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["Tokens", "given_to_tokenizer", "separator_of", "shorten"]

# Characters of a text that are tokenised, for each token that is wanted: words of natural languages have 2 to 8.
_CHARACTERS_PER_TOKEN = 32


@dataclass
class Tokens:
    """The tokens of all texts by one tokenizer, at most ``max_length`` of each.

    A token that the tokenizer's own template adds, such as ``[CLS]``, is stored as ``~token``: it stays where a text
    is shortened or loses tokens at random.

    Attributes:
        tokenizer: The tokenizer.
        max_length: Most tokens of a text.
        lost: Share of its tokens that each text loses, block by block.
    """

    tokenizer: TokenizerFile
    max_length: int

    dtypes: ClassVar[Mapping[str, np.typing.DTypeLike]] = {"tokens": np.int32}

    def __post_init__(self) -> None:
        self.lost: list[np.ndarray] = []

    @property
    def key(self) -> str:
        """What its arrays are called by in a store."""
        return self.tokenizer.digest

    def add(self, texts: Sequence[tuple[str, ...]], writer: PackedWriter) -> None:
        """Tokenise a block of texts, each of one part or several."""
        tokenizer, cut = self.tokenizer.load(), self.max_length * _CHARACTERS_PER_TOKEN
        separator = separator_of(tokenizer) if any(len(parts) > 2 for parts in texts) else ""
        given = [given_to_tokenizer(tuple(part[:cut] for part in parts), separator) for parts in texts]
        encoded = tokenizer.encode_batch_fast(given)
        rows, lost = [], np.zeros(len(texts), np.float32)
        for i, (encoding, parts) in enumerate(zip(encoded, texts, strict=True)):
            tokens = np.array(encoding.ids, np.int32)
            added = np.array(encoding.special_tokens_mask, bool)
            tokens[added] = ~tokens[added]
            row = shorten(tokens, self.max_length)
            if not len(row):  # a text of spaces alone, to this tokenizer
                row = np.array([self.tokenizer.pad_id], np.int32)
            unread = sum(len(part) for part in parts) / max(sum(min(len(part), cut) for part in parts), 1)
            lost[i] = max(1 - len(row) / max(len(tokens) * unread, 1), 0)
            rows.append(row)
        writer.add(np.array([len(row) for row in rows]), {"tokens": np.concatenate(rows)})
        self.lost.append(lost)


def given_to_tokenizer(parts: tuple[str, ...], separator: str) -> Any:
    """Return what a tokenizer takes: a text or a pair; of more than two, the third and others join the second."""
    if len(parts) == 1:
        return parts[0]
    return parts[0], f" {separator} ".join(parts[1:])


def separator_of(tokenizer: Tokenizer) -> str:
    """Return the token that the tokenizer puts between two texts; empty where it puts none."""
    pair = tokenizer.encode("a", "b")
    inner = [i for i, own in enumerate(pair.special_tokens_mask) if not own]
    between = range(inner[0] + 1, inner[-1]) if inner else range(0)
    return next((pair.tokens[i] for i in between if pair.special_tokens_mask[i]), "")


def shorten(tokens: np.ndarray, length: int) -> np.ndarray:
    """Return at most so many tokens, without the last ones of the longest parts; added tokens (< 0) stay."""
    if len(tokens) <= length:
        return tokens
    added = np.flatnonzero(tokens < 0)
    bounds = np.concatenate([[-1], added, [len(tokens)]])
    sizes = np.diff(bounds) - 1  # of the parts between added tokens, many of them empty
    kept = _shares(sizes.tolist(), max(length - len(added), 0))
    within = chain.from_iterable(range(start + 1, start + 1 + n) for start, n in zip(bounds, kept, strict=False))
    return tokens[np.sort(np.fromiter(chain(within, added), np.int64))][:length]


def _shares(sizes: list[int], room: int) -> list[int]:
    """Return how many of its tokens each part keeps, in a room that is shared: short parts stay whole.

    Of two long parts, the longer keeps one more where the room is odd, as with the truncation of ``tokenizers``.
    """
    kept = list(sizes)
    for rank, i in enumerate(sorted(range(len(sizes)), key=sizes.__getitem__)):
        left = len(sizes) - rank
        kept[i] = min(sizes[i], room // left)
        room -= kept[i]
    return kept
