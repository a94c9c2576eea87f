"""Encoders with a linear classifier in the heads of their families, which have activations and norms of their own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from autotransfer.contract.checkpoints import Checkpoint
from autotransfer.errors import ExportError
from autotransfer_plugins.backbones import hf_transformers
from autotransfer_plugins.backbones._encoder_heads import fill_head
from autotransfer_plugins.backbones._encoder_recipe import EncoderRecipe
from autotransfer_plugins.backbones._encoder_sound import SoundEncoder
from autotransfer_plugins.backbones._encoder_text import TextEncoder
from autotransfer_plugins.modalities.text.formats import TokenFormat

SMALL = {
    **{"vocab_size": 19, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24},
    **{"max_position_embeddings": 40, "pad_token_id": 0},
}
DISTIL = {"vocab_size": 19, "dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 24, "max_position_embeddings": 40}
SPECIAL = {"cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3}
# What stands between the two layers of the head.
TEXT: dict[str, dict[str, Any]] = {
    "tanh": {"model_type": "bert", **SMALL},
    "relu": {"model_type": "distilbert", **DISTIL, "pad_token_id": 0},
    "gelu": {"model_type": "electra", **SMALL, "embedding_size": 8},
    "tanh of one class": {"model_type": "roberta", **SMALL, "pad_token_id": 1},
    "layer norm": {"model_type": "modernbert", **SMALL, **SPECIAL},
    "an unused pooler": {"model_type": "big_bird", **SMALL, "attention_type": "original_full"},
}
WAVE = {
    **{"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24},
    **{"conv_dim": [8] * 7, "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2},
}
MASKED = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}


def text_encoder(config: dict[str, Any], how: TokenFormat, pooling: Any = "first") -> TextEncoder:
    torch.manual_seed(0)
    recipe = EncoderRecipe.of_config(config, pooling, "here")
    return TextEncoder(recipe.build(), recipe, how)


def sound_encoder(config: dict[str, Any]) -> SoundEncoder:
    torch.manual_seed(0)
    recipe = replace(EncoderRecipe.of_config(config, "mean", "here"), sound={"do_normalize": True})
    return SoundEncoder.of(recipe.build(), recipe)


def export(backbone: Any, folder: Path, classes: int = 5) -> tuple[Checkpoint, tuple[torch.Tensor, torch.Tensor]]:
    rng = torch.Generator().manual_seed(1)
    classifier = torch.randn(classes, backbone.width, generator=rng), torch.randn(classes, generator=rng)
    about = {"kind": "multiclass", "labels": [f"label {i}" for i in range(classes)]}
    made = hf_transformers.export_checkpoint(backbone, "transformers", classifier, about, folder / "out")
    assert made is not None
    return made, classifier


def assert_same(backbone: Any, folder: Path, inputs: Any, classes: int = 5) -> None:
    made, classifier = export(backbone, folder, classes)
    with torch.no_grad():
        expected = nn.functional.linear(backbone(inputs), *classifier)
        torch.testing.assert_close(made.run(inputs), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("between", TEXT)
def test_a_head_holds_a_linear_map_behind(between: str, token_format: TokenFormat, tmp_path: Path) -> None:
    assert_same(text_encoder(TEXT[between], token_format), tmp_path, token_format.probe(7, seed=3))


def test_more_classes_than_pairs_fit_into_a_tanh(token_format: TokenFormat, tmp_path: Path) -> None:
    assert_same(text_encoder(TEXT["tanh"], token_format), tmp_path, token_format.probe(7, seed=3), classes=30)


def test_a_family_that_can_average_tokens_does(token_format: TokenFormat, tmp_path: Path) -> None:
    encoder = text_encoder(TEXT["layer norm"], token_format, "mean")
    assert_same(encoder, tmp_path, token_format.probe(7, seed=3))


@pytest.mark.parametrize("kind", ["wav2vec2", "hubert", "wavlm"])
def test_sounds_are_averaged_behind_a_projection(kind: str, tmp_path: Path) -> None:
    encoder = sound_encoder({"model_type": kind, **WAVE, **MASKED})
    assert_same(encoder, tmp_path, encoder.preprocessing.probe(5, seed=3))


def test_short_sounds_are_refused_without_a_mask(tmp_path: Path) -> None:
    encoder = sound_encoder({"model_type": "wav2vec2", **WAVE})
    made, _ = export(encoder, tmp_path)
    with pytest.raises(ExportError, match="takes no mask, and some sounds are shorter than the 2 seconds"):
        made.run(encoder.preprocessing.probe(5))


def test_windows_of_another_length_are_refused(tmp_path: Path) -> None:
    config = {
        "model_type": "whisper",
        **{"d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 24},
        "max_source_positions": 100,
    }
    with pytest.raises(ExportError, match="'whisper' sees windows of 2 seconds here"):
        export(sound_encoder(config), tmp_path)


def test_a_class_that_looks_elsewhere_is_refused(token_format: TokenFormat, tmp_path: Path) -> None:
    # Its class for classification attends from the first token to all others, which its encoder alone does not.
    encoder = text_encoder({"model_type": "longformer", **SMALL, "attention_window": [4, 4]}, token_format)
    with pytest.raises(ExportError, match="LongformerForSequenceClassification has no place"):
        export(encoder, tmp_path)


def test_a_head_with_another_function_is_left() -> None:
    layers = [nn.Linear(4, 4), nn.Linear(4, 2)]
    features, classifier = torch.randn(3, 4), (torch.randn(2, 4), torch.zeros(2))
    expected = nn.functional.linear(features, *classifier)
    assert not fill_head(layers, classifier, expected, lambda: layers[1](layers[0](features).sigmoid().square()))
    assert fill_head(layers, classifier, expected, lambda: layers[1](torch.nn.functional.silu(layers[0](features))))


def test_tokens_of_the_folder_are_those_of_the_encoder(token_format: TokenFormat, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    export(text_encoder(TEXT["tanh"], token_format), tmp_path)
    text = "The film was very good and the plot was not boring ! " * 2
    found = AutoTokenizer.from_pretrained(tmp_path / "out")(text, truncation=True)["input_ids"]
    encoding = token_format.tokenizer.load().encode(text).ids
    assert len(encoding) > token_format.max_length
    assert found == [*encoding[: token_format.max_length - 1], encoding[-1]]


def test_an_encoder_is_no_model_of_timm(token_format: TokenFormat, tmp_path: Path) -> None:
    encoder, classifier = text_encoder(TEXT["tanh"], token_format), (torch.zeros(2, 32), torch.zeros(2))
    assert hf_transformers.export_checkpoint(encoder, "timm", classifier, {}, tmp_path / "out") is None
