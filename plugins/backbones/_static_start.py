"""Static embeddings that start from a teacher: its tokenizer, cut to the most frequent pieces, and its vectors of them.

Source: Tulkens and van Dongen, Model2Vec (2024): each piece goes through the teacher alone, and a principal component
analysis makes the vectors as short as those of the student.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from autotransfer.contract.backbone import Backbone
from autotransfer.errors import BackboneError, ConfigError
from autotransfer_plugins.modalities.text.formats import MAX_LENGTH, MIN_LENGTH, TokenFormat, TokenizerFile

__all__ = ["format_of", "outline", "vectors_of"]

_ARCHITECTURE = re.compile(r"static_(\d{1,4})(?:_(\d{1,3})k)?")
_USUAL_LENGTH = 256  # tokens
_BATCH = 1024  # pieces that go through the teacher at a time
_CUT_TYPES = ("WordPiece", "WordLevel")  # they have their pieces in the order of their frequency
_CONTINUES = "##"  # in front of a piece of WordPiece that continues a word


def outline(architecture: str, input_size: int | None, teacher: Backbone | None) -> Mapping[str, Any] | None:
    """Return the recipe of ``static_WIDTH``, or of ``static_WIDTH_8k`` with the 8,000 most frequent pieces.

    Args:
        architecture: The name; None is returned for others.
        input_size: Most tokens of a text; None takes the teacher's number, 256 at most.
        teacher: Backbone whose tokenizer it takes.

    Raises:
        ConfigError: There is no teacher for texts, its tokenizer cannot be cut, or a number is out of range.
    """
    if (named := _ARCHITECTURE.fullmatch(architecture)) is None:
        return None
    how = None if teacher is None else teacher.preprocessing
    if not isinstance(how, TokenFormat):
        raise ConfigError(f"{architecture} takes the tokenizer of its teacher: name a teacher for texts.")
    length = min(how.max_length, _USUAL_LENGTH) if input_size is None else input_size
    if not MIN_LENGTH <= length <= MAX_LENGTH or int(named[1]) < 1:
        raise ConfigError(f"A text has {MIN_LENGTH} to {MAX_LENGTH} tokens, a vector has values; got {architecture!r}.")
    tokenizer = _plain(how.tokenizer, None if named[2] is None else 1000 * int(named[2]))
    return {
        "plugin": "static_embeddings",
        "vocabulary": tokenizer.load().get_vocab_size(),
        "width": int(named[1]),
        "normalize": False,
        "tokenizer": tokenizer.data.decode(),
        "max_length": length,
    }


def format_of(recipe: Mapping[str, Any]) -> TokenFormat:
    """Return the format in a recipe of ``outline``.

    Raises:
        BackboneError: The recipe is damaged.
    """
    tokenizer, length = recipe.get("tokenizer"), recipe.get("max_length")
    if not isinstance(tokenizer, str) or type(length) is not int or not MIN_LENGTH <= length <= MAX_LENGTH:
        raise BackboneError("The recipe of new static embeddings has a tokenizer as text, and a max_length.")
    return TokenFormat(tokenizer=TokenizerFile.of(tokenizer.encode()), max_length=length)


def vectors_of(teacher: Backbone, tokenizer: TokenizerFile, width: int) -> Tensor | None:
    """Return what a teacher makes of each token alone (vocabulary, width), of deviation 1; None of no teacher of texts.

    Args:
        teacher: The teacher, in eval mode.
        tokenizer: The student's tokenizer; what the teacher's does not know keeps the mean.
        width: Length of the vectors; zeros fill those of a teacher that has fewer.
    """
    how = teacher.preprocessing
    if not isinstance(how, TokenFormat):
        return None
    known = how.tokenizer.load().get_vocab(with_added_tokens=True)
    pieces = tokenizer.load().get_vocab(with_added_tokens=True)
    rows = torch.tensor([row for piece, row in pieces.items() if piece in known])
    found = _through(teacher, how, torch.tensor([known[piece] for piece in pieces if piece in known]))
    found = found - found.mean(0)
    _, axes = torch.linalg.eigh(found.T @ found)  # in ascending order
    short = found @ axes.flip(1)[:, :width]
    vectors = torch.zeros(len(pieces), width)
    vectors[rows, : short.shape[1]] = short / short.std()
    return vectors


def _through(teacher: Backbone, how: TokenFormat, tokens: Tensor) -> Tensor:
    """Return the features (N, width) of texts of one token each."""
    before, behind = _template(how.tokenizer)
    device = next(iter(teacher.parameters())).device
    found = []
    with torch.inference_mode():
        for part in torch.split(tokens, _BATCH):
            rows = torch.stack([*(torch.full_like(part, token) for token in before), part], 1)
            rows = torch.cat([rows, *(torch.full_like(part, token)[:, None] for token in behind)], 1).to(device)
            given = {"tokens": rows, "mask": torch.ones_like(rows, dtype=torch.bool)}
            found.append(teacher(given).float().cpu())
    return torch.cat(found).clone()


def _template(tokenizer: TokenizerFile) -> tuple[list[int], list[int]]:
    """Return the special tokens that a tokenizer puts before and behind a text."""
    encoded = tokenizer.load().encode("a")
    words = [position for position, special in enumerate(encoded.special_tokens_mask) if not special]
    return encoded.ids[: words[0]], encoded.ids[words[-1] + 1 :]


def _plain(tokenizer: TokenizerFile, size: int | None) -> TokenizerFile:
    """Return a tokenizer without special tokens around a text, cut to its most frequent pieces.

    Raises:
        ConfigError: It is to be cut, and is of a type that cannot.
    """
    about = json.loads(tokenizer.data)
    about.update(post_processor=None, truncation=None, padding=None)
    if size is not None:
        model = about["model"]
        if model.get("type") not in _CUT_TYPES:
            raise ConfigError(f"A tokenizer of the type {model.get('type')} cannot be cut: leave the number out.")
        special = [added["content"] for added in about["added_tokens"] if added.get("special")]
        kept = {piece: row for row, piece in enumerate(_kept(model["vocab"], special, size))}
        model["vocab"] = kept
        about["added_tokens"] = [
            {**added, "id": kept[added["content"]]} for added in about["added_tokens"] if added["content"] in kept
        ]
    try:
        return TokenizerFile.of(json.dumps(about, ensure_ascii=False, separators=(",", ":")).encode())
    except BackboneError as error:
        raise ConfigError(f"The tokenizer of the teacher cannot be taken over: {error}") from error


def _kept(vocabulary: Mapping[str, int], special: list[str], size: int) -> list[str]:
    """Return special pieces, letters of ASCII, so that each word of it has pieces, and then the most frequent ones."""
    ordered = [piece for piece in sorted(vocabulary, key=vocabulary.__getitem__) if piece not in special]
    named = {piece: piece.removeprefix(_CONTINUES) for piece in ordered if not piece.startswith("[unused")}
    texts = {piece: text for piece, text in named.items() if text}
    letters = [piece for piece, text in texts.items() if len(text) == 1 and text.isascii()]
    return list(dict.fromkeys([*special, *letters, *_by_frequency(texts)]))[:size]


def _by_frequency(texts: Mapping[str, str]) -> list[str]:
    """Return pieces, given with their texts in the order of a vocabulary, from the most frequent one on.

    A vocabulary begins with its alphabet in the order of code points, which says nothing of frequency: a letter comes
    with the first longer piece that holds it. Where most pieces are single letters, as in Chinese, each is a word.
    """
    single = [piece for piece, text in texts.items() if len(text) == 1]
    if 2 * len(single) > len(texts):
        return list(texts)
    places = {piece: place for place, piece in enumerate(texts)}
    first: dict[str, int] = {}
    for piece, text in texts.items():
        if len(text) > 1:
            for letter in text:
                first.setdefault(letter, places[piece])
    places |= {piece: first.get(texts[piece], len(texts)) for piece in single}
    return sorted(texts, key=places.__getitem__)
