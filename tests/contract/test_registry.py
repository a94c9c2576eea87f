"""The registry: who owns which name, what patterns select, and that one plugin cannot spoil the others."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn

from autotransfer.contract.backbone import SequentialBackbone
from autotransfer.contract.hookspecs import hookimpl
from autotransfer.contract.lazy_import import LazyImport
from autotransfer.contract.loading import warn_once
from autotransfer.contract.registry import Registry
from autotransfer.contract.specs import BackboneSpec, HeadSpec
from autotransfer.errors import BackboneError, ConfigError, ModelFormatError, PluginError, UnknownNameError
from autotransfer_plugins.modalities.image.formats import Preprocessing


def _tiny() -> SequentialBackbone:
    body = {"stem": nn.Conv2d(3, 4, 3)}
    return SequentialBackbone(body, preprocessing=Preprocessing(size=(8, 8)), width=4, recipe={"plugin": "tiny"})


def _plugin(name: str, **hooks: Callable[..., Any]) -> SimpleNamespace:
    return SimpleNamespace(__name__=name, **{hook: hookimpl(function) for hook, function in hooks.items()})


def _backbones(name: str, *specs: BackboneSpec) -> SimpleNamespace:
    def register_backbones(register: Callable[[BackboneSpec], None]) -> None:
        for spec in specs:
            register(spec)

    return _plugin(name, register_backbones=register_backbones)


def _head(name: str) -> HeadSpec:
    return HeadSpec(name=name, build=lambda shape, outputs, params: nn.Linear(shape[0], outputs))


def _heads(name: str, *specs: Any) -> SimpleNamespace:
    def register_heads(register: Callable[[HeadSpec], None]) -> None:
        for spec in specs:
            register(spec)

    return _plugin(name, register_heads=register_heads)


def _spec(name: str, **fields: Any) -> BackboneSpec:
    return BackboneSpec(name=name, modality="image", load=_tiny, **fields)


ZOO = _backbones(
    "tinies",
    _spec("tiny_b"),
    _spec("tiny_a"),
    _spec("tiny_hidden", default=False),
    _spec("only_hidden", default=False),
    replace(_spec("tiny_text"), modality="text"),
)


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.load(plugins=[ZOO, _heads("nice", _head("zz_nice"))])


def _names(specs: list[Any]) -> list[str]:
    return [spec.name for spec in specs]


def test_names_are_sorted_whatever_the_order_of_registration(registry: Registry) -> None:
    for specs in (registry.backbones, registry.heads, registry.policies):
        assert list(specs) == sorted(specs)
    assert {"linear", "mlp", "logistic", "ridge", "ncm", "knn", "zz_nice"} <= set(registry.heads)
    assert {"frozen", "full", "depth", "gradual", "lp_ft", "norm_only"} <= set(registry.policies)


def test_select_backbones_without_patterns_takes_defaults(registry: Registry) -> None:
    names = _names(registry.select_backbones(modality="image"))
    assert [name for name in names if name.startswith("tiny_")] == ["tiny_a", "tiny_b"]
    assert all(registry.backbones[name].default for name in names)


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (("tiny_*",), ["tiny_a", "tiny_b"]),  # default ones first: a pattern does not pull in every variant
        (("only_*",), ["only_hidden"]),  # but reaches what is not default when nothing else matches
        (("tiny_hidden",), ["tiny_hidden"]),  # an exact name always counts
        (("tiny_b", "tiny_*"), ["tiny_b", "tiny_a"]),  # the user's order, without repetition
    ],
)
def test_patterns_select_backbones(registry: Registry, patterns: tuple[str, ...], expected: list[str]) -> None:
    assert _names(registry.select_backbones(patterns, modality="image")) == expected


def test_unknown_names_suggest_close_ones(registry: Registry) -> None:
    with pytest.raises(UnknownNameError, match=r"No backbone matches 'tiny_x'. Did you mean .*tiny_a"):
        registry.select_backbones(("tiny_x",), modality="image")
    with pytest.raises(UnknownNameError, match="Did you mean linear"):
        registry.head("linaer")
    with pytest.raises(UnknownNameError, match="Did you mean gradual"):
        registry.select_policies(("graduel",))


def test_a_backbone_is_known_at_other_sizes_by_name() -> None:
    def load(side: int = 64) -> SequentialBackbone:
        return SequentialBackbone({"stem": nn.Conv2d(3, 4, 3)}, preprocessing=Preprocessing(size=(side, side)), width=4)

    sized = _spec(
        "sized@2x", load_at=load, preprocessing=Preprocessing(size=(64, 64)), gmacs=1.0, accuracy=0.7, parameters=112
    )
    registry = Registry.load(plugins=[_backbones("tinies", sized, _spec("fixed"))])
    found = registry.backbone("sized@2x@32px")
    assert (found.name, found.input_size, found.gmacs, found.accuracy) == ("sized@2x@32px", (32, 32), 0.25, None)
    assert found.load().preprocessing == found.preprocessing == Preprocessing(size=(32, 32))
    assert _names(registry.select_backbones(("sized@2x@32px",), modality="image")) == ["sized@2x@32px"]
    for name in ("sized@2x@33px", "sized@2x@0px", "fixed@32px"):
        with pytest.raises(ConfigError, match="multiple of 32"):
            registry.backbone(name)
    with pytest.raises(UnknownNameError, match="none"):
        registry.backbone("none@32px")


def test_heads_are_selected_by_what_they_can_do(registry: Registry) -> None:
    assert "logistic" in _names(registry.select_heads((), "multilabel"))
    assert "logistic" not in _names(registry.select_heads((), "regression"))
    with pytest.raises(UnknownNameError, match="head for a regression task matches 'logistic'"):
        registry.select_heads(("logistic",), "regression")
    assert _names(registry.select_heads(("linear", "l*"), "binary")) == ["linear", "logistic"]


def test_two_owners_of_one_name_are_refused_and_both_named() -> None:
    with pytest.raises(PluginError, match=r"'same' as one of the heads: first and second"):
        Registry.load(plugins=[_heads("first", _head("same")), _heads("second", _head("same"))])
    with pytest.raises(PluginError, match="autotransfer:heads and intruder"):
        Registry.load(plugins=[_heads("intruder", _head("linear"))])


def test_a_backbone_and_a_head_may_share_a_name() -> None:
    registry = Registry.load(plugins=[_backbones("one", _spec("same")), _heads("two", _head("same"))])
    assert registry.owners["backbones", "same"] == "one"
    assert registry.owners["heads", "same"] == "two"


@pytest.mark.parametrize(
    ("specs", "reason"),
    [
        ((_head("lost"), "no spec"), "gives register_heads a str; it takes a HeadSpec"),
        ((_head("lost"), _spec("wrong_door")), "gives register_heads a BackboneSpec"),
        ((_head("lost"), _head("lost")), "registers 'lost' twice"),
        ((_head("lost"), _head("")), "whose name is ''"),
        ((_head("lost"), _head("\x1b[2J")), r"whose name is '\x1b[2J'; it takes plain text"),
        ((_head("lost"), None), "gives register_heads a NoneType"),
    ],
)
def test_a_plugin_that_registers_nonsense_loses_only_its_own(specs: tuple[Any, ...], reason: str) -> None:
    registry = Registry.load(plugins=[_heads("wrong", *specs), _heads("right", _head("kept"))])
    state = {state.name: state for state in registry.plugins}["wrong"]
    assert state.state == "broken"
    assert reason in state.reason
    assert "kept" in registry.heads
    assert "lost" not in registry.heads


def test_plugin_that_raises_while_registering_loses_its_specs() -> None:
    def register_freeze_policies(register: Callable[..., None]) -> None:
        raise KeyError("boom")

    plugin = _backbones("halfway", _spec("lost"))
    plugin.register_freeze_policies = hookimpl(register_freeze_policies)
    registry = Registry.load(plugins=[plugin, ZOO])
    assert "lost" not in registry.backbones
    assert "tiny_a" in registry.backbones
    assert [state.reason for state in registry.plugins if state.state == "broken"] == ["KeyError: 'boom'"]


def test_our_own_plugin_that_raises_is_fatal(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(register: Callable[..., None]) -> None:
        raise KeyError("boom")

    # The real heads plugin of ours, with a hook that fails.
    monkeypatch.setattr("autotransfer_plugins.heads.register_heads", hookimpl(broken))
    with pytest.raises(PluginError, match=r"autotransfer:heads .* is broken: KeyError"):
        Registry.load()


def test_zoos_reach_the_plugins_that_ask_for_them() -> None:
    # A hook may take any part of its arguments.
    seen: list[Any] = []

    def register_backbones(zoos: tuple[Path, ...]) -> None:
        seen.append(zoos)

    Registry.load((), plugins=[_plugin("asks", register_backbones=register_backbones)])
    assert seen == [()]


def _resolver(name: str, function: Callable[[str], Any]) -> SimpleNamespace:
    def resolve_backbone(name: str) -> Any:
        return function(name)

    return _plugin(name, resolve_backbone=resolve_backbone)


def test_names_that_cannot_be_listed_are_resolved() -> None:
    # A resolver that crashes, and one that answers nonsense, must not hide the one that knows the name.
    warn_once.cache_clear()
    registry = Registry.load(
        plugins=[
            _resolver("crashes", lambda name: 1 / 0),
            _resolver("babbles", lambda name: "yes"),
            _resolver("knows", lambda name: _spec(name) if name.startswith("hub:") else None),
        ]
    )
    assert registry.backbone("hub:mine").name == "hub:mine"
    assert _names(registry.select_backbones(("hub:mine",), modality="image")) == ["hub:mine"]
    with pytest.raises(UnknownNameError):
        registry.backbone("nobody:mine")


def test_what_a_resolver_says_on_purpose_is_passed_on() -> None:
    def refuse(name: str) -> None:
        if name.startswith("hub:"):
            raise BackboneError("hub:mine is no image model")

    with pytest.raises(BackboneError, match="no image model"):
        Registry.load(plugins=[_resolver("strict", refuse)]).backbone("hub:mine")


def test_rebuild_asks_every_plugin_and_names_the_missing_one() -> None:
    def rebuild_backbone(recipe: dict[str, Any]) -> SequentialBackbone | None:
        return _tiny() if recipe["plugin"] == "tiny" else None

    registry = Registry.load(plugins=[_plugin("rebuilds", rebuild_backbone=rebuild_backbone)])
    assert registry.rebuild({"plugin": "tiny"}).stages == ("stem",)
    with pytest.raises(ModelFormatError, match="the plugin 'gone' made it"):
        registry.rebuild({"plugin": "gone"})


def test_a_spec_says_which_plugin_in_which_version_it_came_with() -> None:
    registry = Registry.load(plugins=[ZOO, _resolver("knows", lambda name: _spec(name) if "hub:" in name else None)])
    ours = registry.backbone("mini_vit.letters")
    assert ours.origin == f"autotransfer {version('autotransfer')}"
    assert ours.version == f"timm {version('timm')}"
    assert (registry.backbone("tiny_a").origin, registry.backbone("hub:mine").origin) == ("tinies", "knows")


def test_suggested_names_are_raised_if_no_plugin_resolves() -> None:
    def suggest(name: str) -> None:
        if name.startswith("old_"):
            raise UnknownNameError("backbone", name, [name.removeprefix("old_")])

    knows = _resolver("knows", lambda name: _spec(name) if name == "old_mine" else None)
    registry = Registry.load(plugins=[_resolver("suggests", suggest), knows])
    assert registry.backbone("old_mine").origin == "knows"
    with pytest.raises(UnknownNameError, match="Did you mean yours"):
        registry.backbone("old_yours")


def test_what_was_left_for_later_can_be_imported_at_once() -> None:
    late = HeadSpec(name="late", build=LazyImport("optuna.importance:get_param_importances"))
    registry = Registry.load(plugins=[_heads("tardy", late)])
    registry.import_all()
    assert "autotransfer_plugins.heads.knn" in sys.modules
    assert "optuna.importance" in sys.modules


def test_excluded_backbones_are_never_selected(registry: Registry) -> None:
    assert "tiny_a" not in _names(registry.select_backbones(exclude=("tiny_a",), modality="image"))
    assert _names(registry.select_backbones(("tiny_*",), exclude=("*_a",), modality="image")) == ["tiny_b"]
    assert _names(registry.find_backbones("tiny_[abh]*", ("*_[ab]",), modality="image")) == ["tiny_hidden"]
    with pytest.raises(UnknownNameError, match=r"No backbone to leave out matches 'tiny_z'. Did you mean .*tiny_a"):
        registry.select_backbones(("tiny_*",), exclude=("tiny_z",), modality="image")


def test_rows_list_every_plugin_by_kind(registry: Registry) -> None:
    rows = {(row["kind"], row["name"]): row for row in registry.rows()}
    heads = rows["heads", "heads"]
    assert (heads["distribution"], heads["state"]) == ("autotransfer", "loaded")
    assert heads["version"]
    dense = ["knn", "linear", "logistic", "mlp", "ncm", "ridge", "stage_ridge"]
    assert heads["provides"] == [*dense, "tfidf_logistic", "tfidf_ridge"]
    assert rows["backbones", "tinies"]["provides"] == ["only_hidden", "tiny_a", "tiny_b", "tiny_hidden", "tiny_text"]
