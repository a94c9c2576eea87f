"""The picture of a search is sound XML whatever the names hold, and shows each trial where it belongs."""

from __future__ import annotations

from xml.etree import ElementTree

from autotransfer.candidate import Candidate
from autotransfer.report.chart import draw
from autotransfer.search.trials import TrialRecord

SVG = "{http://www.w3.org/2000/svg}"


def record(number: int, backbone: str, score: float | None, seconds: float = 1.0) -> TrialRecord:
    state = "failed" if score is None else "complete"
    return TrialRecord(number=number, state=state, candidate=Candidate(backbone=backbone), score=score, seconds=seconds)


def trials(svg: str) -> list[ElementTree.Element]:
    """The circles with a centre inside the axes: one for each trial that has a score."""
    root = ElementTree.fromstring(svg)
    return [c for c in root.iter(f"{SVG}circle") if c.get("fill-opacity")]


def test_a_trial_is_where_its_seconds_and_score_say() -> None:
    svg = draw([record(0, "a", 0.5), record(1, "b", 0.9), record(2, "a", None), record(3, "a", 0.7)], "All")
    circles = trials(svg)
    assert len(circles) == 3, "the failed one has no score"
    xs, ys = ([float(circle.get(key, "nan")) for circle in circles] for key in ("cx", "cy"))
    assert xs == sorted(xs)
    assert ys[1] < ys[2] < ys[0], "better is higher"
    assert circles[0].get("fill") == circles[2].get("fill") != circles[1].get("fill")


def test_a_trial_far_below_the_rest_keeps_the_scale() -> None:
    near = [record(number, "a", score) for number, score in enumerate([0.95, 0.96, 0.97, 0.98, 0.99])]
    svg = draw([*near, record(5, "a", 0.15)], "All")
    heights = [float(circle.get("cy", "nan")) for circle in trials(svg)]
    assert len(heights) == 5, "the poor one is a triangle"
    assert max(heights) - min(heights) > 200, "the others have most of the height"
    root = ElementTree.fromstring(svg)
    assert sum("fill-opacity" in path.attrib for path in root.iter(f"{SVG}path")) == 1
    assert any("1 far below, down to 0.15" in (text.text or "") for text in root.iter(f"{SVG}text"))


def test_names_cannot_leave_their_place() -> None:
    evil = "</text><script>alert(1)</script>'\" \x07"
    root = ElementTree.fromstring(draw([record(0, evil, 0.5)], evil, {evil: 0.4}))
    assert not [element for element in root.iter() if "script" in element.tag]
    assert sum("<script>" in (text.text or "") for text in root.iter(f"{SVG}text")) == 3


def test_lines_to_compare_with_are_drawn_inside() -> None:
    root = ElementTree.fromstring(draw([record(0, "a", 0.9)], "One", {"from scratch": 0.2}))
    (line,) = [line for line in root.iter(f"{SVG}line") if line.get("stroke-dasharray")]
    (circle,) = trials(draw([record(0, "a", 0.9)], "One", {"from scratch": 0.2}))
    assert float(line.get("y1", "nan")) > float(circle.get("cy", "nan")) > 0


def test_nothing_to_draw_is_drawn() -> None:
    assert not trials(draw([], "None"))
    assert not trials(draw([record(0, "a", float("nan"))], "None"))


def test_the_best_backbones_have_colours_and_others_are_grey() -> None:
    many = [record(number, f"backbone {number} " + "x" * 40, 0.5 + number / 100) for number in range(40)]
    root = ElementTree.fromstring(draw(many, "Many", metric="accuracy"))
    grey = [circle for circle in trials(draw(many, "Many")) if circle.get("fill") == "#999999"]
    assert len(grey) == 33
    shown = [text.text or "" for text in root.iter(f"{SVG}text")]
    assert "accuracy" in shown
    assert "33 more" in shown
    assert sum(text.startswith("backbone 39 ") for text in shown) == 1
    assert not any(text.startswith("backbone 0 ") for text in shown)
    assert max(map(len, shown)) <= 30
    assert all(0 < float(text.get("y", "nan")) < 380 for text in root.iter(f"{SVG}text"))


def test_a_line_that_is_no_number_is_left_out() -> None:
    assert "test: " not in draw([record(0, "a", 0.5)], "One", {"test": float("nan")})
