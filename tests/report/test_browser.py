"""The page in a real browser: it reads, in light and dark, wide and narrow; nothing runs, nothing is fetched."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from autotransfer.report.page import Page
from autotransfer.report.render import write_page
from autotransfer.run.result import FitResult
from tests.report.conftest import HOSTILE, shown

pytestmark = pytest.mark.slow

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, as it is installed."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"no browser is installed: none of {', '.join(NAMES)} is there")
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def look(browser: Any) -> Iterator[Callable[..., Any]]:
    """Return a function that opens a page; at the end, it has written nothing to the console and fetched nothing."""
    said, asked, contexts = list[str](), list[str](), list[Any]()

    def look(file: Path, *, width: int = 1280, **how: Any) -> Any:
        contexts.append(browser.new_context(viewport={"width": width, "height": 900}, **how))
        page = contexts[-1].new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(file.as_uri())
        return page

    yield look
    for context in contexts:
        context.close()
    assert said == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert len([url for url in asked if url.startswith("file:")]) == len(contexts)


def overflow(page: Any) -> int:
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_shown_and_do_nothing(
    look: Callable[..., Any], make_page: Callable[..., Page], tmp_path: Path, name: str
) -> None:
    page = look(write_page(tmp_path, make_page(name)))
    assert page.title() == shown(name)
    assert page.evaluate("document.scripts.length") == 0
    assert page.evaluate("document.images.length") == 1, "the picture of the card, and none of a name"
    assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
    assert page.locator("h1").inner_text() == shown(name)


def test_a_real_run_has_every_section(look: Callable[..., Any], hostile_result: FitResult) -> None:
    page = look(hostile_result.report)
    for section in ("summary", "errors", "search", "left-out", "reproduce"):
        assert page.locator(f"#{section}").bounding_box()["height"] > 50, section
    assert page.locator("#errors figure svg").count() == 2, "confusion and reliability"
    assert page.locator("#search figure svg").count() >= 2
    assert page.locator("nav a").count() == page.locator("section").count()
    assert "Validation" in page.locator(".tile").first.inner_text()
    shown = page.locator("#errors table").last.inner_text()
    assert all(name in shown for name in HOSTILE[:3])
    assert page.evaluate("document.scripts.length") == 0
    assert page.title().startswith("Accuracy ")


@pytest.mark.parametrize("width", [1280, 800, 360])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_fits_into_its_window(
    look: Callable[..., Any], hostile_result: FitResult, scheme: str, width: int
) -> None:
    page = look(hostile_result.report, width=width, color_scheme=scheme)
    assert overflow(page) == 0


def test_a_page_fits_on_paper(look: Callable[..., Any], hostile_result: FitResult) -> None:
    page = look(hostile_result.report, width=680)  # A4 between its margins
    page.emulate_media(media="print")
    assert overflow(page) == 0


def test_long_names_do_not_widen_a_page(
    look: Callable[..., Any], make_page: Callable[..., Page], tmp_path: Path
) -> None:
    file = write_page(tmp_path, make_page("a_long_name/" * 20))
    for width in (1280, 360):
        assert overflow(look(file, width=width)) == 0, width


def test_dark_and_light_are_readable(look: Callable[..., Any], hostile_result: FitResult) -> None:
    # Text on what stands behind it: WCAG asks for a contrast of 4.5.
    for scheme in ("light", "dark"):
        page = look(hostile_result.report, color_scheme=scheme)
        for selector in ("h1", ".lead", ".tile .label", ".tile .detail", "figcaption", "td", "dt", ".notices .title"):
            assert page.evaluate(CONTRAST, selector) >= 4.5, (scheme, selector)
        assert page.evaluate(CONTRAST, "figure svg text") >= 4.5, scheme


def test_print_is_light_and_shows_all_rows(look: Callable[..., Any], hostile_result: FitResult) -> None:
    page = look(hostile_result.report, color_scheme="dark")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"
    assert page.pdf(format="A4").startswith(b"%PDF")


def test_folded_rows_open_at_a_click(look: Callable[..., Any], make_page: Callable[..., Page], tmp_path: Path) -> None:
    page = look(write_page(tmp_path, make_page("a name")))
    more = page.locator("tbody.more")
    assert not more.is_visible()
    page.locator("label.all").click()
    assert more.is_visible()


# The contrast (WCAG 2) of the text of the first element with what is behind it.
CONTRAST = """
(selector) => {
  const rgb = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (c) => c.slice(0, 3).map((v) => v / 255)
    .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const element = document.querySelector(selector);
  const style = getComputedStyle(element);
  let behind = element;
  const clear = (node) => { const c = rgb(getComputedStyle(node).backgroundColor); return c.length > 3 && c[3] === 0; };
  while (behind && clear(behind)) behind = behind.parentElement;
  const back = behind ? rgb(getComputedStyle(behind).backgroundColor) : [255, 255, 255];
  const ink = element.namespaceURI.endsWith('svg') ? style.fill : style.color;
  const [a, b] = [light(rgb(ink)), light(back)].sort((x, y) => y - x);
  return (a + 0.05) / (b + 0.05);
}
"""
