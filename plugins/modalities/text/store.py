"""Texts that were read and tokenised, each once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from autotransfer.contract.modality import Modality, Skipped, Store
from autotransfer_plugins.modalities.text.formats import TokenFormat
from autotransfer_plugins.modalities.text.ngrams import NGramFormat, NGrams
from autotransfer_plugins.modalities.text.packed import padded, positions
from autotransfer_plugins.modalities.text.tokenise import shorten

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from typing_extensions import Self

__all__ = ["DROPOUT", "TextStore"]

DROPOUT: Mapping[str, float] = {"none": 0.0, "light": 0.05, "medium": 0.15}
"""Share of its tokens that a text loses at random, by strength of augmentation."""

_BY_ROW = ("starts", "lengths", "exact")


def _text() -> Modality:
    from autotransfer_plugins.modalities.text.modality import TEXT

    return TEXT


@dataclass(frozen=True, kw_only=True)
class TextStore(Store):
    """Texts as tokens, packed without padding.

    ``arrays`` holds for each tokenizer, by its digest, ``DIGEST/tokens`` int32 (all tokens,), ``DIGEST/starts``
    int64 (N,) and ``DIGEST/lengths`` int32 (N,); counts of n-grams are ``ngrams/buckets``, ``ngrams/counts``, and so
    on. ``exact`` holds a hash of each text as it is, since digests are those of texts in lower case.

    Attributes:
        limits: Most tokens of a text that are here, by the digest of the tokenizer.
        max_length: Most tokens of a text that the user wants; None leaves that to the backbones.
    """

    modality: Modality = field(default_factory=_text)
    limits: Mapping[str, int] = field(default_factory=dict)
    max_length: int | None = None

    @property
    def reading(self) -> Mapping[str, Any]:
        """The most tokens of a text that are used, as JSON."""
        return {"max_length": self.max_length}

    @property
    def decided(self) -> str:
        """A hash of the texts as they are, which tells apart copies up to case."""
        return blake2b(np.ascontiguousarray(self.arrays["exact"]).tobytes(), digest_size=16).hexdigest()

    def suits(self, how: TokenFormat | NGramFormat) -> bool:
        """Whether there are counts, or as many tokens of its tokenizer as a backbone takes."""
        if isinstance(how, NGramFormat):
            return f"{NGrams.key}/starts" in self.arrays
        limit = self.limits.get(how.tokenizer.digest)
        return limit is not None and limit >= self._length(how)

    def lengths(self, how: TokenFormat | NGramFormat) -> np.ndarray:
        """Return the number of tokens, or of different n-grams, of each text (N,) for a backbone."""
        if isinstance(how, NGramFormat):
            return self.arrays[f"{NGrams.key}/lengths"]
        lengths: np.ndarray = np.minimum(self.arrays[f"{how.tokenizer.digest}/lengths"], self._length(how))
        return lengths

    def inputs(
        self,
        rows: slice | np.ndarray,
        how: TokenFormat | NGramFormat,
        device: torch.device,
        view: str | None = None,
    ) -> Mapping[str, Tensor]:
        """Return tokens or counts with their mask (rows, L), as the format says."""
        if isinstance(how, NGramFormat):
            return self._counts(rows, device)
        tokens, mask = self._rows(rows, how)
        return _tensors(np.where(tokens < 0, ~tokens, tokens), mask, how, device)

    def augmented(
        self,
        rows: slice | np.ndarray,
        how: TokenFormat | NGramFormat,
        device: torch.device,
        strength: str,
        rng: torch.Generator,
    ) -> Mapping[str, Tensor]:
        """Return the same without some of the tokens, drawn at random; added tokens and at least one other stay.

        Counts stay as they are: nothing is trained on them by gradient.
        """
        import torch

        share = DROPOUT.get(strength)
        if not share or isinstance(how, NGramFormat):
            strength = "none" if share else strength
            return cast("Mapping[str, Tensor]", super().augmented(rows, how, device, strength, rng))
        tokens, mask = self._rows(rows, how)
        stays = mask & ((tokens < 0) | (torch.rand(tokens.shape, generator=rng).numpy() >= share))
        content = mask & (tokens >= 0)
        bare = content.any(1) & ~(content & stays).any(1)
        stays[bare, content[bare].argmax(1)] = True
        order = np.argsort(~stays, axis=1, kind="stable")[:, : int(stays.sum(1).max(initial=0))]
        tokens, mask = np.take_along_axis(tokens, order, 1), np.take_along_axis(stays, order, 1)
        return _tensors(np.where(tokens < 0, ~tokens, tokens), mask, how, device)

    def keep(self, rows: Sequence[int], skipped: Sequence[Skipped] = ()) -> Self:
        """Return the texts at some positions; the others are left out."""
        return self._of(self._chosen(np.asarray(rows, np.int64)), rows, skipped)

    def take(self, rows: np.ndarray) -> Self:
        """Return the texts at some positions; the tokens are shared, since nothing changes them."""
        return self._of(self._chosen(rows), rows.tolist(), ())

    def _chosen(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        by_row = {name: name.rpartition("/")[2] in _BY_ROW for name in self.arrays}
        return {name: array[rows] if by_row[name] else array for name, array in self.arrays.items()}

    def _length(self, how: TokenFormat) -> int:
        return how.max_length if self.max_length is None else min(how.max_length, self.max_length)

    def _counts(self, rows: slice | np.ndarray, device: torch.device) -> dict[str, Tensor]:
        import torch

        starts, lengths = (self.arrays[f"{NGrams.key}/{name}"][rows] for name in ("starts", "lengths"))
        where, mask = positions(starts, lengths)
        named = {name: self.arrays[f"{NGrams.key}/{name}"][where].astype(np.int64) * mask for name in NGrams.dtypes}
        return {name: torch.from_numpy(array).to(device) for name, array in {**named, "mask": mask}.items()}

    def _rows(self, rows: slice | np.ndarray, how: TokenFormat) -> tuple[np.ndarray, np.ndarray]:
        """Return stored tokens int64 (rows, L), where added ones are below zero, and their mask (rows, L)."""
        key, limit = how.tokenizer.digest, self._length(how)
        starts, lengths = self.arrays[f"{key}/starts"][rows], self.arrays[f"{key}/lengths"][rows]
        stored = self.arrays[f"{key}/tokens"]
        if lengths.max(initial=0) <= limit:
            where, mask = positions(starts, lengths)
            return stored[where].astype(np.int64), mask
        pairs = zip(starts.tolist(), lengths.tolist(), strict=True)
        return padded([shorten(stored[start : start + length], limit) for start, length in pairs], 0)


def _tensors(tokens: np.ndarray, mask: np.ndarray, how: TokenFormat, device: torch.device) -> dict[str, Tensor]:
    import torch

    tokens = np.where(mask, tokens, how.tokenizer.pad_id)
    return {"tokens": torch.from_numpy(tokens).to(device), "mask": torch.from_numpy(mask).to(device)}
