"""The page as HTML: every text is escaped, nothing runs, nothing is fetched."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from autotransfer.errors import DataNotFoundError, RunFormatError
from autotransfer.report.page import Column, Page, Section, Table
from autotransfer.report.render import read_page, render, render_summary, write_page
from tests.report.conftest import HOSTILE, shown

MakePage = Callable[..., Page]


class Elements(HTMLParser):
    """Collects tags, attributes and texts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_names_stay_text_in_every_block(make_page: MakePage, name: str) -> None:
    known, found = Elements(render(make_page("a name"))), Elements(render(make_page(name)))
    assert found.tags - {"wbr"} == known.tags  # a long name may break after each of its parts
    assert [(tag, attribute) for tag, attribute, _ in found.attributes] == [
        (tag, attribute) for tag, attribute, _ in known.attributes
    ]
    assert found.text.count(shown(name)) > 30
    assert not [value for _, attribute, value in found.attributes if attribute.startswith("on")]
    links = [value for _, attribute, value in found.attributes if attribute in ("href", "src")]
    assert all(re.match(r"#|data:(image|audio)/|data:,$", link) for link in links)


def test_the_page_allows_nothing_from_elsewhere(make_page: MakePage) -> None:
    html = render(make_page("a name"))
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html)
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy[1].split(";"))
    assert rules["default-src"] == "'none'"
    assert "script-src" not in rules
    assert not re.findall(r"https?://", html)
    assert "<script" not in html


@pytest.mark.slow
def test_the_page_is_made_again_from_its_json(make_page: MakePage, tmp_path: Path) -> None:
    file = write_page(tmp_path, make_page(HOSTILE[0]))
    first = file.read_text(encoding="utf-8")
    file.unlink()
    write_page(tmp_path, read_page(tmp_path))
    assert file.read_text(encoding="utf-8") == first


def test_a_folder_without_a_page_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match=re.escape("no report.json")):
        read_page(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"format": 1}', json.dumps({"format": 99})])
def test_a_damaged_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(RunFormatError):
        read_page(tmp_path)


def test_rows_beyond_the_first_fold_out(make_page: MakePage) -> None:
    html = render(make_page("a name"))
    assert 'class="more"' in html
    assert "Show all 2 rows" in html


def test_small_numbers_keep_their_digits_and_shares_do_not() -> None:
    columns = (Column(title="Error", kind="number"), Column(title="Recall", kind="interval"))
    table = Table(columns=columns, rows=((-1.2e-4, (4e-4, 1e-4, 9e-4)),))
    section = Section(id="all", title="all", blocks=(table,))
    text = Elements(render(Page(title="t", lead="", made="", summary=(), sections=(section,)))).text
    assert "-0.000120" in text
    assert "0.0000 to 0.001" not in text
    assert "0.000 to 0.001" in text


def test_a_notebook_shows_the_top_alone(make_page: MakePage) -> None:
    html = render_summary(make_page(HOSTILE[0]), Path("run/report.html"))
    assert "run/report.html" in html
    assert "<svg" not in html
    assert HOSTILE[0] not in html
    assert HOSTILE[0] in Elements(html).text
