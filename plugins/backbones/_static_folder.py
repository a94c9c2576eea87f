"""Folders of static embeddings: ``config.json``, ``tokenizer.json`` and one matrix in ``model.safetensors``.

Those of model2vec, of wordllama and of this package are read. Authors are unknown, so each value is checked.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from autotransfer.errors import BackboneError
from autotransfer.runtime.files import write_atomically
from autotransfer_plugins.backbones._static_model import StaticEmbeddings, no_words
from autotransfer_plugins.backbones._static_specs import TOKENIZER, max_length_in
from autotransfer_plugins.backbones._zoo import CONFIG, WEIGHTS, read_config, weights_file
from autotransfer_plugins.modalities.text.formats import TokenFormat, TokenizerFile

if TYPE_CHECKING:
    pass

__all__ = ["check_folder", "load_folder", "write_folder"]

# What the matrix is called by model2vec, by sentence-transformers and wordllama, and by others.
_MATRIX_NAMES = ("embeddings", "embedding.weight", "embeddings.weight", "weight")
# Tensors beside it: the factor of each token, the row of each token, the factor of each column or row of whole numbers.
_FACTORS, _ROWS, _SCALE = "weights", "mapping", "scale"


def check_folder(folder: Path) -> None:
    """Read and check a folder.

    Raises:
        BackboneError: The folder holds no valid static embeddings.
    """
    load_folder(folder)


def load_folder(folder: Path, max_length: int | None = None) -> StaticEmbeddings:
    """Build the backbone of a folder.

    Args:
        folder: The folder.
        max_length: Most tokens of a text; None takes what the folder says.

    Raises:
        BackboneError: The folder holds no valid static embeddings.
    """
    config = read_config(folder)
    own = max_length_in(config)
    tokenizer = TokenizerFile.from_file(folder / TOKENIZER)
    matrix = _read_matrix(folder)
    if len(matrix) < (size := tokenizer.load().get_vocab_size()):
        raise BackboneError(f"{folder / TOKENIZER} has {size} tokens; the matrix has vectors for {len(matrix)}.")
    how = TokenFormat(tokenizer=tokenizer, max_length=own if max_length is None else min(max_length, own))
    vocabulary, width = matrix.shape
    backbone = StaticEmbeddings(vocabulary, width, normalize=config.get("normalize") is True, preprocessing=how)
    with torch.no_grad():
        backbone.embeddings.weight.copy_(matrix)
    backbone.counted[no_words(tokenizer.load())] = False
    return backbone


def _read_matrix(folder: Path) -> Tensor:
    """Return the vector of each token, float32 (vocabulary, width)."""
    try:
        tensors = load_file(weights_file(folder))
    except (SafetensorError, OSError, ValueError) as error:
        raise BackboneError(f"{folder / WEIGHTS} is no valid safetensors file: {error}") from None
    flat = [name for name, tensor in tensors.items() if tensor.ndim == 2]
    name = next((name for name in _MATRIX_NAMES if name in flat), flat[0] if len(flat) == 1 else None)
    if name is None:
        raise BackboneError(f"{folder / WEIGHTS} holds no single matrix of word vectors; it holds {sorted(tensors)}.")
    found = tensors[name]
    matrix: Tensor = found.float() if found.is_floating_point() else found / torch.iinfo(found.dtype).max
    try:
        if _SCALE in tensors:
            matrix = matrix * tensors[_SCALE].float()
        if _ROWS in tensors:
            matrix = matrix[tensors[_ROWS].long()]
        if _FACTORS in tensors:
            matrix = matrix * tensors[_FACTORS].float()[:, None]
    except (RuntimeError, IndexError) as error:
        raise BackboneError(f"{folder / WEIGHTS}: its tensors do not go together: {error}") from None
    if matrix.ndim != 2 or not matrix.numel() or not bool(matrix.isfinite().all()):
        raise BackboneError(f"{folder / WEIGHTS}: the vectors are empty, or hold values that are not finite.")
    return matrix


def write_folder(
    backbone: StaticEmbeddings, classifier: tuple[Tensor, Tensor] | None, about: Mapping[str, Any], folder: Path
) -> None:
    """Write a backbone as a folder that ``load_folder`` reads, its vectors in 16 bit.

    Raises:
        BackboneError: A vector does not fit into 16 bit, or the backbone has no tokenizer.
    """
    how = backbone.preprocessing
    if not isinstance(how, TokenFormat):
        raise BackboneError("Static embeddings are written with their tokenizer; these have none.")
    matrix = backbone.embeddings.weight.detach().cpu().half().contiguous()
    if not bool(matrix.isfinite().all()):
        raise BackboneError("Static embeddings cannot be written in 16 bit: a value is too large.")
    tensors = {"embeddings": matrix}
    if classifier is not None:
        names = ("classifier.weight", "classifier.bias")
        tensors |= {name: t.detach().cpu().half().contiguous() for name, t in zip(names, classifier, strict=True)}
    facts = {key: about[key] for key in ("description", "license", "label_names", "source") if about.get(key)}
    vocabulary, width = matrix.shape
    config = {
        "model_type": "static_mean",
        "vocab_size": vocabulary,
        "hidden_size": width,
        "max_length": how.max_length,
        "normalize": backbone.normalize,
        **facts,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / TOKENIZER).write_bytes(how.tokenizer.data)
    write_atomically(folder / CONFIG, json.dumps(config, indent=2))
    save_file(tensors, folder / WEIGHTS)
    shutil.copymode(folder / CONFIG, folder / WEIGHTS)  # safetensors writes for the owner alone
