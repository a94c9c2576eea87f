"""Models as programs of torch.export answer as they do here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from autotransfer.model.transfer_model import TransferModel


@pytest.mark.slow
@pytest.mark.parametrize("name", ["image ensemble", "text ensemble", "sound views"])
def test_every_kind_of_example_answers_as_before(
    name: str, models: dict[str, TransferModel], examples_of: dict[str, list[Any]], tmp_path: Path
) -> None:
    model = models[name]
    report = model.export(tmp_path / "model.pt2", format="torch", check_data=examples_of[model.modality.name])
    assert report.agreement.largest_difference < 5e-4
    assert report.agreement.labels_agree in (1.0, None)


@pytest.mark.slow
def test_program_takes_any_size_and_says_what_it_is(
    picture_model: TransferModel, pictures: list[np.ndarray], tmp_path: Path
) -> None:
    picture_model.export(tmp_path / "model.pt2", format="torch", check_data=pictures)
    files = {"autotransfer.json": ""}
    program = torch.export.load(tmp_path / "model.pt2", extra_files=files).module()
    assert json.loads(files["autotransfer.json"])["labels"] == ["one", "three", "two"]
    for batch in ([pictures[0]], [pictures[1]] * 5):
        found = program(torch.from_numpy(np.stack(batch)))
        np.testing.assert_allclose(found, picture_model.predict_proba(batch), atol=2e-4)
