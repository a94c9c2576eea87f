"""What is decided before the search: which backbones are looked at, and that nothing of the others is touched."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autotransfer.contract.hookspecs import hookimpl
from autotransfer.contract.registry import Registry
from autotransfer.contract.specs import BackboneSpec
from autotransfer.data.sources import load_examples
from autotransfer.errors import BackboneError, ConfigError, UnknownNameError, WeightsUnavailableError
from autotransfer.pipeline.choose_backbones import available_backbones
from autotransfer.pipeline.prepare import offered_heads, prepare_data
from autotransfer.runtime.device import resolve_device
from autotransfer.settings import Compute, SearchOptions, Settings
from autotransfer.tasks.task import Task
from autotransfer.warnings import FitWarning, WarningList
from autotransfer_plugins.modalities.image.formats import Preprocessing

CPU = replace(resolve_device("cpu"), half=None)  # its speed is asked for
COUNT = 150
HOW = Preprocessing(size=(32, 32))


class Many:
    """A plugin with more backbones than a short search can look at; each notes that its weights were asked for."""

    def __init__(self) -> None:
        self.checked: list[str] = []

    @hookimpl
    def register_backbones(self, register: Callable[[BackboneSpec], None]) -> None:
        def spec(number: int) -> BackboneSpec:
            name = f"many{number:03}"
            return BackboneSpec(
                name=name,
                modality="image",
                load=pytest.fail,
                check=lambda: self.checked.append(name),
                gmacs=0.1 * (number + 1),
                preprocessing=HOW,
            )

        for number in range(COUNT):
            register(spec(number))


def _available(many: Any, config: Settings, images: int = 100) -> tuple[list[str], list[str]]:
    names, said, _ = _warned(many, config, images)
    return names, said


def _warned(many: Any, config: Settings, images: int = 100) -> tuple[list[str], list[str], list[FitWarning]]:
    said, warnings = list[str](), WarningList()
    registry = Registry.load((), plugins=[many])
    found = available_backbones(registry, config, CPU, images, said.append, warnings)
    return [spec.name for spec in found], said, list(warnings)


def test_none_is_left_out_where_a_look_at_all_is_affordable() -> None:
    found, details = _searched(_spec("small", gmacs=0.15), _spec("large", gmacs=1.0), gone=())
    assert (found, details) == (["small", "large"], {})


def test_the_cost_of_typical_examples_decides_what_is_cut() -> None:
    registry = Registry.load((), plugins=[Many()])
    config = Settings(time_budget=60.0, backbones=("many*",))
    found = available_backbones(registry, config, CPU, 100, str, gmacs=lambda specs: [0.001] * len(specs))
    usual = available_backbones(registry, config, CPU, 100, str)
    assert len(found) > 2 * len(usual)


def test_a_portfolio_is_cut_to_the_budget_before_loading() -> None:
    many = Many()
    names, said = _available(many, Settings(time_budget=60.0, backbones=("many*",)))
    assert 1 < len(names) < COUNT / 2
    assert names == sorted(names), "the cheapest first"
    assert sorted(many.checked) == [f"many{number:03}" for number in range(COUNT)], "each once"
    (message,) = said
    assert message.startswith(f"{COUNT - len(names)} of {COUNT} backbones are left out: many")
    assert "and the others promise more for their cost" in message


@pytest.mark.slow
def test_more_time_or_trials_allow_more_backbones() -> None:
    def count(**budget: float) -> int:
        return len(
            _available(
                Many(), Settings(time_budget=budget.get("seconds"), trials=budget.get("trials"), backbones=("many*",))
            )[0]
        )

    assert count(seconds=60.0) < count(seconds=600.0)
    assert count(trials=40) == 8
    assert count(trials=160) == 20


def test_a_backbone_that_is_named_in_full_is_never_left_out() -> None:
    config = Settings(time_budget=5.0, backbones=("many*", "many149"))
    names, _ = _available(Many(), config)
    assert names[-1] == "many149"
    assert len(names) < 20


def test_a_name_that_a_plugin_resolves_counts_as_one_in_full() -> None:
    registry = Registry.load()
    config = Settings(time_budget=5.0, backbones=("resnet101", "resnet1?.a1_in1k", "mobilenetv2_0*"))
    assert registry.named_in_full(config.backbones) == {registry.backbone("resnet101").name}
    with pytest.raises(UnknownNameError, match="nonesuch"):
        registry.named_in_full(("nonesuch",))


@pytest.mark.parametrize(
    ("named", "examples", "found"),
    [((), 20_000, True), ((), 20_001, False), (("*ridge",), 20_001, True), (("logistic",), 10, False)],
)
def test_stage_heads_are_for_few_examples_unless_named(named: tuple[str, ...], examples: int, found: bool) -> None:
    task = Task(kind="binary", classes=(0, 1))
    heads = offered_heads(Registry.load(()), Settings(heads=named), task, examples)
    assert ("stage_ridge" in [head.name for head in heads]) is found
    assert heads


def test_what_fits_is_not_spoken_of() -> None:
    names, said = _available(Many(), Settings(time_budget=600.0, backbones=("many00*",)))
    assert (len(names), said) == (10, [])


def test_unavailable_weights_are_a_warning_or_error_if_all_are() -> None:
    class Absent(Many):
        @hookimpl
        def register_backbones(self, register: Callable[[BackboneSpec], None]) -> None:
            def absent() -> None:
                raise WeightsUnavailableError("many_a: no weights")

            register(BackboneSpec(name="many_a", modality="image", load=pytest.fail, check=absent, preprocessing=HOW))
            register(BackboneSpec(name="many_b", modality="image", load=pytest.fail, preprocessing=HOW))

    names, said, warnings = _warned(Absent(), Settings(backbones=("many*",)))
    assert (names, said) == (["many_b"], ["1 of 2 backbones are left out: many_a (many_a: no weights)."])
    (warning,) = warnings
    assert (warning.code, warning.message) == ("backbones_skipped", said[0])
    assert warning.details == {"unavailable": {"many_a": "many_a: no weights"}, "over_budget": []}
    with pytest.raises(WeightsUnavailableError, match="many_a"):
        _available(Absent(), Settings(backbones=("many_a",)))


@pytest.mark.parametrize("given", ["folds", "validation"])
def test_lessons_know_which_examples_cannot_be_torn_apart(
    tiny_zoo: Path, digits: tuple[np.ndarray, np.ndarray], given: str
) -> None:
    images, labels = digits[0][:60].copy(), digits[1][:60].copy()
    images[59], labels[59] = images[0], labels[0]  # a copy
    groups = [None if i >= 30 else i // 3 for i in range(60)]
    examples = load_examples(images, labels, groups=groups)
    if given == "validation":
        examples = replace(examples, held_out=tuple(i % 2 == 0 for i in range(60)))
    spec = Registry.load((tiny_zoo,)).backbone("test_resnet")
    data = prepare_data(examples, [spec], Settings(compute=Compute(cache=False), seed=3))
    for fold in (*data.folds, *data.resplit(1)):
        assert fold.group_ids is not None
        sizes = Counter(fold.group_ids.tolist())
        assert sorted(sizes.values()) == [1] * 29 + [3] * 9 + [4]
        assert fold.group_ids[59] == fold.group_ids[0] == fold.group_ids[2]


class Shelf:
    """A plugin with these backbones alone; ``gone`` cannot be had."""

    def __init__(self, *specs: BackboneSpec, gone: tuple[str, ...] = ()) -> None:
        self.specs, self.gone, self.asked = specs, gone, list[str]()

    @hookimpl
    def register_backbones(self, register: Callable[[BackboneSpec], None]) -> None:
        for spec in self.specs:
            register(replace(spec, check=partial(self._ask, spec.name)))

    def _ask(self, name: str) -> None:
        self.asked.append(name)
        if name in self.gone:
            raise WeightsUnavailableError(f"The weights of {name} are away.")


def _spec(name: str, **given: Any) -> BackboneSpec:
    return BackboneSpec(name=f"shelf_{name}", modality="image", load=pytest.fail, preprocessing=HOW, **given)


def _searched(*specs: BackboneSpec, gone: tuple[str, ...], seconds: float = 60.0) -> tuple[list[str], dict[str, Any]]:
    shelf = Shelf(*specs, gone=tuple(f"shelf_{name}" for name in gone))
    config = Settings(time_budget=seconds, backbones=("shelf_*",))
    names, _, warnings = _warned(shelf, config, images=1000)
    return [name.removeprefix("shelf_") for name in names], dict(warnings[0].details) if warnings else {}


def test_the_budget_chooses_among_backbones_that_can_be_had() -> None:
    # On 1,000 images a pass of one takes 5 s of the 12 s that it may take, and of the 18 s that all may take.
    good = _spec("good", gmacs=0.25, accuracy=0.9)
    better = [_spec(f"better{number}", gmacs=0.25, accuracy=0.95) for number in range(4)]
    names, _ = _searched(good, *better, gone=())
    assert len(names) == 3
    assert all(name.startswith("better") for name in names), "equals are chosen in any order"
    names, details = _searched(good, *better, gone=("better0", "better1", "better2", "better3"))
    assert names == ["good"]
    assert sorted(details["unavailable"]) == [f"shelf_better{number}" for number in range(4)]
    assert details["over_budget"] == []


def test_unavailable_backbones_cost_others_no_place() -> None:
    hub = [_spec(f"hub{number}", gmacs=5.0, accuracy=0.85) for number in range(8)]
    names, _ = _searched(_spec("mine"), *hub, gone=tuple(f"hub{number}" for number in range(8)))
    assert names == ["mine"]
    small = _spec("small", gmacs=0.01, accuracy=0.7)
    assert set(_searched(_spec("mine"), small, *hub, gone=tuple(f"hub{n}" for n in range(8)))[0]) == {"mine", "small"}


def test_an_unusable_backbone_leaves_its_place_to_another() -> None:
    def leaves() -> None:
        raise WeightsUnavailableError("half of the file is missing")

    first = _spec("first", gmacs=0.8, accuracy=0.95)
    shelf = Shelf(_spec("second", gmacs=0.8, accuracy=0.9))

    class Both:
        @hookimpl
        def register_backbones(self, register: Callable[[BackboneSpec], None]) -> None:
            register(replace(first, check=leaves, locate=lambda: None))
            shelf.register_backbones(register)

    config = Settings(time_budget=60.0, backbones=("shelf_*",))
    names, _, warnings = _warned(Both(), config, images=1000)
    assert names == ["shelf_second"]
    assert dict(warnings[0].details)["unavailable"] == {"shelf_first": "half of the file is missing"}


def test_a_broken_checkpoint_is_named_and_can_be_excluded(tiny_zoo: Path, tmp_path: Path) -> None:
    zoo = shutil.copytree(tiny_zoo, tmp_path / "zoo")
    for name, channels in (("one channel", 1), ("cut", 3)):
        folder = shutil.copytree(zoo / "test_resnet", zoo / name)
        config = json.loads((folder / "config.json").read_text())
        config["pretrained_cfg"]["input_size"][0] = channels
        (folder / "config.json").write_text(json.dumps(config))
    os.truncate(zoo / "cut" / "model.safetensors", 100)
    registry = Registry.load((zoo,))

    def search(*exclude: str) -> list[str]:
        config = Settings(zoo=(zoo,), search=SearchOptions(exclude=exclude))
        found = available_backbones(registry, config, CPU, 100, str, modality=registry.modality("image"))
        return [spec.name for spec in found]

    with pytest.raises(BackboneError, match=r"cut.model\.safetensors is no valid .*exclude='cut' \(--exclude cut\)"):
        search("one*")
    with pytest.raises(BackboneError, match=r"the model takes .*, 1, 3, 3\).*\(--exclude 'one channel'\)"):
        search("cut")
    assert sorted(search("one channel", "cut")) == ["test_resnet", "test_vit"]
    with pytest.raises(ConfigError, match=r"All backbones are left out by exclude: \*"):
        search("*")
    with pytest.raises(UnknownNameError, match=r"No backbone to leave out matches 'cutt'\. Did you mean cut"):
        search("cutt")


def test_an_unreadable_checkpoint_folder_spares_the_others(
    tiny_zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zoo = shutil.copytree(tiny_zoo, tmp_path / "zoo")
    (zoo / "closed").mkdir()
    listed = Path.iterdir

    def iterdir(folder: Path) -> Iterator[Path]:
        if folder.name == "closed":  # as for a user who may not read it
            raise PermissionError(13, "Permission denied", str(folder))
        return listed(folder)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    assert {"closed", "test_vit"} <= set(Registry.load((zoo,)).backbones)
