"""The prior of learning curves: what ships, how it is read, and how it is learned from recorded runs."""

from __future__ import annotations

import argparse
import gzip
import json
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from autotransfer.errors import DataError, ModelFormatError
from autotransfer.search.arm import Arm
from autotransfer.search.belief import CurveModel
from autotransfer.search.levels import Levels
from autotransfer.search.prior import Encoding, Networks, Prior, curve_levels
from autotransfer.search.prior_file import shipped_prior, write_part
from autotransfer.search.proposal import Proposal
from autotransfer.search.sources.source import SearchState
from autotransfer.search.trials import Trials

PARTS = ("scores", "costs", "curves", "pruning")
BENCHMARKS = Path(__file__).parents[2] / "examples" / "benchmarks"


def curve(final: float, epochs: int) -> list[float]:
    return [final * (1 - 0.5 ** (epoch + 1)) for epoch in range(epochs)]


def tools(name: str, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Return what a file of the benchmarks defines."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return SimpleNamespace(**runpy.run_path(str(BENCHMARKS / name)))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three small made-up data sets in the format of the recorded curves."""
    rng = np.random.default_rng(0)
    configs = {f"c{i}": {"lr": 10.0 ** -float(rng.integers(1, 5)), "linear_probing": 0.0} for i in range(40)}
    datasets = {}
    for name in ("a", "b", "c"):
        curves = {}
        for key, setting in configs.items():
            final = 80 - 15 * abs(np.log10(setting["lr"]) + 3) + rng.normal(0, 3)
            epochs = int(rng.choice([1, 9, 50]))
            curves[key] = {
                "score": [v * final for v in curve(1.0, epochs)],
                "cost": [float(rng.uniform(5, 50))] * epochs,
            }
        datasets[name] = {"descriptors": {"n_train": 1000, "n_classes": 10}, "curves": curves}
    datasets["c"]["descriptors"] = None  # may be missing
    path = tmp_path_factory.mktemp("curves") / "curves.json.gz"
    path.write_bytes(gzip.compress(json.dumps({"datasets": datasets, "configs": configs}).encode()))
    return path


def test_an_equal_share_of_the_error_is_an_equal_gain() -> None:
    levels = curve_levels([0.5, 0.9, 0.99, 0.999], 2)
    assert levels[0] == pytest.approx(-np.log(1.02))
    assert levels[1] - levels[0] == pytest.approx(np.log(1.02 / 0.22))
    assert levels[3] - levels[2] < np.log(2), "errors near zero count as the floor"
    assert curve_levels([0.1], 10)[0] == pytest.approx(levels[0])


@pytest.mark.slow
def test_networks_compute_what_torch_computes() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    sizes = [(3, 5), (5, 4), (4, 2)]
    weights = tuple(rng.normal(size=(2, *size)) for size in sizes)
    biases = tuple(rng.normal(size=(2, 1, size[1])) for size in sizes)
    rows = rng.normal(size=(7, 3))
    given = torch.tensor(rows)
    for member in range(2):
        layers: list[Any] = []
        for w, b in zip(weights, biases, strict=True):
            layer = torch.nn.Linear(*w.shape[1:]).double()
            layer.weight.data, layer.bias.data = torch.tensor(w[member].T), torch.tensor(b[member, 0])
            layers += [layer, torch.nn.SiLU()]
        expected = torch.nn.Sequential(*layers[:-1])(given).detach().numpy()
        predicted = Networks(weights=weights, biases=biases).predict(rows)[member]
        np.testing.assert_allclose(predicted, expected, atol=1e-9)


def test_the_shipped_prior_knows_the_obvious() -> None:
    prior = Prior.load()
    assert shipped_prior().stat().st_size < 1_000_000
    others = {f"cat:opt:{name}": 0.0 for name in ("adam", "adamp", "momentum", "sgd")}
    given = {"cat:model:edgenext_small": 1.0, "cat:opt:adamw": 1.0, "lr": 1e-3, "batch_size": 32.0}
    small = {**given, **others, "linear_probing": 0.0, "pct_to_freeze": 0.0}
    setups = {"small": small, "timid": {**small, "lr": 1e-5}}
    arms = prior.arms(setups, examples=5000, classes=20)
    assert arms[0].mean[-1] > arms[0].mean[0]
    assert arms[0].mean[-1] > arms[1].mean[-1] + 0.2
    more = prior.arms({"small": small}, examples=50_000, classes=20)
    assert more[0].seconds > 3 * arms[0].seconds
    assert prior.arms({}, examples=10, classes=2) == []
    assert np.linalg.eigvalsh(prior.curves.own).min() > 0


def test_a_setting_that_is_not_given_is_the_mean() -> None:
    encoding = Encoding.of([([{"lr": 1e-4, "drop": 0.0}, {"lr": 1e-2, "drop": 0.4}], 100, 10)])
    rows = encoding.rows([{"lr": 1e-3, "drop": None}, {}], examples=100, classes=10)
    assert encoding.columns == ("drop", "lr")
    np.testing.assert_allclose(rows, [[-1, 0, 0, 0], [0, 0, 0, 0]], atol=1e-9)


def test_a_broken_prior_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.safetensors"
    write_part(path, "curves", {"own": np.eye(2)}, {"source": 1})
    with pytest.raises(ModelFormatError, match=r"broken\.safetensors is not a prior"):
        Prior.load(path)


@pytest.mark.slow
def test_a_learned_prior_knows_what_matters(recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learner = tools("fit_curve_prior.py", monkeypatch)
    datasets, digest = learner.read(recorded)
    prior, covered = learner.fit_and_check(datasets, digest=digest)
    write_part(tmp_path / "prior.safetensors", "curves", *prior.part())
    loaded = Prior.load(tmp_path / "prior.safetensors")
    settings = datasets["a"].settings
    before, after = (p.arms(settings, examples=1000, classes=10) for p in (prior, loaded))
    for first, second in zip(before, after, strict=True):
        assert first.mean == pytest.approx(second.mean, abs=1e-4)
        assert first.std == pytest.approx(second.std, rel=1e-3)
    good = [a.mean[-1] for a in after if settings[a.name]["lr"] == 1e-3]
    bad = [a.mean[-1] for a in after if settings[a.name]["lr"] == 1e-1]
    assert np.mean(good) > np.mean(bad) + 0.3
    assert covered.shape == (3, 5)
    assert 0.6 < covered.mean() <= 1.0


def test_a_prior_of_one_data_set_is_refused(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learner = tools("fit_curve_prior.py", monkeypatch)
    datasets, _ = learner.read(recorded)
    with pytest.raises(DataError, match="two data sets"):
        learner.fit({"a": datasets["a"]})


def test_deviations_are_those_of_the_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = tools("fit_curve_prior.py", monkeypatch)
    rng = np.random.default_rng(0)
    seen = [made_errors(rng, learner) for _ in range(60)]
    weights, own, shared = learner.fit_deviations(seen)
    assert weights[:, 1] == pytest.approx([0.5, 0.5], abs=0.15)  # as ``made_errors`` has it
    assert np.diag(shared) / np.diag(own + shared) == pytest.approx([0.25, 0.25], abs=0.12)
    assert np.mean([learner.coverage(each, weights, own, shared) for each in seen]) == pytest.approx(0.9, abs=0.02)


def made_errors(rng: np.random.Generator, learner: SimpleNamespace) -> Any:
    """Return errors of 50 runs at two rungs: a quarter of their variance is shared, and it grows with the mean."""
    mean: npt.NDArray[np.float64] = rng.uniform(-1, 1, (50, 2))
    features = np.stack([np.ones_like(mean), mean, mean**2, rng.normal(size=mean.shape)], -1)
    own = rng.multivariate_normal([0, 0], 0.75 * np.array([[1, 0.5], [0.5, 1]]), 50)
    shared = rng.multivariate_normal([0, 0], 0.25 * np.array([[1, 0.9], [0.9, 1]]))
    return learner.LeftOut(features=features, errors=0.3 * np.exp(0.5 * mean) * (own + shared))


@pytest.mark.slow
def test_bars_are_replayed_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    replay = tools("replay_curves.py", monkeypatch)
    data = replay.Recorded(
        settings={"slow": {}, "fast": {}},
        scores={"slow": [0.5, 0.9], "fast": [0.3, 0.4]},
        seconds={"slow": [10.0, 10.0], "fast": [1.0, 1.0]},
        examples=10,
        classes=2,
    )
    assert replay.in_order(data, ["fast", "slow"], 2.0) == pytest.approx(1.0)
    assert replay.in_order(data, ["fast", "slow"], 12.0) == pytest.approx(0.8)
    assert replay.in_order(data, ["slow", "fast"], 19.0) == pytest.approx(0.8)
    assert replay.in_order(data, ["slow", "fast"], 20.0) == 0.0


@pytest.mark.slow
def test_an_ablation_leaves_out_its_part(monkeypatch: pytest.MonkeyPatch) -> None:
    # One that leaves its part in shows that the part brings nothing.
    replay = tools("replay_curves.py", monkeypatch)
    poor = Arm(name="poor", mean=[0.1, 0.2, 0.3], std=[0.1, 0.1, 0.1], seconds=1.0)
    good = Arm(name="good", mean=[0.6, 0.7, 0.9], std=[0.1, 0.1, 0.1], seconds=4.0)
    curves = CurveModel(rungs=(1, 3, 9), own=np.eye(3) + 0.5, shared=np.eye(3), growth=(0.5, 0.8, 1.0))

    def offers(*without: str) -> list[Proposal]:
        made = replay.strategy([poor, good], curves, Levels(), without)
        state = SearchState.of(Trials(), 100.0, (), Levels())
        return [offer for source in made._sources for offer in source.proposals(state)]

    ends = {name: {o.arm.name: o for o in offers(*without)} for name, *without in (["whole"], *([p, p] for p in PARTS))}
    assert ends["whole"]["poor"].expected < ends["whole"]["good"].expected
    assert ends["scores"]["poor"].expected == ends["scores"]["good"].expected
    assert ends["scores"]["good"].deviation > ends["whole"]["good"].deviation
    assert 4 * ends["whole"]["poor"].seconds == ends["whole"]["good"].seconds
    assert ends["costs"]["poor"].seconds == pytest.approx(ends["costs"]["good"].seconds)
    assert ends["curves"]["good"].deviation < ends["whole"]["good"].deviation
    assert (ends["whole"]["good"].until, ends["pruning"]["good"].until) == (1, None)


@pytest.mark.slow
def test_a_half_is_tested_by_what_the_other_knows(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replay = tools("replay_curves.py", monkeypatch)
    known = list[set[str]]()
    monkeypatch.setitem(replay.replays.__globals__, "fit", lambda datasets, seed: known.append(set(datasets)))
    found = list(replay.replays(argparse.Namespace(curves=recorded, halves=2, seeds=1)))
    datasets, _ = replay.read(recorded)
    assert [len(names) for names in known] == [1, 1]
    for half, names in enumerate(known):
        tested = [data for name, data, _ in found if name == f"half {half}"]
        assert tested == [data for name, data in datasets.items() if name not in names]


@pytest.mark.slow
def test_replay_prints_the_regret_as_json(recorded: Path) -> None:
    # The command as a user runs it, on a file that the committed prior was not learned from.
    command = [sys.executable, BENCHMARKS / "replay.py", "curves", recorded, "--budgets", "60,6000", "--json"]
    result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert set(result["regret"]) == {"60", "6000"}
    assert set(result["datasets"]) == {"a", "b", "c"}
    assert 0 <= result["regret"]["6000"] <= result["regret"]["60"] <= 1
    assert set(result["bars"]) == {"random", "cheapest first"}


@pytest.mark.slow
def test_one_command_learns_and_says_the_coverage(recorded: Path, tmp_path: Path) -> None:
    out = tmp_path / "prior.safetensors"
    command = [sys.executable, BENCHMARKS / "fit_prior.py", "--curves", recorded, "--out", out]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "90% intervals hold" in printed
    assert Prior.load(out).curves.rungs == (1, 3, 9, 27, 50)
