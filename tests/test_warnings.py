"""Warnings: data with stable codes."""

from __future__ import annotations

import io

import pytest

from autotransfer.errors import ConfigError
from autotransfer.run.progress import Progress
from autotransfer.settings import Budget
from autotransfer.warnings import FitWarning, WarningList


def test_a_warning_as_json_has_code_message_and_details() -> None:
    warning = FitWarning(code="examples_skipped", message="3 files", details={"count": 3})
    assert warning.to_json() == {"code": "examples_skipped", "message": "3 files", "count": 3}
    assert str(warning) == "examples_skipped: 3 files"


def test_an_unknown_code_is_refused() -> None:
    with pytest.raises(ConfigError, match="No warning has the code 'typo'"):
        FitWarning(code="typo", message="")


def test_a_detail_cannot_hide_the_message() -> None:
    with pytest.raises(ConfigError, match=r"cannot be called \['message'\]"):
        FitWarning(code="examples_skipped", message="3 files", details={"message": ""})


def test_equal_warnings_are_listed_once_in_order() -> None:
    warnings = WarningList()
    for code in ("examples_skipped", "cropped", "examples_skipped"):
        warnings.warn(code, "here")
    assert [warning.code for warning in warnings] == ["examples_skipped", "cropped"]


def test_warnings_are_printed_once_at_the_end() -> None:
    stream = io.StringIO()
    with Progress(Budget(seconds=1.0), stream=stream) as progress:
        progress.warnings.warn("cropped", "a third is cut off")
        progress.phase("searching")
        assert "cropped" not in stream.getvalue()
    assert stream.getvalue().count("warning: cropped: a third is cut off") == 1
    assert stream.getvalue().rstrip().endswith("a third is cut off")
