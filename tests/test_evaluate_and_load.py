"""One candidate, trained as it is written; and models that cannot be loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import autotransfer
from autotransfer.candidate import Candidate
from autotransfer.errors import ConfigError, DataNotFoundError, ModelFormatError, UnknownNameError
from autotransfer.settings import Compute, DataOptions

Digits = tuple[np.ndarray, np.ndarray]


def test_the_classic_recipe_runs_as_it_is_written(
    tiny_zoo: Path, digits: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A frozen backbone under a new top: flatten, 1024 units, 10 epochs of Adam at a constant rate, batches of 32.
    steps: list[tuple[type, float, int]] = []
    step = torch.optim.Adam.step

    def watched(self: torch.optim.Optimizer, *arguments: Any, **named: Any) -> Any:
        (group,) = {(group["lr"], id(self)) for group in self.param_groups}
        steps.append((type(self), *group))
        return step(self, *arguments, **named)

    monkeypatch.setattr(torch.optim.Adam, "step", watched)
    candidate = Candidate(
        backbone="test_resnet",
        freeze="frozen",
        head="mlp",
        head_params={"pooling": "flatten", "layers": 1, "width": 1024, "dropout": 0.0},
        training={"optimizer": "adam", "lr": 1e-3, "schedule": "constant", "epochs": 10, "batch_size": 32},
    )
    images, labels = digits[0][:96], digits[1][:96]
    done = autotransfer.evaluate(candidate, images, labels, zoo=tiny_zoo, compute=Compute(cache_dir=tmp_path))
    assert len(steps) == 10 * 3  # three batches of the 72 examples that are trained on
    assert {(kind, rate) for kind, rate, _ in steps} == {(torch.optim.Adam, 1e-3)}
    assert len({optimizer for *_, optimizer in steps}) == 1  # one training, not five folds
    assert done.model.members[0].candidate == candidate
    assert (done.score.metric, done.score.examples) == ("accuracy", 24)
    assert done.score.score > 0.6
    layers = [module for module in done.model.members[0].network.head.modules() if isinstance(module, torch.nn.Linear)]
    assert [layer.out_features for layer in layers] == [1024, 3]
    channels, height, width = done.model.members[0].network.head_shape
    assert layers[0].in_features == channels * height * width


@pytest.mark.slow
def test_a_candidate_is_evaluated_saved_and_loaded(tiny_zoo: Path, digit_folder: Path, tmp_path: Path) -> None:
    candidate = Candidate(backbone="test_vit", head="linear", freeze="depth", training={"epochs": 2, "start": "ridge"})
    done = autotransfer.evaluate(
        candidate, digit_folder / "train", zoo=tiny_zoo, compute=Compute(cache=False), metric="f1_macro"
    )
    assert done.score.metric == "f1_macro"
    loaded = autotransfer.load(done.model.save(tmp_path / "model"))
    folder = digit_folder / "test"
    np.testing.assert_array_equal(loaded.predict_proba(folder), done.model.predict_proba(folder))


def test_a_candidate_is_scored_on_the_examples_that_are_held_out(tiny_zoo: Path, digit_folder: Path) -> None:
    candidate = Candidate(backbone="test_resnet", head="logistic")
    train, test = (digit_folder / side for side in ("train", "test"))
    done = autotransfer.evaluate(
        candidate, train, data_options=DataOptions(validation=test), zoo=tiny_zoo, compute=Compute(cache=False)
    )
    paths = sorted(test.rglob("*.png"))
    assert done.score.examples == len(paths)
    right = [label == path.parent.name for path, label in zip(paths, done.model.predict(paths), strict=True)]
    assert done.score.score == np.mean(right)


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"backbone": "test_resnt"}, UnknownNameError),
        ({"backbone": "test_resnet", "head": "linaer"}, UnknownNameError),
        ({"backbone": "test_resnet", "freeze": "frozn"}, UnknownNameError),
        ({"backbone": "test_resnet", "training": {"optimiser": "adam"}}, ConfigError),
        ({"backbone": "test_resnet", "head": "mlp", "head_params": {"pooling": "sum"}}, ConfigError),
        ({"backbone": "test_resnet", "head": "ridge", "freeze": "full"}, ConfigError),
    ],
)
def test_a_candidate_that_names_what_is_not_there(
    tiny_zoo: Path, digit_folder: Path, wrong: dict[str, Any], error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_decoding(*arguments: Any, **named: Any) -> Any:
        raise AssertionError("images were decoded before the candidate was checked")

    monkeypatch.setattr("autotransfer_plugins.modalities.image.modality.ImageModality.load", no_decoding)
    with pytest.raises(error):
        autotransfer.evaluate(Candidate(**wrong), digit_folder / "train", zoo=tiny_zoo, compute=Compute(cache=False))


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match=r"There is no model in .*: expected model\.json"):
        autotransfer.load(tmp_path)


def test_a_damaged_model(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text("{")
    with pytest.raises(ModelFormatError, match="is not readable JSON"):
        autotransfer.load(tmp_path)
    (tmp_path / "model.json").write_text('{"format": 99}')
    with pytest.raises(ModelFormatError, match="it says 99"):
        autotransfer.load(tmp_path)
    (tmp_path / "model.json").write_text('{"format": 6}')
    with pytest.raises(ModelFormatError, match="cannot be read"):
        autotransfer.load(tmp_path)
