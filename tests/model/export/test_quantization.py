"""Models in 8 bits: smaller, as good on labelled examples, and refused where they are not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fixtures.fitting import fit_with
from typer.testing import CliRunner

from autotransfer.cli.main import app
from autotransfer.errors import ConfigError, DataError, ExportError
from autotransfer.model.export import quantization
from autotransfer.run.result import FitResult

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def result(tiny_zoo: Path, digit_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> FitResult:
    """A short search with test examples."""
    place = tmp_path_factory.mktemp("int8")
    return fit_with(
        digit_folder / "train", test=digit_folder / "test", zoo=tiny_zoo, backbones="test_resnet", heads="logistic",
        trials=1, out=place / "run", cache_dir=place / "cache", progress=False, device="cpu", ensemble=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def exported(result: FitResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the model in float32 and in 8 bits, and what was said of the latter."""
    folder = tmp_path_factory.mktemp("exported")
    result.export(folder / "float.onnx")
    report = result.export(folder / "int8.onnx", quantize=True)
    (folder / "report.json").write_text(json.dumps(report.to_json()))
    (folder / "report.txt").write_text(str(report))
    return folder


def test_eight_bits_keep_the_score_of_the_test_examples(exported: Path, result: FitResult) -> None:
    said = json.loads((exported / "report.json").read_text())["quantization"]
    assert result.test is not None
    assert (said["metric"], said["examples"], said["scored_on"]) == ("accuracy", 30, "test examples")
    assert said["score_before"] == pytest.approx(result.test.score, abs=1 / 30)  # which is scored in 16 bit
    assert said["score_after"] >= said["score_before"] - 0.005
    text = (exported / "report.txt").read_text()
    assert "times smaller" in text
    assert f"accuracy {said['score_before']:.4f} to {said['score_after']:.4f} on 30 test examples" in text


def test_eight_bits_are_smaller(exported: Path) -> None:
    before, after = (exported / f"{name}.onnx" for name in ("float", "int8"))
    said = json.loads((exported / "report.json").read_text())
    assert said["size_bytes"] == said["quantization"]["bytes_after"] == after.stat().st_size
    assert said["quantization"]["bytes_before"] == pytest.approx(before.stat().st_size, rel=1e-3)  # names in it differ
    assert after.stat().st_size < 0.7 * before.stat().st_size
    weights = {each.data_type for each in onnx.load(after).graph.initializer if "weight_quantized" in each.name}
    assert weights == {onnx.TensorProto.INT8}


def test_files_hold_no_folder_of_the_machine(exported: Path) -> None:
    here = str(Path(quantization.__file__).parents[3]).encode()
    for name in ("float", "int8"):
        data = (exported / f"{name}.onnx").read_bytes()
        assert b"stack_trace" not in data
        assert here not in data


def test_inputs_are_made_in_float(exported: Path) -> None:
    model = onnx.load(exported / "int8.onnx")
    made_by = {name: node for node in model.graph.node for name in node.output}
    first = next(node for node in model.graph.node if node.op_type == "QuantizeLinear")
    reached, names = set[str](), [first.input[0]]
    while names:
        node = made_by.get(names.pop())
        if node is not None and node.name not in reached:
            reached.add(node.name)
            assert node.op_type not in ("QuantizeLinear", "DequantizeLinear")
            names += node.input
    assert reached  # what reads the pixels


def test_the_file_in_eight_bits_keeps_labels_and_inputs(exported: Path, digits: tuple[np.ndarray, np.ndarray]) -> None:
    session = onnxruntime.InferenceSession(str(exported / "int8.onnx"))
    about = session.get_modelmeta().custom_metadata_map
    labels = json.loads(about["labels"])
    pixels = np.repeat(digits[0][90:, :, :, None], 3, axis=3)
    probabilities = session.run(None, {"pixels": pixels})[0]
    expected = np.array(["zero", "one", "two"])[digits[1][90:]]
    assert np.mean(np.array(labels)[probabilities.argmax(1)] == expected) > 0.8


def test_a_larger_loss_is_refused_and_nothing_is_written(
    result: FitResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantization, "MAX_LOSS", -1.0)
    monkeypatch.setattr(quantization, "_ATTEMPTS", quantization._ATTEMPTS[-1:])
    with pytest.raises(ExportError, match=r"loses more than half a point: accuracy .* on 30 test examples.*--quantize"):
        result.export(tmp_path / "model.onnx", quantize=True)
    assert list(tmp_path.iterdir()) == []


def test_other_formats_are_refused(result: FitResult, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"quantized in the format 'onnx'; got 'torch'"):
        result.export(tmp_path / "model.pt2", format="torch", quantize=True)


def test_a_loss_needs_labels(result: FitResult, digit_folder: Path, tmp_path: Path) -> None:
    unlabelled = replace(result.data.train, targets=None)
    with pytest.raises(DataError, match="these have no labels"):
        result.model.export(tmp_path / "model.onnx", check_data=unlabelled, quantize=True)


def test_the_command_scores_on_the_test_examples(result: FitResult, tmp_path: Path) -> None:
    found = CliRunner().invoke(
        app, ["export", str(result.run), "--out", str(tmp_path / "m.onnx"), "--quantize", "--json"]
    )
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["quantization"]["scored_on"] == "test examples"
