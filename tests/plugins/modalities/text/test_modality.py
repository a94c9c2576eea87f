"""Texts as a modality: what is one, files and their encodings, and what is left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from autotransfer.contract.specs import BackboneSpec
from autotransfer.errors import ConfigError, DataError, ModelFormatError
from autotransfer.testing import check_modality
from autotransfer_plugins.modalities.text.formats import TokenFormat
from autotransfer_plugins.modalities.text.modality import TEXT
from autotransfer_plugins.modalities.text.ngrams import NGramFormat
from autotransfer_plugins.modalities.text.store import TextStore


def load(items: list[object], how: TokenFormat, **settings: object) -> TextStore:
    return TEXT.load(items, [f"item {i}" for i in range(len(items))], [how], options={}, **settings)  # type: ignore[arg-type]


def test_room_of_texts_keeps_the_contract(tmp_path: Path, token_format: TokenFormat) -> None:
    tmp_path.joinpath("a.txt").write_text("the film", encoding="utf-8")
    check_modality(
        TEXT, [tmp_path / "a.txt", "good plot .", "a bad film", "very good", ("a", "b")], [token_format, NGramFormat()]
    )


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        (["a good film", "3.5", "bad"], True),
        (["Dr. No", "see readme.md", "Visit example.com"], True),
        (["a.txt", "dir/b c.txt", "c.md"], False),
        (["photos/1.jpg", "photos/2.jpg", "none"], False),
    ],
)
def test_strings_are_texts_unless_most_are_file_names(values: list[str], texts: bool) -> None:
    assert TEXT.reads(values) is texts


def test_items_are_strings_and_tuples_of_strings() -> None:
    assert TEXT.item("a") == "a"
    assert TEXT.item(np.str_("a")) == "a"
    assert TEXT.item(("a", "b")) == ("a", "b")
    assert TEXT.item("\ud800x") == "\ufffdx"
    assert TEXT.item(1) is TEXT.item(None) is TEXT.item(b"a") is None
    assert TEXT.join(["a", None, 3]) == ("a", "", "3")


def test_arrays_of_strings_are_split() -> None:
    assert TEXT.batch(np.array(["a", "b"])) == ["a", "b"]
    assert TEXT.batch(np.array([["a"], ["b"]], dtype=object)) == ["a", "b"]
    assert TEXT.batch(np.array([["a", "b"]])) == [("a", "b")]
    assert TEXT.batch(np.array([1, 2])) is None
    assert TEXT.batch(np.array(["a", 2], dtype=object)) is None


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_files_with_a_mark_are_read_in_its_encoding(tmp_path: Path, token_format: TokenFormat, encoding: str) -> None:
    tmp_path.joinpath("a.txt").write_text("film für gut", encoding=encoding)
    assert load([tmp_path / "a.txt"], token_format).digests == load(["film für gut"], token_format).digests


@pytest.mark.parametrize(("encoding", "named"), [("cp1252", "windows-1252"), ("utf-16le", "utf-16le")])
def test_file_in_another_encoding_is_left_out(
    tmp_path: Path, token_format: TokenFormat, encoding: str, named: str
) -> None:
    tmp_path.joinpath("a.txt").write_bytes("Füße größer".encode(encoding))
    store = load([tmp_path / "a.txt", "good"], token_format)
    assert store.kept.tolist() == [1]
    assert f"iconv -f {named}" in store.skipped[0].reason
    with pytest.raises(DataError, match="item 0 cannot be used"):
        load([tmp_path / "a.txt", "good"], token_format, strict=True)


def test_empty_texts_are_left_out_with_a_reason(token_format: TokenFormat) -> None:
    store = load(["", "good", " \n\0", ("", " ")], token_format)
    assert store.kept.tolist() == [1]
    assert {skipped.reason for skipped in store.skipped} == {"it is empty"}
    with pytest.raises(DataError, match="None of 50000 texts can be used"):
        load([""] * 50_000, token_format)


def test_hostile_texts_have_finite_inputs(token_format: TokenFormat) -> None:
    texts: list[object] = ["a\0b", "\ud83d", "\u202eabc", "😀" * 50, "x" * 10**6, "a " * 500_000, "\x01\x02", "\u200b"]
    store = load(texts, token_format)
    assert len(store) == len(texts)
    assert 1 <= store.lengths(token_format).min() <= store.lengths(token_format).max() == 16


def test_texts_that_lose_their_ends_are_said(token_format: TokenFormat) -> None:
    assert load(["good"] * 9 + ["good " * 30], token_format).warnings == ()
    (warning,) = load(["good"] * 8 + ["good " * 30] * 2, token_format).warnings
    assert warning.code == "truncated"
    assert warning.details == {"texts": 0.2, "max_length": 16}
    assert load(["good " * 20] * 5, token_format).warnings == ()


def _spec(name: str = "b", limit: int = 512) -> BackboneSpec:
    def load_at(length: int) -> object:
        return length

    return BackboneSpec(name=name, modality="text", load=object, load_at=load_at, input_size=(limit,))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("words", "limit", "names"),
    [
        (20, 512, ["b"]),
        (900, 512, ["b", "b@256tokens"]),
        (900, 8192, ["b"]),
        (9000, 8192, ["b@512tokens", "b@256tokens", "b"]),
    ],
)
def test_long_texts_are_tried_at_a_shorter_length(words: int, limit: int, names: list[str]) -> None:
    (forms,) = TEXT.variants([_spec(limit=limit)], ["word " * words] * 20)
    assert [form.name for form in forms] == names


def test_cost_is_that_of_texts_as_long_as_these(token_format: TokenFormat) -> None:
    how = TokenFormat(tokenizer=token_format.tokenizer, max_length=256)
    spec = BackboneSpec(name="b", modality="text", load=lambda: None, gmacs=2.56, preprocessing=how)  # type: ignore[arg-type, return-value]
    unknown = BackboneSpec(name="u", modality="text", load=lambda: None, gmacs=None, preprocessing=how)  # type: ignore[arg-type, return-value]
    # 1.3 tokens a word, and two at the ends; none beyond the limit.
    assert TEXT.typical_gmacs([spec, unknown], ["word " * 10] * 3, {}) == [pytest.approx(0.15), None]
    assert TEXT.typical_gmacs([spec], ["word " * 10_000], {}) == [pytest.approx(2.56)]


def test_length_that_covers_nearly_all_texts_is_tried_first() -> None:
    (forms,) = TEXT.variants([_spec()], ["word " * 80] * 98 + ["word " * 3000] * 2)
    assert [form.name for form in forms] == ["b@128tokens", "b"]


def test_wanted_length_takes_the_place_of_a_longer_one() -> None:
    fitted = TEXT.fitted([_spec(), _spec("short", 64)], ["a"], {"max_length": 128})
    assert [spec.name for spec in fitted] == ["b@128tokens", "short"]
    (same,) = TEXT.fitted([spec := _spec()], ["a"], {})
    assert same is spec


def test_length_in_a_name_chooses_the_form() -> None:
    form = TEXT.variant(_spec(), "128tokens")
    assert form is not None
    assert form.name == "b@128tokens"
    assert TEXT.variant(_spec(), "128px") is None
    with pytest.raises(ConfigError, match="does not take 512 tokens"):
        TEXT.variant(_spec(), "512tokens")


def test_damaged_reading_of_a_model_is_refused() -> None:
    with pytest.raises(ModelFormatError, match="maximum length"):
        TEXT.read_reading({"max_length": -1})


def test_a_decoded_file_is_its_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("der schöne Film", encoding="utf-16")
    (tmp_path / "broken.txt").write_bytes(b"\xff\xfa\xf0\xe4")
    assert TEXT.decoded(tmp_path / "a.txt") == "der schöne Film"
    assert TEXT.decoded(tmp_path / "broken.txt") == tmp_path / "broken.txt"
    assert TEXT.decoded(("a", "b")) == ("a", "b")
