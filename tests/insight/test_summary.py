"""What people read, and what programs do."""

from __future__ import annotations

import json

from autotransfer.insight.depths import DepthScore
from autotransfer.insight.gain import TransferGain
from autotransfer.insight.inflation import Inflation
from autotransfer.insight.sources import Source
from autotransfer.insight.summary import Insight

NOTHING = Insight(inflation=None, gain=None, sources=(), importance=None, depths=())


def _source(name: str, score: float, *, negative: bool | None = False) -> Source:
    return Source(backbone=name, source="s", score=score, objective=score, frozen=score, trial=0, negative=negative)


def _depth(frozen: int, score: float, backbone: str = "b") -> DepthScore:
    return DepthScore(frozen=frozen, stages=9, backbone=backbone, score=score, objective=score, trial=0)


FULL = Insight(
    inflation=Inflation(inflation=0.0123, corrected=0.9, candidates=88, tried=90),
    gain=TransferGain(transfer=0.95, scratch=0.5, untrained=0.625, head="ridge", examples=49, epochs=7, seconds=12.345),
    sources=(_source("birds", 0.91), _source("noise", 0.4, negative=True)),
    importance={"backbone": 0.75, "settings": 0.247, "depth": 0.003},
    depths=(_depth(9, 0.91), _depth(9, 0.9, "c"), _depth(8, 0.89)),
)


def test_every_answer_has_one_line() -> None:
    assert str(FULL).splitlines() == [
        "corrected   0.9000: choosing the best of 88 of 90 candidates flatters by 0.0123",
        "gain        +0.4500 over random weights: 0.9500 against 0.5000 (7 epochs, 12.3 s) or 0.6250 (frozen, ridge); "
        "49 examples",
        "sources     birds 0.9100, noise 0.4000 (negative transfer)",
        "depths      0 trained 0.9100, 1 trained 0.8900",
        "mattered    backbone 75%, settings 25%",
    ]


def test_what_is_not_known_is_not_printed() -> None:
    assert str(NOTHING) == ""


def test_why_nothing_was_compared_is_said() -> None:
    untrained = TransferGain(transfer=0.9, untrained=0.6, head="ncm", reason="the time left is too short for an epoch")
    lines = [
        str(Insight(**{**vars(NOTHING), "gain": gain}))
        for gain in (untrained, TransferGain(transfer=0.9, reason="why"))
    ]
    assert lines == [
        "gain        0.9000 against 0.6000 (frozen, ncm) from random weights; training them was left out: the time "
        "left is too short for an epoch",
        "gain        training them was left out: why",
    ]


def test_long_lists_are_cut_for_people_only() -> None:
    many = Insight(
        inflation=None, gain=None, importance=None,
        sources=tuple(_source(f"s{i}", 1 - i / 100) for i in range(8)),
        depths=tuple(_depth(9 - i, 0.5) for i in range(8)),
    )  # fmt: skip
    assert "s4 0.9600, and 3 more" in str(many)
    assert "s5" not in str(many)
    assert "4 trained 0.5000, and 3 more" in str(many)
    assert len(many.to_json()["sources"]) == len(many.to_json()["depths"]) == 8


def test_names_cannot_steer_the_terminal() -> None:
    hostile = Insight(**{**vars(NOTHING), "sources": (_source("\x1b[2Jgone\n", 0.5),)})
    assert str(hostile) == "sources     \\x1b[2Jgone\\x0a 0.5000"


def test_json_holds_all_of_it() -> None:
    data = json.loads(json.dumps(FULL.to_json()))
    assert data["inflation"] == {"inflation": 0.0123, "corrected": 0.9, "candidates": 88, "tried": 90}
    assert data["gain"]["gain"] == 0.95 - 0.5
    assert [row["negative"] for row in data["sources"]] == [False, True]
    assert data["importance"] == {"backbone": 0.75, "settings": 0.247, "depth": 0.003}
    assert [row["frozen"] for row in data["depths"]] == [9, 9, 8]
    assert json.dumps(NOTHING.to_json()) == (
        '{"inflation": null, "gain": null, "sources": [], "importance": null, "depths": []}'
    )
