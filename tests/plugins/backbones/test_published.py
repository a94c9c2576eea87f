"""What is known of timm's models before a download: the tables are true, and large portfolios are cut by them."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import timm

from autotransfer.contract.registry import Registry
from autotransfer.pipeline.choose_backbones import available_backbones
from autotransfer.runtime.device import resolve_device
from autotransfer.settings import Settings
from autotransfer_plugins.backbones import _hub
from autotransfer_plugins.backbones._published import PORTFOLIO, _table, published

SCRIPT = Path(__file__).parents[3] / "examples" / "architectures.py"


@pytest.mark.parametrize("architecture", ["resnet18", "mobilenetv2_100", "vit_tiny_patch16_224", "test_convnext"])
def test_the_table_holds_what_its_script_measures(
    architecture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = importlib.util.spec_from_file_location("architectures", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    made = tmp_path / "made.csv"
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--out", str(made), "--only", f"{architecture}.*"])
    script.main()
    assert capsys.readouterr().out == "1 architectures\n"
    row = _table("architectures.csv")[architecture]
    assert made.read_text().splitlines() == [",".join(row), ",".join(row.values())]


def test_nearly_all_architectures_are_known() -> None:
    names = {name.partition(".")[0] for name in timm.list_models(pretrained=True)}
    unknown = names - set(_table("architectures.csv"))
    assert len(unknown) < 0.1 * len(names)  # another version of timm may have others


def test_a_larger_input_costs_as_much_more_as_it_has_pixels() -> None:
    small, large = (published("resnet50.tv_in1k", (side, side)) for side in (224, 448))
    assert small.gmacs == pytest.approx(4.09, rel=0.02)  # as in He et al. 2016, who count 4.1 with the classifier
    assert large.gmacs == pytest.approx(4 * small.gmacs)
    assert (small.parameters, small.accuracy) == (23_508_032, pytest.approx(0.7613))


def test_what_is_unknown_is_said_to_be() -> None:
    assert published("nonesuch.of_anybody", (224, 224)) == published("nonesuch", (64, 64))
    assert published("nonesuch", (64, 64)).gmacs is None
    assert published("resnet50.by_somebody", (224, 224)).accuracy is None


def test_published_accuracies_are_of_pretrained_models() -> None:
    for name, row in _table("accuracies.csv").items():
        assert "." in name
        assert 50 < float(row["top1"]) < 91
    assert set(PORTFOLIO) <= set(_table("accuracies.csv"))


def test_hub_models_are_cut_by_cost_before_any_is_fetched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(_hub, "check", asked.append)
    monkeypatch.setattr(_hub, "load", pytest.fail)
    registry, said = Registry.load(), list[str]()
    config = Settings(time_budget=300.0, backbones=("regnet*", "tf_*", "mobilenetv3*", "swin*"))
    everything = registry.select_backbones(config.backbones)
    cpu = replace(resolve_device("cpu"), half=None)  # its speed is asked for
    specs = available_backbones(registry, config, cpu, 500, said.append)
    assert len(everything) > 100
    assert sorted(asked) == sorted(spec.name for spec in everything), "each once"
    assert 5 < len(specs) < 40
    passes = [spec.gmacs * 500 / 50 for spec in specs if spec.gmacs is not None]
    assert len(passes) == len(specs)
    assert max(passes) <= 60
    assert sum(passes) <= 90
    assert max(spec.accuracy or 0.0 for spec in specs) > 0.8, "what is good and cheap is among them"
    assert len(said) == 1
