"""Models as ONNX answer in onnxruntime as they do here."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from autotransfer.model.outliers import NeighbourDetector, Outliers
from autotransfer.model.transfer_model import TransferModel

MODELS = ("image ensemble", "image multilabel", "image regression", "text ensemble", "sound views")


@pytest.fixture(scope="module")
def plain(picture_model: TransferModel, pictures: list[Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of the plainest model."""
    file = tmp_path_factory.mktemp("plain") / "model.onnx"
    about = {"examples": 12, "described": "12 pictures"}
    picture_model.export(file, check_data=pictures, trained_on=about)
    return file


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_every_kind_of_model_answers_as_before(
    name: str, models: dict[str, TransferModel], examples_of: dict[str, list[Any]], tmp_path: Path
) -> None:
    model = models[name]
    examples = examples_of[model.modality.name]
    report = model.export(tmp_path / "model.onnx", check_data=examples)
    assert report.agreement.examples == 12
    assert report.agreement.largest_difference < 5e-4
    assert report.agreement.labels_agree in (1.0, None)
    assert (report.agreement.labels_agree is None) == (model.task.kind == "regression")
    assert report.size_bytes == sum(file.stat().st_size for file in report.files)
    assert {file.name for file in tmp_path.iterdir()} == {file.name for file in report.files}
    assert ("tokenizer.json" in {file.name for file in report.files}) == (model.modality.name == "text")


@pytest.mark.slow
def test_batches_and_sizes_are_free(
    plain: Path, picture_model: TransferModel, pictures: list[np.ndarray], capfd: pytest.CaptureFixture[str]
) -> None:
    onnx.checker.check_model(plain, full_check=True)
    session = onnxruntime.InferenceSession(plain)
    (given,), (output,) = session.get_inputs(), session.get_outputs()
    assert given.shape == ["batch", "height", "width", 3]
    assert output.name == "probabilities"
    for batch in ([pictures[0]], [pictures[1]] * 5, [np.resize(pictures[2], (300, 31, 3))] * 2):
        (found,) = session.run(None, {"pixels": np.stack(batch)})
        np.testing.assert_allclose(found, picture_model.predict_proba(batch), atol=2e-4)
    assert capfd.readouterr().err == ""  # no warning of onnxruntime of shapes that do not fit


@pytest.mark.slow
@pytest.mark.parametrize("format", ["onnx", "torch"])
def test_outlier_scores_leave_with_the_model(
    format: str, picture_model: TransferModel, pictures: list[np.ndarray], tmp_path: Path
) -> None:
    width = picture_model.members[0].network.backbone.width
    reference = torch.nn.functional.normalize(torch.randn(8, width, generator=torch.Generator().manual_seed(0)), dim=1)
    model = replace(
        picture_model,
        device=replace(picture_model.device, half=None),
        outliers=Outliers(detector=NeighbourDetector({"reference": reference}, 0.7)),
    )
    file = tmp_path / ("model.onnx" if format == "onnx" else "model.pt2")
    model.export(file, format=format, check_data=pictures)
    batch = np.stack(pictures[:1])
    if format == "onnx":
        session = onnxruntime.InferenceSession(file)
        assert [output.name for output in session.get_outputs()] == ["probabilities", "outlier_scores"]
        found, scores = session.run(None, {"pixels": batch})
    else:
        found, scores = torch.export.load(file).module()(torch.from_numpy(batch.copy()))
    np.testing.assert_allclose(found, model.predict_proba(pictures[:1]), atol=1e-3)
    np.testing.assert_allclose(scores, model.outlier_scores(pictures[:1]), atol=1e-3)


@pytest.mark.slow
def test_file_says_what_it_is(plain: Path, picture_model: TransferModel) -> None:
    properties = {each.key: json.loads(each.value) for each in onnx.load(plain).metadata_props}
    assert properties["labels"] == ["one", "three", "two"]
    assert properties["task"]["kind"] == "multiclass"
    assert properties["inputs"][0]["shape"] == ["batch", "height", "width", 3]
    assert properties["trained_on"] == {"examples": 12, "described": "12 pictures"}
    (member,) = properties["members"]
    assert member["preprocessing"] == json.loads(
        json.dumps(picture_model.members[0].network.backbone.preprocessing.to_json())
    )
    assert {"autotransfer", "torch", "onnx"} <= set(properties["versions"])


@pytest.mark.slow
def test_no_resize_with_foreign_weights_is_written(plain: Path) -> None:
    # The Resize of ONNX has other cubic weights than Pillow unless it is told, and exporters did not tell it.
    graphs = [onnx.load(plain).graph]
    kinds = set()
    while graphs:
        for node in graphs.pop().node:
            kinds.add(node.op_type)
            graphs += [attribute.g for attribute in node.attribute if attribute.type == onnx.AttributeProto.GRAPH]
    assert "MatMul" in kinds
    assert "Resize" not in kinds
