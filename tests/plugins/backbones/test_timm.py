"""Backbones from timm: stages, features, recipes, names, zoos of any quality, and the hub cache."""

from __future__ import annotations

import json
import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from autotransfer.contract.registry import Registry
from autotransfer.contract.specs import BackboneSpec
from autotransfer.errors import (
    BackboneError,
    ConfigError,
    DataNotFoundError,
    ModelFormatError,
    WeightsUnavailableError,
)
from autotransfer.testing import check_backbone
from autotransfer_plugins.backbones import _hosts
from autotransfer_plugins.backbones._recipe import Recipe
from autotransfer_plugins.backbones.timm import (
    TimmBackbone,
    rebuild_backbone,
    register_backbones,
    resolve_backbone,
)
from autotransfer_plugins.modalities.image.formats import at_side

# One of each kind that timm treats differently, and the shape of its feature map for one image.
FAMILIES = {
    "test_resnet": (96, 5, 5),
    "test_convnext": (64, 5, 5),  # norm after pooling
    "test_efficientnet": (256, 5, 5),
    "test_nfnet": (192, 5, 5),
    "test_byobnet": (256, 5, 5),
    "test_coatnet": (128, 5, 5),
    "test_mambaout": (64, 5, 5),  # channels last
    "test_vit": (64, 10, 10),  # class token
    "test_vit_relpos": (96, 10, 10),
    "mobilenetv3_small_050": (288, 7, 7),  # conv_head after pooling
    "efficientvit_b0": (128, 7, 7),  # wide head after the map
    "deit_tiny_distilled_patch16_224": (192, 14, 14),  # two classifiers
    "levit_128s": (384, 4, 4),  # tokens without a prefix
    "efficientvim_m1": (960, 1, 1),  # several feature maps, an unused parameter
    "pit_ti_224": (256, 1, 1),  # no group matcher
    "resnet10t": (512, 6, 6),
}


def build(architecture: str, **settings: Any) -> TimmBackbone:
    """Build a backbone with random weights, always the same."""
    torch.manual_seed(0)
    recipe = Recipe.from_json({"architecture": architecture, **settings}, "test")
    if "pretrained_cfg" not in settings:
        config = timm.get_pretrained_cfg(architecture)
        recipe = Recipe.from_json({"architecture": architecture, "pretrained_cfg": vars(config)}, "test")
    return TimmBackbone(recipe.build(), recipe)


@cache
def family(architecture: str) -> TimmBackbone:
    """Return a backbone for tests that leave its weights alone."""
    return build(architecture)


def registered(*zoos: Path) -> dict[str, BackboneSpec]:
    specs: dict[str, BackboneSpec] = {}
    register_backbones(lambda spec: specs.__setitem__(spec.name, spec), zoos)
    return specs


@pytest.fixture
def make_checkpoint(tmp_path: Path) -> Callable[..., Path]:
    """Write a real, tiny checkpoint as timm does: ``zoo/NAME/config.json`` + ``zoo/NAME/model.safetensors``."""

    def make(name: str = "tiny", zoo: str = "zoo", architecture: str = "test_resnet", **settings: Any) -> Path:
        folder = tmp_path / zoo / name
        folder.parent.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(1)
        timm.models.save_for_hf(timm.create_model(architecture, **settings), folder, safe_serialization=True)
        return folder

    return make


def edit_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")


def first_calls(backbone: TimmBackbone) -> list[int]:
    """Return the stages in the order in which a forward pass first enters one of their modules."""
    order: list[int] = []
    hooks = []
    for name, module in backbone.named_modules():
        for own, _ in module.named_parameters(recurse=False):
            stage = backbone.stage_of(f"{name}.{own}")
            hooks.append(module.register_forward_pre_hook(lambda *_, stage=stage: order.append(stage)))
    with torch.inference_mode():
        backbone(torch.zeros(1, 3, *backbone.preprocessing.size))
    for hook in hooks:
        hook.remove()
    return list(dict.fromkeys(order))


