"""The prior of models: what recorded runs say of how good models are on a new target."""

from __future__ import annotations

import csv
import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from autotransfer.contract.registry import Registry
from autotransfer.search.model_prior import FORM_DEVIATION, ModelPrior, PriorScales, RecordedModels
from autotransfer.search.model_similarity import ModelInfo, model_info
from autotransfer.search.prior_file import shipped_prior, write_part

BENCHMARKS = Path(__file__).parents[2] / "examples" / "benchmarks"
TARGETS = ("birds", "cars", "flowers", "textures")
SIZES = ("tiny", "small", "base", "large")
LEARNER: dict[str, Any] = runpy.run_path(str(BENCHMARKS / "fit_model_prior.py"))


def made(seed: int = 0) -> tuple[list[ModelInfo], npt.NDArray[np.float64]]:
    """Return 24 models of two families, and their accuracies on the targets: large ones lead, families take turns."""
    rng = np.random.default_rng(seed)
    models, rows = [], []
    for family, bonus in (("conv", (0.1, 0.1, 0.0, 0.0)), ("attention", (0.0, 0.0, 0.1, 0.1))):
        for i in range(12):
            size = i % 4
            name = f"{family}_{SIZES[size]}.v{i // 4}"
            models.append(ModelInfo(name=name, architecture=family, parameters=10.0 ** (5 + size)))
            rows.append(0.6 + 0.05 * size + np.array(bonus) + rng.normal(0, 0.01, 4))
    return models, np.array(rows).T


def recorded(models: list[ModelInfo], accuracy: npt.NDArray[np.float64]) -> Any:
    targets = TARGETS[: len(accuracy)]
    evidence = np.zeros((*accuracy.shape, 0))
    return LEARNER["Recorded"](models=tuple(models), targets=targets, accuracy=accuracy, evidence=evidence)


def prior(models: list[ModelInfo], accuracy: npt.NDArray[np.float64]) -> ModelPrior:
    return ModelPrior(LEARNER["summarise"](recorded(models, accuracy), PriorScales.initial()))


def test_the_best_level_is_highest_and_equals_are_equal() -> None:
    levels = LEARNER["levels_of"](np.array([0.5, np.nan, 0.9, 0.5, 0.7]))
    assert np.isnan(levels[1])
    assert levels[2] == pytest.approx(np.log(4) - 1)
    assert levels[0] == levels[3] < levels[4] < levels[2]


def test_models_that_led_elsewhere_are_expected_to_lead() -> None:
    models, accuracy = made()
    mean, covariance = prior(models, accuracy[:3]).expect(models)
    assert np.corrcoef(mean, accuracy[3])[0, 1] > 0.5
    assert models[int(mean.argmax())].name.split(".")[0].endswith("large")
    assert np.all(np.linalg.eigvalsh(covariance) > 0)


def test_an_unknown_model_is_judged_by_those_like_it() -> None:
    models, accuracy = made()
    known = [i for i, model in enumerate(models) if not model.name.endswith(".v2")]
    unknown = [i for i in range(len(models)) if i not in known]
    mean, covariance = prior([models[i] for i in known], accuracy[:3][:, known]).expect(models)
    new = {models[i].name: mean[i] for i in unknown}
    assert new["attention_large.v2"] > new["attention_tiny.v2"]
    variance = np.diag(covariance)
    assert variance[unknown].mean() > variance[known].mean()


def test_a_model_that_was_made_for_the_target_leads() -> None:
    models, accuracy = made()
    expert = ModelInfo(name="somebody/conv_tiny-textures", architecture="conv", parameters=1e5)
    mean, _ = prior(models, accuracy[:3]).rank([*models, expert], "textures")
    same = next(i for i, model in enumerate(models) if model.name == "conv_tiny.v0")
    assert mean[-1] > mean[same] + 0.5


def test_models_of_one_family_rise_and_fall_together() -> None:
    models, accuracy = made()
    _, covariance = prior(models, accuracy[:3]).expect(models)
    correlation = covariance / np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    assert correlation[3, 7] > correlation[3, 19] + 0.1, "two large ones of a family, and of two families"


