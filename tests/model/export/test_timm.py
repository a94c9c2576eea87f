"""Checkpoints of timm: timm itself loads them, and answers as the model does."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from fixtures.fitting import fit_with
from huggingface_hub import ModelCard
from typer.testing import CliRunner

import autotransfer
from autotransfer.candidate import Candidate
from autotransfer.cli.main import app
from autotransfer.errors import ExportError
from autotransfer.model.transfer_model import TransferModel
from autotransfer.run.result import FitResult
from autotransfer.settings import Compute

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def result(tiny_zoo: Path, digit_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> FitResult:
    """A fine-tuned network from a short search."""
    place = tmp_path_factory.mktemp("timm")
    return fit_with(
        digit_folder / "train", zoo=tiny_zoo, backbones="test_resnet", heads="linear", freeze="full", trials=1,
        epochs=2, out=place / "run", cache_dir=place / "cache", progress=False, device="cpu", ensemble=False,
    )  # fmt: skip


def answers(folder: Path, model: TransferModel, images: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return what timm and the model, in float32, answer for the same inputs."""
    model = replace(model, device=replace(model.device, half=None))
    loaded = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    store = model.decode(model.find_examples(images))
    with torch.inference_mode():
        inputs = store.inputs(slice(None), model.members[0].network.backbone.preprocessing, CPU)
        return loaded(inputs).softmax(1).numpy(), model.predict_store(store)


def test_timm_answers_as_the_tuned_model_does(result: FitResult, digit_folder: Path, tmp_path: Path) -> None:
    report = result.export(tmp_path / "out", format="timm")
    names = {file.name for file in report.files}
    assert names == {"autotransfer.json", "config.json", "model.safetensors", "README.md"}
    assert report.agreement.holds
    found, expected = answers(tmp_path / "out", result.model, digit_folder / "test")
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_checkpoint_says_labels_and_preprocessing(result: FitResult, tmp_path: Path) -> None:
    result.export(tmp_path / "out", format="timm")
    loaded = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["label_names"] == ["one", "two", "zero"]
    data = timm.data.resolve_model_data_config(loaded)
    assert (data["input_size"], data["interpolation"], data["crop_pct"]) == ((3, 32, 32), "bilinear", 1.0)


def test_the_card_says_how_timm_loads_it(result: FitResult, tmp_path: Path) -> None:
    result.export(tmp_path / "out", format="timm")
    text = (tmp_path / "out" / "README.md").read_text()
    assert ModelCard(text).data.library_name == "timm"
    assert "## Scores by class" in text
    assert 'timm.create_model("local-dir:FOLDER", pretrained=True)' in text
    assert "autotransfer.load" not in text


def test_a_transformer_at_its_own_size_is_rebuilt(tiny_zoo: Path, digit_folder: Path, tmp_path: Path) -> None:
    candidate = Candidate(backbone="test_vit", head="logistic")
    compute = Compute(cache=False, device="cpu")
    model = autotransfer.evaluate(candidate, digit_folder / "train", zoo=tiny_zoo, compute=compute).model
    model.export(tmp_path / "out", format="timm", check_data=digit_folder / "test")
    found, expected = answers(tmp_path / "out", model, digit_folder / "test")
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert ModelCard((tmp_path / "out" / "README.md").read_text()).data.library_name == "timm"


def test_the_command_writes_a_folder(result: FitResult, tmp_path: Path) -> None:
    found = CliRunner().invoke(
        app, ["export", str(result.run), "--format", "timm", "--out", str(tmp_path / "out"), "--json"]
    )
    assert found.exit_code == 0, found.output
    assert timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).num_classes == 3


def test_a_model_of_another_library_is_refused(result: FitResult, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"TimmBackbone, which is no model of transformers.*--format onnx"):
        result.export(tmp_path / "out", format="transformers")
    assert not (tmp_path / "out").exists()
