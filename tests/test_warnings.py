"""Warnings: data with stable codes."""

from __future__ import annotations

import io
from typing import ClassVar

import pytest

from autotransfer.contract.modality import Modality
from autotransfer.errors import ConfigError
from autotransfer.run.progress import Progress
from autotransfer.settings import Budget
from autotransfer.warnings import FitWarning, WarningList, warning_codes


def test_a_warning_as_json_has_code_message_and_details() -> None:
    warning = FitWarning(code="examples_skipped", message="3 files", details={"count": 3})
    assert warning.to_json() == {"code": "examples_skipped", "message": "3 files", "count": 3}
    assert str(warning) == "examples_skipped: 3 files"


def test_an_unknown_code_is_refused() -> None:
    with pytest.raises(ConfigError, match="No warning has the code 'typo'"):
        FitWarning(code="typo", message="")


def test_a_modality_has_warning_codes_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autotransfer.warnings._MODALITY_CODES", {})

    class Tables(Modality):
        name = "table"
        warnings: ClassVar = {"wide_tables": "Tables of many columns."}

    assert FitWarning(code="wide_tables", message="3 tables").code == "wide_tables"
    assert warning_codes()["wide_tables"] == "Tables of many columns."


def test_a_code_with_two_meanings_is_refused() -> None:
    with pytest.raises(ConfigError, match="'split_used' means 'Data that are divided"):

        class Tables(Modality):
            warnings: ClassVar = {"split_used": "Another meaning."}


def test_a_detail_cannot_hide_the_message() -> None:
    with pytest.raises(ConfigError, match=r"cannot be called \['message'\]"):
        FitWarning(code="examples_skipped", message="3 files", details={"message": ""})


def test_equal_warnings_are_listed_once_in_order() -> None:
    warnings = WarningList()
    for code in ("examples_skipped", "split_used", "examples_skipped"):
        warnings.warn(code, "here")
    assert [warning.code for warning in warnings] == ["examples_skipped", "split_used"]


def test_warnings_are_printed_once_at_the_end() -> None:
    stream = io.StringIO()
    with Progress(Budget(seconds=1.0), stream=stream) as progress:
        progress.warnings.warn("split_used", "a third is cut off")
        progress.phase("searching")
        assert "split_used" not in stream.getvalue()
    assert stream.getvalue().count("warning: split_used: a third is cut off") == 1
    assert stream.getvalue().rstrip().endswith("a third is cut off")
