"""The page is the last step of a fit, within its time, and no fit is lost for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures.fitting import fit_with

from autotransfer.pipeline import write_report
from autotransfer.pipeline.write_report import report_seconds
from autotransfer.run.result import FitResult

Digits = tuple[np.ndarray, np.ndarray]


class Fails:
    """An observer that fails when all is done."""

    def search_finished(self, result: FitResult) -> None:
        assert result.report.is_file(), "the page is there for those who pass it on"
        raise ValueError("<b>too late</b>")


def fit(digits: Digits, zoo: Path, folder: Path, **settings: Any) -> FitResult:
    images, labels = digits
    ours = {"zoo": zoo, "out": folder / "run", "cache_dir": folder / "cache", "backbones": "test_resnet"}
    quick = {"trials": 2, "epochs": 1, "progress": False, "compare_scratch": False}
    return fit_with(images[:60], labels[:60], **ours, **quick, **settings)


def test_a_small_share_of_the_time_is_reserved_for_the_page() -> None:
    assert report_seconds(None) == 0.0
    assert report_seconds(5.0) == pytest.approx(0.5)
    assert report_seconds(3600.0) == write_report.REPORT_SECONDS <= 2.0


@pytest.mark.slow
def test_a_page_that_cannot_be_made_costs_no_result(
    digits: Digits, tiny_zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError("nothing to divide")

    monkeypatch.setattr(write_report, "assemble", fail)
    result = fit(digits, tiny_zoo, tmp_path)
    assert result.warnings[-1].code == "report_failed"
    assert "nothing to divide" in result.warnings[-1].message
    saved = json.loads((result.run / "result.json").read_text())
    assert saved["warnings"][-1]["code"] == "report_failed"
    assert (result.run / "model" / "model.json").is_file()


@pytest.mark.slow
def test_the_page_shows_a_warning_that_came_last(digits: Digits, tiny_zoo: Path, tmp_path: Path) -> None:
    result = fit(digits, tiny_zoo, tmp_path, callbacks=[Fails()])
    assert result.warnings[-1].code == "plugin_failed"
    html = result.report.read_text(encoding="utf-8")
    assert "&lt;b&gt;too late&lt;/b&gt;" in html
    assert "plugin_failed" in html
