"""From a source task, or a teacher, to a backbone that timm and a search can load."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from fixtures.fitting import pretrain_with

import autotransfer
from autotransfer.contract.registry import Registry
from autotransfer.errors import ConfigError, DataError, RunExistsError, UnknownNameError
from autotransfer.pretraining import pretrain as module
from autotransfer.settings import Compute, RunOptions

QUICK: dict[str, Any] = {"architecture": "test_resnet", "input_size": 32, "batch_size": 16, "progress": False}


@pytest.fixture(scope="module")
def trained(digit_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A backbone trained on three classes of digits."""
    folder = tmp_path_factory.mktemp("own") / "mine"
    return folder, pretrain_with(
        digit_folder / "train", out=folder, epochs=10, source="digits", license="BSD-3-Clause", **QUICK
    )


def test_it_learns_the_source_task(trained: tuple[Path, Any]) -> None:
    _, result = trained
    assert result.score.metric == "accuracy"
    assert result.score.score > 0.7
    assert result.epochs == 10
    assert "accuracy" in str(result)
    json.dumps(result.to_json())


def test_timm_loads_it_and_it_answers_as_it_was_scored(trained: tuple[Path, Any], digit_folder: Path) -> None:
    folder, _ = trained
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    assert model.pretrained_cfg["label_names"] == ["one", "two", "zero"]
    from PIL import Image

    hits = []
    for path in sorted((digit_folder / "test").rglob("*.png")):
        pixels = torch.from_numpy(np.asarray(Image.open(path).convert("RGB")).copy()).permute(2, 0, 1)[None] / 255
        mean, std = (torch.tensor(model.pretrained_cfg[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
        with torch.inference_mode():
            label = model.pretrained_cfg["label_names"][int(model((pixels - mean) / std).argmax())]
        hits.append(label == path.parent.name)
    assert np.mean(hits) > 0.7


def test_the_checkpoint_says_where_it_comes_from(trained: tuple[Path, Any]) -> None:
    folder, result = trained
    config = json.loads((folder / "config.json").read_text())
    assert config["pretrained_cfg"]["license"] == "BSD-3-Clause"
    assert config["pretrained_cfg"]["description"] == "digits, 81 images, 3 classes"
    assert config["source"]["score"]["score"] == result.score.score
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert not [path for path in folder.parent.iterdir() if path.name.startswith(".")]
    assert max(tensor.element_size() for tensor in _weights(folder).values() if tensor.is_floating_point()) == 2


@pytest.mark.slow
def test_it_is_a_backbone_of_a_zoo(trained: tuple[Path, Any], digit_folder: Path, tmp_path: Path) -> None:
    folder, _ = trained
    spec = Registry.load((folder.parent,)).backbone("mine")
    assert (spec.source, spec.license, spec.input_size) == ("digits, 81 images, 3 classes", "BSD-3-Clause", (32, 32))
    result = autotransfer.fit(
        digit_folder / "train",
        zoo=folder.parent,
        trials=2,
        out=tmp_path / "run",
        compute=Compute(cache=False),
        run=RunOptions(progress=False),
    )
    assert result.best.backbone == "mine"


@pytest.mark.slow
def test_a_teacher_is_matched_without_labels(digit_folder: Path, tiny_zoo: Path, tmp_path: Path) -> None:
    given = {**QUICK, "labels": False, "zoo": tiny_zoo, "cache_dir": tmp_path / "cache"}
    images = [digit_folder / "train" / "one", digit_folder / "train" / "two"]
    result = pretrain_with(images, out=tmp_path / "zoo" / "student", epochs=25, teacher="test_vit", **given)
    assert result.score is None
    assert result.match > 0.2
    model = timm.create_model(f"local-dir:{result.folder}", pretrained=True)
    assert model.num_classes == 0


@pytest.mark.slow
def test_a_teacher_gives_its_answers(digit_folder: Path, tiny_zoo: Path, tmp_path: Path) -> None:
    # On the CPU, whose rounding is known: nine images are held out, and one more or less of them decides.
    given = {**QUICK, "zoo": tiny_zoo, "cache_dir": tmp_path / "cache", "match": "answers", "device": "cpu"}
    result = pretrain_with(digit_folder / "train", out=tmp_path / "student", epochs=8, teacher="test_resnet", **given)
    assert result.match is None
    assert result.score.score > 0.5


@pytest.mark.slow
def test_an_interrupted_training_goes_on(
    digit_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {**QUICK, "progress": True, "out": tmp_path / "mine", "epochs": 3}

    def fail(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module._PretrainingJob, "_finish", fail)
        with pytest.raises(KeyboardInterrupt):
            pretrain_with(digit_folder / "train", **given)
    assert not (tmp_path / "mine").exists(), "a zoo never shows half of a checkpoint"
    with pytest.raises(ConfigError, match="other data or settings"):
        pretrain_with(digit_folder / "train", **{**given, "lr": 0.5})
    capsys.readouterr()
    result = pretrain_with(digit_folder / "train", **given)
    assert "epoch 3" not in capsys.readouterr().err, "all three epochs were trained before"
    assert result.epochs == 3


def test_what_is_there_is_kept(trained: tuple[Path, Any], digit_folder: Path, tmp_path: Path) -> None:
    folder, _ = trained
    with pytest.raises(RunExistsError, match="there already"):
        pretrain_with(digit_folder / "train", out=folder, **QUICK)
    (tmp_path / "thesis.txt").write_text("the only copy")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"holds thesis\.txt, which is of no checkpoint"):
        pretrain_with(digit_folder / "train", out=tmp_path, overwrite=True, **QUICK)
    assert (tmp_path / "thesis.txt").is_file()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"labels": False}, ConfigError, "give a teacher"),
        ({"match": "thoughts", "teacher": "x"}, ConfigError, "thoughts"),
        ({"validation": 1.0}, ConfigError, "between 0 and 1"),
        ({"architecture": "resnet18k"}, ConfigError, "resnet18k"),
        ({"architecture": "test_coatnet", "input_size": 48}, ConfigError, "48 x 48"),
        ({"teacher": "nobody"}, UnknownNameError, "nobody"),
        ({"input_size": 4}, ConfigError, "from 8 to 2048"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_trained(
    digit_folder: Path, tmp_path: Path, change: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        pretrain_with(digit_folder / "train", **{**QUICK, "out": tmp_path / "mine", **change})
    assert not list(tmp_path.iterdir())


def test_one_image_is_not_enough(digit_folder: Path, tiny_zoo: Path, tmp_path: Path) -> None:
    image = next((digit_folder / "train" / "one").iterdir())
    with pytest.raises(DataError, match="not enough"):
        pretrain_with([image], out=tmp_path / "x", labels=False, teacher="test_vit", zoo=tiny_zoo, cache=False, **QUICK)


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")
