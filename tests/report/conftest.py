"""A page that holds every kind of block, with names that try to break out of it, and the page of a real run."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fixtures.fitting import fit_with
from PIL import Image

from autotransfer.contract.preview import Preview, Words
from autotransfer.report.page import (
    Card,
    Chart,
    Column,
    Facts,
    Gallery,
    Notice,
    Notices,
    Page,
    Program,
    Section,
    Table,
    Text,
    Tile,
    Tiles,
)
from autotransfer.run.result import FitResult

HOSTILE = (
    "<script>document.title='taken'</script>",
    '"></svg><img src=x onerror="document.title=\'taken\'">',
    "javascript:document.title='taken'",
    "{{ 7 * 7 }} {% raw %} $\\frac{1}{2}$ #fe0a01 ]]> --> \x07\u202e",
)
"""Names that would do something if a page took them for more than text."""


def shown(name: str) -> str:
    """Return a name as a page shows it."""
    return name.replace("\x07", r"\x07").replace("\u202e", r"\x202e")


@pytest.fixture
def make_page() -> Callable[..., Page]:
    """Return a function that makes a page with every kind of block, in all of whose texts a name stands."""

    def make(name: str) -> Page:
        picture = io.BytesIO()
        Image.new("RGB", (8, 8), "red").save(picture, "PNG")
        words = (Words(text=f"{name} ", weight=1.0), Words(text=name, weight=-0.5), Words(text=name))
        cards = (
            Card(title=name, preview=Preview(media_type="image/png", data=picture.getvalue(), text=name), tone="bad"),
            Card(title=name, preview=Preview(media_type="text/plain", text=name, words=words), lines=((name, name),)),
            Card(title=name, preview=Preview(media_type="audio/wav", data=b"RIFF", words=words)),
            Card(title=name),
        )
        columns = (
            Column(title=name),
            Column(title=name, kind="number"),
            Column(title=name, kind="share"),
            Column(title=name, kind="interval"),
        )
        rows = ((name, 3, 0.25, (0.5, 0.25, 0.75)), (name, None, 1.5, (None, None, None)))
        blocks = (
            Text(text=name),
            Facts(facts=((name, name),), title=name),
            Table(columns=columns, rows=rows, caption=name, shown=1, marked=(0,)),
            *make_charts(name),
            Gallery(cards=cards, title=name, caption=name),
            Program(text=name, title=name),
        )
        summary = (
            Tiles(tiles=(Tile(label=name, value=name, detail=name, tone="good"),)),
            Notices(title=name, notices=(Notice(text=name, title=name, tone="bad", target="all"),), numbered=True),
            Notices(title=name, notices=(Notice(text=name, title=name),)),
        )
        section = Section(id="all", title=name, lead=name, blocks=blocks)
        return Page(title=name, lead=name, made=name, summary=summary, sections=(section,))

    return make


def make_charts(name: str) -> tuple[Chart, ...]:
    """Return every chart, with a name wherever one may stand."""
    points = [(0.5, 0.5), (2.0, 0.75), (30.0, 0.9)]
    data = {
        "search": {
            "series": {name: points, f"{name} too": [(1.0, 0.1)]},
            "best": points,
            "end": 31.0,
            "lines": {name: 0.8},
            "low": 0.3,
            "time": name,
            "metric": name,
        },
        "cost": {"points": points, "front": [(0.5, 0.5, name), (30.0, 0.9, name)], "cost": name, "metric": name},
        "curves": {"curves": [{"name": name, "scores": [0.1, 0.5]}] * 2, "named": 1, "metric": name},
        "depths": {"series": {name: [(0, 0.5), (2, 0.75)]}, "metric": name},
        "confusion": {"classes": [name, "b", "c"], "cells": [(0, 0, 5), (0, 1, 2), (1, 1, 3), (2, 2, 1)]},
        "reliability": {"bins": [(0.5, 0.4, 0.2, 0.6, 9), (0.9, 0.95, 0.9, 1.0, 9)], "share": name},
        "predicted": {"points": points, "name": name},
        "residuals": {"edges": [-1.0, 0.0, 1.0], "counts": [3, 4]},
    }
    return tuple(
        Chart(
            chart=chart,
            data=numbers,
            title=name,
            caption=name,
            alt=name,
            layout="wide" if chart == "search" else "half",
        )
        for chart, numbers in data.items()
    )


@pytest.fixture(scope="session")
def hostile_result(
    tiny_zoo: Path, digits: tuple[np.ndarray, np.ndarray], tmp_path_factory: pytest.TempPathFactory
) -> FitResult:
    """A real search on digits, whose classes and files have names that try to break out of a page."""
    folder = tmp_path_factory.mktemp("hostile")
    images, labels = digits
    files = []
    for number, image in enumerate(images):
        files.append(folder / f"<img src=x onerror=alert({number})>.png")
        Image.fromarray(image).save(files[-1])
    return fit_with(
        files[:90],
        [HOSTILE[label] for label in labels[:90]],
        test=files[90:],
        test_targets=[HOSTILE[label] for label in labels[90:]],
        zoo=tiny_zoo,
        out=folder / "run",
        cache_dir=folder / "cache",
        progress=False,
        trials=6,
        epochs=2,
    )
