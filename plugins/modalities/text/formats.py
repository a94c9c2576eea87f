"""How backbones want their texts: as tokens of a tokenizer, at most so many of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotransfer.contract.specs import BackboneSpec
from autotransfer.errors import ModelFormatError
from autotransfer_plugins.modalities.text.tokenizer import TokenizerFile

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["MAX_LENGTH", "MIN_LENGTH", "TokenFormat", "TokenizerFile", "at_length", "max_length_of"]

MIN_LENGTH, MAX_LENGTH = 8, 2**17
# Tokens of the longest row of a probe.
_PROBE_LENGTH = 24


@dataclass(frozen=True, kw_only=True)
class TokenFormat:
    """Texts as tokens: ``{"tokens": int64 (rows, L), "mask": bool (rows, L)}``.

    L is the number of tokens of the longest of the rows, special tokens included. What is there of a text comes first;
    the mask is True there.

    Attributes:
        tokenizer: What makes the tokens; its own post-processor adds the special tokens.
        max_length: Most tokens of a text, special tokens included; longer texts lose tokens at their end.
    """

    tokenizer: TokenizerFile
    max_length: int

    @classmethod
    def from_file(cls, path: str | Path, *, max_length: int, pad_id: int | None = None) -> TokenFormat:
        """Return the format for the tokenizer of a ``tokenizer.json``.

        Raises:
            BackboneError: There is no such file, or it is no tokenizer.
        """
        return cls(tokenizer=TokenizerFile.from_file(path, pad_id=pad_id), max_length=max_length)

    def probe(self, count: int, seed: int = 0) -> Mapping[str, Tensor]:
        """Return random tokens (count, L) and their mask; rows have different lengths."""
        import torch

        rng = torch.Generator().manual_seed(seed)
        vocabulary, pad = max(self.tokenizer.load().get_vocab_size(with_added_tokens=False), 2), self.tokenizer.pad_id
        longest = min(self.max_length, _PROBE_LENGTH)
        tokens = torch.randint(vocabulary, (count, longest), generator=rng)
        tokens[tokens == pad] = (pad + 1) % vocabulary  # a pad token stands behind the end only
        lengths = longest - torch.arange(count) * 5 % (longest // 2)
        mask = torch.arange(longest) < lengths[:, None]
        return {"tokens": torch.where(mask, tokens, pad), "mask": mask}

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON; ``from_json`` reads it, together with the file of the tokenizer."""
        return {"tokenizer": self.tokenizer.to_json(), "max_length": self.max_length}

    @classmethod
    def from_json(cls, saved: Any, files: Mapping[str, bytes]) -> TokenFormat:
        """Read what ``to_json`` returned.

        Args:
            saved: What it returned.
            files: The files of a saved model by name, that of the tokenizer among them.

        Raises:
            ModelFormatError: It is damaged, or the file is.
        """
        if not isinstance(saved, Mapping) or set(saved) != {"tokenizer", "max_length"}:
            raise ModelFormatError(f"How a model wants its texts is a tokenizer and a max_length; got {saved!r:.80}.")
        length, about = saved["max_length"], saved["tokenizer"]
        if type(length) is not int or not MIN_LENGTH <= length <= MAX_LENGTH:
            raise ModelFormatError(f"The length of a text is {MIN_LENGTH} to {MAX_LENGTH} tokens; got {length!r:.60}.")
        name = f"tokenizer-{about.get('digest')}.json" if isinstance(about, Mapping) else ""
        return cls(tokenizer=TokenizerFile.from_json(about, files.get(name)), max_length=length)


def max_length_of(spec: BackboneSpec) -> int | None:
    """Return the most tokens that a backbone takes of a text, where that is known without loading it."""
    how = spec.preprocessing
    if isinstance(how, TokenFormat):
        return how.max_length
    return spec.input_size[0] if spec.input_size else None


def at_length(spec: BackboneSpec, length: int) -> BackboneSpec | None:
    """Return the same backbone for at most so many tokens of a text; None where it does not take that.

    Args:
        spec: The backbone; its ``load_at`` takes the length.
        length: The tokens, special tokens included; fewer than the backbone's own.
    """
    own, how = max_length_of(spec), spec.preprocessing
    if spec.load_at is None or own is None or not MIN_LENGTH <= length < own:
        return None
    return replace(
        spec,
        name=f"{spec.name}@{length}tokens",
        load=partial(spec.load_at, length),
        default=False,
        fallback=False,
        gmacs=None if spec.gmacs is None else spec.gmacs * length / own,
        input_size=(length,),
        accuracy=None,  # what is published is for its own length
        preprocessing=replace(how, max_length=length) if isinstance(how, TokenFormat) else None,
        load_at=None,
    )
