"""What other people's plugins do wrong inside a run costs what they offer, by name, and nothing else."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fixtures.fitting import fit_with
from torch import Tensor, nn

import autotransfer
from autotransfer.contract.backbone import SequentialBackbone
from autotransfer.contract.hookspecs import hookimpl
from autotransfer.contract.plugin_call import plugin_call
from autotransfer.contract.registry import Registry
from autotransfer.contract.specs import BackboneSpec, FreezePlan, FreezePolicySpec, HeadSpec, Phase
from autotransfer.errors import PluginError
from autotransfer.run.result import FitResult
from autotransfer_plugins.modalities.image.formats import Preprocessing

Fit = Callable[..., FitResult]

HOW = Preprocessing(size=(32, 32), crop_fraction=1.0)


def linear(shape: tuple[int, ...], outputs: int, params: Mapping[str, Any]) -> nn.Module:
    return nn.Linear(shape[0], outputs)


def raising(*arguments: Any, **more: Any) -> Any:
    raise ZeroDivisionError("no such\nluck \x1b[2J")


def leaving(*arguments: Any) -> Any:
    sys.exit(3)


def meddling(shape: tuple[int, ...], outputs: int, params: Mapping[str, Any]) -> nn.Module:
    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(False)
    print("hello from a head")
    return nn.Linear(shape[0], outputs, dtype=torch.float32)


def reading(shape: tuple[int, ...], outputs: int, params: Mapping[str, Any]) -> nn.Module:
    head = nn.Linear(shape[0], outputs)
    nn.init.normal_(head.weight, std=float(head.weight.detach().std()))  # not without memory
    return head


def wide(shape: tuple[int, ...], outputs: int, params: Mapping[str, Any]) -> nn.Module:
    return nn.Linear(shape[0], outputs + 1)


class Pair(nn.Module):
    """Gives two tensors."""

    def forward(self, features: Tensor) -> Any:
        return features, features


class Raising(nn.Module):
    """Raises when it is called."""

    forward = raising


class Net(SequentialBackbone):
    """One convolution, and a fault."""

    def __init__(self, fault: str = "") -> None:
        how: Any = "of no kind" if fault == "preprocessing" else HOW
        super().__init__({"only": nn.Conv2d(3, 4, 3)}, preprocessing=how, width=4)
        self.fault = fault

    def forward_map(self, images: Tensor) -> Tensor:
        return raising() if self.fault == "forward" else super().forward_map(images)  # type: ignore[no-any-return]

    def pool(self, features: Tensor) -> Any:
        return [features] if self.fault == "pool" else super().pool(features)

    def stage_of(self, parameter: str) -> int:
        return 7 if self.fault == "stage" else 0


class Faulty:
    """A plugin of which each part has one fault."""

    @hookimpl
    def register_heads(self, register: Callable[[HeadSpec], None]) -> None:
        for name, build, solve in (
            ("build_raises", raising, raising),
            ("build_leaves", leaving, raising),
            ("build_gives_text", lambda *arguments: "text", raising),
            ("solve_raises", linear, raising),
            ("solve_leaves", linear, leaving),
            ("too_wide", wide, lambda *arguments: None),
            ("meddling", meddling, lambda *arguments: None),
            ("trained_too_wide", wide, None),
            ("trained_gives_pair", lambda *arguments: Pair(), None),
            ("trained_raises", lambda *arguments: Raising(), None),
            ("trained_build_raises", raising, None),
            ("trained_reads", reading, None),
        ):
            register(HeadSpec(name=name, build=build, solve=solve))

    @hookimpl
    def register_freeze_policies(self, register: Callable[[FreezePolicySpec], None]) -> None:
        good = FreezePlan(phases=(Phase(start=0.0, depth=0),))
        register(FreezePolicySpec(name="plan_raises", plan=raising))
        register(FreezePolicySpec(name="plan_leaves", plan=leaving))
        register(FreezePolicySpec(name="plan_gives_text", plan=lambda *arguments: "text"))  # type: ignore[arg-type,return-value]
        register(FreezePolicySpec(name="parameters_raise", plan=lambda *arguments: good, parameters=raising))

    @hookimpl
    def register_backbones(self, register: Callable[[BackboneSpec], None]) -> None:
        for fault in ("forward", "pool", "stage"):
            register(
                BackboneSpec(
                    name=f"bad_{fault}", modality="image", load=partial(Net, fault), preprocessing=HOW, default=False
                )
            )
        register(
            BackboneSpec(name="bad_preprocessing", modality="image", load=partial(Net, "preprocessing"), default=False)
        )
        register(BackboneSpec(name="bad_check", modality="image", load=Net, check=raising, default=False))
        register(BackboneSpec(name="bad_load", modality="image", load=raising, preprocessing=HOW, default=False))
        register(BackboneSpec(name="load_leaves", modality="image", load=leaving, default=False))


@pytest.fixture
def fit(tiny_zoo: Path, digits: tuple[np.ndarray, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fit:
    registry = Registry.load((tiny_zoo,), plugins=[Faulty()])
    monkeypatch.setattr(Registry, "load", lambda *arguments: registry)
    common = {"cache": False, "progress": False, "epochs": 1, "out": tmp_path / "run"}
    return partial(fit_with, digits[0][:60], digits[1][:60].tolist(), **common)


def failures(result: FitResult, part: str) -> dict[str, str]:
    """Return the reasons of failed trials by the name of a part of their candidates."""
    failed = (record for record in result.trials if record.state == "failed" and record.candidate)
    return {getattr(record.candidate, part): record.reason for record in failed}


@pytest.mark.slow
def test_heads_at_fault_cost_their_trials_by_name(fit: Fit) -> None:
    expected = {
        "build_raises": "failed: ZeroDivisionError: no such luck",
        "build_leaves": "failed: SystemExit: 3",
        "build_gives_text": "builds a str; expected an nn.Module",
        "solve_raises": "failed: ZeroDivisionError: no such luck",
        "solve_leaves": "failed: SystemExit: 3",
        "too_wide": "gives outputs of shape",
    }
    result = fit(backbones="test_resnet", heads=[*expected, "meddling", "ridge"], freeze="frozen", trials=8)
    found = {record.reason.split("'")[1]: record.reason for record in result.trials if record.state == "failed"}
    assert found.keys() == expected.keys()
    for name, reason in expected.items():
        assert f"The head {name!r} {reason}" in found[name]
    assert "\x1b" not in (result.run / "trials.csv").read_text()
    assert result.best.head in ("ridge", "meddling")
    assert (torch.get_default_dtype(), torch.is_grad_enabled()) == (torch.float32, True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("head", "reason"),
    [
        ("trained_too_wide", r"gives outputs of shape \(2, 4\); expected \(2, 3\)"),
        ("trained_gives_pair", r"gives outputs in a tuple; expected \(2, 3\)"),
        ("trained_raises", "failed: ZeroDivisionError: no such luck"),
    ],
)
def test_heads_that_are_trained_are_tried_before(fit: Fit, head: str, reason: str) -> None:
    with pytest.raises(autotransfer.AutoTransferError, match=f"The head '{head}' {reason}"):
        fit(backbones="test_resnet", heads=head, freeze="frozen", trials=1)


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        ("plan_raises", "failed: ZeroDivisionError"),
        ("plan_leaves", "failed: SystemExit: 3"),
        ("plan_gives_text", "failed: AttributeError|plans a str"),
        ("parameters_raise", "failed: ZeroDivisionError"),
    ],
)
def test_freeze_policies_at_fault_are_named(fit: Fit, policy: str, reason: str) -> None:
    with pytest.raises(autotransfer.AutoTransferError, match=f"The freeze policy '{policy}' ({reason})"):
        fit(backbones="test_resnet", heads="linear", freeze=policy, trials=1)


@pytest.mark.slow
def test_faulty_backbones_cost_only_their_own_trials(fit: Fit, capsys: pytest.CaptureFixture[str]) -> None:
    result = fit(backbones=["bad_*", "load_leaves", "test_resnet"], heads="ridge", trials=5, progress=True)
    told = capsys.readouterr().err
    for name in ("bad_preprocessing", "bad_check", "load_leaves"):
        assert f"{name} (The backbone '{name}' failed: " in told
    found = {record.reason.split("'")[1]: record.reason for record in result.trials if record.state == "failed"}
    assert found.keys() == {"bad_load", "bad_forward", "bad_pool", "bad_stage"}
    assert "has 1 stages, and parameters in stages {7}" in found["bad_stage"]
    assert all(reason.startswith("The backbone 'bad_") for reason in found.values())
    assert result.best.backbone == "test_resnet"


@pytest.mark.slow
def test_faults_cost_their_own_trials_with_a_time_budget(fit: Fit, caplog: pytest.LogCaptureFixture) -> None:
    names, heads = ["test_resnet", "bad_forward"], ["ridge", "linear", "trained_build_raises"]
    result = fit(backbones=names, heads=heads, trials=9, time_budget="2m", compare_scratch=True)
    assert caplog.text == "", "the strategy decided all that was tried"
    sources = {record.source for record in result.trials}
    assert sources > {"screening"}
    assert "sampled" not in sources, "nothing was left to the sampler alone"
    reasons = {record.reason for record in result.trials if record.state == "failed"}
    assert any(reason.startswith("The backbone 'bad_forward' failed") for reason in reasons)
    assert result.best.backbone == "test_resnet"


@pytest.mark.slow
def test_a_head_that_reads_its_own_values_is_searched(fit: Fit, caplog: pytest.LogCaptureFixture) -> None:
    result = fit(backbones="test_resnet", heads=["ridge", "trained_reads"], freeze="frozen", trials=5, time_budget="2m")
    assert caplog.text == ""
    assert any(record.candidate.head == "trained_reads" for record in result.trials if record.state == "complete")


def test_a_lack_of_memory_and_our_own_errors_are_nobodys_fault() -> None:
    for error in (MemoryError(), RuntimeError("CUDA out of memory"), autotransfer.AutoTransferError("said on purpose")):
        with pytest.raises(type(error)) as caught, plugin_call("The head 'x'"):
            raise error
        assert caught.value is error
    with pytest.raises(PluginError, match="The head 'x' failed: RuntimeError: other"), plugin_call("The head 'x'"):
        raise RuntimeError("other")
