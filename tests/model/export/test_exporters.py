"""What is refused before any work: unknown formats, missing packages, and places that cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotransfer.errors import ConfigError, ExportError, UnknownNameError
from autotransfer.model.export import exporters
from autotransfer.model.export.exporters import EXPORTERS, find_exporter


def test_an_unknown_format_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"No export format matches 'tflite'.*onnx.*torch"):
        find_exporter("tflite")


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporters, "find_spec", lambda name: None if name == "onnxscript" else object())
    with pytest.raises(ExportError, match=r'needs onnxscript, .*pip install "autotransfer\[export\]"'):
        EXPORTERS["onnx"].check_packages()
    EXPORTERS["torch"].check_packages()


@pytest.mark.parametrize(
    ("format", "name", "reason"),
    [
        ("onnx", "model.pt2", r"ends with \.onnx; got .*model\.pt2"),
        ("torch", "model", r"ends with \.pt2"),
        ("onnx", "missing/model.onnx", r"no folder .*missing: make it"),
        ("onnx", "folder.onnx", "there is a folder of that name"),
        ("onnx", "there.onnx", r"is there already: .*--overwrite"),
    ],
)
def test_a_place_that_cannot_be_used_is_refused(tmp_path: Path, format: str, name: str, reason: str) -> None:
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "there.onnx").write_text("precious")
    with pytest.raises(ConfigError, match=reason):
        EXPORTERS[format].check_path(tmp_path / name, overwrite=False)
    EXPORTERS["onnx"].check_path(tmp_path / "there.onnx", overwrite=True)
    assert (tmp_path / "there.onnx").read_text() == "precious"
