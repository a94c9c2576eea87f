"""Pictures: coloured by the page, equal when made again, and inert whatever the names hold."""

from __future__ import annotations

from xml.etree import ElementTree

import matplotlib
import pytest

from autotransfer.errors import RunFormatError
from autotransfer.report.charts import CHARTS, chart_as_svg
from autotransfer.report.drawing import inline_svg, limits, shorten, svg_file
from autotransfer.report.page import Chart
from tests.report.conftest import HOSTILE, make_charts, shown

ALLOWED = {"svg", "defs", "g", "path", "use", "text", "tspan", "clipPath", "rect"}


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_text_in_every_chart(name: str) -> None:
    for number, chart in enumerate(make_charts(name)):
        root = ElementTree.fromstring(chart_as_svg(chart, number))
        assert {element.tag for element in root.iter()} <= ALLOWED, chart.chart
        names = {attribute for element in root.iter() for attribute in element.attrib}
        assert not {each for each in names if each.startswith("on")}
        links = [element.get("href") for element in root.iter() if "href" in element.attrib]
        assert all(link is not None and link.startswith(f"#chart{number}-") for link in links)
        assert root.get("aria-label") == shown(name)


def test_ids_are_of_one_chart_alone() -> None:
    ids = []
    for number, chart in enumerate([*make_charts("a")[:5], *make_charts("a")[:1]]):
        root = ElementTree.fromstring(chart_as_svg(chart, number))
        own = [element.get("id") for element in root.iter() if "id" in element.attrib]
        used = {element.get("href", "")[1:] for element in root.iter() if "href" in element.attrib}
        assert used <= set(own)
        ids += own
    assert len(ids) == len(set(ids))


def test_colours_are_those_of_the_page_and_names_stay() -> None:
    chart = make_charts("#fe0a01")[0]
    inline, file = chart_as_svg(chart, 1), svg_file(CHARTS["search"], chart.data)
    assert "var(--series-1)" in inline
    assert "var(--ink)" in inline
    assert "var(" not in file
    for svg in (inline, file):
        attributes = [value for element in ElementTree.fromstring(svg).iter() for value in element.attrib.values()]
        assert not [value for value in attributes if "#fe0" in value and value != "#fe0a01"]
        assert "#fe0a01" in "".join(ElementTree.fromstring(svg).itertext())


def test_dollars_and_foreign_letters_are_shown_as_they_are() -> None:
    for name in ("$x^2$ and $", "\u6771\u4eac", "e\u0301"):
        root = ElementTree.fromstring(chart_as_svg(make_charts(name)[0], 1))
        assert any(name in (text or "") for text in root.itertext())


def test_equal_charts_are_equal_files_and_settings_stay() -> None:
    before, chart = dict(matplotlib.rcParams), make_charts("a")[0]
    assert chart_as_svg(chart, 1) == chart_as_svg(chart, 1)
    assert svg_file(CHARTS["search"], chart.data) == svg_file(CHARTS["search"], chart.data)
    assert dict(matplotlib.rcParams) == before


def test_a_users_style_changes_no_picture() -> None:
    chart = make_charts("a")[0]
    plain = chart_as_svg(chart, 1)
    with matplotlib.rc_context({"text.usetex": True, "font.size": 40, "svg.fonttype": "path"}):
        assert chart_as_svg(chart, 1) == plain


def test_every_trial_is_a_mark() -> None:
    chart = make_charts("a")[0]
    root = ElementTree.fromstring(inline_svg(CHARTS["search"], chart.data, prefix="p", alt=""))
    marks = [use for use in root.iter("use") if "fill-opacity" in use.get("style", "")]
    assert len(marks) == 4 + 2, "three points, one triangle, and a mark of each in the legend"


def test_damaged_numbers_of_a_chart_are_refused() -> None:
    with pytest.raises(RunFormatError, match="There is no chart"):
        chart_as_svg(Chart(chart="evil", data={}), 1)
    for chart in make_charts("a"):
        for data in ({}, dict.fromkeys(chart.data)):
            with pytest.raises(RunFormatError, match="damaged"):
                chart_as_svg(Chart(chart=chart.chart, data=data), 1)


def test_long_names_keep_both_ends() -> None:
    assert shorten("a" * 30 + "z" * 30, 11) == "aaaaa…zzzzz"
    assert shorten("abc", 3) == "abc"
    assert len(shorten("x" * 99, 20)) == 20


def test_axes_hold_all_values_with_a_margin() -> None:
    low, high = limits([1.0, 3.0])
    assert low < 1.0 < 3.0 < high
    assert limits([2.0])[0] < 2.0 < limits([2.0])[1]
    assert limits([0.0])[0] < 0.0 < limits([0.0])[1]
