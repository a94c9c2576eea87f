"""Models of several networks, and models with a temperature: they predict, save and load."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import autotransfer
from autotransfer.candidate import Candidate
from autotransfer.data.sources import find_examples, load_examples
from autotransfer.errors import ConfigError, DataError, ModelFormatError, OutputError
from autotransfer.model.ensemble_member import EnsembleMember
from autotransfer.model.transfer_model import TransferModel
from autotransfer.settings import Compute
from autotransfer.training.network import to_predictions
from autotransfer_plugins.modalities.image.batches import VIEWS, prepare

Digits = tuple[np.ndarray, np.ndarray]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def trained(tiny_zoo: Path, digits: Digits) -> dict[str, TransferModel]:
    """Four heads on one frozen backbone, two of them on its map and its stages, and a network that was tuned."""

    def train(**names: Any) -> TransferModel:
        candidate = Candidate(**{"backbone": "test_resnet", **names})
        images, labels = digits[0][:60], digits[1][:60]
        # On the CPU, where those that are loaded predict, too: a GPU's last digits are others.
        return autotransfer.evaluate(
            candidate, images, labels, zoo=tiny_zoo, compute=Compute(cache=False, device="cpu")
        ).model

    short = {"epochs": 2, "lr": 1e-2}
    found = {
        "ridge": train(head="ridge"),
        "ncm": train(head="ncm"),
        "stages": train(head="stage_ridge"),
        "map": train(head="mlp", head_params={"pooling": "flatten", "width": 16}, training=short),
        "tuned": train(backbone="test_vit", freeze="depth", training=short),
    }
    for name in ("ncm", "map", "stages"):
        member(found[name]).network.backbone = member(found["ridge"]).network.backbone
    return found


WEIGHTS = {"ridge": 0.25, "ncm": 0.125, "map": 0.25, "stages": 0.125, "tuned": 0.25}


def member(model: TransferModel) -> EnsembleMember:
    (only,) = model.members
    return only


@pytest.fixture
def ensemble(trained: dict[str, TransferModel]) -> TransferModel:
    members = tuple(replace(member(trained[name]), weight=weight) for name, weight in WEIGHTS.items())
    return replace(trained["ridge"], members=members, temperature=1.5)


@pytest.mark.slow
def test_an_ensemble_predicts_the_weighted_mean(
    ensemble: TransferModel, trained: dict[str, TransferModel], digits: Digits
) -> None:
    images = digits[0][60:90]
    mean = sum(weight * trained[name].predict_proba(images) for name, weight in WEIGHTS.items())
    plain = replace(ensemble, temperature=1.0)
    np.testing.assert_allclose(plain.predict_proba(images), mean, atol=1e-5)
    np.testing.assert_array_equal(plain.predict(images), ensemble.predict(images))
    powers = mean ** (1 / 1.5)
    np.testing.assert_allclose(ensemble.predict_proba(images), powers / powers.sum(1, keepdims=True), atol=1e-4)
    assert ensemble.predict_proba(images).dtype == np.float32


@pytest.mark.slow
def test_members_average_over_their_own_number_of_views(
    ensemble: TransferModel, trained: dict[str, TransferModel], digits: Digits, tmp_path: Path
) -> None:
    images, model = digits[0][60:70], trained["map"]
    decoded, own = model.decode(find_examples(images)), member(model)
    how = own.network.backbone.preprocessing
    with torch.inference_mode():
        outputs = [own.network(prepare(decoded.pixels[how.crop_mode], how, CPU, view)) for view in VIEWS]
    assert not torch.allclose(outputs[0], outputs[1], rtol=1e-2)
    for views in (1, 2, 4):
        mean = to_predictions(model.task, torch.stack(outputs[:views]).mean(0))
        seeing = replace(model, members=(replace(own, views=views, autocast=False),))
        np.testing.assert_allclose(seeing.predict_proba(images), mean, atol=1e-5)

    # The members of an ensemble keep their own number, also on a shared backbone and in a saved model.
    views = dict(zip(WEIGHTS, (2, 1, 4, 2, 2), strict=True))
    members = zip(ensemble.members, views.values(), strict=True)
    mixed = replace(ensemble, members=tuple(replace(one, views=n) for one, n in members), temperature=1.0)
    alone = {name: replace(member(trained[name]), views=n) for name, n in views.items()}
    each = {name: replace(trained[name], members=(one,)).predict_proba(images) for name, one in alone.items()}
    mean = sum(WEIGHTS[name] * found for name, found in each.items())
    np.testing.assert_allclose(mixed.predict_proba(images), mean, atol=1e-5)
    loaded = autotransfer.load(mixed.save(tmp_path), device="cpu")
    assert [one.views for one in loaded.members] == list(views.values())
    np.testing.assert_array_equal(loaded.predict_proba(images), mixed.predict_proba(images))


def test_heads_on_one_backbone_take_one_pass(
    ensemble: TransferModel, digits: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[str] = []
    for backbone in (group.backbone for group in ensemble._groups):
        forward = backbone.module.forward_map

        def counted(images: Any, forward: Callable[[Any], Any] = forward, name: str = repr(id(backbone))) -> Any:
            passes.append(name)
            return forward(images)

        monkeypatch.setattr(backbone.module, "forward_map", counted)
    ensemble.predict(digits[0][:5])
    assert len(passes) == len(set(passes)) == 2


def test_a_saved_ensemble_holds_each_backbone_once(ensemble: TransferModel, digits: Digits, tmp_path: Path) -> None:
    ensemble.save(tmp_path / "model")
    names = list(load_file(tmp_path / "model" / "model.safetensors"))
    assert any(name.startswith("members.1.head.") for name in names)
    assert not [name for name in names if name.startswith(("members.1.backbone.", "members.3.backbone."))]
    assert any(name.startswith("members.4.backbone.") for name in names)
    loaded = autotransfer.load(tmp_path / "model", device="cpu")
    assert loaded.members[2].network.backbone is loaded.members[0].network.backbone
    assert [one.candidate for one in loaded.members] == [one.candidate for one in ensemble.members]
    assert [one.weight for one in loaded.members] == list(WEIGHTS.values())
    assert loaded.temperature == 1.5
    np.testing.assert_array_equal(loaded.predict_proba(digits[0]), ensemble.predict_proba(digits[0]))


def test_a_saved_model_makes_the_same_sets(trained: dict[str, TransferModel], digits: Digits, tmp_path: Path) -> None:
    model, images, labels = trained["ridge"], digits[0][60:], digits[1][60:]
    sets = model.predict_set(images, 0.8)
    assert set().union(*sets) <= set(model.task.classes)
    assert np.mean([label in found for label, found in zip(labels, sets, strict=True)]) > 0.5
    assert sum(map(len, model.predict_set(images, 0.5))) < sum(map(len, model.predict_set(images, 0.9)))
    loaded = autotransfer.load(model.save(tmp_path), device="cpu")
    assert list(loaded.predict_set(images, 0.8)) == list(sets)
    filled = loaded.predict_set(images, 0.05, allow_empty=False)
    assert [found[0] for found in filled] == list(loaded.predict(images))
    with pytest.raises(ConfigError, match="between 0 and 1"):
        loaded.predict_set(images, 90)

    about = json.loads((tmp_path / "model.json").read_text())
    about["conformal"][0]["levels"][0] = 2.0
    (tmp_path / "model.json").write_text(json.dumps(about))
    with pytest.raises(ModelFormatError, match="levels"):
        autotransfer.load(tmp_path)
    plain = autotransfer.load(replace(model, conformal=None).save(tmp_path), device="cpu")
    with pytest.raises(ConfigError, match="makes no sets"):
        plain.predict_set(digits[0])


def test_a_head_on_missing_stages_is_refused(trained: dict[str, TransferModel], tmp_path: Path) -> None:
    trained["stages"].save(tmp_path)
    about = json.loads((tmp_path / "model.json").read_text())
    head = about["members"][0]["head"]
    shape = head["shape"]
    assert len(shape) > 2
    head["shape"] = [shape[0] - 1, shape[1] + 1, *shape[2:]]
    (tmp_path / "model.json").write_text(json.dumps(about))
    with pytest.raises(ModelFormatError, match="its backbone gives others"):
        autotransfer.load(tmp_path, device="cpu")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"temperature": 0.0}, "A temperature is a number from 0.05 to 20.0; got 0.0"),
        ({"temperature": "hot"}, "A temperature is a number from 0.05 to 20.0; got 'hot'"),
        ({"members": {}}, "a list of 1 to 16"),
        ({"members": []}, "a list of 1 to 16"),
        ({"members": [{}] * 17}, "a list of 1 to 16"),
        ({"views": 99}, "views; got 99"),
        ({"weight": 0.0}, "from 0 to 1; got 0.0"),
        ({"weight": 0.9}, "sum to 1; got 1.775"),
        ({"shares": 3}, "of one before it; got 3"),
        ({"shares": "0"}, "of one before it; got '0'"),
    ],
)
def test_damaged_ensembles_are_refused(
    ensemble: TransferModel, tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    ensemble.save(tmp_path)
    about = json.loads((tmp_path / "model.json").read_text())
    (about if set(change) & set(about) else about["members"][1]).update(change)
    (tmp_path / "model.json").write_text(json.dumps(about))
    with pytest.raises(ModelFormatError, match=reason):
        autotransfer.load(tmp_path, device="cpu")


@pytest.fixture
def little_room() -> Iterator[None]:
    """A limit of 4 kB on every file that is written."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_an_output_error_that_names_the_folder(
    trained: dict[str, TransferModel], tmp_path: Path, little_room: None
) -> None:
    with pytest.raises(OutputError, match=r"cannot be written: .*Save the model again once there is room") as caught:
        trained["ridge"].save(tmp_path / "model")
    assert str(tmp_path / "model") in str(caught.value)
    assert not list((tmp_path / "model").iterdir()), "nothing half written is left"


