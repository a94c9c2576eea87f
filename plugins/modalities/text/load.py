"""Loading: texts are read block by block, each is hashed and tokenised once per tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from autotransfer.contract.modality import Item, Modality, Skipped
from autotransfer.errors import DataError, UnreadableExampleError
from autotransfer.warnings import FitWarning
from autotransfer_plugins.modalities.text.formats import TokenFormat
from autotransfer_plugins.modalities.text.ngrams import NGramFormat, NGrams
from autotransfer_plugins.modalities.text.packed import PackedWriter
from autotransfer_plugins.modalities.text.reading import digest_of, read_text, to_text
from autotransfer_plugins.modalities.text.store import TextStore
from autotransfer_plugins.modalities.text.tokenise import Tokens

__all__ = ["load_texts", "parts_of"]

# Texts that are tokenised at a time; encodings of the library take some hundred bytes a token.
_BLOCK_TEXTS = 1024
# There is a warning when more than this share of the texts loses more than that share of its tokens.
_TRUNCATED_TEXTS_SHARE, _LOST_TOKENS_SHARE = 0.1, 1 / 3


@dataclass
class _Read:
    """What was read so far: positions and digests of texts, hashes of texts as they are, and what was left out."""

    kept: list[int] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)
    exact: list[bytes] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)


def load_texts(
    modality: Modality,
    items: Sequence[Item],
    names: Sequence[str],
    formats: Sequence[Any],
    *,
    max_length: int | None = None,
    strict: bool = False,
    memory_limit: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> TextStore:
    """Read and tokenise texts.

    Args:
        modality: The modality.
        items: Paths of files, texts, and tuples of texts.
        names: What messages call each.
        formats: What the backbones want.
        max_length: Most tokens of a text; None leaves that to the backbones.
        strict: Raise on the first text that cannot be used, instead of leaving it out.
        memory_limit: Bytes above which tokens are kept in temporary files; None keeps them in memory.
        progress: Is called with the number of texts done and the number of all.

    Raises:
        DataError: No text can be used, or one cannot and ``strict`` is set, or the disk is too small.
    """
    tokens = [Tokens(tokenizer, length) for tokenizer, length in _tokenizers(formats, max_length)]
    makers: list[Tokens | NGrams] = [
        *tokens,
        *([NGrams()] if any(isinstance(how, NGramFormat) for how in formats) else []),
    ]
    share = None if memory_limit is None else memory_limit // max(len(makers), 1)
    writers = [PackedWriter(maker.dtypes, share) for maker in makers]
    read = _Read()
    for texts in _blocks(items, names, read, strict, progress):
        for maker, writer in zip(makers, writers, strict=True):
            maker.add(texts, writer)
    if not read.kept:
        raise DataError(_nothing(read.skipped))
    arrays: dict[str, np.ndarray] = {"exact": np.frombuffer(b"".join(read.exact), np.uint64)}
    for maker, writer in zip(makers, writers, strict=True):
        arrays |= {f"{maker.key}/{name}": array for name, array in writer.finish().items()}
    return TextStore(
        modality=modality,
        arrays=arrays,
        digests=tuple(read.digests),
        kept=np.array(read.kept),
        skipped=tuple(read.skipped),
        decoded=len(read.kept),
        warnings=_truncated(tokens),
        limits={each.key: each.max_length for each in tokens},
        max_length=max_length,
    )


def _tokenizers(formats: Sequence[Any], max_length: int | None) -> list[tuple[Any, int]]:
    """Return each tokenizer once, with the most tokens that any backbone takes of its."""
    found: dict[str, tuple[Any, int]] = {}
    for how in formats:
        if isinstance(how, TokenFormat):
            digest, length = how.tokenizer.digest, min(how.max_length, max_length or how.max_length)
            found[digest] = (how.tokenizer, max(length, found[digest][1] if digest in found else 0))
    return list(found.values())


def _blocks(
    items: Sequence[Item],
    names: Sequence[str],
    read: _Read,
    strict: bool,
    progress: Callable[[int, int], None] | None,
) -> Iterator[list[tuple[str, ...]]]:
    """Read texts in blocks, each a tuple of its parts, and note what is kept and what is not."""
    block: list[tuple[str, ...]] = []
    for i in range(len(items)):
        try:
            parts = parts_of(items[i])
        except UnreadableExampleError as error:
            if strict:
                raise DataError(f"{names[i]} cannot be used: {error}") from error
            read.skipped.append(Skipped(name=names[i], reason=str(error)))
            continue
        read.kept.append(i)
        read.digests.append(digest_of(parts))
        read.exact.append(blake2b("\x1f".join(parts).encode(), digest_size=8).digest())
        block.append(parts)
        if len(block) == _BLOCK_TEXTS:
            yield block
            block = []
            if progress is not None:
                progress(i + 1, len(items))
    if block:
        yield block
    if progress is not None:
        progress(len(items), len(items))


def parts_of(item: Item) -> tuple[str, ...]:
    """Return the parts of a text.

    Raises:
        UnreadableExampleError: There is no such file, it is in an unknown encoding, or the text is empty; a text of
            white space in the sense of Unicode is.
    """
    given = (read_text(item),) if isinstance(item, Path) else (item,) if isinstance(item, str) else item
    if not isinstance(given, tuple) or not all(isinstance(part, str) for part in given):
        raise UnreadableExampleError(f"it is no text, but a {type(item).__name__}")
    if not any(part.replace("\0", "").strip() for part in given):
        raise UnreadableExampleError("it is empty")
    return tuple(map(to_text, given))


def _nothing(skipped: Sequence[Skipped]) -> str:
    if not skipped:
        return "There are no texts."
    return f"None of {len(skipped)} texts can be used; the first, {skipped[0].name}: {skipped[0].reason}."


def _truncated(tokens: Sequence[Tokens]) -> tuple[FitWarning, ...]:
    """Return the warning that many texts lose much of their ends."""
    for each in tokens:
        lost = np.concatenate([*each.lost, np.empty(0, np.float32)])
        texts = float((lost > _LOST_TOKENS_SHARE).mean()) if len(lost) else 0.0
        if texts > _TRUNCATED_TEXTS_SHARE:
            about: Mapping[str, Any] = {"texts": round(texts, 3), "max_length": each.max_length}
            message = (
                f"{texts:.0%} of the texts lose more than a third of their tokens: a backbone sees the first "
                f"{each.max_length}. Give texts in parts, or what matters first."
            )
            return (FitWarning(code="truncated", message=message, details=about),)
    return ()
