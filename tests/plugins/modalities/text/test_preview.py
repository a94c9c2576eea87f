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
