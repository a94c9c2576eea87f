"""Encoders that are written are folders of transformers, and small ones are built with a teacher's tokenizer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from autotransfer.contract.backbone import Backbone
from autotransfer.errors import BackboneError, ConfigError
from autotransfer_plugins.backbones import hf_transformers
from autotransfer_plugins.backbones._encoder_folder import load_folder
from autotransfer_plugins.backbones._encoder_recipe import EncoderRecipe
from autotransfer_plugins.backbones._encoder_sound import SoundEncoder
from autotransfer_plugins.backbones._encoder_text import TextEncoder
from autotransfer_plugins.modalities.text.formats import TokenFormat

ABOUT = {"description": "made here", "license": "MIT", "label_names": ["no", "yes"], "source": {"data": "words"}}
BERT = {
    "model_type": "bert",
    **{"vocab_size": 19, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2},
    **{"intermediate_size": 24, "max_position_embeddings": 40, "pad_token_id": 0},
}
SOUND: dict[str, dict[str, Any]] = {
    "whisper": {
        "model_type": "whisper",
        **{"d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 24},
        "max_source_positions": 100,
    },
    "wav2vec2": {
        "model_type": "wav2vec2",
        **{"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24},
        **{"conv_dim": [8] * 7, "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2},
    },
    "ast": {
        "model_type": "audio-spectrogram-transformer",
        **{"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24},
        "max_length": 256,
    },
}


@pytest.fixture
def text_encoder(token_format: TokenFormat) -> TextEncoder:
    torch.manual_seed(0)
    recipe = EncoderRecipe.of_config(BERT, "max", "here")
    return TextEncoder(recipe.build(), recipe, token_format)


def write(backbone: Backbone, folder: Path) -> Backbone:
    classifier = (torch.ones(2, backbone.width), torch.zeros(2))
    assert hf_transformers.write_backbone(backbone, classifier, ABOUT, folder)
    return load_folder(folder)


def assert_same_features(first: Backbone, second: Backbone) -> None:
    batch = first.preprocessing.probe(3)
    with torch.inference_mode():
        torch.testing.assert_close(first(batch), second(batch), rtol=1e-2, atol=1e-2)  # written in 16 bit


def test_text_encoder_comes_back_with_pooling_and_length(text_encoder: TextEncoder, tmp_path: Path) -> None:
    found = write(text_encoder, tmp_path)
    assert found.recipe["pooling"] == "max"
    assert found.preprocessing == text_encoder.preprocessing
    assert_same_features(found, text_encoder)
    spec = hf_transformers.folder_spec(tmp_path, "mine")
    assert (spec.license, spec.source) == ("MIT", "made here")
    assert load_file(tmp_path / "model.safetensors")["classifier.weight"].shape == (2, 16)


@pytest.mark.slow
def test_transformers_reads_what_is_written(text_encoder: TextEncoder, tmp_path: Path) -> None:
    from transformers import AutoModel

    write(text_encoder, tmp_path)
    batch = text_encoder.preprocessing.probe(2)
    with torch.inference_mode():
        model = AutoModel.from_pretrained(tmp_path).float().eval()
        found = model(input_ids=batch["tokens"], attention_mask=batch["mask"].long()).last_hidden_state
        torch.testing.assert_close(found, text_encoder.forward_map(batch), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("name", SOUND)
def test_sound_encoder_comes_back(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    recipe = replace(EncoderRecipe.of_config(SOUND[name], "mean", "here"), sound={"do_normalize": True})
    backbone = SoundEncoder.of(recipe.build(), recipe)
    assert_same_features(backbone, write(backbone, tmp_path))


def test_text_encoder_without_a_tokenizer_is_not_written(text_encoder: TextEncoder, tmp_path: Path) -> None:
    text_encoder.preprocessing = None  # type: ignore[assignment]
    with pytest.raises(BackboneError, match="written with its tokenizer"):
        hf_transformers.write_backbone(text_encoder, None, ABOUT, tmp_path)


def test_small_bert_takes_the_tokenizer_of_its_teacher(text_encoder: TextEncoder, token_format: TokenFormat) -> None:
    recipe = hf_transformers.outline_backbone("bert_tiny", 12, text_encoder)
    assert recipe is not None
    student = hf_transformers.rebuild_backbone(recipe)
    assert isinstance(student, TextEncoder)
    assert (student.width, student.stages[-1]) == (128, "encoder.layer.1")
    assert student.preprocessing == replace(token_format, max_length=12)
    assert hf_transformers.outline_backbone("resnet18", None, None) is None
    with pytest.raises(ConfigError, match="name a teacher for texts"):
        hf_transformers.outline_backbone("bert_tiny", None, None)
