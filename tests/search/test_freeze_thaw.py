"""The schedule: what it forecasts, what it orders, and how its prior is read."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autotransfer.errors import ConfigError
from autotransfer.search.freeze_thaw import Arm, CurveModel, FreezeThaw
from autotransfer.search.proposal import Proposal
from autotransfer.search.trials import TrialRecord, Trials

BENCHMARKS = Path(__file__).parents[2] / "examples" / "benchmarks"
RUNGS = (1, 3, 9)
WHOLE = np.array([[1.0, 0.8, 0.7], [0.8, 1.0, 0.9], [0.7, 0.9, 1.0]])


def model(share: float = 0.0) -> CurveModel:
    return CurveModel(rungs=RUNGS, own=(1 - share) * WHOLE, shared=share * WHOLE, growth=(0.5, 0.8, 1.0))


def arm(name: str, seconds: float = 1.0, **more: Any) -> Arm:
    return Arm(name=name, mean=[0.3, 0.48, 0.6], std=[0.15, 0.24, 0.3], seconds=seconds, **more)


def arms(count: int, seconds: float = 1.0) -> list[Arm]:
    return [arm(str(i), seconds) for i in range(count)]


def curve(final: float, epochs: int = 9) -> list[float]:
    return [final * (1 - 0.5 ** (epoch + 1)) for epoch in range(epochs)]


class Drive:
    """Carries out the orders of a schedule over known curves."""

    def __init__(self, schedule: FreezeThaw, curves: dict[str, list[float]], seconds: dict[str, float]) -> None:
        self.schedule, self.curves, self.seconds = schedule, curves, seconds
        self.trials, self.spent, self.steps = Trials(), 0.0, list[tuple[str, int]]()

    def run(self, budget: float) -> list[tuple[str, int]]:
        """Carry out orders until there are none."""
        while (proposal := self.schedule.next(self.trials, budget - self.spent)) is not None:
            self.see(proposal)
        return self.steps

    def see(self, proposal: Proposal) -> None:
        """Carry out one."""
        assert proposal.until is not None
        whole, known = self.curves[proposal.arm], None
        if proposal.resumes is not None:
            known = self.trials.records[proposal.resumes]
        scores = whole[: proposal.until]
        spent = self.seconds[proposal.arm] * (len(scores) - (known.epochs if known else 0))
        record = TrialRecord(
            number=known.number if known else len(self.trials),
            state="failed" if not scores else "paused" if len(whole) > len(scores) else "complete",
            candidate=None,
            objective=max(scores) if scores else None,
            curve=tuple(scores),
            epochs=len(scores),
            seconds=spent + (known.seconds if known else 0.0),
        )
        self.trials.add(record)
        self.schedule.observe(proposal, record)
        self.spent += spent
        self.steps.append((proposal.arm, proposal.until))


def seen(schedule: FreezeThaw, *steps: tuple[str, int, list[float]]) -> FreezeThaw:
    """Tell a schedule of curves, each to a rung."""
    for name, until, scores in steps:
        record = TrialRecord(
            number=int(name),
            state="paused",
            candidate=None,
            objective=max(scores),
            curve=tuple(scores),
            epochs=len(scores),
            seconds=float(len(scores)),
        )
        schedule.observe(Proposal(arm=name, until=until), record)
    return schedule


def test_forecast_is_gaussian_conditioning() -> None:
    # The closed form by hand: one rung seen, no sharing between arms.
    mean, std = seen(FreezeThaw(model(), arms(2)), ("0", 1, [0.45])).forecast()
    z = (0.45 - 0.3) / 0.15
    assert mean[0, 2] == pytest.approx(0.6 + 0.3 * 0.7 * z, rel=1e-3)
    assert std[0, 2] == pytest.approx(0.3 * np.sqrt(1 - 0.7**2), rel=1e-2)
    assert mean[1] == pytest.approx([0.3, 0.48, 0.6], rel=1e-3)


def test_evidence_moves_arms_that_have_not_started() -> None:
    # An easy task: each good arm raises what is expected of the others, and many outweigh the prior.
    def untouched(count: int) -> float:
        schedule = FreezeThaw(model(share=0.3), arms(30))
        return float(seen(schedule, *[(str(name), 1, [0.6]) for name in range(count)]).forecast()[0][-1, 2])

    assert untouched(0) == pytest.approx(0.6)
    assert 0.6 < untouched(1) < untouched(20)


def test_shared_part_equals_the_joint_gaussian() -> None:
    # The fast update of the shared part against plain conditioning of the joint covariance over arms and rungs.
    share, k = 0.3, len(RUNGS)
    steps = [("0", 1, [0.5]), ("0", 3, [0.5, 0.5, 0.7]), ("1", 1, [0.2])]
    schedule = seen(FreezeThaw(model(share), arms(3)), *steps)
    joint = np.kron(np.ones((3, 3)), share * WHOLE + 1e-4 * np.eye(k))
    joint += np.kron(np.eye(3), (1 - share) * WHOLE + 1e-4 * np.eye(k))
    prior, scale = np.array([0.3, 0.48, 0.6]), np.array([0.15, 0.24, 0.3])
    z = np.array([(0.5 - 0.3) / 0.15, (0.7 - 0.48) / 0.24, (0.2 - 0.3) / 0.15])
    known = [0, 1, k]
    weights = joint[:, known] @ np.linalg.inv(joint[np.ix_(known, known)])
    mean, std = schedule.forecast()
    variance = np.diag(joint - weights @ joint[known])
    for row, rung in [(0, 2), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)]:
        where = row * k + rung
        assert mean[row, rung] == pytest.approx(prior[rung] + scale[rung] * (weights @ z)[where], abs=1e-6)
        assert std[row, rung] == pytest.approx(scale[rung] * np.sqrt(variance[where]), rel=1e-6)


def _first(schedule: FreezeThaw, left: float = 100.0) -> tuple[str, int | None] | None:
    proposal = schedule.next(Trials(), left)
    return None if proposal is None else (proposal.arm, proposal.until)


def test_equal_promise_starts_with_the_cheapest() -> None:
    assert _first(FreezeThaw(model(), [arm(f"{s}", s) for s in (4.0, 1.0, 2.0)])) == ("1.0", 1)
    # What comes before the first epoch counts, too.
    assert _first(FreezeThaw(model(), [arm("late", 1.0, start=9.0), arm("soon", 2.0)])) == ("soon", 1)


def test_poor_arms_are_paused_and_good_ones_go_on() -> None:
    curves = {str(i): curve(final) for i, final in enumerate([0.1, 0.9, 0.2, 0.15, 0.3])}
    drive = Drive(FreezeThaw(model(), arms(5)), curves, dict.fromkeys(curves, 1.0))
    steps = drive.run(20.0)
    assert ("1", 9) in steps
    assert ("0", 9) not in steps
    assert drive.trials.best is not None
    assert drive.trials.best.objective == pytest.approx(max(curves["1"]))


def test_never_starts_what_cannot_finish_an_epoch() -> None:
    big = Arm(name="big", mean=(0.9,) * 3, std=(0.1,) * 3, seconds=50.0)
    curves = {"0": curve(0.4), "1": curve(0.5), "big": curve(0.9)}
    drive = Drive(FreezeThaw(model(), [*arms(2), big]), curves, {"0": 1.0, "1": 1.0, "big": 50.0})
    assert "big" not in {name for name, _ in drive.run(10.0)}
    assert drive.spent <= 18


def test_an_arm_that_failed_or_ended_is_closed() -> None:
    # It is never ordered again, and the schedule ends when all are closed.
    schedule = FreezeThaw(model(), arms(3))
    schedule.observe(Proposal(arm="2"), None)  # not even begun
    assert Drive(schedule, {"0": [], "1": [0.3]}, {"0": 1.0, "1": 1.0}).run(1000.0) == [("0", 1), ("1", 1)]


def test_arms_may_come_later() -> None:
    schedule = seen(FreezeThaw(model(), arms(1)), ("0", 1, [0.1]))
    assert not schedule.has_shown("0"), "one rung says little"
    schedule.add(arm("new"))
    assert _first(schedule) == ("new", 1)
    assert seen(schedule, ("0", 3, [0.1, 0.1, 0.1])).has_shown("0")
    assert not schedule.has_shown("new")
    assert schedule.has_shown("unknown")


def test_observed_cost_replaces_the_predicted_one() -> None:
    schedule = FreezeThaw(model(), [arm("cheap", 1.0), arm("dear", 2.0)])
    record = TrialRecord(number=0, state="paused", candidate=None, objective=0.3, curve=(0.3,), epochs=1, seconds=500.0)
    schedule.observe(Proposal(arm="cheap", until=1), record)
    assert _first(schedule, 10_000.0) == ("dear", 1)


def test_a_first_epoch_says_what_one_takes_and_no_more() -> None:
    curves = CurveModel(rungs=(3, 6), own=np.eye(2), shared=np.zeros((2, 2)), growth=(1, 1))
    schedule = FreezeThaw(curves, [Arm(name="0", mean=(0.5, 0.6), std=(0.1, 0.1), seconds=1.0, start=5.0)])
    assert _first(schedule, 1000.0) == ("0", 1)
    before = schedule.forecast()
    seen(schedule, ("0", 1, [0.1]))
    for known, now in zip(before, schedule.forecast(), strict=True):
        np.testing.assert_array_equal(known, now)  # at the highest learning rate, scores tell nothing
    assert not schedule.has_shown("0", rungs=1)
    assert _first(schedule, 1000.0) == ("0", 3)
    assert _first(schedule, 1.0) == ("0", 3)  # the epochs that fit are better than none
    record = TrialRecord(number=0, state="paused", candidate=None, objective=0.1, curve=(0.1,), epochs=1, seconds=45.0)
    schedule.observe(Proposal(arm="0", until=1), record)
    assert schedule.next(Trials(), 39.0) is None  # one takes 40


def test_scores_are_compared_by_their_objectives() -> None:
    # What flatters the fold of a curve is taken off the whole of it.
    record = TrialRecord(number=0, state="paused", candidate=None, objective=0.3, curve=(0.45,), epochs=1, seconds=1.0)
    schedule = FreezeThaw(model(), arms(1))
    schedule.observe(Proposal(arm="0", until=1), record)
    assert schedule.forecast()[0][0] == pytest.approx([0.3, 0.48, 0.6], rel=1e-3)


def test_no_arms_is_no_order() -> None:
    assert FreezeThaw(model()).next(Trials(), 10.0) is None


def test_bad_input_is_named() -> None:
    with pytest.raises(ConfigError, match="Two arms have the name '0'"):
        FreezeThaw(model(), [*arms(1), *arms(1)])
    with pytest.raises(ConfigError, match="3 means"):
        FreezeThaw(model(), [Arm(name="x", mean=[0.5], std=[0.1], seconds=1.0)])
    with pytest.raises(ConfigError, match="rise"):
        CurveModel(rungs=(3, 1), own=np.eye(2), shared=np.eye(2), growth=(1, 1))
    with pytest.raises(ConfigError, match="2 x 2"):
        CurveModel(rungs=(1, 3), own=np.eye(3), shared=np.eye(2), growth=(1, 1))


@pytest.mark.parametrize("epochs", [1, 2, 3, 4, 12, 50, 200])
def test_a_scaled_model_keeps_covariances_at_equal_shares(epochs: int) -> None:
    scaled = model(0.25).scaled(epochs)
    assert scaled.rungs[-1] == epochs
    assert list(scaled.rungs) == sorted(set(scaled.rungs))
    assert scaled.own[-1, -1] == pytest.approx(0.75)
    assert scaled.growth[-1] == pytest.approx(1.0)
    assert np.linalg.eigvalsh(scaled.own).min() > -1e-9
    if epochs == 12:
        assert scaled.rungs == (3, 6, 12)
        assert 0.7 < scaled.own[0, -1] / 0.75 < 0.9, "3 of 12 lie between 1 of 9 and 3 of 9"


def test_replay_leaves_out_the_part_that_it_is_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    # An ablation that leaves its part in shows that the part is worth nothing.
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    schedule = runpy.run_path(str(BENCHMARKS / "replay_curves.py"))["schedule"]
    good = Arm(name="good", mean=[0.6, 0.7, 0.9], std=[0.1, 0.1, 0.1], seconds=4.0)
    unlike, curves = [arm("poor", seconds=1.0), good], model(share=0.5)

    whole, blind, free = (schedule(unlike, curves, part) for part in ([], ["scores"], ["costs"]))
    assert whole.arms[0].mean != whole.arms[1].mean
    assert blind.arms[0].mean == blind.arms[1].mean
    assert min(blind.arms[0].std) > max(good.std), "what differs between setups is uncertain now"
    assert [a.seconds for a in blind.arms] == [1.0, 4.0]
    assert [a.seconds for a in free.arms] == pytest.approx([2.0, 2.0])

    assert whole.next(Trials(), 100.0).until < RUNGS[-1]
    assert schedule(unlike, curves, ["pruning"]).next(Trials(), 100.0).until is None

    for without, learns in (([], True), (["curves"], False)):
        made = schedule(unlike, curves, without)
        before = made.forecast()[0]
        Drive(made, {"poor": curve(0.1), "good": curve(0.1)}, {"poor": 1.0, "good": 4.0}).see(
            made.next(Trials(), 100.0)
        )
        row = 0 if made._state[0] == 0 else 1  # the one that was not trained
        assert np.allclose(before[row], made.forecast()[0][row], atol=1e-3) != learns
