"""How much each choice mattered, on trials where the answer is known."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from autotransfer.analysis.importance import measure_importance
from autotransfer.search.trials import TrialRecord

MakeRecord = Callable[..., TrialRecord]
STAGES = {"a": 4, "b": 8, "c": 4}
CHOICES = {"backbone", "head", "freeze", "depth", "settings"}


def _trials(make_record: MakeRecord, count: int, score: Callable[[dict[str, Any]], float]) -> list[TrialRecord]:
    """Return trials of random candidates; ``score`` is told what was chosen, and gets a little noise."""
    rng, records = np.random.default_rng(0), []
    for number in range(count):
        tuned = bool(rng.integers(2))
        chosen: dict[str, Any] = {
            "backbone": str(rng.choice(["a", "b", "c"])),
            "head": "linear" if tuned else str(rng.choice(["ridge", "logistic"])),
            "freeze": str(rng.choice(["depth", "gradual"])) if tuned else "frozen",
        }
        stages = STAGES[chosen["backbone"]]
        chosen["depth"] = int(rng.integers(stages)) if tuned else stages
        if tuned:
            chosen["training"] = {
                "lr": float(10 ** rng.uniform(-4, -1)),
                "optimizer": str(rng.choice(["adamw", "sgd"])),
            }
        else:
            chosen["head_params"] = {"strength": float(rng.uniform(0, 1))}
        records.append(make_record(number, score(chosen) + 0.01 * float(rng.normal()), **chosen))
    return records


@pytest.mark.parametrize(
    ("choice", "score"),
    [
        ("backbone", lambda chosen: {"a": 0.5, "b": 0.7, "c": 0.9}[chosen["backbone"]]),
        ("depth", lambda chosen: chosen["depth"] / STAGES[chosen["backbone"]]),
        ("settings", lambda chosen: np.log10(chosen.get("training", {"lr": 10**-2.5})["lr"])),
    ],
)
def test_the_only_choice_that_matters_matters_most(
    make_record: MakeRecord, choice: str, score: Callable[[dict[str, Any]], float]
) -> None:
    shares = measure_importance(_trials(make_record, 120, score), STAGES)
    assert shares is not None
    assert set(shares) == CHOICES
    assert sum(shares.values()) == pytest.approx(1.0)
    assert next(iter(shares)) == choice  # the largest comes first
    assert shares[choice] > 0.7


def test_a_head_is_not_taken_for_the_settings_that_only_it_has(make_record: MakeRecord) -> None:
    # Only linear heads have a learning rate: what fills the gaps of the others must not give the head away.
    trials = _trials(make_record, 120, lambda chosen: float(chosen["head"] == "ridge"))
    shares = measure_importance(trials, STAGES)
    assert shares is not None
    assert shares["head"] > 0.5
    assert shares["settings"] < 0.1


def test_equal_seeds_give_equal_shares_of_complete_trials(make_record: MakeRecord) -> None:
    trials = _trials(make_record, 40, lambda chosen: len(chosen["backbone"]))
    shares = measure_importance(trials, STAGES, seed=3)
    stopped = make_record(99, 100.0, state="pruned", backbone="c")
    failed = make_record(98, None, state="failed", candidate=None)
    assert measure_importance([*trials, stopped, failed], STAGES, seed=3) == shares


def test_too_few_trials_and_equal_scores_say_nothing(make_record: MakeRecord) -> None:
    assert measure_importance(_trials(make_record, 9, lambda chosen: 1.0), STAGES) is None
    assert measure_importance([make_record(i, 0.5, backbone="ab"[i % 2]) for i in range(20)], STAGES) is None
    # One and the same candidate, again and again: scores vary, but nothing was chosen.
    assert measure_importance([make_record(i, i / 20, backbone="a") for i in range(20)], STAGES) is None


def test_three_hundred_trials_take_little_time(make_record: MakeRecord) -> None:
    trials = _trials(make_record, 300, lambda chosen: len(chosen["head"]) + len(chosen["backbone"]))
    started = time.process_time()
    measure_importance(trials, STAGES)
    assert time.process_time() - started < 3.0  # a second where nobody shares the machine


def test_paused_trials_count_as_those_that_ended(make_record: MakeRecord) -> None:
    trials = _trials(make_record, 40, lambda chosen: float(chosen["backbone"] == "a"))
    paused = [replace(record, state="paused") if record.number % 2 else record for record in trials]
    assert measure_importance(paused, STAGES) == measure_importance(trials, STAGES)
