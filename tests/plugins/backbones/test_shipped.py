"""The backbones that come with the package: small, sound, licensed, and searched where nothing else can be had."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from autotransfer.contract.registry import Registry
from autotransfer.contract.specs import BackboneSpec
from autotransfer.errors import BackboneError, WeightsUnavailableError
from autotransfer.pipeline.choose_backbones import available_backbones
from autotransfer.runtime.device import resolve_device
from autotransfer.settings import Settings, grouped
from autotransfer.testing import check_backbone
from autotransfer_plugins.backbones.shipped import WEIGHTS
from autotransfer_plugins.modalities.image.formats import Preprocessing

FOLDERS = sorted(path.parent for path in WEIGHTS.glob("*/config.json"))
NAMES = [folder.name for folder in FOLDERS]


def test_there_are_a_few_and_they_are_small() -> None:
    assert 3 <= len(FOLDERS) <= 5
    assert sum(file.stat().st_size for file in WEIGHTS.rglob("*.safetensors")) <= 4_000_000
    for folder in FOLDERS:
        assert (folder / "model.safetensors").stat().st_size < 1_500_000
        sizes = {t.element_size() for t in load_file(folder / "model.safetensors").values() if t.is_floating_point()}
        assert sizes == {2}, "16 bit"


def test_they_differ_in_architecture_and_source() -> None:
    configs = [json.loads((folder / "config.json").read_text()) for folder in FOLDERS]
    kinds = [config.get("architecture") or config.get("network") or config.get("model_type") for config in configs]
    assert len(set(kinds)) == len(configs)
    cards = [config.get("pretrained_cfg", config) for config in configs]
    assert len({card["description"] for card in cards}) == len(configs)
    assert all(card["license"] for card in cards)
    readme = (WEIGHTS / "README.md").read_text()
    assert all(name in readme for name in NAMES)


def test_there_is_one_for_each_modality() -> None:
    registry = Registry.load()
    assert all(registry.fallbacks(modality=name) for name in ("audio", "image", "text"))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_each_keeps_the_contract(name: str) -> None:
    check_backbone(Registry.load().backbone(name))


def _ready(registry: Registry, **settings: Any) -> tuple[list[str], list[str]]:
    said: list[str] = []
    found = available_backbones(
        registry, Settings(**grouped(Settings, settings)), resolve_device("cpu"), 100, said.append
    )
    return [spec.name for spec in found], said


def _away() -> None:
    raise WeightsUnavailableError("the network is away")


def _spec(name: str, check: Any = None, **given: Any) -> BackboneSpec:
    how = Preprocessing(size=(32, 32))
    return BackboneSpec(name=name, modality="image", load=lambda: None, check=check, preprocessing=how, **given)  # type: ignore[arg-type, return-value]


class _Plugin:
    """A registry of these specs alone."""

    def __init__(self, *specs: BackboneSpec) -> None:
        self.registry = Registry(
            backbones={spec.name: spec for spec in specs},
            heads={},
            policies={},
            modalities={},
            owners={},
            loaded=Registry.load().loaded,
        )


def test_they_are_searched_when_nothing_else_can_be_had() -> None:
    small = _spec("small", default=False, fallback=True)
    found, said = _ready(_Plugin(_spec("hub", _away), small).registry)
    assert found == ["small"]
    assert "the network is away" in said[0]


def test_they_are_searched_beside_what_needs_no_weights() -> None:
    small, counts = _spec("small", default=False, fallback=True), _spec("counts", heads=("ridge",))
    found, said = _ready(_Plugin(_spec("hub", _away), counts, small).registry)
    assert found == ["counts", "small"]
    assert "searched instead" in said[0]
    assert _ready(_Plugin(_spec("here"), counts, small).registry)[0] == ["counts", "here"]


def test_shipped_backbones_are_searched_only_as_fallbacks() -> None:
    small = _spec("small", default=False, fallback=True)
    assert _ready(_Plugin(_spec("here"), _spec("hub", _away), small).registry)[0] == ["here"]
    with pytest.raises(WeightsUnavailableError):
        _ready(_Plugin(_spec("hub", _away), small).registry, backbones=("hub",))

    def broken() -> None:
        raise BackboneError("damaged")

    with pytest.raises(BackboneError, match="damaged"):  # the user put it there, and wants to know
        _ready(_Plugin(_spec("zoo", broken), small).registry)


def test_a_zoo_may_hold_one_of_the_same_name(tmp_path: Path) -> None:
    import shutil

    shutil.copytree(FOLDERS[0], tmp_path / NAMES[0])
    spec = Registry.load((tmp_path,)).backbone(NAMES[0])
    assert spec.default
    assert not spec.fallback
    assert str(tmp_path) in spec.weights