class TestFamilies:
    """One model of each kind, with random weights."""

    @pytest.mark.slow
    @pytest.mark.parametrize("architecture", FAMILIES)
    def test_keeps_the_contract(self, architecture: str) -> None:
        # shapes, stages, copies, and a rebuilt model that gives the same features
        backbone = family(architecture)
        check_backbone(backbone, rebuild_backbone)
        features = backbone.forward_map(torch.zeros(2, 3, *backbone.preprocessing.size))
        assert backbone.as_map(features).shape == (2, *FAMILIES[architecture])

    @pytest.mark.parametrize("architecture", sorted(FAMILIES.keys() - {"efficientvim_m1"}))  # a last norm in each stage
    def test_stages_run_in_order(self, architecture: str) -> None:
        backbone = family(architecture)
        assert len(backbone.stages) > 1
        assert first_calls(backbone) == sorted(first_calls(backbone))

    @pytest.mark.parametrize("architecture", FAMILIES)
    def test_every_stage_changes_the_map_and_no_classifier_is_left(self, architecture: str) -> None:
        # a stage that only pooling uses could be cut off without any effect on a head that takes maps
        backbone = family(architecture)
        features = backbone.forward_map(torch.rand(1, 3, *backbone.preprocessing.size))
        named = {name: p for name, p in backbone.named_parameters() if p.requires_grad}
        gradients = torch.autograd.grad(features.sum(), named.values(), allow_unused=True)
        used = {backbone.stage_of(name) for name, grad in zip(named, gradients, strict=True) if grad is not None}
        assert used == set(range(len(backbone.stages)))
        with torch.device("meta"):
            full = timm.create_model(architecture, num_classes=7)
        assert sum(p.numel() for p in backbone.parameters()) < sum(p.numel() for p in full.parameters())
        assert 7 not in {len(value) for value in backbone.state_dict().values() if value.ndim}

    @pytest.mark.parametrize("architecture", ["test_resnet", "test_vit", "deit_tiny_distilled_patch16_224"])
    def test_pools_as_timm_does(self, architecture: str) -> None:
        # the features are those that the pretrained classifier saw
        torch.manual_seed(0)
        model = timm.create_model(architecture).eval()
        backbone = build(architecture)
        backbone.model.load_state_dict(model.state_dict(), strict=False)
        images = torch.rand(2, 3, *backbone.preprocessing.size)
        expected = model.forward_head(model.forward_features(images), pre_logits=True)
        torch.testing.assert_close(backbone(images), expected)

    def test_buffers_lie_beside_their_parameters(self) -> None:
        # batch-norm statistics must freeze with the weights of their layer
        backbone = build("test_resnet")
        for name, _ in backbone.named_buffers():
            assert backbone.stage_of(name) == backbone.stage_of(name.rpartition(".")[0] + ".weight")

    @pytest.mark.slow
    def test_new_weights_count_at_once(self) -> None:
        # LeViT keeps attention biases in eval mode, also beyond the weights that they came from
        images = torch.rand(1, 3, 224, 224)
        one, other = build("levit_128s"), build("levit_128s")
        for name, parameter in other.named_parameters():
            if name.endswith("attention_biases"):
                torch.nn.init.normal_(parameter)
        one(images)
        one.load_state_dict(other.state_dict())
        torch.testing.assert_close(one(images), other(images))
        assert not torch.equal(one(images), build("levit_128s")(images))

    def test_names_stages_readably(self) -> None:
        assert build("test_resnet").stages == ("stem", "layer1", "layer2", "layer3", "layer4")
        assert build("test_vit").stages[:3] == ("stem", "blocks.0", "blocks.1")
        assert build("pit_ti_224").stages[:2] == ("stem", "transformers.0")
        assert build("densenet121").stages[1:3] == ("features.denseblock1", "features.denseblock2")

    def test_pool_only_parameters_join_the_last_stage(self) -> None:
        backbone = build("mobilenetv3_small_050")
        assert backbone.stage_of("model.conv_head.weight") == len(backbone.stages) - 1

    def test_refuses_an_unknown_parameter(self) -> None:
        with pytest.raises(BackboneError, match=r"no parameter or buffer 'fc\.weight'"):
            build("test_resnet").stage_of("fc.weight")

    def test_tokens_that_are_no_square_lie_in_a_column(self) -> None:
        assert build("test_vit").as_map(torch.zeros(2, 1 + 6, 64)).shape == (2, 64, 6, 1)