def test_expectation_rises_with_published_accuracy_and_size() -> None:
    nothing = ModelPrior(RecordedModels.none())
    published = [ModelInfo(name=name, benchmark=value) for name, value in (("a", 0.7), ("b", 0.8), ("c", 0.9))]
    sizes = [ModelInfo(name="d", parameters=1e6), ModelInfo(name="e", parameters=1e8)]
    mean, covariance = nothing.expect([*published, *sizes])
    assert mean[0] < mean[1] < mean[2]
    assert mean[3] < mean[4]
    assert covariance[3, 3] > covariance[1, 1], "nothing is published of it"


def test_forms_of_one_model_share_nearly_all() -> None:
    models, accuracy = made()
    _, covariance = prior(models, accuracy[:3]).expect([models[0], models[0], models[1]])
    apart = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    assert apart == pytest.approx(2 * FORM_DEVIATION**2)
    assert covariance[0, 0] + covariance[2, 2] - 2 * covariance[0, 2] > 2 * apart


def test_what_is_written_expects_the_same(tmp_path: Path) -> None:
    models, accuracy = made()
    before = prior(models, accuracy[:3])
    tensors, about = before.recorded.to_part()
    write_part(tmp_path / "prior", "models", {f"made.{k}": v for k, v in tensors.items()}, {"made": about})
    after = ModelPrior.load("made", tmp_path / "prior")
    for old, new in zip(before.expect(models), after.expect(models), strict=True):
        assert new == pytest.approx(old, abs=1e-4)
    wide = ModelPrior.load("smell", tmp_path / "prior").expect(models)[1]
    assert wide[0, 0] > 2 * after.expect(models)[1][0, 0], "no such model was recorded"
    assert ModelPrior.load("made", tmp_path / "prior").expect([])[0].shape == (0,)


def test_the_shipped_prior_ranks_published_backbones() -> None:
    specs = [spec for spec in Registry.load(()).backbones.values() if spec.modality == "image" and spec.accuracy]
    mean, covariance = ModelPrior.load("image").expect([model_info(spec) for spec in specs])
    levels = -np.log(1.02 - np.array([spec.accuracy for spec in specs]))
    assert len(specs) > 200
    assert np.corrcoef(levels, mean)[0, 1] > 0.9
    assert 0.3 < np.polyfit(levels, mean, 1)[0] < 1.2
    assert 0.1 < np.sqrt(np.diag(covariance)).mean() < 0.5
    assert shipped_prior().stat().st_size <= 1e6


def test_scales_that_were_learned_expect_the_levels_better() -> None:
    models, accuracy = made()
    learned: RecordedModels = LEARNER["learn_recorded"](recorded(models, accuracy[:3]), steps=8)
    assert np.isfinite(np.hstack([np.ravel(values) for values in learned.scales.to_json().values()])).all()
    assert 0 < learned.unit.slope < 1

    def surprise(prior: ModelPrior) -> float:
        mean, covariance = prior.rank(models, "textures")
        deviation = np.sqrt(np.diag(covariance))
        off = (LEARNER["levels_of"](accuracy[3]) - mean) / deviation
        return float((off**2 / 2 + np.log(deviation)).mean())

    assert surprise(ModelPrior(learned)) < surprise(prior(models, accuracy[:3]))


@pytest.mark.parametrize(
    ("target", "other", "same"),
    [("svhn", "svhn_cropped", True), ("glue/sst2", "sst2", True), ("tweet_eval/irony", "tweet_eval/emotion", False)],
)
def test_targets_of_one_data_set_are_left_out_together(target: str, other: str, same: bool) -> None:
    assert LEARNER["same"](target, other) is same


@pytest.mark.slow
def test_replay_of_a_zoo_prints_its_figures_as_json(tmp_path: Path) -> None:
    models, accuracy = made()

    def write(name: str, targets: range) -> Path:
        path = tmp_path / name
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["model", "target", "accuracy", "seconds", "log_me"])
            for t in targets:
                writer.writerows([m.name, TARGETS[t], a, 60.0, a] for m, a in zip(models, accuracy[t], strict=True))
        return path

    command = [sys.executable, str(BENCHMARKS / "replay.py"), "zoo", str(write("runs.csv", range(2, 4)))]
    command += ["--prior", str(write("prior.csv", range(2))), "--json"]
    result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert set(result["targets"]) == {"flowers", "textures"}
    assert 0.3 < result["mean"]["weighted_tau"] <= 1
    assert 1 <= result["mean"]["models"] <= 24
    assert result["mean"]["hours"] == pytest.approx(result["mean"]["models"] / 60)
    assert {"random", "mean rank", "LogME", "cheapest first"} <= set(result["bars"]["flowers"])
