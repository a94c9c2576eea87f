"""An export that does not answer as the model does is not written, and nothing is left of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch

from autotransfer.data.examples import Examples
from autotransfer.errors import ConfigError, DataError, ExportError
from autotransfer.model.export import exporters
from autotransfer.model.export.comparison import Agreement
from autotransfer.model.export.exporters import Exporter, ExportRequest, Predict
from autotransfer.model.transfer_model import TransferModel
from autotransfer.runtime.device import Device
from autotransfer.tasks.task import Task


def add_format(monkeypatch: pytest.MonkeyPatch, *, error: float = 0.0, suffix: str = ".mine") -> list[ExportRequest]:
    """Add a format whose predictions are those of the model, but for an error, and return what it is asked for."""
    asked: list[ExportRequest] = []

    def write(request: ExportRequest) -> Predict:
        asked.append(request)
        if not suffix:
            request.path.mkdir()
        (request.path / "part" if not suffix else request.path).write_text("a model")
        (request.path.parent / "beside.json").write_text("a file beside it")

        def predict(examples: Examples) -> np.ndarray:
            found = request.model.predict_store(request.model.decode(examples))
            found[0] += error
            return found

        return predict

    known = {**exporters.EXPORTERS, "mine": Exporter(name="mine", suffix=suffix, write=write)}
    monkeypatch.setattr(exporters, "EXPORTERS", MappingProxyType(known))
    return asked


def test_files_are_moved_together_when_all_agrees(
    picture_model: TransferModel, pictures: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (request,) = (add_format(monkeypatch),)
    report = picture_model.export(tmp_path / "model.mine", format="mine", check_data=pictures)
    assert report.files == (tmp_path / "beside.json", tmp_path / "model.mine")
    assert {file.name for file in tmp_path.iterdir()} == {"beside.json", "model.mine"}
    assert report.agreement == Agreement(
        examples=12, labels_agree=1.0, largest_difference=0.0, labels_agree_with_predict=1.0
    )
    assert "labels agree in 100.00%" in str(report)
    assert report.to_json()["examples"] == 12
    assert request[0].about["labels"] == ["one", "three", "two"]


@pytest.mark.parametrize("suffix", [".mine", ""])
def test_an_export_that_answers_differently_is_not_written(
    suffix: str, picture_model: TransferModel, pictures: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_format(monkeypatch, error=2e-3, suffix=suffix)
    with pytest.raises(ExportError, match=r"largest difference 0\.002.*Nothing was written"):
        picture_model.export(tmp_path / f"model{suffix}", format="mine", check_data=pictures)
    assert not list(tmp_path.iterdir())


def test_an_earlier_export_in_a_folder_is_replaced(
    picture_model: TransferModel, pictures: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_format(monkeypatch, suffix="")
    picture_model.export(tmp_path / "folder", format="mine", check_data=pictures)
    (tmp_path / "folder" / "part").write_text("old")
    (tmp_path / "folder" / "notes.txt").write_text("of the user")
    with pytest.raises(ConfigError, match="is there already"):
        picture_model.export(tmp_path / "folder", format="mine", check_data=pictures)
    report = picture_model.export(tmp_path / "folder", format="mine", check_data=pictures, overwrite=True)
    assert (tmp_path / "folder" / "part").read_text() == "a model"
    assert (tmp_path / "folder" / "notes.txt").read_text() == "of the user"
    # What is pushed to the hub is what was exported, and nothing else of the folder.
    assert {file.name for file in report.files} == {"part", "autotransfer.json", "beside.json"}


def test_a_folder_of_something_else_stays_as_it_is(
    picture_model: TransferModel, pictures: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = add_format(monkeypatch, suffix="")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.txt").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(ConfigError, match=r"not empty and holds no export: .*Name another place"):
            picture_model.export(tmp_path / "folder", format="mine", check_data=pictures, overwrite=overwrite)
    assert [file.name for file in (tmp_path / "folder").iterdir()] == ["thesis.txt"]
    assert not asked


def test_an_export_goes_into_the_empty_current_folder(
    picture_model: TransferModel, pictures: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_format(monkeypatch, suffix="")
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path / "folder")
    picture_model.export(".", format="mine", check_data=pictures)
    assert {file.name for file in Path().iterdir()} == {"part", "autotransfer.json"}


def test_another_file_beside_the_model_is_not_replaced(
    picture_model: TransferModel, pictures: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_format(monkeypatch)
    (tmp_path / "beside.json").write_text("of another model")
    with pytest.raises(ConfigError, match=r"beside\.json, which belongs to model\.mine, is there already"):
        picture_model.export(tmp_path / "model.mine", format="mine", check_data=pictures)
    assert (tmp_path / "beside.json").read_text() == "of another model"
    assert not (tmp_path / "model.mine").exists()


def test_another_tokenizer_is_found_before_any_work(
    models: dict[str, TransferModel], texts: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = add_format(monkeypatch)
    (tmp_path / "tokenizer.json").write_text("of another model")
    with pytest.raises(ConfigError, match=r"tokenizer\.json, which belongs to model\.mine"):
        models["text ensemble"].export(tmp_path / "model.mine", format="mine", check_data=texts)
    assert not asked


def test_the_model_in_16_bit_is_compared_beside(
    picture_model: TransferModel, pictures: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_format(monkeypatch)
    half = Device(torch=torch.device("cpu"), half=torch.bfloat16)
    members = tuple(replace(member, autocast=True) for member in picture_model.members)
    rounded = replace(picture_model, device=half, members=members)
    # The format predicts in 16 bit, as the model does here; what it is held against is in float32.
    monkeypatch.setattr("autotransfer.model.export.comparison.MAX_DIFFERENCE", 1.0)
    report = rounded.export(tmp_path / "model.mine", format="mine", check_data=pictures)
    assert report.agreement.labels_agree_with_predict == 1.0
    assert report.agreement.largest_difference > 0
    assert "with predict on this device, labels agree in 100.00%" in str(report)


@pytest.mark.parametrize("kind", ["binary", "multilabel"])
def test_labels_are_compared_at_one_half_too(
    kind: Any, picture_model: TransferModel, pictures: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = add_format(monkeypatch)
    task = Task(kind=kind, classes=("bad", "good"), thresholds=(0.01, 0.99))
    monkeypatch.setattr(TransferModel, "predict_store", lambda self, store: np.array([[0.4, 0.6]] * len(store)))
    report = replace(picture_model, task=task).export(tmp_path / "model.mine", format="mine", check_data=pictures)
    assert (report.agreement.labels_agree, report.agreement.labels_agree_at_one_half) == (1.0, 0.0)
    assert report.to_json()["labels_agree_at_one_half"] == 0.0
    assert report.to_json()["thresholds"] == {"bad": 0.01, "good": 0.99}
    assert "labels agree in 100.00% by the model's thresholds and in 0.00% at one half" in str(report)
    assert "decide by its thresholds: 0.010 for 'bad', 0.990 for 'good'" in str(report)
    assert "above 0.010 for 'bad', 0.990 for 'good' (`thresholds` in `config.json`)" in report.card
    assert asked[0].about["task"]["thresholds"] == [0.01, 0.99]


def test_unreadable_examples_are_left_out(
    picture_model: TransferModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pictures: list[Any]
) -> None:
    add_format(monkeypatch)
    (tmp_path / "broken.png").write_text("no image")
    report = picture_model.export(
        tmp_path / "model.mine", format="mine", check_data=[tmp_path / "broken.png", *pictures[:2]]
    )
    assert report.agreement.examples == 2
    with pytest.raises(DataError, match="None of the 1 images"):
        picture_model.export(tmp_path / "other.mine", format="mine", check_data=[tmp_path / "broken.png"])


def test_many_examples_are_sampled(
    picture_model: TransferModel, pictures: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = add_format(monkeypatch)
    report = picture_model.export(tmp_path / "model.mine", format="mine", check_data=[pictures[0]] * 600)
    assert report.agreement.examples == len(asked[0].examples) == 256


def test_a_modality_without_a_form_is_refused(
    picture_model: TransferModel, pictures: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(picture_model.modality), "export_inputs", lambda self, formats, reading: None)
    with pytest.raises(ExportError, match=r"Models of images cannot be exported: .*Modality\.export_inputs"):
        picture_model.export(tmp_path / "model.onnx", check_data=pictures)
