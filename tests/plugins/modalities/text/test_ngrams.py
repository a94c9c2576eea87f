"""Counts of n-grams: the same as counting one by one, for any texts."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch

from autotransfer.errors import ModelFormatError
from autotransfer_plugins.modalities.text.modality import TEXT
from autotransfer_plugins.modalities.text.ngrams import WORD_BUCKETS, NGramFormat, count_ngrams

CPU = torch.device("cpu")


def counted_slowly(text: str) -> tuple[list[int], list[int]]:
    """Return the sorted counts of different n-grams of words, and of characters, without hashing."""
    words = re.findall(r"\w+(?:['\u2019]\w+)*|[^\w\s]", text)
    runs = [*words, *pairwise(words)]
    inner = [text[i : i + n] for n in (2, 3, 4, 5) for i in range(len(text) - n + 1)]
    characters = [run for run in inner if " " not in run[1:-1] and run.strip()]
    return sorted(Counter(runs).values()), sorted(Counter(characters).values())


@pytest.mark.parametrize(
    "text", ["the film was not good, not good at all!", "don't (ever) do_that 2x", "größe 東京 😀😀", "a", "..."]
)
def test_counts_are_those_of_each_ngram(text: str) -> None:
    padded = [" other ", f" {text} ", " one more "]
    lengths, buckets, counts = count_ngrams(padded)
    start = int(lengths[0])
    own, times = buckets[start : start + lengths[1]], counts[start : start + lengths[1]]
    words, characters = counted_slowly(padded[1])
    assert sorted(times[own < WORD_BUCKETS].tolist()) == words
    assert sorted(times[own >= WORD_BUCKETS].tolist()) == characters


def test_counts_do_not_depend_on_other_texts() -> None:
    alone = count_ngrams([" a good film "])
    lengths, buckets, counts = count_ngrams([" x ", " a good film ", " y "])
    own = slice(int(lengths[0]), int(lengths[:2].sum()))
    np.testing.assert_array_equal(buckets[own], alone[1])
    np.testing.assert_array_equal(counts[own], alone[2])


def test_store_gives_the_counts_of_its_rows() -> None:
    how = NGramFormat()
    store = TEXT.load(["A  good film", "bad", ("good", "film")], ["0", "1", "2"], [how], options={})
    inputs = store.inputs(np.array([2, 1]), how, CPU)
    assert inputs["mask"].sum(1).tolist() == store.lengths(how)[[2, 1]].tolist()
    expected = count_ngrams([" good film "])[1]
    assert inputs["buckets"][0].tolist() == expected.tolist()
    assert bool((inputs["counts"][~inputs["mask"]] == 0).all())


@pytest.mark.parametrize("blank", ["\xa0", "\u3000\u2003", "\x1c\x85", "\0\xa0\0"])
def test_text_of_unicode_white_space_is_empty(blank: str) -> None:
    store = TEXT.load(["good film", blank], ["0", "1"], [NGramFormat()], options={})
    assert store.kept.tolist() == [0]
    assert [(left_out.name, left_out.reason) for left_out in store.skipped] == [("1", "it is empty")]


@pytest.mark.parametrize("order", [[0, 1], [1, 0], [1]])
def test_text_without_ngrams_has_counts_of_none(order: list[int]) -> None:
    # Spaces up to the last character that is counted: the text is not empty, and nothing of it is seen.
    how = NGramFormat()
    store = TEXT.load(["a good film", " " * 2**16 + "film"], ["0", "1"], [how], options={})
    inputs = store.inputs(np.array(order), how, CPU)
    assert inputs["mask"].sum(1).tolist() == store.lengths(how)[order].tolist()
    assert store.lengths(how)[1] == 0
    assert not inputs["counts"][order.index(1)].any()


def test_format_of_other_ngrams_is_refused() -> None:
    assert TEXT.read_format(NGramFormat().to_json()) == NGramFormat()
    with pytest.raises(ModelFormatError, match="n-grams"):
        TEXT.read_format({"ngrams": {"words": [1], "characters": []}})
