"""Text from data is harmless where it ends up: on a terminal, and in a spreadsheet."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotransfer.model.predictions import Prediction, to_csv
from autotransfer.runtime.text import cell, escape
from autotransfer.tasks.task import Task


@pytest.mark.slow
@settings(derandomize=True, database=None)
@given(st.text())
def test_what_is_escaped_prints_as_it_is(text: str) -> None:
    assert escape(text).isprintable()
    assert escape(text) == text or not text.isprintable()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\u202egnp.exe", "\\x202egnp.exe"),  # right to left
        ("\u2066a\u2069", "\\x2066a\\x2069"),
        ("a\u200bb", "a\\x200bb"),  # no width
        ("a\u2028b", "a\\x2028b"),
        ("\x9b2J", "\\x9b2J"),
        ("[bold]猫[/bold]", "[bold]猫[/bold]"),
    ],
)
def test_control_characters_and_overrides_are_written_out(text: str, shown: str) -> None:
    assert escape(text) == shown


@pytest.mark.parametrize("text", ["=1+1", "@SUM(A1)", "+cmd|' /C calc'!A0", "-2+3", "\t=1", "\r=1", "\uff1d1+1", "-"])
def test_formulas_become_text(text: str) -> None:
    assert cell(text) == f"'{text}"


@pytest.mark.parametrize("value", ["", "cat", "a=b", "-1", "+0.5e-3", "007", " =1", "'", 1, -2.5, None, True])
def test_all_else_stays_as_it_is(value: object) -> None:
    assert cell(value) is value


def test_predictions_hold_no_formulas() -> None:
    task = Task(kind="binary", classes=("=HYPERLINK(0)", "-1"))
    rows = [
        Prediction(path="@x.png", prediction="=HYPERLINK(0)", probabilities={"=HYPERLINK(0)": 0.75, "-1": 0.25}),
        Prediction(path='a,"\n.png', prediction="-1", probabilities={"=HYPERLINK(0)": 0.25, "-1": 0.75}),
        Prediction(path="+broken.png", error="no image"),
    ]
    assert list(csv.reader(io.StringIO(to_csv(rows, task)))) == [
        ["path", "prediction", "p_=HYPERLINK(0)", "p_-1"],
        ["'@x.png", "'=HYPERLINK(0)", "0.75", "0.25"],
        ['a,"\n.png', "-1", "0.25", "0.75"],
        ["'+broken.png", "", "", ""],
    ]
