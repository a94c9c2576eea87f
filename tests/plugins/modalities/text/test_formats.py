"""Formats of texts: their tokenizers, equality, probes and JSON."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fixtures.texts import small_tokenizer

from autotransfer.contract.specs import BackboneSpec
from autotransfer.errors import BackboneError, ModelFormatError
from autotransfer_plugins.modalities.text.formats import TokenFormat, TokenizerFile, at_length


def test_formats_of_equal_bytes_are_equal_others_are_not(token_format: TokenFormat) -> None:
    again = TokenFormat(tokenizer=small_tokenizer(), max_length=16)
    assert again == token_format
    assert hash(again) == hash(token_format)
    assert TokenFormat(tokenizer=small_tokenizer(("other",)), max_length=16) != token_format
    assert replace(again, max_length=8) != token_format


def test_tokenizer_ignores_truncation_and_padding_of_file(token_format: TokenFormat) -> None:
    encoding = token_format.tokenizer.load().encode("the film was good and the actor was fine .")
    assert len(encoding.ids) == 12


def test_pad_id_is_the_pad_token_of_the_vocabulary(tmp_path: Path) -> None:
    small = small_tokenizer()
    assert small.pad_id == 0
    tmp_path.joinpath("tokenizer.json").write_bytes(small.data.replace(b'"[PAD]":0', b'"blank":0'))
    assert TokenizerFile.from_file(tmp_path / "tokenizer.json", pad_id=3).pad_id == 3


def test_probe_has_rows_of_different_lengths_padded_behind(token_format: TokenFormat) -> None:
    tokens, mask = token_format.probe(4).values()
    assert mask.sum(1).tolist() == [16, 11, 14, 9]
    assert bool((tokens[mask] != 0).all())
    assert bool((tokens[~mask] == 0).all())
    assert int(tokens.max()) < 19


@pytest.mark.parametrize(
    "saved",
    [
        {},
        {"tokenizer": {}, "max_length": 16},
        {"tokenizer": {"digest": "../../etc/passwd", "pad_id": 0}, "max_length": 16},
        {"tokenizer": {"digest": "0" * 32, "pad_id": 0}, "max_length": 16},
        {"tokenizer": {"digest": "0" * 32, "pad_id": 0}, "max_length": 10**9},
    ],
)
def test_damaged_format_of_a_model_is_refused(saved: object) -> None:
    with pytest.raises(ModelFormatError):
        TokenFormat.from_json(saved, {})


def test_changed_tokenizer_of_a_model_is_refused(token_format: TokenFormat) -> None:
    tokenizer = token_format.tokenizer
    changed = {tokenizer.name: tokenizer.data.replace(b"film", b"milf")}
    with pytest.raises(ModelFormatError, match="another digest"):
        TokenFormat.from_json(token_format.to_json(), changed)


def test_file_that_is_no_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"tokenizer\.json"):
        TokenizerFile.from_file(tmp_path / "tokenizer.json")
    tmp_path.joinpath("tokenizer.json").write_text('{"model": 1}')
    with pytest.raises(BackboneError, match="no file of a tokenizer"):
        TokenizerFile.from_file(tmp_path / "tokenizer.json")


def test_shorter_form_of_a_backbone_costs_its_share(token_format: TokenFormat) -> None:
    def load() -> None:
        """Nothing is loaded here."""

    spec = BackboneSpec(name="b", modality="text", load=load, load_at=lambda n: n, gmacs=4.0, input_size=(512,))
    shorter = at_length(spec, 128)
    assert shorter is not None
    assert (shorter.name, shorter.gmacs, shorter.input_size) == ("b@128tokens", 1.0, (128,))
    assert shorter.load() == 128
    assert at_length(spec, 512) is None
    assert at_length(replace(spec, load_at=None), 128) is None
