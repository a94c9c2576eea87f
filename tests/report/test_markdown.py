"""Names from data within Markdown and YAML: what a page shows and what a parser reads is the name, and no more."""

from __future__ import annotations

import re

import pytest
import yaml

from autotransfer.report.markdown import front_matter, plain, table

HOSTILE = [
    "a|b", "<script>alert(1)</script>", "[click](javascript:alert(1))", "`code`", "*bold* _under_ ~~gone~~", "# title",
    "$x$", "https://evil.example", "www.evil.example", "@someone", "a\\", "!", "&lt;",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_plain_text_leaves_no_character_that_formats(name: str) -> None:
    shown = plain(name)
    assert not re.search(r"(?<!\\)(?:\\\\)*[`*_\[\]<>|~$@!&#]", shown)
    assert not re.search(r"(?<!\\)://|www\.", shown)
    assert re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", shown) == name


def test_words_stay_readable() -> None:
    assert (
        plain("A sentence: 1.5 of (two), e.g. 'this' - or that?") == "A sentence: 1.5 of (two), e.g. 'this' - or that?"
    )


def test_line_breaks_and_controls_stay_in_their_line() -> None:
    assert plain("a\nb\x1b\u202e") == "a\\\\x0ab\\\\x1b\\\\x202e"


def test_a_table_has_a_cell_for_each_title() -> None:
    first, rule, row = table(("class", "F1", "examples"), [("a|b", 0.5, 3)]).splitlines()
    assert first == "| class | F1 | examples |"
    assert rule == "| --- | ---: | ---: |"
    assert row == r"| a\|b | 0.5000 | 3 |"


def test_texts_of_a_column_stand_at_the_right_where_asked() -> None:
    assert table(("metric", "score"), [("r", "-0.0001234")], right=("score",)).splitlines()[1:] == [
        "| --- | ---: |",
        "| r | -0.0001234 |",
    ]


@pytest.mark.parametrize("name", [*HOSTILE, "no", "1e5", "- x", "'\"", "é 猫 🐈", "---", "a: b", "null", ""])
def test_yaml_reads_names_back(name: str) -> None:
    values = {"name": name, "list": [name, {"deep": name, "more": [name]}]}
    text = front_matter(values)
    assert text.startswith("---\n")
    assert text.endswith("\n---")
    read = yaml.safe_load(text.removesuffix("---"))
    assert read == {key: value for key, value in values.items() if value}


@pytest.mark.parametrize("value", [1e-5, 1e22, 0.5, -3.0, 7, True])
def test_yaml_reads_numbers_back(value: float) -> None:
    assert yaml.safe_load(front_matter({"value": value}).removesuffix("---")) == {"value": value}


def test_yaml_shows_characters_that_it_cannot_hold() -> None:
    assert yaml.safe_load(front_matter({"a": "\x7f\ud800\u2028"}).removesuffix("---")) == {"a": "\\x7f\\xd800\\x2028"}
