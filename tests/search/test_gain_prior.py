"""The prior of gains: what kinds of candidates bring, how unsure that is, and how it is learned."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autotransfer.errors import ModelFormatError
from autotransfer.search.gain_prior import GainPrior, TuningGain, error_of, level_of, tuning_features
from autotransfer.search.prior_file import write_part

BENCHMARKS = Path(__file__).parents[2] / "examples" / "benchmarks"
TASK: Mapping[str, Any] = {"examples": 1000, "outputs": 10, "error": 0.2, "distant": False}


def in_benchmarks(code: str) -> Any:
    """Return the JSON that code prints; it can import the benchmarks."""
    command = [sys.executable, "-c", f"import json\nfrom fit_gain_prior import *\n{code}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=BENCHMARKS)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_halving_an_error_gains_about_log_two() -> None:
    assert level_of(0.3) - level_of(0.6) == pytest.approx(np.log(2), abs=0.05)
    assert level_of(-0.1) == level_of(0.0)
    assert [error_of(level_of(error)) for error in (0.0, 0.03, 0.6)] == pytest.approx([0.0, 0.03, 0.6])
    assert error_of(9.0) == 0.0


def test_any_task_has_a_gain_of_sane_size() -> None:
    prior = GainPrior.load()
    for share, examples, outputs, error in product((0.05, 0.5, 1.0), (1, 200, 10**7), (1, 2, 1000), (0.0, 0.3, 1.7)):
        task = {"examples": examples, "outputs": outputs, "error": error, "distant": examples == 1}
        gain = prior.tuning(share=share, **task)
        assert -2 < gain.mean < 2
        assert 0.05 < gain.own_deviation <= gain.deviation < 2


def test_a_large_error_leaves_more_to_gain() -> None:
    prior = GainPrior.load()
    small, large = (prior.tuning(share=0.5, **{**TASK, "error": error}) for error in (0.02, 0.6))
    assert large.mean > small.mean + 0.2


def test_distant_tasks_gain_more_by_depth() -> None:
    prior = GainPrior.load()
    last, half = (
        {d: prior.tuning(share=s, **{**TASK, "distant": d}).mean for d in (False, True)} for s in (0.125, 0.5)
    )
    assert half[True] > half[False]
    assert half[True] - last[True] > half[False] - last[False]


def test_an_unknown_head_is_more_unsure() -> None:
    prior = GainPrior.load()
    assert prior.head("logistic").mean == prior.head("logistic").task_deviation == 0.0
    assert prior.head("a_plugin").deviation > prior.head("ridge").deviation
    assert prior.head("stage_ridge").mean > prior.head("ncm").mean


def test_drawn_candidates_are_seldom_better() -> None:
    prior = GainPrior.load()
    assert prior.drawn("frozen_heads").mean < 0
    assert prior.drawn("sampled_tuning").mean < 0


def test_each_form_has_a_gain() -> None:
    prior = GainPrior.load()
    assert all(abs(prior.form(kind).mean) < 0.5 for kind in ("resolution", "framing", "views"))
    assert all(prior.form(kind).deviation > 0 for kind in ("resolution", "framing", "views"))


@pytest.mark.parametrize("missing", ["gains", "own_deviation", "heads"])
def test_an_incomplete_part_is_named(missing: str, tmp_path: Path) -> None:
    none = {"mean": 0.0, "task_deviation": 1.0, "own_deviation": 1.0}
    kinds = {"heads": ["any"], "forms": ["resolution", "framing", "views"], "drawn": ["frozen_heads", "sampled_tuning"]}
    gains = {kind: dict.fromkeys(names, none) for kind, names in kinds.items() if kind != missing}
    about = {name: value for name, value in {"gains": gains, "own_deviation": 0.3}.items() if name != missing}
    size = len(tuning_features(share=1.0, **TASK))
    path = tmp_path / "prior.safetensors"
    write_part(path, "gains", {"weights": np.zeros(size), "covariance": np.eye(size)}, about)
    with pytest.raises(ModelFormatError, match=r"prior of gains is incomplete .*fit_prior\.py"):
        GainPrior.load(path)


@pytest.mark.slow
def test_a_set_that_is_left_out_changes_what_is_learned() -> None:
    code = "print(json.dumps([learn_gains(forms=None, without=name)[1]['gains']['heads'] for name in ('', 'dtd10')]))"
    every, others = in_benchmarks(code)
    assert set(every) == set(others)
    assert every["stage_ridge"] != others["stage_ridge"]


@pytest.mark.slow
def test_components_tell_tasks_from_candidates() -> None:
    code = """
rng = np.random.default_rng(0)
tasks = rng.normal(0.5, 0.4, 200)
pairs = [(f"{i}", rng.normal(mean, 0.1)) for i, mean in enumerate(tasks) for _ in range(5)]
print(json.dumps(asdict(components([Case(source="grid", task=task, gain=gain) for task, gain in pairs]))))
"""
    found = in_benchmarks(code)
    assert found == pytest.approx({"mean": 0.5, "task_deviation": 0.4, "own_deviation": 0.1}, abs=0.08)


@pytest.mark.slow
def test_forms_are_compared_with_the_form_before() -> None:
    code = """
from gain_cases import form_before
names = ["net", "net@128px", "net@squash", "net@128px@squash"]
print(json.dumps([[form_before(name, views, distant=small) for name in names] for small in (0, 1) for views in (1, 2)]))
"""
    large, in_two_views, small, _ = in_benchmarks(code)
    assert large[:3] == [["", ["", 0]], ["resolution", ["net", 1]], ["framing", ["net", 1]]]
    assert small[:2] == [["resolution", ["net@128px", 1]], ["", ["", 0]]]
    assert small[3] == ["framing", ["net@128px", 1]]
    assert in_two_views[1] == ["views", ["net@128px", 1]]


@pytest.mark.slow
def test_reading_needs_no_torch() -> None:
    code = "import sys, autotransfer.search.gain_prior; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_depths_share_more_the_nearer_they_are() -> None:
    prior = GainPrior.load()
    last, second, half, whole = (prior.tuning(share=share, **TASK) for share in (0.125, 0.25, 0.5, 1.0))
    assert [np.hypot.reduce(gain.parts) for gain in (last, whole)] == pytest.approx(
        [last.task_deviation, whole.task_deviation]
    )

    def shared(one: TuningGain, other: TuningGain) -> float:
        return float(np.dot(one.parts, other.parts)) / (one.task_deviation * other.task_deviation)

    assert 0.9 < shared(last, second) < 1.0
    assert shared(last, second) > shared(last, half) > shared(last, whole) > 0.0
