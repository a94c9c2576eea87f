"""One small model from larger ones: it answers like them, saves, and says what was lost."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fixtures.fitting import distill_with

import autotransfer
from autotransfer.errors import ConfigError, DataError
from autotransfer.settings import Compute, RunOptions, Selection

pytestmark = pytest.mark.slow

QUICK: dict[str, Any] = {"batch_size": 16, "progress": False}


@pytest.fixture(scope="module")
def winner(digit_folder: Path, tiny_zoo: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return autotransfer.fit(
        digit_folder / "train",
        test=digit_folder / "test",
        zoo=tiny_zoo,
        trials=4,
        selection=Selection(ensemble=False),
        out=tmp_path_factory.mktemp("runs") / "run",
        compute=Compute(cache=False),
        run=RunOptions(progress=False),
    )


def test_the_winner_becomes_one_small_model(winner: Any, tmp_path: Path, digit_folder: Path) -> None:
    result = distill_with(winner, architecture="test_byobnet", input_size=32, epochs=15, **QUICK)
    assert result.agreement > 0.7
    assert result.teacher.score == winner.test.score
    assert result.lost == pytest.approx(result.teacher.score - result.student.score)
    assert result.parameters[1] == sum(p.numel() for p in result.model.members[0].network.parameters())
    assert "are lost" in str(result)
    json.dumps(result.to_json())
    loaded = autotransfer.load(result.model.save(tmp_path / "model"))
    assert (loaded.predict(digit_folder / "test") == result.model.predict(digit_folder / "test")).all()


def test_a_registered_backbone_starts_from_its_weights(winner: Any, tiny_zoo: Path) -> None:
    # Hardly anything can be learned at this rate: what the backbone gives is what its weights gave.
    result = distill_with(winner, architecture="test_resnet", zoo=tiny_zoo, epochs=1, lr=1e-9, **QUICK)
    known = autotransfer.contract.registry.Registry.load((tiny_zoo,)).backbone("test_resnet").load().state_dict()
    weight = next(name for name in known if name.endswith("weight"))
    assert np.allclose(result.model.members[0].network.backbone.state_dict()[weight].cpu(), known[weight], atol=1e-5)
    with pytest.raises(ConfigError, match="leave input_size out"):
        distill_with(winner, architecture="test_resnet", zoo=tiny_zoo, input_size=64, **QUICK)


def test_several_models_teach_together(winner: Any, digit_folder: Path) -> None:
    together = [winner.model, winner.model]
    result = distill_with(
        together, digit_folder / "train", architecture="test_byobnet", input_size=32, epochs=1, **QUICK
    )
    assert result.parameters[0] == 2 * sum(p.numel() for p in winner.model.members[0].network.parameters())
    assert result.teacher is result.lost is None, "there are no test examples"


def test_distilling_an_ensemble_counts_shared_parameters_once(winner: Any, digit_folder: Path) -> None:
    (member,) = winner.model.members
    ensemble = replace(winner.model, members=(replace(member, weight=0.5),) * 2)
    result = distill_with(
        ensemble, digit_folder / "train", architecture="test_byobnet", input_size=32, epochs=1, **QUICK
    )
    assert result.parameters[0] == sum(p.numel() for p in winner.model.members[0].network.parameters())
    assert result.agreement > 0


def test_what_does_not_go_together_is_refused(winner: Any, digits: Any, tiny_zoo: Path) -> None:
    with pytest.raises(DataError, match="no examples to learn on"):
        distill_with(winner.model, architecture="test_byobnet", **QUICK)
    with pytest.raises(ConfigError, match="no model"):
        distill_with([], architecture="test_byobnet", **QUICK)
    candidate = autotransfer.Candidate(backbone="test_resnet", head="ridge")
    images, labels = digits
    other = autotransfer.evaluate(candidate, images, labels * 1.5, zoo=tiny_zoo, compute=Compute(cache=False)).model
    with pytest.raises(ConfigError, match="different things"):
        distill_with([winner, other], architecture="test_byobnet", **QUICK)
    values = distill_with(other, list(images), architecture="test_byobnet", input_size=32, epochs=10, **QUICK)
    assert values.agreement > 0.2, "a regression is matched by its variance"


def test_teacher_and_student_are_scored_as_a_model_is(digits: Any, tiny_zoo: Path) -> None:
    images, ink = digits[0], digits[0].mean(axis=(1, 2)) / 255
    truth = pd.DataFrame({"low": ink, "high": 1000 + ink + digits[1]})
    candidate = autotransfer.Candidate(backbone="test_resnet", head="ridge")
    compute = Compute(cache=False, device="cpu")
    model = autotransfer.evaluate(candidate, images[:60], truth[:60], zoo=tiny_zoo, compute=compute).model
    other_way_round = autotransfer.evaluate(
        candidate, images[:60], truth[["high", "low"]][:60], zoo=tiny_zoo, compute=compute
    ).model
    with pytest.raises(ConfigError, match="other targets, or in another order"):
        distill_with([model, other_way_round], architecture="test_byobnet", **QUICK)
    # Columns in another order, and copies, which count together in the interval.
    rows = np.repeat(np.arange(60, 90), 2)
    test, known = images[rows], truth.iloc[rows]
    how: dict[str, Any] = {"test": test, "test_targets": known[["high", "low"]], "device": "cpu", "epochs": 1}
    result = distill_with(model, images[:60], architecture="test_byobnet", input_size=32, **how, **QUICK)
    assert result.teacher == model.score(test, known)
    assert result.student == result.model.score(test, known)
    assert result.teacher is not None
    assert result.teacher.groups == 30
