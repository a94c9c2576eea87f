"""The prior of models: what recorded runs say of a new target, and what a few trainings there change."""

from __future__ import annotations

import csv
import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from autotransfer.search.model_prior import ModelBelief, ModelInfo, ModelPrior, PriorScales, Recorded, levels_of

BENCHMARKS = Path(__file__).parents[2] / "examples" / "benchmarks"
TARGETS = ("birds", "cars", "flowers", "textures")
SIZES = ("tiny", "small", "base", "large")


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


def prior(models: list[ModelInfo], accuracy: npt.NDArray[np.float64]) -> ModelPrior:
    targets = TARGETS[: len(accuracy)]
    evidence = np.zeros((*accuracy.shape, 0))
    return ModelPrior(Recorded(models=tuple(models), targets=targets, accuracy=accuracy, evidence=evidence))


def test_the_best_level_is_highest_and_equals_are_equal() -> None:
    levels = levels_of(np.array([0.5, np.nan, 0.9, 0.5, 0.7]))
    assert np.isnan(levels[1])
    assert levels[2] == pytest.approx(np.log(4) - 1)
    assert levels[0] == levels[3] < levels[4] < levels[2]


def test_models_that_led_elsewhere_are_expected_to_lead() -> None:
    models, accuracy = made()
    belief = prior(models, accuracy[:3]).belief("textures", models)
    assert np.corrcoef(belief.mean, accuracy[3])[0, 1] > 0.5
    assert models[int(belief.mean.argmax())].name.split(".")[0].endswith("large")


def test_an_unknown_model_is_judged_by_those_like_it() -> None:
    models, accuracy = made()
    known = [i for i, model in enumerate(models) if not model.name.endswith(".v2")]
    unknown = [i for i in range(len(models)) if i not in known]
    belief = prior([models[i] for i in known], accuracy[:3][:, known]).belief("textures", models)
    new = {models[i].name: belief.mean[i] for i in unknown}
    assert new["attention_large.v2"] > new["attention_tiny.v2"]
    assert belief.deviation[unknown].mean() > belief.deviation[known].mean()


def test_a_model_that_was_made_for_the_target_leads() -> None:
    models, accuracy = made()
    expert = ModelInfo(name="somebody/conv_tiny-textures", architecture="conv", parameters=1e5)
    belief = prior(models, accuracy[:3]).belief("textures", [*models, expert])
    twin = next(i for i, model in enumerate(models) if model.name == "conv_tiny.v0")
    assert belief.mean[-1] > belief.mean[twin] + 0.5


def test_one_result_says_most_of_models_like_it() -> None:
    models, accuracy = made()
    belief = prior(models, accuracy[:3]).belief("textures", models)
    before = belief.mean.copy()
    belief.observe(3, 0.6)
    belief.observe(15, 0.9)  # the first of the other family's large models does far better
    moved = belief.mean - before
    conv = [i for i in range(12) if i != 3]
    attention = [i for i in range(12, 24) if i != 15]
    assert moved[attention].mean() > moved[conv].mean() + 0.1


def test_what_was_trained_is_not_proposed_again() -> None:
    belief = ModelBelief(np.array([1.0, 0.0, -60.0]), np.eye(3) * 0.5)
    belief.observe(0, 0.9)
    gains = belief.log_expected_improvement()
    assert gains[0] == -np.inf
    assert np.isfinite(gains[1:]).all(), "a hopeless one has a gain that no float holds"
    assert gains[1] > gains[2]


def test_scales_that_were_learned_expect_the_levels_better(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    learn = runpy.run_path(str(BENCHMARKS / "fit_model_prior.py"))["learn"]
    models, accuracy = made()
    known = prior(models, accuracy[:3])
    learned: PriorScales = learn(known.recorded)
    assert np.isfinite(np.hstack([np.ravel(values) for values in learned.to_json().values()])).all()

    def surprise(scales: PriorScales | None) -> float:
        belief = ModelPrior(known.recorded, scales).belief("textures", models)
        off = (levels_of(accuracy[3]) - belief.mean) / belief.deviation
        return float((off**2 / 2 + np.log(belief.deviation)).mean())

    assert surprise(learned) < surprise(None)


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
