"""Heads that are one linear map, read from what they compute; and what is none is named with what to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import autotransfer
from autotransfer.candidate import Candidate
from autotransfer.errors import ExportError
from autotransfer.model.export.affine import affine_map, single_member
from autotransfer.model.transfer_model import TransferModel
from autotransfer.settings import Compute
from autotransfer.training.network import to_predictions

Train = Callable[..., TransferModel]


@pytest.fixture(scope="module")
def train(tiny_zoo: Path, digits: tuple[np.ndarray, np.ndarray]) -> Train:
    """Return a function that trains one head on frozen features of digits."""

    def train(head: str, targets: np.ndarray | None = None, **names: Any) -> TransferModel:
        candidate = Candidate(backbone="test_resnet", head=head, **names)
        images, labels = digits[0][:60], digits[1][:60] if targets is None else targets[:60]
        return autotransfer.evaluate(
            candidate, images, labels, zoo=tiny_zoo, compute=Compute(cache=False, device="cpu")
        ).model

    return train


def assert_same_answers(model: TransferModel, images: np.ndarray) -> None:
    """Compare a linear layer on the pooled features with the model."""
    weight, bias = affine_map(model, "timm")
    network = model.members[0].network
    store = model.decode(model.find_examples(images))
    exact = replace(model, device=replace(model.device, half=None))
    with torch.inference_mode():
        features = network.backbone(store.inputs(slice(None), network.backbone.preprocessing, torch.device("cpu")))
        outputs = torch.nn.functional.linear(features, weight, bias)
    expected = exact.predict_store(store)
    scale = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(to_predictions(model.task, outputs) / scale, expected / scale, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("head", ["logistic", "ridge", "ncm", "linear"])
def test_linear_heads_are_one_map_at_any_temperature(
    head: str, train: Train, digits: tuple[np.ndarray, np.ndarray]
) -> None:
    training = {"epochs": 1} if head == "linear" else {}
    model = replace(train(head, training=training), temperature=2.5)
    assert_same_answers(model, digits[0][60:80])


def test_values_come_out_in_the_units_of_the_target(train: Train, digits: tuple[np.ndarray, np.ndarray]) -> None:
    model = train("ridge", digits[1] * 1000.0 + 0.5)
    assert model.task.kind == "regression"
    assert_same_answers(model, digits[0][60:80])


def test_several_labels_take_a_temperature_too(train: Train, digits: tuple[np.ndarray, np.ndarray]) -> None:
    rows = np.array(
        [["even"] if label == 0 else ["odd", "one"] if label == 1 else ["two"] for label in digits[1]], object
    )
    model = replace(train("logistic", rows), temperature=0.5)
    assert model.task.kind == "multilabel"
    assert_same_answers(model, digits[0][60:80])


@pytest.mark.parametrize(
    ("head", "why"),
    [("knn", "is no linear map"), ("mlp", "takes the last feature map"), ("stage_ridge", "takes the features of all")],
)
def test_other_heads_are_refused_with_what_to_do(head: str, why: str, train: Train) -> None:
    training = {"epochs": 1} if head == "mlp" else {}
    with pytest.raises(ExportError, match=f"The head '{head}' {why}.*--heads linear.*--format onnx"):
        affine_map(train(head, training=training), "timm")


def test_ensembles_are_refused_with_what_to_do(train: Train) -> None:
    model = train("ridge")
    both = replace(model, members=tuple(replace(model.members[0], weight=0.5) for _ in range(2)))
    with pytest.raises(
        ExportError, match=r"ensemble of 2 networks, and a checkpoint of timm holds one: .*--no-ensemble"
    ):
        single_member(both, "timm")


def test_views_are_refused_with_what_to_do(train: Train) -> None:
    model = train("ridge")
    with pytest.raises(ExportError, match=r"averages 4 views of each image.*--views 1"):
        single_member(replace(model, members=(replace(model.members[0], views=4),)), "timm")
