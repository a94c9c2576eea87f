"""What exported models take of texts: tokens of a tokenizer that stands in a file beside them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from fixtures.texts import small_tokenizer
from tokenizers import Tokenizer

from autotransfer.errors import ExportError
from autotransfer_plugins.modalities.text.export import TextExport
from autotransfer_plugins.modalities.text.formats import TokenFormat
from autotransfer_plugins.modalities.text.modality import TEXT
from autotransfer_plugins.modalities.text.ngrams import NGramFormat

TEXTS = ["the film was good", "the film was very very very good and the plot was not boring and fine .", "bad", "  a !"]
PAIRS = [("the film", "good"), ("the film was very good", "the plot was very boring and bad . the actor was fine !")]


@pytest.mark.parametrize("items", [TEXTS, PAIRS])
def test_file_of_the_tokenizer_makes_the_tokens_of_the_room(token_format: TokenFormat, items: list[object]) -> None:
    # At most 16 tokens: the file pads and shortens as the room does, so that a program needs to know nothing else.
    export = TextExport([token_format], None)
    (arrays,) = export.arrays(items)
    tokenizer = Tokenizer.from_str(export.files["tokenizer.json"].decode())
    ids = [encoding.ids for encoding in tokenizer.encode_batch(items)]
    np.testing.assert_array_equal(arrays["input_ids"], ids)
    store = TEXT.load(items, ["x"] * len(items), [token_format], options={})
    expected = store.inputs(slice(None), token_format, torch.device("cpu"))
    given = export.reader()(*(torch.from_numpy(arrays[one.name]) for one in export.inputs))
    found = export.view(token_format, "plain")(given)
    assert torch.equal(found["tokens"], expected["tokens"])
    assert torch.equal(found["mask"], expected["mask"])


def test_two_lengths_of_one_tokenizer_are_two_inputs(token_format: TokenFormat) -> None:
    export = TextExport([token_format, replace(token_format, max_length=8), token_format], None)
    assert [one.name for one in export.inputs] == [
        *("input_ids", "attention_mask"),
        *("input_ids_2", "attention_mask_2"),
    ]
    assert set(export.files) == {"tokenizer.json", "tokenizer_2.json"}
    (arrays,) = export.arrays(TEXTS)
    assert arrays["input_ids"].shape[1] == 16
    assert arrays["input_ids_2"].shape[1] == 8


def test_length_that_the_user_wants_holds(token_format: TokenFormat) -> None:
    export = TextExport([token_format, replace(token_format, max_length=12)], 10)
    assert len(export.inputs) == 2
    assert export.inputs[0].axes[0].greatest == 10  # type: ignore[union-attr]


def test_padding_tokens_are_those_of_training(token_format: TokenFormat) -> None:
    other = TokenFormat(tokenizer=replace(small_tokenizer(), pad_id=5), max_length=16)
    view = TextExport([other], None).view(other, "plain")
    given = {"input_ids": torch.tensor([[7, 9]]), "attention_mask": torch.tensor([[1, 0]])}
    assert view(given)["tokens"].tolist() == [[7, 5]]


def test_counts_of_ngrams_are_refused_with_advice(token_format: TokenFormat) -> None:
    with pytest.raises(ExportError, match=r"'tfidf'.*--backbones.*--no-ensemble"):
        TextExport([token_format, NGramFormat()], None)
