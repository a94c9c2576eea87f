"""Backbones and examples of each kind for exports: small, real architectures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fixtures.exported import Part, make_model, task_of
from fixtures.sounds import RATE, tone
from fixtures.texts import WORDS, small_tokenizer
from PIL import Image

from autotransfer.contract.backbone import Backbone
from autotransfer.contract.registry import Registry
from autotransfer.model.transfer_model import TransferModel
from autotransfer_plugins.backbones._encoder_recipe import EncoderRecipe
from autotransfer_plugins.backbones._encoder_text import TextEncoder
from autotransfer_plugins.backbones._static_model import StaticEmbeddings
from autotransfer_plugins.modalities.audio.modality import AUDIO
from autotransfer_plugins.modalities.image.modality import IMAGE
from autotransfer_plugins.modalities.text.formats import TokenFormat
from autotransfer_plugins.modalities.text.modality import TEXT

READINGS: dict[str, dict[str, Any]] = {
    "image": {"side": 40, "value_ranges": {}, "background": "white", "channels": 3},
    "text": {"max_length": None},
    "audio": {"full_scale": 1.0, "sampling_rate": RATE},
}
BERT = {
    "model_type": "bert",
    **{"vocab_size": 19, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2},
    **{"intermediate_size": 24, "max_position_embeddings": 40, "pad_token_id": 0},
}


@pytest.fixture(scope="session")
def resnet(tiny_zoo: Path) -> Backbone:
    return Registry.load((tiny_zoo,)).backbone("test_resnet").load().eval()


@pytest.fixture(scope="session")
def vit(tiny_zoo: Path) -> Backbone:
    return Registry.load((tiny_zoo,)).backbone("test_vit").load().eval()


@pytest.fixture(scope="session")
def word_vectors() -> Backbone:
    how = TokenFormat(tokenizer=small_tokenizer(), max_length=16)
    torch.manual_seed(0)
    vectors = StaticEmbeddings(len(WORDS) + 4, 16, normalize=True, preprocessing=how)
    torch.nn.init.normal_(vectors.embeddings.weight)
    return vectors.eval()


@pytest.fixture(scope="session")
def bert() -> Backbone:
    how = TokenFormat(tokenizer=small_tokenizer(), max_length=24)
    torch.manual_seed(0)
    recipe = EncoderRecipe.of_config(BERT, "mean", "here")
    return TextEncoder(recipe.build(), recipe, how).eval()


@pytest.fixture(scope="session")
def mel_cnn() -> Backbone:
    return Registry.load().backbone("mini_mel_cnn.words@0.5s").load().eval()


@pytest.fixture(scope="session")
def pictures() -> list[np.ndarray]:
    """Twelve smooth colour pictures of many sizes."""
    random = np.random.default_rng(0)
    sizes = random.integers(20, 90, (12, 2)).tolist()
    seeds = random.integers(0, 256, (12, 5, 6, 3), dtype=np.uint8)
    bicubic = Image.Resampling.BICUBIC
    return [np.asarray(Image.fromarray(seed).resize(size, bicubic)) for seed, size in zip(seeds, sizes, strict=True)]


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """Twelve texts of 1 to 29 words, some of them longer than what backbones take."""
    random = np.random.default_rng(0)
    return [" ".join(random.choice(WORDS, random.integers(1, 30))) for _ in range(12)]


@pytest.fixture(scope="session")
def sounds() -> list[np.ndarray]:
    """Twelve tones in noise, of 0.2 to 0.75 seconds."""
    random = np.random.default_rng(0)
    tones = [tone(300.0 + 150 * i, 0.2 + 0.05 * i) for i in range(12)]
    return [wave + 0.02 * random.standard_normal(len(wave)).astype(np.float32) for wave in tones]


@pytest.fixture(scope="session")
def picture_model(resnet: Backbone) -> TransferModel:
    """The plainest model: a linear head on a frozen network."""
    return make_model(IMAGE, [Part(backbone=resnet)], reading=READINGS["image"])


@pytest.fixture(scope="session")
def models(
    resnet: Backbone, vit: Backbone, word_vectors: Backbone, bert: Backbone, mel_cnn: Backbone
) -> dict[str, TransferModel]:
    """Models of every kind of example, head and task."""
    maps: dict[str, Any] = {"head": "mlp", "params": {"pooling": "avgmax", "width": 16}}
    several = [
        *(Part(backbone=resnet, head="stage_ridge", views=2), Part(backbone=vit, head="linear", weight=2.0)),
        *(Part(backbone=resnet, head="knn"), Part(backbone=resnet, **maps)),
    ]
    words = [Part(backbone=bert, head="stage_ridge"), Part(backbone=word_vectors, head="knn"), Part(backbone=bert)]
    images, kept = READINGS["image"], READINGS
    return {
        "image ensemble": make_model(IMAGE, several, reading=images, temperature=1.7),
        "image multilabel": make_model(
            IMAGE, [Part(backbone=vit, views=3)], reading=images, task=task_of("multilabel"), temperature=0.7
        ),
        "image regression": make_model(IMAGE, [Part(backbone=vit, **maps)], reading=images, task=task_of("regression")),
        "text ensemble": make_model(TEXT, words, reading=kept["text"], temperature=0.8),
        "sound views": make_model(AUDIO, [Part(backbone=mel_cnn, **maps, views=3)], reading=kept["audio"]),
    }


@pytest.fixture(scope="session")
def examples_of(pictures: list[Any], texts: list[Any], sounds: list[Any]) -> dict[str, list[Any]]:
    """Examples by the name of their modality."""
    return {"image": pictures, "text": texts, "audio": sounds}
