"""What follows a search, end to end: finals, ensemble, refit, calibration."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fixtures.fitting import fit_with
from sklearn.metrics import f1_score

import autotransfer
from autotransfer.candidate import Candidate
from autotransfer.contract.registry import Registry
from autotransfer.data.sources import load_examples
from autotransfer.evaluation.evaluator import Evaluator
from autotransfer.pipeline.prepare import prepare_data
from autotransfer.pipeline.score_test import score_store, warn_if_below
from autotransfer.pipeline.select import _choose_ensemble
from autotransfer.run.result import FitResult
from autotransfer.runtime.device import resolve_device
from autotransfer.search.budget import TimeBudget
from autotransfer.search.trials import TrialRecord, Trials
from autotransfer.selection.costs import selection_seconds
from autotransfer.selection.ensemble import Ensemble
from autotransfer.selection.fold_runner import FoldRunner
from autotransfer.selection.refit import refit
from autotransfer.selection.selected_model import PlannedMember
from autotransfer.settings import Budget, Compute, DataOptions, Settings
from autotransfer.tasks.score import Score
from autotransfer.training.network import Network
from autotransfer.warnings import WarningList

Fit = Callable[..., FitResult]
FINISHING = ("calibrate", "choose_thresholds")
Digits = tuple[np.ndarray, np.ndarray]


@pytest.fixture
def fit(tiny_zoo: Path, digits: Digits, tmp_path: Path) -> Fit:
    def fit(**settings: Any) -> FitResult:
        images, labels = digits
        ours = {"zoo": tiny_zoo, "out": tmp_path / "run", "cache_dir": tmp_path / "cache", "progress": False}
        return fit_with(images[:60], labels[:60], **{**ours, "epochs": 2, **settings})

    return fit


def _reloads(result: FitResult, digits: Digits) -> None:
    loaded = autotransfer.load(result.run)
    np.testing.assert_array_equal(loaded.predict_proba(digits[0]), result.predict_proba(digits[0]))
    assert loaded.predict(digits[0]).tolist() == result.predict(digits[0]).tolist()


@pytest.mark.slow
def test_a_fit_ends_with_finals_and_a_temperature(fit: Fit, digits: Digits) -> None:
    result = fit(backbones="test_vit", heads=["knn", "ncm"], freeze="frozen", trials=4)
    assert result.selection.finals is not None
    assert result.selection.finals.winner.candidate == result.best
    assert result.selection.calibration is not None
    assert result.model.temperature == result.selection.calibration.temperature
    saved = json.loads((result.run / "result.json").read_text())
    assert [row["state"] for row in saved["finals"]].count("won") == 1
    assert saved["calibration"] == result.selection.calibration.to_json()
    lines = [line.split()[0] for line in str(result).splitlines()]
    assert lines[0] == "best"
    assert lines.index("calibration") < lines.index("trials")
    _reloads(result, digits)


@pytest.mark.slow
def test_thresholds_of_a_rare_class_travel_with_the_model(tiny_zoo: Path, tmp_path: Path) -> None:
    # A fifth of the examples are light, and so are some of the others: a ridge never says that one is more likely.
    rng = np.random.default_rng(0)
    images = rng.integers(0, 156, (90, 32, 32, 3), dtype=np.uint8)
    labels = np.where(np.arange(90) % 5 == 0, "light", "dark")
    images[(labels == "light") | (np.arange(90) % 6 == 1)] += 100
    result = fit_with(
        images, labels, zoo=tiny_zoo, out=tmp_path / "run", cache=False, progress=False, metric="f1", trials=2,
        backbones="test_resnet", heads="ridge", freeze="frozen", compare_scratch=False,
    )  # fmt: skip
    found = result.selection.thresholds
    assert found is not None
    assert result.model.task.thresholds == found.thresholds != ()
    assert result.validation.score == found.score_after > found.score_before
    held_out = result.selection.out_of_fold
    assert held_out.score(result.selection.decided_predictions) == found.score_after
    probability = result.predict_proba(images)[:, 1]
    assert result.model.task.classes[1] == "light"
    decided = np.where(probability > found.thresholds[1], "light", "dark")
    assert (decided != np.where(probability > 0.5, "light", "dark")).any()
    loaded = autotransfer.load(result.run)
    assert result.predict(images).tolist() == loaded.predict(images).tolist() == decided.tolist()
    assert [row.prediction for row in loaded.predict_table(images)] == decided.tolist()
    assert loaded.score(images, labels).score == pytest.approx(f1_score(labels, decided, pos_label="light"))
    saved = json.loads((result.run / "result.json").read_text())
    assert saved["thresholds"] == found.to_json()
    assert f"{found.thresholds[1]:.3f} for 'light'" in str(result)
    if (bias := result.analysis.selection_bias) is not None:
        assert bias.unbiased_estimate == pytest.approx(result.validation.score - bias.bias)


@pytest.mark.slow
def test_a_better_ensemble_is_the_model(fit: Fit, digits: Digits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ensemble, "is_better", property(lambda self: len(self.members) > 1))  # however little
    result = fit(heads=["knn", "ncm"], freeze="frozen", trials=6)
    assert result.selection.ensemble is not None
    assert len(result.selection.ensemble.members) > 1
    assert [member.candidate for member in result.model.members] == [
        one.candidate for one in result.selection.ensemble.members
    ]
    assert [member.weight for member in result.model.members] == pytest.approx(
        [m.weight for m in result.selection.ensemble.members]
    )
    assert result.best == result.model.members[0].candidate
    assert result.validation.score == pytest.approx(
        result.model.task.score(digits[1][:60], result.selection.ensemble.predictions)
    )  # of weights that were chosen on other examples
    assert str(result).startswith("model              ensemble of ")
    _says_of_what(result, "ensemble")
    _reloads(result, digits)


def _says_of_what(result: FitResult, kind: str) -> None:
    """Check that text and JSON name the model that the scores are of, and agree."""
    saved, selected = json.loads((result.run / "result.json").read_text()), result.selection.selected
    assert (saved["model"]["kind"], saved["model"]["trials"]) == (kind, list(selected.trials))
    for trial in selected.trials:
        assert f"trial {trial}: " in str(result)
    bias = result.analysis.selection_bias
    assert bias is not None
    assert saved["selection_bias"] == bias.to_json()
    assert bias.unbiased_estimate == pytest.approx(result.validation.score - bias.bias)
    assert result.analysis.transfer_gain is not None
    assert result.validation.examples == (~np.isnan(selected.predictions).any(1)).sum()


@pytest.mark.slow
def test_what_is_switched_off_does_not_happen(fit: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*arguments: Any, **named: Any) -> Any:
        raise AssertionError("this was switched off")

    for name in ("choose_ensemble", "calibrate", "choose_thresholds"):
        monkeypatch.setattr(f"autotransfer.pipeline.{'finish' if name in FINISHING else 'select'}.{name}", never)
    off = dict.fromkeys(("ensemble", "calibrate", "thresholds"), False)
    result = fit(backbones="test_resnet", heads="linear", trials=3, metric="f1_macro", **off)
    assert (result.selection.ensemble, result.selection.calibration) == (None, None)
    assert (result.model.temperature, len(result.model.members)) == (1.0, 1)


@pytest.mark.slow
def test_an_ensemble_whose_refit_fails_leaves_the_best_alone(
    fit: Fit, digits: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ensemble, "is_better", property(lambda self: len(self.members) > 1))
    refit, calls = Evaluator.refit, list[int]()

    def failing(self: Evaluator, *arguments: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise MemoryError("no room for a second one")
        return refit(self, *arguments, **named)

    monkeypatch.setattr(Evaluator, "refit", failing)
    result = fit(heads=["knn", "ncm"], freeze="frozen", trials=6)
    assert len(calls) == 3
    assert result.selection.ensemble is None
    (cut,) = (warning for warning in result.warnings if warning.code == "refit_rejected")
    assert "no room for a second one" in cut.message
    assert result.selection.selected.kind == "single"
    assert len(result.model.members) == 1
    _reloads(result, digits)


@pytest.fixture
def evaluator(tiny_zoo: Path, digits: Digits) -> Evaluator:
    registry = Registry.load((tiny_zoo,))
    specs = [registry.backbone(name) for name in ("test_resnet", "test_vit")]
    data = prepare_data(
        load_examples(digits[0][:60], digits[1][:60]),
        specs,
        Settings(compute=Compute(cache=False), data_options=DataOptions(folds=3)),
    )
    return Evaluator(registry, data.extractor, data.folds, resolve_device("cpu"), seed=0)


def _tried(evaluator: Evaluator, *candidates: Candidate) -> Trials:
    trials = Trials()
    for number, candidate in enumerate(candidates):
        found = evaluator(candidate, lambda epoch, score: False, lambda: False)
        trials.add(
            TrialRecord(
                number=number,
                state="complete",
                candidate=candidate,
                objective=1.0 - number / 10,
                best_epoch=found.best_epoch,
                epochs=len(found.curve),
                seconds=1.0,
                predictions=found.predictions,
            )
        )
    return trials


def test_members_and_their_test_passes_are_reserved(evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch) -> None:
    names = (("test_resnet", "ridge"), ("test_resnet", "ncm"), ("test_vit", "ridge"))
    trials = _tried(evaluator, *(Candidate(backbone=backbone, head=head) for backbone, head in names))
    monkeypatch.setattr(evaluator, "predicted_seconds", lambda candidate: 1.0)  # 1.5 on all examples
    monkeypatch.setattr(evaluator, "pass_seconds", lambda name: 2.0)
    monkeypatch.setattr("autotransfer.selection.costs.finals_seconds", lambda *arguments: 0.5)
    folds = FoldRunner(evaluator, lambda further: evaluator.folds)

    def left(seconds: float, tested: int, ensemble: bool = True) -> float:
        return sum(selection_seconds(trials, folds, Budget(seconds=seconds), tested, ensemble=ensemble).values())

    assert left(100.0, 0) == pytest.approx(0.5 + 1.5 + 1.5)
    assert left(100.0, 60) == pytest.approx(0.5 + 1.5 + (1.5 + 2.0))  # another backbone sees the test images, too
    assert left(50.0, 60) == pytest.approx(0.5 + 1.5)  # no more than a share of the budget
    assert left(100.0, 60, ensemble=False) == 0.5
    assert sum(selection_seconds(trials, folds, Budget(trials=5), 60, ensemble=True).values()) == 0.5


def test_further_views_of_test_images_are_reserved(evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluator, "pass_seconds", lambda name: 2.0)
    monkeypatch.setattr("autotransfer.selection.costs.finals_seconds", lambda *arguments: 0.5)
    folds = FoldRunner(evaluator, lambda further: evaluator.folds)

    def left(views: int, tested: int) -> float:
        trials = _tried(evaluator, Candidate(backbone="test_resnet", head="ridge", training={"views": views}))
        return sum(selection_seconds(trials, folds, Budget(seconds=100.0), tested, ensemble=False).values())

    half = len(evaluator.targets) // 2
    assert (left(1, half), left(4, 0)) == (0.5, 0.5)
    assert left(4, half) == pytest.approx(0.5 + 3 * 2.0 * half / len(evaluator.targets))


def test_a_winner_without_refit_leaves_time_to_an_ensemble(
    evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = (("test_resnet", "ridge"), ("test_resnet", "ncm"))
    trials = _tried(evaluator, *(Candidate(backbone=backbone, head=head) for backbone, head in names))
    assert trials.best is not None
    pools: list[int] = []
    monkeypatch.setattr("autotransfer.pipeline.select.choose_ensemble", lambda pool, *rest: pools.append(len(pool)))
    for seconds in (1.0, 9.0, 100.0):
        for module in ("pipeline.select", "selection.costs"):
            monkeypatch.setattr(
                f"autotransfer.{module}.refit_seconds",
                lambda record, evaluator, s=seconds: s if record.number == 0 else 2.0,
            )
        _choose_ensemble(trials.best, trials.records, evaluator, TimeBudget(Budget(seconds=10.0), clock=lambda: 0.0), 0)
    assert pools == [2, 1, 2]


def _one_split(zoo: Path, digits: Digits) -> Evaluator:
    registry = Registry.load((zoo,))
    data = prepare_data(
        load_examples(digits[0][:60], digits[1][:60]),
        [registry.backbone("test_vit")],
        Settings(compute=Compute(cache=False), data_options=DataOptions(folds=1)),
    )
    return Evaluator(registry, data.extractor, data.folds, resolve_device("cpu"), seed=0)


def _refitted(
    evaluator: Evaluator, time_budget: TimeBudget, member: PlannedMember, predictions: np.ndarray | None = None
) -> tuple[Network, WarningList]:
    warnings = WarningList()
    (trained,) = refit([member], {member.trial: predictions}, evaluator, time_budget, warnings)
    return trained.network, warnings


def _same(network: Network, other: Network) -> bool:
    return all(map(torch.equal, network.state_dict().values(), other.state_dict().values()))


class Ticking:
    """A clock that goes on by a second whenever it is read."""

    now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


TUNED = Candidate(backbone="test_vit", head="linear", freeze="full", training={"epochs": 3})


@pytest.mark.slow
@pytest.mark.parametrize("cut", ["before it begins", "within its second epoch"])
def test_a_cut_refit_leaves_the_validated_network(
    tiny_zoo: Path, digits: Digits, cut: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluator = _one_split(tiny_zoo, digits)
    evaluator(TUNED, lambda epoch, score: False, lambda: False, 1)
    expected, _ = evaluator.best_network(TUNED)
    time_budget = TimeBudget(Budget(seconds=1e-3))
    if cut == "within its second epoch":
        monkeypatch.setattr(evaluator, "predicted_seconds", lambda candidate, epochs: 0.0)
        time_budget = TimeBudget(Budget(seconds=6.0), clock=Ticking())
    network, warnings = _refitted(evaluator, time_budget, PlannedMember(trial=7, candidate=TUNED, epochs=3))
    assert _same(network, expected)
    (warning,) = warnings
    assert (warning.code, warning.details["trials"]) == ("refit_rejected", [7])
    assert (warning.details["trained"], warning.details["examples"]) == (len(evaluator.folds[0].train_rows), 60)
    assert ("in epoch 2 of 3" if cut == "within its second epoch" else "0 s were left") in warning.message


@pytest.mark.parametrize(
    "candidate",
    [
        pytest.param(TUNED, id="its checkpoint is lost, as after a full disk"),
        pytest.param(Candidate(backbone="test_vit", head="linear", training={"epochs": 3}), id="a head alone has none"),
    ],
)
def test_without_a_validated_network_a_refit_is_never_cut(tiny_zoo: Path, digits: Digits, candidate: Candidate) -> None:
    evaluator = _one_split(tiny_zoo, digits)
    expected = evaluator.refit(candidate, 3)
    network, warnings = _refitted(
        evaluator, TimeBudget(Budget(seconds=1e-3)), PlannedMember(trial=0, candidate=candidate, epochs=3)
    )
    assert _same(network, expected)
    assert not len(warnings)


@pytest.mark.slow
def test_a_failed_refit_leaves_the_validated_network(
    tiny_zoo: Path, digits: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluator = _one_split(tiny_zoo, digits)
    evaluator(TUNED, lambda epoch, score: False, lambda: False, 1)

    def fail(self: Evaluator, *rest: Any, **named: Any) -> Network:
        raise MemoryError("no room")

    monkeypatch.setattr(Evaluator, "refit", fail)
    network, warnings = _refitted(
        evaluator, TimeBudget(Budget(trials=1)), PlannedMember(trial=0, candidate=TUNED, epochs=3)
    )
    assert _same(network, evaluator.best_network(TUNED)[0])
    assert [warning.code for warning in warnings] == ["refit_rejected"]
    evaluator.checkpoints.clear()
    with pytest.raises(MemoryError):
        _refitted(evaluator, TimeBudget(Budget(trials=1)), PlannedMember(trial=0, candidate=TUNED, epochs=3))


@pytest.mark.parametrize(
    ("known", "kept"),
    [
        pytest.param(1.0, True, id="it knew them before it had seen them"),
        pytest.param(0.0, False, id="it did not"),
        pytest.param(np.nan, False, id="they were not asked for"),
    ],
)
def test_a_diverged_refit_leaves_the_validated_network(
    tiny_zoo: Path, digits: Digits, known: float, kept: bool
) -> None:
    # A training that went well on a part of the examples can diverge on all of them.
    evaluator = _one_split(tiny_zoo, digits)
    candidate = replace(TUNED, training={"epochs": 1, "lr": 1e-6})  # which hardly learns
    evaluator(candidate, lambda epoch, score: False, lambda: False, 1)
    found = np.full((60, evaluator.task.outputs), 0.01)
    found[np.arange(60), evaluator.targets] = known
    whole, part = evaluator.refit(candidate, 1), evaluator.best_network(candidate)[0]
    made = PlannedMember(trial=0, candidate=candidate, epochs=1)
    network, warnings = _refitted(evaluator, TimeBudget(Budget(trials=1)), made, predictions=found)
    assert _same(network, part if kept else whole)
    assert [warning.code for warning in warnings] == ["refit_rejected"] * kept
    assert not _same(part, whole)


def _score(value: float, low: float, high: float) -> Score:
    return Score(metric="accuracy", score=value, ci95=(low, high), accuracy=value, examples=60)


@pytest.mark.parametrize(
    ("validated", "warned"),
    [
        pytest.param(_score(0.99, 0.97, 1.0), True, id="all of its interval is above that of the test"),
        pytest.param(_score(0.6, 0.3, 0.9), False, id="the intervals overlap"),
        pytest.param(_score(0.99, np.nan, np.nan), False, id="it has none"),
    ],
)
def test_a_test_score_below_validation_is_a_warning(validated: Score, warned: bool) -> None:
    warnings, test = WarningList(), _score(0.5, 0.38, 0.62)
    warn_if_below(test, validated, warnings)
    assert [warning.code for warning in warnings] == ["test_below_validation"] * warned
    for warning in warnings:
        assert (warning.details["test"], warning.details["validation"]) == (test.to_json(), validated.to_json())
        assert "0.5000" in warning.message


@pytest.mark.slow
def test_test_examples_of_one_group_count_once(fit: Fit, digits: Digits) -> None:
    result = fit(backbones="test_vit", heads="ncm", trials=1, compare_scratch=False)
    images, labels = digits[0][60:120], digits[1][60:120]

    def score(**more: Any) -> Score:
        test = load_examples(images, labels, **more)
        found = score_store(result.model, test, result.model.decode(test), WarningList())
        assert found is not None
        return found

    single, grouped = score(), score(groups=[label * 3 + i % 3 for i, label in enumerate(labels.tolist())])
    assert (single.groups, grouped.groups, single.score) == (None, 9, grouped.score)
    assert grouped.ci95 != single.ci95
