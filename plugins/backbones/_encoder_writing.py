"""Recipes of new encoders, and writing of trained ones as folders that transformers and this package read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from autotransfer.contract.backbone import Backbone
from autotransfer.errors import BackboneError, ConfigError
from autotransfer.runtime.files import write_atomically
from autotransfer_plugins.backbones._encoder_folder import TOKENIZER
from autotransfer_plugins.backbones._encoder_recipe import EncoderRecipe
from autotransfer_plugins.backbones._encoder_sound import SoundEncoder
from autotransfer_plugins.backbones._encoder_text import TextEncoder
from autotransfer_plugins.backbones._zoo import CONFIG, WEIGHTS
from autotransfer_plugins.modalities.text.formats import MAX_LENGTH, MIN_LENGTH, TokenFormat, TokenizerFile

__all__ = ["ARCHITECTURES", "format_of", "outline", "write_folder"]

ARCHITECTURES: Mapping[str, tuple[int, int]] = {
    "bert_tiny": (2, 128),
    "bert_mini": (4, 256),
    "bert_small": (4, 512),
    "bert_medium": (8, 512),
}
"""Layers and width of the small BERTs of Turc et al., Well-Read Students Learn Better (2019)."""

_HEAD_WIDTH, _INNER_FACTOR = 64, 4
_USUAL_LENGTH = 128  # tokens
_POOLING_MODES = {"first": "cls_token", "mean": "mean_tokens", "max": "max_tokens"}


def outline(architecture: str, input_size: int | None, teacher: Backbone | None) -> dict[str, Any]:
    """Return the recipe of a small BERT with the tokenizer of a teacher; features are the mean over the tokens.

    Args:
        architecture: One of ``ARCHITECTURES``.
        input_size: Most tokens of a text; None takes the teacher's number, 128 at most.
        teacher: Backbone whose tokenizer it takes.

    Raises:
        ConfigError: There is no teacher for texts, or the length is out of range.
    """
    how = None if teacher is None else teacher.preprocessing
    if not isinstance(how, TokenFormat):
        raise ConfigError(f"{architecture} takes the tokenizer of its teacher: name a teacher for texts.")
    length = min(how.max_length, _USUAL_LENGTH) if input_size is None else input_size
    if not MIN_LENGTH <= length <= MAX_LENGTH:
        raise ConfigError(f"A text has {MIN_LENGTH} to {MAX_LENGTH} tokens; got {length}.")
    layers, width = ARCHITECTURES[architecture]
    config = {
        "model_type": "bert",
        "vocab_size": how.tokenizer.load().get_vocab_size(),
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": width // _HEAD_WIDTH,
        "intermediate_size": _INNER_FACTOR * width,
        "max_position_embeddings": length,
        "pad_token_id": how.tokenizer.pad_id,
    }
    tokenizer = {"data": how.tokenizer.data.decode(), "pad_id": how.tokenizer.pad_id, "max_length": length}
    return {**EncoderRecipe(config=config, pooling="mean").to_json(), "tokenizer": tokenizer}


def format_of(recipe: Mapping[str, Any]) -> TokenFormat | None:
    """Return the format in a recipe of ``outline``; None for the recipe of a saved model, which has it elsewhere.

    Raises:
        BackboneError: The recipe is damaged.
    """
    if (about := recipe.get("tokenizer")) is None:
        return None
    data, pad, length = (
        about.get(key) if isinstance(about, Mapping) else None for key in ("data", "pad_id", "max_length")
    )
    if not isinstance(data, str) or type(pad) is not int or type(length) is not int:
        raise BackboneError("The recipe of a new encoder has a tokenizer: its data, its pad_id and its max_length.")
    return TokenFormat(tokenizer=TokenizerFile.of(data.encode(), pad_id=pad), max_length=length)


def write_folder(
    backbone: TextEncoder | SoundEncoder,
    classifier: tuple[Tensor, Tensor] | None,
    about: Mapping[str, Any],
    folder: Path,
) -> None:
    """Write the files of transformers in 16 bit, and those of sentence-transformers, which say how tokens are pooled.

    Raises:
        BackboneError: A weight does not fit into 16 bit, or an encoder of text has no tokenizer.
    """
    recipe = EncoderRecipe.from_json(backbone.recipe)
    prefix = "encoder." if recipe.model_type == "whisper" else ""
    tensors = {f"{prefix}{name}": tensor for name, tensor in backbone.model.state_dict().items()}
    if classifier is not None:
        tensors |= dict(zip(("classifier.weight", "classifier.bias"), classifier, strict=True))
    stored = {name: _half(name, tensor) for name, tensor in tensors.items()}
    facts = {key: about[key] for key in ("description", "license", "source") if about.get(key)}
    names = about.get("label_names") or []
    facts |= {"id2label": {str(i): str(name) for i, name in enumerate(names)}} if names else {}
    config = {**recipe.config, "architectures": [type(backbone.model).__name__], "torch_dtype": "float16", **facts}
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / CONFIG, json.dumps(config, indent=2))
    if isinstance(backbone, TextEncoder):
        _write_text(recipe, backbone.preprocessing, folder)
    else:
        write_atomically(folder / "preprocessor_config.json", json.dumps(dict(recipe.sound or {}), indent=2))
    save_file(stored, folder / WEIGHTS, metadata={"format": "pt"})
    shutil.copymode(folder / CONFIG, folder / WEIGHTS)  # safetensors writes for the owner alone


def _write_text(recipe: EncoderRecipe, how: Any, folder: Path) -> None:
    """Write the tokenizer, the length of a text and the pooling."""
    if not isinstance(how, TokenFormat):
        raise BackboneError("An encoder of text is written with its tokenizer; this one has none.")
    kinds = ("Transformer", ""), ("Pooling", "1_Pooling")
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (kind, path) in enumerate(kinds)
    ]
    modes = {f"pooling_mode_{mode}": pooling == recipe.pooling for pooling, mode in _POOLING_MODES.items()}
    width = {"word_embedding_dimension": recipe.config.get("hidden_size") or recipe.config.get("dim")}
    (folder / TOKENIZER).write_bytes(how.tokenizer.data)
    (folder / "1_Pooling").mkdir(exist_ok=True)
    write_atomically(folder / "1_Pooling" / CONFIG, json.dumps({**width, **modes}, indent=2))
    write_atomically(folder / "modules.json", json.dumps(modules, indent=2))
    write_atomically(folder / "sentence_bert_config.json", json.dumps({"max_seq_length": how.max_length}))


def _half(name: str, tensor: Tensor) -> Tensor:
    found = tensor.detach().cpu().contiguous()
    if not found.is_floating_point():
        return found
    if not bool(torch.isfinite(half := found.half()).all()):
        raise BackboneError(f"The encoder cannot be written in 16 bit: {name!r} is too large.")
    return half
