"""Texts in an exported model: from tokens to the inputs of a backbone; the tokenizer stands in a file beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tokenizers import Tokenizer
from torch import Tensor, nn

from autotransfer.contract.export_inputs import ExportAxis, ExportInput
from autotransfer.contract.modality import Item
from autotransfer.contract.named_tensors import NamedTensors
from autotransfer.errors import ExportError
from autotransfer_plugins.modalities.text.formats import TokenFormat
from autotransfer_plugins.modalities.text.load import parts_of
from autotransfer_plugins.modalities.text.tokenise import given_to_tokenizer, separator_of
from autotransfer_plugins.modalities.text.tokenizer import TokenizerFile

__all__ = ["TextExport"]

# Texts that are run at a time.
_BATCH_SIZE = 16


@dataclass(frozen=True)
class _Encoding:
    """One way to turn texts into tokens, and what its inputs and its file are called."""

    tokenizer: TokenizerFile
    length: int
    suffix: str

    @property
    def names(self) -> tuple[str, str]:
        return f"input_ids{self.suffix}", f"attention_mask{self.suffix}"

    @property
    def file(self) -> str:
        return f"tokenizer{self.suffix}.json"

    def load(self) -> Tokenizer:
        """Return a tokenizer of its own, which pads, and shortens as the model does."""
        tokenizer = Tokenizer.from_buffer(self.tokenizer.data)
        pad = self.tokenizer.pad_id
        tokenizer.enable_truncation(self.length, strategy="longest_first", direction="right")
        tokenizer.enable_padding(direction="right", pad_id=pad, pad_token=tokenizer.id_to_token(pad) or "[PAD]")
        return tokenizer

    def inputs(self) -> tuple[ExportInput, ExportInput]:
        tokens, mask = self.names
        axis = ExportAxis(name=f"length{self.suffix}", greatest=self.length)
        made = f"made by {self.file}: at most {self.length} of each text, padded at the end"
        return (
            ExportInput(name=tokens, dtype="int64", axes=(axis,), about=f"Tokens of the texts, {made}."),
            ExportInput(name=mask, dtype="int64", axes=(axis,), about="1 for a token, 0 for padding."),
        )


class TextExport:
    """How texts enter an exported model.

    Args:
        formats: What the backbones want.
        max_length: Most tokens of a text that the user wants; None leaves that to the backbones.

    Raises:
        ExportError: A backbone counts n-grams.
    """

    def __init__(self, formats: Sequence[Any], max_length: int | None) -> None:
        self._encodings: dict[tuple[TokenizerFile, int], _Encoding] = {}
        self._max_length = max_length
        for how in formats:
            if not isinstance(how, TokenFormat):
                raise ExportError(
                    "The model counts words and letters (the backbone 'tfidf'), which no other format has a form for: "
                    "search without it, such as with --backbones of encoders, or --no-ensemble where it is one part."
                )
            number = len(self._encodings) + 1
            encoding = _Encoding(how.tokenizer, self._length(how), "" if number == 1 else f"_{number}")
            self._encodings.setdefault((how.tokenizer, encoding.length), encoding)
        self.inputs: tuple[ExportInput, ...] = tuple(
            one for encoding in self._encodings.values() for one in encoding.inputs()
        )
        self.files: Mapping[str, bytes] = {
            encoding.file: encoding.load().to_str().encode() for encoding in self._encodings.values()
        }

    def reader(self) -> nn.Module:
        """Return what names the tensors."""
        return NamedTensors([given.name for given in self.inputs])

    def view(self, how: TokenFormat, view: str) -> nn.Module:
        """Return what makes a backbone's input of tokens; a text has one view."""
        encoding = self._encodings[how.tokenizer, self._length(how)]
        return _Tokens(*encoding.names, how.tokenizer.pad_id)

    def decoded(self, items: Sequence[Item]) -> Sequence[Item]:
        """Return texts as they are."""
        return items

    def arrays(self, items: Sequence[Item]) -> Iterator[Mapping[str, np.ndarray]]:
        """Yield tokens as a program makes them that has nothing but the files."""
        tokenizers = {one: Tokenizer.from_buffer(self.files[one.file]) for one in self._encodings.values()}
        for start in range(0, len(items), _BATCH_SIZE):
            texts = [parts_of(item) for item in items[start : start + _BATCH_SIZE]]
            arrays: dict[str, np.ndarray] = {}
            for encoding, tokenizer in tokenizers.items():
                separator = separator_of(tokenizer) if any(len(parts) > 2 for parts in texts) else ""
                found = tokenizer.encode_batch([given_to_tokenizer(parts, separator) for parts in texts])
                tokens, mask = encoding.names
                arrays[tokens] = np.array([one.ids for one in found], np.int64)
                arrays[mask] = np.array([one.attention_mask for one in found], np.int64)
            yield arrays

    def _length(self, how: TokenFormat) -> int:
        return how.max_length if self._max_length is None else min(how.max_length, self._max_length)


class _Tokens(nn.Module):
    """Chooses the tokens of one tokenizer."""

    def __init__(self, tokens: str, mask: str, pad: int) -> None:
        super().__init__()
        self._tokens, self._mask, self._pad = tokens, mask, pad

    def forward(self, read: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return tokens int64 (N, L) and their mask (N, L)."""
        mask = read[self._mask] > 0
        return {"tokens": read[self._tokens].masked_fill(~mask, self._pad), "mask": mask}
