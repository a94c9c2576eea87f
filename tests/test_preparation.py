"""What is decided before the search: which backbones are looked at, and that nothing of the others is touched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from autotransfer.config import Budget, SearchConfig
from autotransfer.contract.hookspecs import hookimpl
from autotransfer.contract.registry import Registry
from autotransfer.contract.specs import BackboneSpec, Preprocessing
from autotransfer.data.sources import load_examples
from autotransfer.errors import UnknownNameError, WeightsUnavailableError
from autotransfer.preparation import available_backbones, deal_again, offered_heads, prepare_data
from autotransfer.task import Task
from autotransfer.transfer.device import resolve_device

CPU = resolve_device("cpu")
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
                load=pytest.fail,
                check=lambda: self.checked.append(name),
                gmacs=0.1 * (number + 1),
                preprocessing=HOW,
            )

        for number in range(COUNT):
            register(spec(number))


def _available(many: Many, config: SearchConfig, images: int = 100) -> tuple[list[str], list[str]]:
    said: list[str] = []
    registry = Registry.load((), plugins=[many])
    return [spec.name for spec in available_backbones(registry, config, CPU, images, said.append)], said


def test_a_large_portfolio_is_cut_to_what_the_budget_allows_before_weights_are_asked_for() -> None:
    many = Many()
    names, said = _available(many, SearchConfig(budget=Budget(seconds=60.0), backbones=("many*",)))
    assert 1 < len(names) < COUNT / 2
    assert names == sorted(names), "the cheapest first"
    assert many.checked == names
    assert said == [
        f"{COUNT - len(names)} of {COUNT} backbones are left out: the budget allows no look at all of them, and the "
        "others promise more for their cost; one that --backbones names in full is always searched"
    ]


def test_more_time_more_backbones_and_trials_are_for_as_many_as_get_some() -> None:
    def count(**budget: float) -> int:
        return len(_available(Many(), SearchConfig(budget=Budget(**budget), backbones=("many*",)))[0])  # type: ignore[arg-type]

    assert count(seconds=60.0) < count(seconds=600.0)
    assert count(trials=40) == 8
    assert count(trials=160) == 20


def test_a_backbone_that_is_named_in_full_is_never_left_out() -> None:
    config = SearchConfig(budget=Budget(seconds=5.0), backbones=("many*", "many149"))
    names, _ = _available(Many(), config)
    assert names[-1] == "many149"
    assert len(names) < 20


def test_a_name_that_a_plugin_resolves_counts_as_one_in_full() -> None:
    registry = Registry.load()
    config = SearchConfig(budget=Budget(seconds=5.0), backbones=("resnet101", "resnet1?.a1_in1k", "mobilenetv2_0*"))
    assert registry.named_in_full(config.backbones) == {registry.backbone("resnet101").name}
    with pytest.raises(UnknownNameError, match="nonesuch"):
        registry.named_in_full(("nonesuch",))


@pytest.mark.parametrize(
    ("named", "examples", "found"),
    [((), 5000, True), ((), 5001, False), (("*ridge",), 5001, True), (("logistic",), 10, False)],
)
def test_heads_on_all_stages_are_for_few_examples_unless_they_are_named(
    named: tuple[str, ...], examples: int, found: bool
) -> None:
    task = Task(kind="binary", classes=(0, 1))
    heads = offered_heads(Registry.load(()), SearchConfig(heads=named), task, examples)
    assert ("stage_ridge" in [head.name for head in heads]) is found
    assert heads


def test_what_fits_is_not_spoken_of() -> None:
    names, said = _available(Many(), SearchConfig(budget=Budget(seconds=600.0), backbones=("many00*",)))
    assert (len(names), said) == (10, [])


def test_weights_that_cannot_be_had_are_left_out_with_a_word_and_an_error_if_all_are() -> None:
    class Absent(Many):
        @hookimpl
        def register_backbones(self, register: Callable[[BackboneSpec], None]) -> None:
            def absent() -> None:
                raise WeightsUnavailableError("many_a: no weights")

            register(BackboneSpec(name="many_a", load=pytest.fail, check=absent, preprocessing=HOW))
            register(BackboneSpec(name="many_b", load=pytest.fail, preprocessing=HOW))

    names, said = _available(Absent(), SearchConfig(backbones=("many*",)))
    assert (names, said) == (["many_b"], ["left out: many_a: no weights"])
    with pytest.raises(WeightsUnavailableError, match="many_a"):
        _available(Absent(), SearchConfig(backbones=("many_a",)))


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
    data = prepare_data(examples, [spec], SearchConfig(cache=False, seed=3))
    for lesson in (*data.lessons, *data.deal(1), *deal_again(data, [np.arange(5)], data.lessons[0].units)):
        assert lesson.units is not None
        sizes = Counter(lesson.units.tolist())
        assert sorted(sizes.values()) == [1] * 29 + [3] * 9 + [4]
        assert lesson.units[59] == lesson.units[0] == lesson.units[2]
