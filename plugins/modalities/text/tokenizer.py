"""A tokenizer as a value: the bytes of a ``tokenizer.json``, equal to another one with the same bytes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotransfer.errors import BackboneError, ModelFormatError
from autotransfer.runtime.text import one_line

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["TokenizerFile"]

_PAD_TOKENS = ("[PAD]", "<pad>", "<|pad|>", "[pad]")
# The largest file of a public tokenizer has 33 MB (250,000 pieces).
_MAX_BYTES = 2**27
_DIGEST = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, kw_only=True)
class TokenizerFile:
    """A tokenizer of the library ``tokenizers``.

    Attributes:
        digest: Hash of the bytes; two tokenizers with the same digest and the same ``pad_id`` are equal.
        pad_id: The token that stands behind the end of shorter texts.
        data: The bytes of its ``tokenizer.json``.
    """

    digest: str
    pad_id: int
    data: bytes = field(repr=False, compare=False)

    @classmethod
    def of(cls, data: bytes, *, pad_id: int | None = None) -> TokenizerFile:
        """Return the tokenizer of the bytes of a ``tokenizer.json``.

        Args:
            data: The bytes.
            pad_id: The token that pads; None takes the one that the tokenizer names, or 0.

        Raises:
            BackboneError: The bytes are no tokenizer.
        """
        digest = blake2b(data, digest_size=16).hexdigest()
        if pad_id is None:
            pad_id = _pad_id(_parsed(digest, _Bytes(data)))
        return cls(digest=digest, pad_id=pad_id, data=data)

    @classmethod
    def from_file(cls, path: str | Path, *, pad_id: int | None = None) -> TokenizerFile:
        """Read a ``tokenizer.json``; see ``of``.

        Raises:
            BackboneError: There is no such file, or it is no tokenizer.
        """
        path = Path(path)
        try:
            if path.stat().st_size > _MAX_BYTES:
                raise BackboneError(f"{path} has more than {_MAX_BYTES >> 20} MB, which no tokenizer has.")
            data = path.read_bytes()
        except OSError as error:
            raise BackboneError(
                f"{path} cannot be read: {error.strerror or error}. A model of texts comes with a tokenizer.json: "
                "tokenizer.save_pretrained(FOLDER) of transformers writes it."
            ) from None
        return cls.of(data, pad_id=pad_id)

    @property
    def name(self) -> str:
        """Name of its file in the folder of a saved model."""
        return f"tokenizer-{self.digest}.json"

    def load(self) -> Tokenizer:
        """Return the tokenizer, without truncation and padding; one object for all that are equal.

        Raises:
            BackboneError: The bytes are no tokenizer.
        """
        return _parsed(self.digest, _Bytes(self.data))

    def to_json(self) -> dict[str, Any]:
        """Return all but the bytes as JSON."""
        return {"digest": self.digest, "pad_id": self.pad_id}

    @classmethod
    def from_json(cls, about: Any, data: bytes | None) -> TokenizerFile:
        """Return what ``to_json`` described, with the bytes of its file, which may come from a stranger.

        Raises:
            ModelFormatError: The description or the bytes are damaged.
        """
        if not isinstance(about, dict) or set(about) != {"digest", "pad_id"}:
            raise ModelFormatError("A tokenizer is described by its digest and its pad_id.")
        digest, pad_id = about["digest"], about["pad_id"]
        if not isinstance(digest, str) or not _DIGEST.fullmatch(digest) or type(pad_id) is not int or pad_id < 0:
            raise ModelFormatError(f"A tokenizer has a digest of 32 digits and a pad_id from 0; got {about!r:.80}.")
        if data is None:
            raise ModelFormatError(f"The model lacks the file tokenizer-{digest}.json: copy the whole folder.")
        if blake2b(data, digest_size=16).hexdigest() != digest:
            raise ModelFormatError(f"The file tokenizer-{digest}.json is damaged: its content has another digest.")
        try:
            tokenizer = _parsed(digest, _Bytes(data))
        except BackboneError as error:
            raise ModelFormatError(str(error)) from error
        if pad_id >= max(tokenizer.get_vocab_size(), 1):
            raise ModelFormatError(f"The pad_id {pad_id} is no token of a vocabulary of {tokenizer.get_vocab_size()}.")
        return cls(digest=digest, pad_id=pad_id, data=data)


class _Bytes:
    """Bytes that all count as equal: a cache looks at the digest beside them alone."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Bytes)

    def __hash__(self) -> int:
        return 0


@lru_cache(maxsize=8)
def _parsed(digest: str, content: _Bytes) -> Tokenizer:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_buffer(content.data)
    except Exception as error:  # the library raises bare exceptions
        raise BackboneError(f"This is no file of a tokenizer (tokenizer.json): {one_line(error)}") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _pad_id(tokenizer: Tokenizer) -> int:
    found = (tokenizer.token_to_id(token) for token in _PAD_TOKENS)
    return next((token for token in found if token is not None), 0)
