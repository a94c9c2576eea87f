"""The words that a page shows of a text."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotransfer.errors import DataError
from autotransfer_plugins.modalities.text.modality import TEXT


def test_a_text_is_shown_on_one_line(tmp_path: Path) -> None:
    assert TEXT.preview("two\n\n lines", {}).text == "two lines"
    (tmp_path / "a.txt").write_text("from\ta file", encoding="utf-8")
    preview = TEXT.preview(tmp_path / "a.txt", {})
    assert (preview.text, preview.media_type, preview.data) == ("from a file", "text/plain", b"")
    assert TEXT.preview(("question", "answer"), {}).text == "question\nanswer"


def test_a_long_text_is_cut() -> None:
    text = TEXT.preview("word " * 100_000, {}).text
    assert text.endswith("word…")
    assert len(text) <= 401


def test_what_cannot_be_printed_is_shown_by_its_number() -> None:
    text = TEXT.preview("a\x00b\u202ec \U0001f469\u200d\U0001f680 \ud800", {}).text
    assert text == "a\\x00b\\x202ec \U0001f469\u200d\U0001f680 \ufffd"
    text.encode()


def test_a_file_that_is_gone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        TEXT.preview(tmp_path / "gone.txt", {})


def test_each_word_is_left_out_once() -> None:
    found = TEXT.occlusions("one  two\nthree", {})
    assert found.parts == ("one ", "two ", "three")
    assert found.items == ("two\nthree", "one  three", "one  two\n")
    assert found.preview.text == "".join(found.parts) == "one two three"


def test_words_of_several_columns_stay_in_their_column() -> None:
    found = TEXT.occlusions(("a b", "c"), {})
    assert found.parts == ("a ", "b\n", "c")
    assert found.items == (("b", "c"), ("a ", "c"), ("a b", ""))
    assert found.preview.text == TEXT.preview(("a b", "c"), {}).text


def test_a_long_text_loses_several_words_at_once() -> None:
    text = " ".join(f"w{number}" for number in range(1000))
    found = TEXT.occlusions(text, {})
    assert 16 < len(found.items) <= 32
    assert found.parts[-1].endswith("…")
    assert all(item.endswith(" w999") for item in found.items)
    lost = [set(text.split()) - set(item.split()) for item in found.items]
    assert len(set.union(*lost)) == sum(map(len, lost)) > 60


def test_a_script_without_spaces_is_left_out_in_pieces() -> None:
    found = TEXT.occlusions("机器学习" * 20, {})
    assert found.parts == ("机器学习",) * 20
    assert found.preview.text == "机器学习" * 20


def test_an_empty_text_has_no_words() -> None:
    assert TEXT.occlusions(" \n", {}).items == ()


def test_hostile_words_are_shown_as_they_are() -> None:
    found = TEXT.occlusions("<script>alert(1)</script> \u202eevil \x1b[31m", {})
    assert found.parts == ("<script>", "aler", "t(1)", "</sc", "ript", "> ", "\\x202eevil ", "\\x1b[31m") or (
        "".join(found.parts) == "<script>alert(1)</script> \\x202eevil \\x1b[31m"
    )
    assert len(found.items) == len(found.parts)
