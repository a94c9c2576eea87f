"""What follows a search, end to end: finals, an ensemble or a soup, a refit, a temperature."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import autotransfer
from autotransfer.candidate import Candidate
from autotransfer.config import Budget, SearchConfig
from autotransfer.contract.registry import Registry
from autotransfer.data.sources import load_examples
from autotransfer.ending.ensemble import Ensemble
from autotransfer.ending.soup import Ingredient, Soup, cook
from autotransfer.finish import _ensemble, _trained, ending_seconds
from autotransfer.preparation import prepare_data
from autotransfer.progress import Progress
from autotransfer.result import FitResult
from autotransfer.search.budget import Purse
from autotransfer.search.evaluate import Evaluator
from autotransfer.search.finals import Folds
from autotransfer.search.records import TrialRecord, Trials
from autotransfer.transfer.device import resolve_device
from autotransfer.transfer.network import Network

Fit = Callable[..., FitResult]
Digits = tuple[np.ndarray, np.ndarray]


@pytest.fixture
def fit(tiny_zoo: Path, digits: Digits, tmp_path: Path) -> Fit:
    def fit(**settings: Any) -> FitResult:
        images, labels = digits
        ours = {"zoo": tiny_zoo, "out": tmp_path / "run", "cache_dir": tmp_path / "cache", "progress": False}
        return autotransfer.fit(images[:60], labels[:60], **{**ours, "epochs": 2, **settings})

    return fit


def _reloads(result: FitResult, digits: Digits) -> None:
    loaded = autotransfer.load(result.run)
    np.testing.assert_array_equal(loaded.predict_proba(digits[0]), result.predict_proba(digits[0]))
    assert loaded.predict(digits[0]).tolist() == result.predict(digits[0]).tolist()


def test_a_search_ends_with_finals_and_a_temperature_and_says_so(fit: Fit, digits: Digits) -> None:
    result = fit(backbones="test_vit", heads=["knn", "ncm"], freeze="frozen", trials=4)
    assert result.finals is not None
    assert result.finals.winner.candidate == result.best
    assert result.calibration is not None
    assert result.model.temperature == result.calibration.temperature
    saved = json.loads((result.run / "result.json").read_text())
    assert [row["state"] for row in saved["finals"]].count("won") == 1
    assert saved["calibration"] == result.calibration.to_json()
    assert saved["soup"] is None  # nothing but heads was trained
    lines = [line.split()[0] for line in str(result).splitlines()]
    assert lines.index("finals") < lines.index("calibration") < lines.index("trials")
    _reloads(result, digits)


def test_an_ensemble_that_pays_is_the_model(fit: Fit, digits: Digits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ensemble, "pays", property(lambda self: len(self.members) > 1))  # however little it pays
    result = fit(heads=["knn", "ncm"], freeze="frozen", trials=6)
    assert result.ensemble is not None
    assert len(result.ensemble.members) > 1
    assert [part.candidate for part in result.model.parts] == [m.candidate for m in result.ensemble.members]
    assert [part.weight for part in result.model.parts] == pytest.approx([m.weight for m in result.ensemble.members])
    assert result.best == result.model.candidate
    assert result.validation.score == pytest.approx(
        result.model.task.score(digits[1][:60], result.ensemble.scores)
    )  # of weights that were chosen on other examples
    assert "\nensemble    " in str(result)
    _reloads(result, digits)


def test_a_soup_that_pays_is_the_model(fit: Fit, digits: Digits, monkeypatch: pytest.MonkeyPatch) -> None:
    cooked: list[Soup] = []

    def pays(*arguments: Any) -> Soup:
        soup = cook(*arguments)
        cooked.append(replace(soup, pays=True))  # however little
        return cooked[0]

    monkeypatch.setattr("autotransfer.finish.cook", pays)
    result = fit(backbones="test_resnet", heads="linear", freeze="full", trials=3, ensemble=False)
    assert result.soup is cooked[0]
    assert result.ensemble is None
    assert not result.model.others
    assert result.best == result.soup.ingredients[0].candidate
    assert result.validation.score == pytest.approx(result.soup.score)
    assert "\nsoup        " in str(result)
    _reloads(result, digits)


def test_what_is_switched_off_does_not_happen(fit: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*arguments: Any, **named: Any) -> Any:
        raise AssertionError("this was switched off")

    for name in ("cook", "choose_ensemble", "calibrate"):
        monkeypatch.setattr(f"autotransfer.finish.{name}", never)
    result = fit(backbones="test_resnet", heads="linear", trials=3, ensemble=False, soup=False, calibrate=False)
    assert (result.ensemble, result.soup, result.calibration) == (None, None, None)
    assert (result.model.temperature, result.model.others) == (1.0, ())


def test_an_ensemble_whose_refit_fails_leaves_the_best_alone(
    fit: Fit, digits: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    from autotransfer.search.evaluate import Evaluator

    monkeypatch.setattr(Ensemble, "pays", property(lambda self: len(self.members) > 1))
    refit, calls = Evaluator.refit, list[int]()

    def failing(self: Evaluator, *arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise MemoryError("no room for a second one")
        return refit(self, *arguments)

    monkeypatch.setattr(Evaluator, "refit", failing)
    result = fit(heads=["knn", "ncm"], freeze="frozen", trials=6)
    assert len(calls) == 3
    assert result.ensemble is None
    assert not result.model.others
    _reloads(result, digits)


@pytest.fixture
def evaluator(tiny_zoo: Path, digits: Digits) -> Evaluator:
    registry = Registry.load((tiny_zoo,))
    specs = [registry.backbone(name) for name in ("test_resnet", "test_vit")]
    data = prepare_data(load_examples(digits[0][:60], digits[1][:60]), specs, SearchConfig(cache=False, folds=3))
    return Evaluator(registry, data.extractor, data.lessons, resolve_device("cpu"), seed=0)


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
                scores=found.scores,
            )
        )
    return trials


def test_a_search_leaves_time_to_the_members_of_an_ensemble_and_their_passes_of_test_images(
    evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = (("test_resnet", "ridge"), ("test_resnet", "ncm"), ("test_vit", "ridge"))
    trials = _tried(evaluator, *(Candidate(backbone=backbone, head=head) for backbone, head in names))
    monkeypatch.setattr(evaluator, "predicted_seconds", lambda candidate: 1.0)  # 1.5 on all examples
    monkeypatch.setattr(evaluator, "pass_seconds", lambda name: 2.0)
    monkeypatch.setattr("autotransfer.finish.finals_seconds", lambda *arguments: 0.5)
    folds = Folds(evaluator, lambda further: evaluator.lessons)

    def left(seconds: float, tested: int, ensemble: bool = True) -> float:
        return ending_seconds(trials, folds, Budget(seconds=seconds), tested, ensemble=ensemble)

    assert left(100.0, 0) == pytest.approx(0.5 + 1.5 + 1.5)
    assert left(100.0, 60) == pytest.approx(0.5 + 1.5 + (1.5 + 2.0))  # another backbone sees the test images, too
    assert left(50.0, 60) == pytest.approx(0.5 + 1.5)  # no more than a share of the budget
    assert left(100.0, 60, ensemble=False) == 0.5
    assert ending_seconds(trials, folds, Budget(trials=5), 60, ensemble=True) == 0.5


def test_a_search_leaves_time_to_further_views_of_test_images(
    evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluator, "pass_seconds", lambda name: 2.0)
    monkeypatch.setattr("autotransfer.finish.finals_seconds", lambda *arguments: 0.5)
    folds = Folds(evaluator, lambda further: evaluator.lessons)

    def left(views: int, tested: int) -> float:
        trials = _tried(evaluator, Candidate(backbone="test_resnet", head="ridge", training={"views": views}))
        return ending_seconds(trials, folds, Budget(seconds=100.0), tested, ensemble=False)

    half = len(evaluator.targets) // 2
    assert (left(1, half), left(4, 0)) == (0.5, 0.5)
    assert left(4, half) == pytest.approx(0.5 + 3 * 2.0 * half / len(evaluator.targets))


def test_a_winner_that_is_not_refitted_leaves_its_time_to_an_ensemble(
    evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = (("test_resnet", "ridge"), ("test_resnet", "ncm"))
    trials = _tried(evaluator, *(Candidate(backbone=backbone, head=head) for backbone, head in names))
    assert trials.best is not None
    pools: list[int] = []
    monkeypatch.setattr("autotransfer.finish.choose_ensemble", lambda pool, held_out: pools.append(len(pool)))
    for seconds in (1.0, 9.0, 100.0):
        monkeypatch.setattr(
            "autotransfer.finish.refit_seconds", lambda record, evaluator, s=seconds: s if record.number == 0 else 2.0
        )
        _ensemble(trials.best, trials.records, evaluator, Purse(Budget(seconds=10.0), clock=lambda: 0.0), 0)
    assert pools == [2, 1, 2]


@pytest.mark.parametrize("left_behind", [True, False])
def test_a_winner_that_time_does_not_allow_to_refit_ends_in_time(
    tiny_zoo: Path, digits: Digits, left_behind: bool
) -> None:
    registry = Registry.load((tiny_zoo,))
    spec = registry.backbone("test_vit")
    data = prepare_data(load_examples(digits[0][:60], digits[1][:60]), [spec], SearchConfig(cache=False, folds=1))
    evaluator = Evaluator(registry, data.extractor, data.lessons, resolve_device("cpu"), seed=0)
    candidate = Candidate(backbone="test_vit", head="linear", freeze="full", training={"epochs": 3})
    if left_behind:
        evaluator(candidate, lambda epoch, score: False, lambda: False, 1)
        expected, _ = evaluator.best_network(candidate)
    else:  # as after a full disk
        expected = evaluator.refit(candidate, 3, lambda: True)
    purse = Purse(Budget(seconds=1e-3))
    found = _trained(Ingredient(number=0, candidate=candidate, epochs=3), None, evaluator, purse, 1e-3, _mute())
    assert _same(found, expected)


def _mute() -> Progress:
    return Progress(Budget(trials=1), shown=False)


def _same(network: Network, other: Network) -> bool:
    return all(map(torch.equal, network.state_dict().values(), other.state_dict().values()))


@pytest.mark.parametrize(
    ("known", "kept"),
    [
        pytest.param(1.0, True, id="it knew them before it had seen them"),
        pytest.param(0.0, False, id="it did not"),
        pytest.param(np.nan, False, id="they were not asked for"),
    ],
)
def test_a_refit_that_comes_to_nothing_costs_nothing(tiny_zoo: Path, digits: Digits, known: float, kept: bool) -> None:
    # A training that went well on a part of the examples can diverge on all of them.
    registry = Registry.load((tiny_zoo,))
    spec = registry.backbone("test_vit")
    data = prepare_data(load_examples(digits[0][:60], digits[1][:60]), [spec], SearchConfig(cache=False, folds=1))
    evaluator = Evaluator(registry, data.extractor, data.lessons, resolve_device("cpu"), seed=0)
    training = {"epochs": 1, "lr": 1e-6}  # which hardly learns
    candidate = Candidate(backbone="test_vit", head="linear", freeze="full", training=training)
    evaluator(candidate, lambda epoch, score: False, lambda: False, 1)
    found = np.full((60, evaluator.task.outputs), 0.01)
    found[np.arange(60), evaluator.targets] = known
    whole, part = evaluator.refit(candidate, 1), evaluator.best_network(candidate)[0]
    purse = Purse(Budget(trials=1))
    trained = _trained(Ingredient(number=0, candidate=candidate, epochs=1), found, evaluator, purse, np.inf, _mute())
    assert _same(trained, part if kept else whole)
    assert not _same(part, whole)