class TestPreprocessing:
    """Images are wanted as the model's own configuration says."""

    def test_takes_the_models_own(self) -> None:
        how = build("test_vit").preprocessing
        config = timm.data.resolve_model_data_config(timm.create_model("test_vit"))
        assert (how.size, how.mean, how.std) == (config["input_size"][1:], config["mean"], config["std"])
        assert (how.interpolation, how.crop_fraction) == (config["interpolation"], config["crop_pct"])

    @pytest.mark.parametrize(
        ("given", "expected"),
        [("", "bicubic"), ("random", "bicubic"), ("lanczos", "bicubic"), ("bilinear", "bilinear")],
    )
    def test_unknown_interpolation_becomes_bicubic(self, given: str, expected: str) -> None:
        recipe = Recipe.from_json({"architecture": "test_vit", "pretrained_cfg": {"interpolation": given}}, "test")
        assert recipe.preprocessing.interpolation == expected

    def test_border_crops_become_letterboxes_and_never_enlarge(self) -> None:
        config = {"crop_mode": "border", "crop_pct": 1.15}
        how = Recipe.from_json({"architecture": "test_vit", "pretrained_cfg": config}, "test").preprocessing
        assert (how.crop_mode, how.crop_fraction) == ("letterbox", 1.0)

    def test_img_size_of_the_model_args_wins(self) -> None:
        backbone = build(
            "test_vit",
            model_args={"img_size": 96},
            pretrained_cfg={"input_size": [3, 160, 160], "fixed_input_size": True},
        )
        assert backbone.preprocessing.size == (96, 96)
        assert backbone(torch.zeros(1, 3, 96, 96)).shape == (1, 64)


class TestRecipes:
    """Saved models are rebuilt from JSON, which a stranger may have written."""

    def test_rebuilds_in_inference_mode_a_model_that_trains(self) -> None:
        with torch.inference_mode():
            backbone = rebuild_backbone(build("test_resnet").recipe)
        assert backbone is not None
        backbone(torch.rand(1, 3, 160, 160)).sum().backward()

    def test_leaves_recipes_of_others_alone(self) -> None:
        assert rebuild_backbone({"plugin": "other", "architecture": "test_resnet"}) is None

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"architecture": "resnet_50"}, "Did you mean .*resnet50"),
            ({"architecture": "../../evil"}, "architecture"),
            ({"architecture": ["test_resnet"]}, "must be text"),
            ({"model_args": {"checkpoint_path": "/tmp/x.pth"}}, "may not set"),
            ({"model_args": {"pretrained": True}}, "may not set"),
            ({"model_args": {"embed_dim": 10**9}}, "may not set"),
            ({"model_args": {"img_size": 10**9}}, "plain, small"),
            ({"model_args": {"act_layer": {"x": 1}}}, "plain, small"),
            ({"model_args": {"in_chans": 33}}, "1 to 32 channels"),
            ({"model_args": {"in_chans": "3"}}, "channels"),
            ({"model_args": {"pad_type": 3}}, "cannot build|cannot be used"),
            ({"model_args": []}, "must be an object"),
            ({"pretrained_cfg": []}, "must be an object"),
            ({"pretrained_cfg": {"input_size": [100, 160, 160]}}, "channels"),
            ({"pretrained_cfg": {"mean": [0.5, 0.5]}}, "three numbers"),
            ({"pretrained_cfg": {"input_size": [3, 160]}}, "three numbers"),
            ({"pretrained_cfg": {"input_size": [3, 10**6, 10**6]}}, "three numbers"),
            ({"pretrained_cfg": {"mean": ["a", "b", "c"]}}, "three numbers"),
            ({"pretrained_cfg": {"std": [0, 0, 0]}}, "three numbers"),
            ({"pretrained_cfg": {"std": [float("nan")] * 3}}, "three numbers"),
            ({"pretrained_cfg": {"crop_pct": -1}}, "crop_pct"),
            ({"pretrained_cfg": {"num_classes": -1}}, "num_classes"),
            ({"pretrained_cfg": {"file": "../../secret.bin"}}, "other weights"),
            ({"architecture": "vit_7b_patch16_dinov3"}, "billion"),
        ],
    )
    def test_refuses_a_hostile_recipe(self, changes: dict[str, Any], reason: str) -> None:
        recipe = {"plugin": "timm", "architecture": "test_resnet", "model_args": {}, "pretrained_cfg": {}, **changes}
        with pytest.raises(ModelFormatError, match=reason):
            rebuild_backbone(recipe)

    def test_refuses_a_model_that_cannot_take_its_own_size(self) -> None:
        with pytest.raises(BackboneError, match="cannot be used as a backbone"):
            build("test_vit", pretrained_cfg={"input_size": [3, 100, 100]})


