"""Our freeze policies: their contract, and the plan that each one makes."""

from __future__ import annotations

import pytest

import autotransfer_plugins.freezing as freezing
from autotransfer.contract.registry import Registry
from autotransfer.contract.specs import Adapters, FreezePolicySpec
from autotransfer.errors import ConfigError
from autotransfer.testing import check_freeze_policy
from autotransfer_plugins.freezing import DEPTH, FROZEN, FULL, GRADUAL, LORA, LP_FT, NORM_ONLY

STAGES = ("stem", "layer1", "layer2", "layer3")


def _registered() -> list[FreezePolicySpec]:
    found: list[FreezePolicySpec] = []
    freezing.register_freeze_policies(found.append)
    return found


def _phases(policy: FreezePolicySpec, **params: float) -> list[tuple[float, int]]:
    return [(phase.start, phase.depth) for phase in policy.plan(STAGES, params).phases]


@pytest.mark.parametrize("policy", _registered(), ids=lambda policy: policy.name)
def test_keeps_the_contract(policy: FreezePolicySpec) -> None:
    check_freeze_policy(policy)


def test_frozen_trains_nothing_and_full_everything() -> None:
    assert _phases(FROZEN) == [(0.0, 4)]
    assert _phases(FULL) == [(0.0, 0)]


def test_without_a_depth_only_the_last_stage_trains() -> None:
    assert _phases(DEPTH) == [(0.0, 3)]
    assert NORM_ONLY.plan(STAGES, {}).depth == 3


def test_lp_ft_trains_the_head_first() -> None:
    assert _phases(LP_FT, depth=1, head_share=0.25) == [(0.0, 4), (0.25, 1)]


def test_gradual_unfreezes_in_equal_steps_over_half_the_epochs() -> None:
    assert _phases(GRADUAL, depth=2) == [(0.0, 4), (0.25, 3), (0.5, 2)]


def test_norm_only_says_so() -> None:
    assert NORM_ONLY.plan(STAGES, {"depth": 0}).trained == "norms_and_biases"


def test_lora_trains_adapters_at_ten_times_the_rate() -> None:
    plan = LORA.plan(STAGES, {"depth": 1, "rank": 16, "matrices": "all", "decay": 0.5})
    assert (plan.depth, plan.trained, plan.adapters) == (1, "adapters", Adapters(rank=16, matrices="all"))
    assert plan.learning_rates == (1.25, 2.5, 5.0, 10.0)


def test_lora_is_searched_where_it_is_named() -> None:
    registry = Registry.load()
    assert "lora" not in {policy.name for policy in registry.select_policies()}
    assert [policy.name for policy in registry.select_policies(["lora"])] == ["lora"]


def test_decay_slows_stages_by_their_distance_to_the_head() -> None:
    assert FULL.plan(STAGES, {"decay": 0.5}).learning_rates == (0.125, 0.25, 0.5, 1.0)
    assert FULL.plan(STAGES, {}).learning_rates == (1.0, 1.0, 1.0, 1.0)


@pytest.mark.parametrize("policy", [DEPTH, GRADUAL, LP_FT, NORM_ONLY], ids=lambda policy: policy.name)
def test_a_depth_beyond_the_backbone_is_a_setting_error(policy: FreezePolicySpec) -> None:
    with pytest.raises(ConfigError, match=r"lies in 0..3 .* got 4"):
        policy.plan(STAGES, {"depth": 4})
