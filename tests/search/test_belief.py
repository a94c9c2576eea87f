"""The belief: forecasts are those of the joint Gaussian of all arms, rungs and effects."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from autotransfer.errors import ConfigError
from autotransfer.search.arm import Arm
from autotransfer.search.belief import JITTER, Belief, CurveModel

RUNGS = (1, 3, 9)
WHOLE = np.array([[1.0, 0.8, 0.7], [0.8, 1.0, 0.9], [0.7, 0.9, 1.0]])
Array = npt.NDArray[np.float64]


def _model(share: float = 0.0) -> CurveModel:
    return CurveModel(rungs=RUNGS, own=(1 - share) * WHOLE, shared=share * WHOLE, growth=(0.5, 0.8, 1.0))


def _arm(name: str, **more: Any) -> Arm:
    about: dict[str, Any] = {"mean": [0.3, 0.48, 0.6], "std": [0.15, 0.24, 0.3], "seconds": 1.0}
    return Arm(name=name, **{**about, **more})


def _flat(name: str, mean: float = 0.5, std: float = 0.2, **more: Any) -> Arm:
    return Arm(name=name, mean=(mean,), std=(std,), seconds=1.0, is_curve=False, **more)


def _seen(belief: Belief, *steps: tuple[Arm, int, float]) -> Belief:
    for arm, rung, level in steps:
        belief.observe(arm, rung, level)
    return belief


def _conditioned(arms: list[Arm], seen: dict[tuple[int, int], float], share: float) -> tuple[Array, Array]:
    """Condition the whole covariance over arms and rungs on what was seen: means and deviations (arms, rungs)."""
    rungs = len(RUNGS)
    size = len(arms) * rungs
    mean = np.concatenate([np.broadcast_to(arm.mean, rungs) for arm in arms])
    std = np.concatenate([np.broadcast_to(arm.std, rungs) for arm in arms])
    covariance = np.zeros((size, size))
    for i, one in enumerate(arms):
        for j, other in enumerate(arms):
            block = np.full((rungs, rungs), sum(w * other.effects.get(e, 0.0) for e, w in one.effects.items()))
            scale = np.outer(np.broadcast_to(one.std, rungs), np.broadcast_to(other.std, rungs))
            if one.is_curve and other.is_curve:
                block = block + scale * (share * WHOLE + JITTER * np.eye(rungs))
            if i == j:
                own = (1 - share) * WHOLE if one.is_curve else np.ones((rungs, rungs))
                block = block + scale * (own + JITTER * np.eye(rungs))
            covariance[i * rungs : (i + 1) * rungs, j * rungs : (j + 1) * rungs] = block
    known = [arm * rungs + rung for arm, rung in seen]
    weights = covariance[:, known] @ np.linalg.inv(covariance[np.ix_(known, known)])
    mean = mean + weights @ (np.array(list(seen.values())) - mean[known])
    variance = np.diag(covariance - weights @ covariance[known])
    return mean.reshape(-1, rungs), np.sqrt(np.maximum(variance, 0.0)).reshape(std.reshape(-1, rungs).shape)


def test_a_forecast_is_gaussian_conditioning_by_hand() -> None:
    # One rung seen, and nothing is shared.
    one, other = _arm("0"), _arm("1")
    found = _seen(Belief(_model()), (one, 0, 0.45)).forecast([one, other])
    z = (0.45 - 0.3) / 0.15
    assert found.mean[0, 2] == pytest.approx(0.6 + 0.3 * 0.7 * z, rel=1e-3)
    assert found.std[0, 2] == pytest.approx(0.3 * np.sqrt(1 - 0.7**2), rel=1e-2)
    assert found.mean[1] == pytest.approx([0.3, 0.48, 0.6], rel=1e-3)


def test_forecasts_equal_the_joint_gaussian_of_all_arms() -> None:
    # Curves share a part; effects join curves with each other, and with arms that do not train by epochs.
    arms = [
        _arm("0", effects={"tuning": 0.3, "a": 0.1}),
        _arm("1", effects={"tuning": 0.2}),
        _arm("2", std=[0.1, 0.1, 0.2], effects={"tuning": 0.3, "b": 0.2}),
        _flat("3", effects={"a": 0.4, "head": 0.1}),
        _flat("4", mean=0.2, effects={"head": 0.1, "b": 0.3}),
        _arm("5"),
    ]
    # The last arm was not seen before its second rung.
    seen = {(0, 0): 0.5, (0, 1): 0.7, (1, 0): 0.2, (3, 0): 0.9, (5, 1): 0.5}
    belief = Belief(_model(share=0.3))
    for (arm, rung), level in seen.items():
        belief.observe(arms[arm], rung, level)
    found = belief.forecast(arms)
    mean, std = _conditioned(arms, seen, share=0.3)
    for arm, rung in [(0, 2), (1, 1), (1, 2), (5, 2), *((arm, rung) for arm in (2, 4) for rung in range(3))]:
        best = {1: 0.2, 5: 0.5}.get(arm, -9.0)
        assert found.mean[arm, rung] == pytest.approx(max(mean[arm, rung], best), abs=1e-6)
        assert found.std[arm, rung] == pytest.approx(std[arm, rung], rel=1e-4)


def test_the_order_of_observations_changes_nothing() -> None:
    arms = [_arm("0", effects={"x": 0.2}), _flat("1", effects={"x": 0.3, "y": 0.1}), _arm("2", effects={"y": 0.2})]
    steps = [(arms[0], 0, 0.4), (arms[1], 0, 0.8), (arms[0], 1, 0.7)]
    before = _seen(Belief(_model(0.3)), *steps).forecast(arms)
    after = _seen(Belief(_model(0.3)), *(steps[place] for place in (1, 0, 2))).forecast(arms)
    np.testing.assert_allclose(before.mean, after.mean)
    np.testing.assert_allclose(before.std, after.std)


def test_evidence_moves_arms_that_have_not_started() -> None:
    # An easy task: each good arm raises what is expected of the others, and many outweigh the prior.
    def untouched(count: int) -> float:
        belief = _seen(Belief(_model(share=0.3)), *((_arm(str(i)), 0, 0.6) for i in range(count)))
        return float(belief.forecast([_arm("new")]).mean[0, 2])

    assert untouched(0) == pytest.approx(0.6)
    assert 0.6 < untouched(1) < untouched(20)


def test_effects_move_those_that_carry_them_alone() -> None:
    gained = _flat("seen", effects={"form": 0.3})
    belief = _seen(Belief(_model(share=0.3)), (gained, 0, 1.0))
    found = belief.forecast(
        [_flat("same", effects={"form": 0.3}), _flat("other", effects={"head": 0.3}), _arm("curve")]
    )
    assert found.mean[0, -1] == pytest.approx(0.5 + 0.5 * 0.3**2 / (0.3**2 + 0.2**2), rel=1e-3)
    assert found.mean[1, -1] == pytest.approx(0.5)
    assert found.mean[2] == pytest.approx([0.3, 0.48, 0.6]), "it has nothing of curves"
    assert found.std[0, -1] < found.std[1, -1]


def test_an_effect_that_comes_later_is_unknown_until_then() -> None:
    first, later = _flat("first", effects={"a": 0.3}), _flat("later", effects={"b": 0.3})
    belief = _seen(Belief(_model()), (first, 0, 1.0))
    assert belief.forecast([later]).mean[0, 0] == pytest.approx(0.5)
    belief.observe(later, 0, 0.0)
    assert belief.forecast([_flat("like b", effects={"b": 0.3})]).mean[0, 0] < 0.4
    assert belief.forecast([_flat("like a", effects={"a": 0.3})]).mean[0, 0] > 0.6


def test_the_best_so_far_cannot_fall() -> None:
    # A first epoch far beyond its curve: what is expected of the end is no less.
    arm = _arm("0", mean=[0.3, 0.3, 0.3])
    found = _seen(Belief(replace(_model(), own=np.eye(3))), (arm, 0, 0.9)).forecast([arm])
    assert found.mean[0] == pytest.approx([0.9] * 3)


def test_rungs_that_were_reached_are_counted() -> None:
    arm = _arm("0")
    belief = Belief(_model())
    assert (belief.reached("0"), "0" in belief) == (0, False)
    _seen(belief, (arm, 0, 0.3), (arm, 2, 0.5))
    assert (belief.reached("0"), "0" in belief) == (3, True)


def test_arms_may_come_at_any_time_and_none_is_no_forecast() -> None:
    belief = Belief(_model())
    assert belief.forecast([]).mean.shape == (0, 3)
    _seen(belief, (_arm("0"), 0, 0.1), (_arm("1"), 1, 0.4))
    assert belief.forecast([_arm("new"), _arm("1")]).mean.shape == (2, 3)


def test_an_arm_that_does_not_fit_the_rungs_is_named() -> None:
    with pytest.raises(ConfigError, match="'x' needs 1 or 3 means; got 2"):
        Belief(_model()).forecast([_arm("x", mean=[0.1, 0.2], std=[0.1, 0.1])])


@pytest.mark.parametrize("wrong", [{"std": [0.1]}, {"std": [0.1, 0.0, 0.1]}, {"mean": [], "std": []}, {"seconds": 0.0}])
def test_an_arm_without_a_meaning_is_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="Arm 'x' needs as many means"):
        _arm("x", **wrong)


def test_an_arm_for_other_rungs_expects_the_same_end() -> None:
    arm = _arm("x")
    assert arm.at(3) is arm
    assert arm.at(2).mean == [0.6, 0.6]
    assert arm.at(1).std == [0.3]


def test_curves_without_a_meaning_are_named() -> None:
    with pytest.raises(ConfigError, match="rise"):
        CurveModel(rungs=(3, 1), own=np.eye(2), shared=np.eye(2), growth=(1, 1))
    with pytest.raises(ConfigError, match="2 x 2"):
        CurveModel(rungs=(1, 3), own=np.eye(3), shared=np.eye(2), growth=(1, 1))


@pytest.mark.parametrize("epochs", [1, 2, 3, 4, 12, 50, 200])
def test_scaled_curves_keep_covariances_at_equal_shares(epochs: int) -> None:
    scaled = _model(0.25).scaled(epochs)
    assert scaled.rungs[-1] == epochs
    assert list(scaled.rungs) == sorted(set(scaled.rungs))
    assert scaled.own[-1, -1] == pytest.approx(0.75)
    assert scaled.growth[-1] == pytest.approx(1.0)
    assert np.linalg.eigvalsh(scaled.own).min() > -1e-9
    if epochs == 12:
        assert scaled.rungs == (3, 6, 12)
        assert 0.7 < scaled.own[0, -1] / 0.75 < 0.9, "3 of 12 lie between 1 of 9 and 3 of 9"


def test_curves_seen_at_their_end_have_one_rung() -> None:
    assert _model(0.25).only_last(40).rungs == (40,)
    assert _model(0.25).only_last(40).own == pytest.approx(np.array([[0.75]]))