class TestNames:
    """What users may call a backbone."""

    @pytest.mark.slow
    def test_registers_every_pretrained_name_and_a_portfolio_by_default_and_builds_none(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def build(*arguments: Any, **settings: Any) -> None:
            raise AssertionError("1,800 models would take minutes")

        with monkeypatch.context() as patch:
            patch.setattr(timm, "create_model", build)
            specs = registered()
        assert set(specs) == set(timm.list_models(pretrained=True))
        default = [spec for spec in specs.values() if spec.default]
        assert 6 <= len(default) <= 8
        for spec in default:
            assert spec.accuracy is not None
            assert spec.gmacs is not None
            assert spec.preprocessing is not None
            assert spec.license == "apache-2.0"
            model = timm.create_model(spec.name, num_classes=0, device="meta")
            assert spec.parameters == sum(parameter.numel() for parameter in model.parameters())

    def test_resolves_a_bare_architecture_to_its_default_tag(self) -> None:
        spec = resolve_backbone("test_resnet")
        assert spec is not None
        assert spec.name == "test_resnet.r160_in1k"
        assert spec.source == "ImageNet-1k"

    @pytest.mark.parametrize("name", ["nonesuch", "resnet18.nonesuch", "", "hf-hub:", "resnet18/evil", "test_mambaout"])
    def test_leaves_unknown_names_to_others(self, name: str) -> None:
        assert resolve_backbone(name) is None

    def test_resolves_folders_by_path(self, make_checkpoint: Callable[..., Path]) -> None:
        folder = make_checkpoint()
        for name in (str(folder), f"local-dir:{folder}"):
            spec = resolve_backbone(name)
            assert spec is not None
            assert spec.name == f"local-dir:{folder}"
            assert spec.load().width == 96

    def test_a_missing_folder_is_named(self, tmp_path: Path) -> None:
        spec = resolve_backbone(f"local-dir:{tmp_path / 'nope'}")
        assert spec is not None
        assert spec.check is not None
        with pytest.raises(BackboneError, match="nope"):
            spec.check()


class TestZoos:
    """Folders of checkpoints, good and bad."""

    @pytest.mark.slow
    def test_loads_what_timm_saved(self, make_checkpoint: Callable[..., Path]) -> None:
        # the features are the same as those of the model that was saved, whatever its classifier
        folder = make_checkpoint(architecture="test_vit", num_classes=11)
        specs = registered(folder.parent)
        spec = specs["tiny"]
        assert [s.name for s in specs.values() if s.default] == ["tiny"]
        check_backbone(spec, rebuild_backbone)
        original = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
        images = torch.rand(2, 3, 160, 160)
        expected = original.forward_head(original.forward_features(images), pre_logits=True)
        backbone = spec.load()
        torch.testing.assert_close(backbone(images), expected)
        assert spec.parameters == sum(p.numel() for p in backbone.parameters())
        assert spec.preprocessing == backbone.preprocessing

    @pytest.mark.slow
    def test_a_convolutional_checkpoint_takes_other_sizes(self, make_checkpoint: Callable[..., Path]) -> None:
        folder = make_checkpoint()
        make_checkpoint("vit", architecture="test_vit")
        specs = registered(folder.parent)
        small = at_side(specs["tiny"], 96)
        assert small is not None
        check_backbone(small, rebuild_backbone)
        backbone, images = small.load(), torch.rand(2, 3, 96, 96)
        assert backbone.preprocessing == replace(specs["tiny"].load().preprocessing, size=(96, 96))
        torch.testing.assert_close(backbone(images), specs["tiny"].load()(images))
        assert at_side(specs["vit"], 96) is None, "its positions are learned for one size"

    def test_a_folder_that_is_named_by_its_path_takes_other_sizes(self, make_checkpoint: Callable[..., Path]) -> None:
        folder, registry = make_checkpoint(), Registry.load()
        for name in (f"local-dir:{folder}", str(folder)):
            found = registry.backbone(f"{name}@96px")
            assert found.name == f"local-dir:{folder}@96px"
            assert found.load().preprocessing.size == (96, 96)
            assert registry.backbone(found.name).input_size == (96, 96), "as the search names it"

    def test_a_size_is_fixed_where_timm_or_the_checkpoint_says_so(self, make_checkpoint: Callable[..., Path]) -> None:
        folder = make_checkpoint("vit", architecture="test_vit")
        config = json.loads((folder / "config.json").read_text())
        del config["pretrained_cfg"]["fixed_input_size"]  # as converters leave it out
        edit_config(folder, **config)
        fixed = make_checkpoint("fixed")
        known = json.loads((fixed / "config.json").read_text())
        edit_config(fixed, pretrained_cfg={**known["pretrained_cfg"], "fixed_input_size": True})
        specs = registered(folder.parent)
        assert at_side(specs["vit"], 96) is at_side(specs["fixed"], 96) is None

    def test_loads_what_converters_leave_out_and_add(self, make_checkpoint: Callable[..., Path]) -> None:
        folder = make_checkpoint()

        def change(weights: dict[str, torch.Tensor]) -> None:
            weights["fc.weight"] = torch.zeros(1001, 96)  # a background class
            del weights["bn1.num_batches_tracked"]
            for name, value in weights.items():
                weights[name] = value.half() if value.is_floating_point() else value

        edit_weights(folder, change)
        spec = registered(folder.parent)["tiny"]
        assert {p.dtype for p in spec.load().parameters()} == {torch.float32}

    @pytest.mark.slow
    def test_loads_names_of_an_older_timm(self, make_checkpoint: Callable[..., Path]) -> None:
        # ConvNeXt as its authors published it; timm's own filter knows these names
        folder = make_checkpoint(architecture="test_convnext")
        expected = registered(folder.parent)["tiny"].load().state_dict()

        def change(weights: dict[str, torch.Tensor]) -> None:
            weights["norm.weight"] = weights.pop("head.norm.weight")
            weights["norm.bias"] = weights.pop("head.norm.bias")
            weights["head.weight"] = weights.pop("head.fc.weight")
            weights["head.bias"] = weights.pop("head.fc.bias")
            for name in [name for name in weights if name.startswith("stem.")]:
                weights[name.replace("stem.", "downsample_layers.0.")] = weights.pop(name)
            for name in [name for name in weights if ".blocks." in name]:
                old = name.replace(".blocks.", ".").replace("conv_dw", "dwconv")
                weights[old.replace("mlp.fc", "pwconv")] = weights.pop(name)
            for name in [name for name in weights if ".downsample." in name]:
                _, stage, _, part, kind = name.split(".")
                weights[f"downsample_layers.{stage}.{part}.{kind}"] = weights.pop(name)

        edit_weights(folder, change)
        found = registered(folder.parent)["tiny"].load().state_dict()
        assert all(torch.equal(found[name], value) for name, value in expected.items())

    def test_a_zoo_shadows_a_hub_name(self, make_checkpoint: Callable[..., Path]) -> None:
        folder = make_checkpoint(name="resnet18.a1_in1k")
        assert str(folder) in registered(folder.parent)["resnet18.a1_in1k"].weights

    @pytest.mark.parametrize("key", ["model_type", "class"])
    def test_checkpoints_of_other_libraries_are_left_to_them(
        self, key: str, make_checkpoint: Callable[..., Path]
    ) -> None:
        make_checkpoint("ours")
        theirs = make_checkpoint("theirs")
        (theirs / "config.json").write_text(json.dumps({key: "bert"}))
        names = registered(theirs.parent)
        assert "ours" in names
        assert "theirs" not in names
        assert resolve_backbone(f"local-dir:{theirs}") is None

    def test_the_same_zoo_twice_is_one(self, make_checkpoint: Callable[..., Path]) -> None:
        folder = make_checkpoint()
        assert "tiny" in registered(folder.parent, folder.parent / ".." / "zoo")

    def test_refuses_one_name_in_two_zoos(self, make_checkpoint: Callable[..., Path]) -> None:
        one, two = make_checkpoint(zoo="a"), make_checkpoint(zoo="b")
        with pytest.raises(ConfigError) as caught:
            registered(one.parent, two.parent)
        assert str(one) in str(caught.value)
        assert str(two) in str(caught.value)

    def test_a_name_that_could_steer_a_terminal_is_escaped(self, make_checkpoint: Callable[..., Path]) -> None:
        folder = make_checkpoint(name="net\x1b[2J\u202e\n")
        spec = registered(folder.parent)["net\\x1b[2J\\x202e\\x0a"]
        assert spec.load().width == 96

    def test_refuses_a_zoo_that_is_none(self, tmp_path: Path, make_checkpoint: Callable[..., Path]) -> None:
        with pytest.raises(DataNotFoundError, match="nope"):
            registered(tmp_path / "nope")
        (tmp_path / "empty").mkdir()
        with pytest.raises(ConfigError, match="holds no checkpoint"):
            registered(tmp_path / "empty")
        folder = make_checkpoint()
        with pytest.raises(ConfigError, match=f"give {folder.parent}"):
            registered(folder)

    @pytest.mark.parametrize(
        ("spoil", "reason"),
        [
            (lambda f: (f / "config.json").write_text("{"), "not JSON"),
            (lambda f: (f / "config.json").write_text("[" * 100_000), "not JSON"),
            (lambda f: (f / "config.json").write_bytes(b"\xff\xfe\x00"), "not JSON"),
            (lambda f: (f / "config.json").write_text("[1]"), "must hold an object"),
            (lambda f: os.truncate(f / "config.json", 2**40), "larger than 16 MB"),  # takes no room on the disk
            (lambda f: (f / "config.json").write_text("{}"), "architecture"),
            (lambda f: (f / "config.json").unlink(), r"holds no config\.json"),
            (lambda f: edit_config(f, architecture="test_resnett"), "Did you mean .*test_resnet"),
            (lambda f: edit_config(f, architecture="test_vit"), "does not suit"),
            (lambda f: edit_config(f, model_args={"checkpoint_path": "x"}), "may not set"),
            (lambda f: edit_config(f, pretrained_cfg={"classifier": 5, "license": [1], "std": 1}), "three numbers"),
            (lambda f: edit_config(f, pretrained_cfg={"file": "../../other.safetensors"}), "other weights"),
            (lambda f: edit_weights(f, lambda w: w.update({"conv1.0.weight": torch.zeros(1)})), r"conv1\.0\.weight"),
            (lambda f: edit_weights(f, lambda w: w.pop("conv1.0.weight")), r"missing \['conv1\.0\.weight'\]"),
            (
                lambda f: edit_weights(f, lambda w: w.update({"extra": torch.zeros(1)})),
                r"not of this model \['extra'\]",
            ),
            (lambda f: edit_weights(f, lambda w: w["bn1.weight"].fill_(torch.nan)), r"bn1\.weight.*not finite"),
            (lambda f: edit_weights(f, lambda w: w.update({"bn1.weight": w["bn1.weight"].int()})), r"bn1\.weight"),
            (lambda f: os.truncate(f / "model.safetensors", 1000), "no valid safetensors"),
            (lambda f: (f / "model.safetensors").write_bytes(b""), "no valid safetensors"),
            (lambda f: (f / "model.safetensors").write_bytes(b"\xff" * 64), "no valid safetensors"),
            (lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"), r"pytorch_model\.bin.*run code"),
            (lambda f: (f / "model.safetensors").unlink(), r"holds no model\.safetensors"),
        ],
    )
    def test_a_broken_checkpoint_is_listed_and_its_check_tells(
        self, make_checkpoint: Callable[..., Path], spoil: Callable[[Path], Any], reason: str
    ) -> None:
        folder = make_checkpoint()
        spoil(folder)
        spec = registered(folder.parent)["tiny"]
        assert spec.check is not None
        for attempt in (spec.check, spec.load):
            with pytest.raises(BackboneError, match=reason) as caught:
                attempt()
            assert str(folder) in str(caught.value)

    def test_a_broken_checkpoint_leaves_its_neighbours_alone(self, make_checkpoint: Callable[..., Path]) -> None:
        (make_checkpoint() / "config.json").write_text("{")
        good = make_checkpoint(name="good")
        assert registered(good.parent)["good"].load().width == 96

    @pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
    def test_a_pickle_is_never_opened(self, make_checkpoint: Callable[..., Path], tmp_path: Path, name: str) -> None:
        folder = make_checkpoint()
        (folder / "model.safetensors").unlink()
        (folder / name).write_bytes(pickle.dumps(_Trap(tmp_path / "ran")))
        with pytest.raises(BackboneError):
            registered(folder.parent)["tiny"].load()
        assert not (tmp_path / "ran").exists()


class _Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


class TestHub:
    """Weights that are not in a folder of the user's."""

    @pytest.mark.slow
    def test_loads_from_a_filled_cache_without_a_network(self, tmp_path: Path) -> None:
        # the whole way through timm's and the hub's code, as on a cluster node; their constants are read at import
        for name, weights in (
            ("timm--test_resnet.r160_in1k", timm.create_model("test_resnet")),
            ("someone--mine", timm.create_model("test_vit", num_classes=3)),
            ("timm--test_vit.r160_in1k", timm.create_model("test_vit", num_classes=3)),
        ):
            repository = tmp_path / "hub" / f"models--{name}"
            (repository / "refs").mkdir(parents=True)
            (repository / "refs" / "main").write_text("abc")
            (repository / "snapshots").mkdir()
            timm.models.save_for_hf(weights, repository / "snapshots" / "abc", safe_serialization=True)
        script = """
import sys
from autotransfer.errors import BackboneError, WeightsUnavailableError
from autotransfer.testing import check_backbone
from autotransfer_plugins.backbones.timm import rebuild_backbone, resolve_backbone
from autotransfer_plugins.modalities.image.formats import at_side
for name, width in (("test_resnet", 96), ("hf-hub:someone/mine", 64)):
    spec = resolve_backbone(name)
    check_backbone(spec, rebuild_backbone)
    assert spec.load().width == width
small = at_side(resolve_backbone("test_resnet"), 96)
check_backbone(small, rebuild_backbone)
assert small.load().preprocessing.size == (96, 96)
assert at_side(resolve_backbone("test_vit"), 96) is None
try:
    resolve_backbone("test_vit").load()
except BackboneError as error:
    assert "size mismatch" in str(error), error
else:
    sys.exit("weights of another shape were loaded")
for name in ("resnet18", "hf-hub:someone/else", "gcvit_base"):
    for attempt in (resolve_backbone(name).check, resolve_backbone(name).load):
        try:
            attempt()
        except WeightsUnavailableError as error:
            assert all(way in str(error) for way in ("--zoo", "AUTOTRANSFER_ZOO", "HF_HOME", "HF_HUB_OFFLINE")), error
        else:
            sys.exit(f"{name} must not be available")
"""
        environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "TORCH_HOME": str(tmp_path)}
        environment.pop("HF_HUB_CACHE", None)
        done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def test_asks_a_host_once(self) -> None:
        # 1,800 names must not wait for a dead network one by one
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            assert _hosts._is_reachable("127.0.0.1", port)
        assert _hosts._is_reachable("127.0.0.1", port)
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            assert not _hosts._is_reachable("127.0.0.1", closed.getsockname()[1])

    def test_goes_through_a_proxy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
        assert _hosts._endpoint("https://huggingface.co") == ("proxy.example", 3128)
        monkeypatch.setenv("no_proxy", "huggingface.co")
        assert _hosts._endpoint("https://huggingface.co") == ("huggingface.co", 443)

    def test_a_bad_repository_name_is_refused(self) -> None:
        spec = resolve_backbone("hf-hub:not a name///")
        assert spec is not None
        assert spec.check is not None
        with pytest.raises(BackboneError, match="not a name") as caught:
            spec.check()
        assert not isinstance(caught.value, WeightsUnavailableError)


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "width"),
    [
        ("mobilenetv1_100_224", 1024),
        ("mobilenetv2_100_224", 1280),
        ("mobilenetv2_100_inat_bird", 1280),
        ("mobilenetv2_100_inat_insect", 1280),
    ],
)
def test_real_checkpoints_load(shared: Path, name: str, width: int) -> None:
    spec = registered(shared / "zoo" / "timm")[name]
    check_backbone(spec, rebuild_backbone)
    assert spec.load().width == width
    assert spec.source.startswith(("ImageNet-1k", "iNaturalist"))
    assert spec.license.startswith("Apache-2.0")