def test_model_files_have_the_permissions_of_new_files(trained: dict[str, TransferModel], tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        trained["ridge"].save(tmp_path)
    finally:
        os.umask(before)
    assert {file.name: oct(file.stat().st_mode & 0o777) for file in tmp_path.iterdir()} == {
        "model.safetensors": "0o644",
        "model.json": "0o644",
    }


def test_a_model_scores_labelled_examples(
    trained: dict[str, TransferModel], digits: Digits, digit_folder: Path, tmp_path: Path
) -> None:
    model, (images, labels) = trained["ridge"], digits
    score = model.score(images[60:], labels[60:])
    assert score.metric == model.task.metric == "accuracy"
    assert score.score == (model.predict(images[60:]) == labels[60:]).mean()
    assert score.ci95[0] < score.score <= score.ci95[1]
    assert score.examples == 60
    assert str(score).startswith(f"accuracy {score.score:.4f} (95% interval {score.ci95[0]:.4f} to ")

    # A table; an image that cannot be read is left out, and named by what the command uses.
    (tmp_path / "bad.png").write_text("no image")
    files = sorted((digit_folder / "test").rglob("*.png"))
    of = {"zero": 0, "one": 1, "two": 2}
    rows = [f"{file},{of[file.parent.name]}" for file in files] + [f"{tmp_path / 'bad.png'},1"]
    (tmp_path / "test.csv").write_text("\n".join(["picture,digit", *rows]))
    table = {"path_column": "picture", "target_column": "digit"}
    assert model.score(tmp_path / "test.csv", **table).examples == 30
    _, skipped = model.score_examples(load_examples(tmp_path / "test.csv", **table))
    assert [entry.name for entry in skipped] == [str(tmp_path / "bad.png")]

    with pytest.raises(DataError, match="Unknown label 'one'; the classes are"):
        model.score(digit_folder / "test")
    with pytest.raises(DataError, match="no targets"):
        model.score(images)


def test_a_table_of_predictions_names_each_image(
    trained: dict[str, TransferModel], digit_folder: Path, tmp_path: Path
) -> None:
    model = trained["ridge"]
    for number, file in enumerate(sorted((digit_folder / "test" / "one").iterdir())[:3]):
        shutil.copy(file, tmp_path / f"{number}.png")
    (tmp_path / "bad.png").write_text("no image")
    rows = model.predict_table(tmp_path)
    files = [tmp_path / f"{number}.png" for number in range(3)]
    by_path = {row.path: row for row in rows}
    assert sorted(by_path) == sorted(map(str, tmp_path.iterdir()))
    read = [by_path[str(file)] for file in files]
    assert [row.prediction for row in read] == model.predict(files).tolist()
    given = [list((row.probabilities or {}).values()) for row in read]
    np.testing.assert_array_equal(np.array(given, np.float32), model.predict_proba(files))
    assert list(read[0].probabilities or {}) == [0, 1, 2]
    bad = by_path[str(tmp_path / "bad.png")]
    assert (bad.prediction, bad.probabilities) == (None, None)
    assert bad.error == "no image that Pillow can read"


def test_the_repr_of_a_model_is_one_line(ensemble: TransferModel, trained: dict[str, TransferModel]) -> None:
    assert repr(trained["ridge"]).startswith("<TransferModel: multiclass of 3 classes, test_resnet + ridge")
    assert repr(trained["ridge"]).endswith(", on cpu>")
    assert "an ensemble of 5 with test_resnet + ridge" in repr(ensemble)
    assert all(len(repr(model)) < 200 for model in (ensemble, *trained.values()))
