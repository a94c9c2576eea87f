"""Models of several networks, and models with a temperature: they predict, save and load."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import autotransfer
from autotransfer.candidate import Candidate
from autotransfer.data.sources import find_images
from autotransfer.errors import ModelFormatError
from autotransfer.model import TransferModel
from autotransfer.parts import Part
from autotransfer.transfer.network import to_scores
from autotransfer.transfer.pixels import VIEWS, prepare

Digits = tuple[np.ndarray, np.ndarray]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def trained(tiny_zoo: Path, digits: Digits) -> dict[str, TransferModel]:
    """Four heads on one frozen backbone, two of them on its map and its stages, and a network that was tuned."""

    def train(**names: Any) -> TransferModel:
        candidate = Candidate(**{"backbone": "test_resnet", **names})
        images, labels = digits[0][:60], digits[1][:60]
        # On the CPU, where those that are loaded predict, too: a GPU's last digits are others.
        return autotransfer.evaluate(candidate, images, labels, zoo=tiny_zoo, cache=False, device="cpu").model

    short = {"epochs": 2, "lr": 1e-2}
    found = {
        "ridge": train(head="ridge"),
        "ncm": train(head="ncm"),
        "stages": train(head="stage_ridge"),
        "map": train(head="mlp", head_params={"pooling": "flatten", "width": 16}, training=short),
        "tuned": train(backbone="test_vit", freeze="depth", training=short),
    }
    for name in ("ncm", "map", "stages"):
        found[name].network.backbone = found["ridge"].network.backbone
    return found


@pytest.fixture
def ensemble(trained: dict[str, TransferModel]) -> TransferModel:
    weights = {"ncm": 0.125, "map": 0.25, "stages": 0.125, "tuned": 0.25}
    others = [
        Part(network=m.network, candidate=m.candidate, autocast=m.autocast, weight=weight)
        for m, weight in ((trained[name], weight) for name, weight in weights.items())
    ]
    return replace(trained["ridge"], others=tuple(others), temperature=1.5)


def test_an_ensemble_predicts_the_weighted_mean(
    ensemble: TransferModel, trained: dict[str, TransferModel], digits: Digits
) -> None:
    images = digits[0][60:90]
    weights = {"ridge": 0.25, "ncm": 0.125, "map": 0.25, "stages": 0.125, "tuned": 0.25}
    assert [part.weight for part in ensemble.parts] == list(weights.values())
    mean = sum(weight * trained[name].predict_proba(images) for name, weight in weights.items())
    plain = replace(ensemble, temperature=1.0)
    np.testing.assert_allclose(plain.predict_proba(images), mean, atol=1e-5)
    np.testing.assert_array_equal(plain.predict(images), ensemble.predict(images))
    powers = mean ** (1 / 1.5)
    np.testing.assert_allclose(ensemble.predict_proba(images), powers / powers.sum(1, keepdims=True), atol=1e-4)
    assert ensemble.predict_proba(images).dtype == np.float32


def test_networks_see_images_in_as_many_views_as_they_were_trained_for(
    ensemble: TransferModel, trained: dict[str, TransferModel], digits: Digits, tmp_path: Path
) -> None:
    images, model = digits[0][60:70], trained["map"]
    decoded = model.decode(find_images(images))
    how = model.network.backbone.preprocessing
    with torch.inference_mode():
        outputs = [model.network(prepare(decoded.pixels[how.crop_mode], how, CPU, view)) for view in VIEWS]
    assert not torch.allclose(outputs[0], outputs[1], rtol=1e-2)
    for views in (1, 2, 4):
        mean = to_scores(model.task, torch.stack(outputs[:views]).mean(0))
        np.testing.assert_allclose(replace(model, views=views, autocast=False).predict_proba(images), mean, atol=1e-5)

    # Of an ensemble, each as many as its own, also where they share a backbone, and also when it was saved.
    views = dict(zip(("ridge", "ncm", "map", "stages", "tuned"), (2, 1, 4, 2, 2), strict=True))
    parts = zip(ensemble.others, list(views.values())[1:], strict=True)
    mixed = replace(ensemble, views=2, others=tuple(replace(part, views=n) for part, n in parts), temperature=1.0)
    each = {name: replace(trained[name], views=n).predict_proba(images) for name, n in views.items()}
    mean = sum(part.weight * each[name] for part, name in zip(mixed.parts, views, strict=True))
    np.testing.assert_allclose(mixed.predict_proba(images), mean, atol=1e-5)
    loaded = autotransfer.load(mixed.save(tmp_path), device="cpu")
    assert [part.views for part in loaded.parts] == list(views.values())
    np.testing.assert_array_equal(loaded.predict_proba(images), mixed.predict_proba(images))


def test_heads_on_one_backbone_take_one_pass(
    ensemble: TransferModel, digits: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[str] = []
    for backbone, _ in ensemble._fast:
        forward = backbone.module.forward_map

        def counted(images: Any, forward: Callable[[Any], Any] = forward, name: str = repr(id(backbone))) -> Any:
            passes.append(name)
            return forward(images)

        monkeypatch.setattr(backbone.module, "forward_map", counted)
    ensemble.predict(digits[0][:5])
    assert len(passes) == len(set(passes)) == 2


def test_an_ensemble_is_saved_with_each_backbone_once_and_loads(
    ensemble: TransferModel, digits: Digits, tmp_path: Path
) -> None:
    ensemble.save(tmp_path / "model")
    names = list(load_file(tmp_path / "model" / "model.safetensors"))
    assert any(name.startswith("others.0.head.") for name in names)
    assert not [name for name in names if name.startswith(("others.0.backbone.", "others.2.backbone."))]
    assert any(name.startswith("others.3.backbone.") for name in names)
    loaded = autotransfer.load(tmp_path / "model", device="cpu")
    assert loaded.others[1].network.backbone is loaded.network.backbone
    assert [part.candidate for part in loaded.parts] == [part.candidate for part in ensemble.parts]
    assert loaded.temperature == 1.5
    np.testing.assert_array_equal(loaded.predict_proba(digits[0]), ensemble.predict_proba(digits[0]))


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_model_of_an_earlier_format_loads(
    trained: dict[str, TransferModel], digits: Digits, tmp_path: Path, number: int
) -> None:
    model = trained["tuned"]
    model.save(tmp_path)
    about = json.loads((tmp_path / "model.json").read_text())
    assert about["format"] == 4
    later_than = {1: ("temperature", "others", "views", "decoding"), 2: ("views", "decoding"), 3: ("decoding",)}
    for later in later_than[number]:
        del about[later]
    (tmp_path / "model.json").write_text(json.dumps({**about, "format": number}))
    loaded = autotransfer.load(tmp_path, device="cpu")
    assert (loaded.temperature, loaded.others, loaded.views) == (1.0, (), 1)
    np.testing.assert_array_equal(loaded.predict_proba(digits[0]), model.predict_proba(digits[0]))


def test_a_head_on_stages_that_its_backbone_does_not_have_is_refused(
    trained: dict[str, TransferModel], tmp_path: Path
) -> None:
    trained["stages"].save(tmp_path)
    about = json.loads((tmp_path / "model.json").read_text())
    shape = about["head"]["shape"]
    assert len(shape) > 2
    about["head"]["shape"] = [shape[0] - 1, shape[1] + 1, *shape[2:]]
    (tmp_path / "model.json").write_text(json.dumps(about))
    with pytest.raises(ModelFormatError, match="its backbone gives others"):
        autotransfer.load(tmp_path, device="cpu")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"temperature": 0.0}, "A temperature is a number from 0.01 to 100.0; got 0.0"),
        ({"temperature": "hot"}, "A temperature is a number from 0.01 to 100.0; got 'hot'"),
        ({"others": {}}, "a list of fewer than 16"),
        ({"others": [{}] * 16}, "a list of fewer than 16"),
        ({"weight": 0.0}, "from 0 to 1; got 0.0"),
        ({"weight": 0.9}, "leave nothing to the first"),
        ({"shares": 3}, "of one before it; got 3"),
        ({"shares": "0"}, "of one before it; got '0'"),
    ],
)
def test_damaged_ensembles_are_refused(
    ensemble: TransferModel, tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    ensemble.save(tmp_path)
    about = json.loads((tmp_path / "model.json").read_text())
    (about if set(change) & set(about) else about["others"][0]).update(change)
    (tmp_path / "model.json").write_text(json.dumps(about))
    with pytest.raises(ModelFormatError, match=reason):
        autotransfer.load(tmp_path, device="cpu")
