"""Texts as tokens: what a backbone sees of them, shortened, chosen and changed at random."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from fixtures.texts import small_tokenizer

from autotransfer_plugins.modalities.text.formats import TokenFormat
from autotransfer_plugins.modalities.text.modality import TEXT
from autotransfer_plugins.modalities.text.store import TextStore
from autotransfer_plugins.modalities.text.tokenise import shorten

CPU = torch.device("cpu")
TEXTS = ["the film was good", "Bad!", "a very boring plot and a bad actor .", ("the film", "the plot")]


def load(texts: list[object], how: TokenFormat, **settings: object) -> TextStore:
    return TEXT.load(texts, [f"item {i}" for i in range(len(texts))], [how], options={}, **settings)  # type: ignore[arg-type]


def test_inputs_are_those_of_the_tokenizer_padded_to_the_longest(token_format: TokenFormat) -> None:
    tokens, mask = load(TEXTS, token_format).inputs(slice(None), token_format, CPU).values()
    tokenizer = token_format.tokenizer.load()
    for row, present, text in zip(tokens, mask, TEXTS, strict=True):
        ids = tokenizer.encode(*text).ids if isinstance(text, tuple) else tokenizer.encode(text).ids
        assert row[present].tolist() == ids
        assert bool((row[~present] == 0).all())
    assert tokens.shape == (4, 11)


def test_lengths_count_tokens_after_shortening(token_format: TokenFormat) -> None:
    store, shorter = load(TEXTS, token_format), replace(token_format, max_length=8)
    assert store.lengths(token_format).tolist() == [6, 4, 11, 7]
    assert store.lengths(shorter).tolist() == [6, 4, 8, 7]
    assert store.inputs(slice(2, 3), shorter, CPU)["tokens"].tolist() == [[2, 11, 9, 15, 14, 12, 11, 3]]


def test_shortening_keeps_added_tokens_and_the_short_part() -> None:
    pair = np.array([~2, 10, 11, 12, 13, 14, 15, ~3, 20, 21, ~3])
    assert shorten(pair, 8).tolist() == [~2, 10, 11, 12, ~3, 20, 21, ~3]
    assert shorten(pair, 11).tolist() == pair.tolist()
    assert shorten(np.arange(9), 4).tolist() == [0, 1, 2, 3]


def test_third_text_follows_the_separator_of_the_tokenizer(token_format: TokenFormat) -> None:
    tokens = load([("film", "plot", "actor")], token_format).inputs(slice(None), token_format, CPU)["tokens"]
    assert tokens.tolist() == [[2, 5, 3, 14, 3, 13, 3]]


def test_dropout_keeps_added_tokens_order_and_one_other() -> None:
    how = TokenFormat(tokenizer=small_tokenizer(), max_length=64)
    store = load(["the film was good and " * 8, "bad"], how)
    rng = torch.Generator().manual_seed(0)
    lengths = []
    for _ in range(50):
        tokens, mask = store.augmented(slice(None), how, CPU, "medium", rng).values()
        assert tokens[1][mask[1]].tolist() == [2, 8, 3]
        row = tokens[0][mask[0]].tolist()
        assert (row[0], row[-1]) == (2, 3)
        lengths.append(len(row))
    assert abs(1 - (np.mean(lengths) - 2) / 40 - 0.15) < 0.02


def test_two_tokenizers_are_held_side_by_side(token_format: TokenFormat) -> None:
    other = TokenFormat(tokenizer=small_tokenizer(("film", "good"), template=False), max_length=32)
    store = TEXT.load(["a good film"], ["item 0"], [token_format, other], options={})
    assert store.inputs(slice(None), token_format, CPU)["tokens"].tolist() == [[2, 11, 7, 5, 3]]
    assert store.inputs(slice(None), other, CPU)["tokens"].tolist() == [[1, 5, 4]]
    assert not store.suits(replace(other, max_length=64))


def test_copies_up_to_case_share_a_digest_and_no_cache(token_format: TokenFormat) -> None:
    first, second = load(["The  film\n"], token_format), load(["the film"], token_format)
    assert first.digests == second.digests
    assert first.key != second.key


def test_tokens_beyond_the_memory_limit_are_mapped(token_format: TokenFormat) -> None:
    texts: list[object] = [f"the film was {word}" for word in ("good", "bad", "fine") * 1000]
    mapped = load(texts, token_format, memory_limit=1000)
    tokens = mapped.arrays[f"{token_format.tokenizer.digest}/tokens"]
    assert isinstance(tokens, np.memmap)
    plain = load(texts, token_format).inputs(slice(None), token_format, CPU)["tokens"]
    assert torch.equal(mapped.inputs(slice(None), token_format, CPU)["tokens"], plain)


@pytest.mark.parametrize("limit", [None, 8])
def test_reading_of_a_model_limits_the_tokens(token_format: TokenFormat, limit: int | None) -> None:
    store = load([TEXTS[2]], token_format, reading={"max_length": limit})
    assert store.lengths(token_format).tolist() == [limit or 11]
    assert store.suits(token_format)
    assert dict(store.reading) == {"max_length": limit}
