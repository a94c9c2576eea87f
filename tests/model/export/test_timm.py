"""Checkpoints of timm: timm itself loads them, and answers as the model does."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from fixtures.exported import Part, make_model, task_of
from fixtures.fitting import fit_with
from huggingface_hub import ModelCard
from PIL import Image
from typer.testing import CliRunner

import autotransfer
from autotransfer.candidate import Candidate
from autotransfer.cli.main import app
from autotransfer.contract.backbone import Backbone
from autotransfer.errors import ExportError
from autotransfer.model.transfer_model import TransferModel
from autotransfer.run.result import FitResult
from autotransfer.settings import Compute
from autotransfer_plugins.modalities.image.modality import IMAGE

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
READING = {"side": 40, "value_ranges": {}, "background": "white", "channels": 3}


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


@pytest.mark.parametrize("kind", ["binary", "multilabel"])
def test_the_snippet_decides_by_the_thresholds(
    kind: str,
    resnet: Backbone,
    pictures: list[np.ndarray],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(pictures[0]).save("new.jpg", quality=95)
    model = make_model(IMAGE, [Part(backbone=resnet)], reading=READING, task=task_of(kind), temperature=1.7)
    probabilities = model.predict_proba("new.jpg")[0].astype(float)
    # The labels at one half are all wrong: each threshold is between its probability and one half.
    thresholds = tuple((0.5 + value) / 2 for value in probabilities)
    model = replace(model, task=replace(model.task, thresholds=thresholds))
    report = model.export("out", format="timm", check_data=pictures)
    assert report.agreement.labels_agree == 1.0
    assert json.loads(Path("out/config.json").read_text())["thresholds"] == report.thresholds
    assert json.loads(Path("out/autotransfer.json").read_text())["task"]["thresholds"] == list(thresholds)
    card = Path("out/README.md").read_text()
    assert "This model decides by thresholds" in card
    exec("".join(re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)).replace("FOLDER", "out"), {})
    predicted = model.predict("new.jpg")[0]
    expected = list(predicted) if kind == "multilabel" else [str(predicted)]
    assert capsys.readouterr().out.splitlines()[-1] == str(expected)


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
