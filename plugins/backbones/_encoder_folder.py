"""Folders of encoders in the format of transformers: what their JSON files say, and their weights.

A folder holds ``config.json``, ``model.safetensors`` (or several files and their index) and, for text, a
``tokenizer.json``. ``modules.json`` of sentence-transformers says how tokens are pooled. Nothing in a folder is run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotransfer.errors import BackboneError
from autotransfer.runtime.text import one_line
from autotransfer_plugins.backbones._encoder_recipe import (
    SOUND_TYPES,
    EncoderRecipe,
    Pooling,
    quiet,
    require_transformers,
)
from autotransfer_plugins.backbones._zoo import WEIGHTS, read_config

if TYPE_CHECKING:
    from autotransfer.contract.backbone import Backbone
    from autotransfer_plugins.modalities.text.formats import TokenFormat

__all__ = ["TOKENIZER", "EncoderFolder", "check_folder", "load_folder", "published_pooling"]

TOKENIZER = "tokenizer.json"
_INDEX = f"{WEIGHTS}.index.json"
_PICKLES = (".bin", ".pth", ".pt", ".pkl", ".ckpt")
# Types whose first positions belong to padding: they take fewer tokens than they have positions.
_OFFSET_TYPES = frozenset({"camembert", "data2vec-text", "ibert", "longformer", "mpnet", "roberta", "xlm-roberta"})
_OFFSET_TYPES |= {"roberta-prelayernorm", "xlm-roberta-xl", "xmod"}
_DEFAULT_LENGTH, _LENGTHS = 512, range(8, 2**17)
# Names of sentence encoders that are pooled by the mean, where their folder does not say so itself.
_MEAN_POOLED = re.compile(r"(all|paraphrase|multi-qa|e5|multilingual-e5|gte)[-_]")
_TOKENIZER_FILES = ("vocab.txt", "vocab.json", "spiece.model", "spm.model", "sentencepiece.bpe.model")


@dataclass(frozen=True, kw_only=True)
class EncoderFolder:
    """What the JSON files of a folder say.

    Attributes:
        folder: The folder.
        config: Its ``config.json``.
        pooling: How it says that outputs are pooled; None where it says nothing.
        max_length: Most tokens of a text.
    """

    folder: Path
    config: Mapping[str, Any]
    pooling: Pooling | None
    max_length: int

    @classmethod
    def read(cls, folder: Path) -> EncoderFolder:
        """Read a folder, without its weights.

        Raises:
            BackboneError: Its configuration is missing or damaged.
        """
        config = read_config(folder)
        pooling = _declared_pooling(folder) or published_pooling(folder.name, config)
        return cls(folder=folder, config=config, pooling=pooling, max_length=_max_length(folder, config))

    @property
    def modality(self) -> str:
        """Name of the modality whose examples it takes."""
        return "audio" if self.config.get("model_type") in SOUND_TYPES else "text"

    def recipe(self, pooling: Pooling | None = None) -> EncoderRecipe:
        """Return the recipe of the model; ``pooling`` is taken where the folder does not say it."""
        chosen = pooling or self.pooling or "first"
        return EncoderRecipe.of_config(self.config, chosen, str(self.folder / "config.json"))

    def token_format(self, max_length: int | None = None) -> TokenFormat:
        """Return how the encoder wants its texts.

        Raises:
            BackboneError: The folder holds no tokenizer that can be read.
        """
        from autotransfer_plugins.modalities.text.formats import TokenFormat, TokenizerFile

        pad = self.config.get("pad_token_id")
        length = self.max_length if max_length is None else min(max_length, self.max_length)
        pad_id = pad if isinstance(pad, int) else None
        if (self.folder / TOKENIZER).is_file() or not any((self.folder / name).is_file() for name in _TOKENIZER_FILES):
            tokenizer = TokenizerFile.from_file(self.folder / TOKENIZER, pad_id=pad_id)
        else:
            tokenizer = TokenizerFile.of(_converted_tokenizer(self.folder), pad_id=pad_id)
        return TokenFormat(tokenizer=tokenizer, max_length=length)


def check_folder(folder: Path) -> None:
    """Check a folder without reading its weights.

    Raises:
        BackboneError: A file is missing or damaged, or transformers has no such encoder.
        PluginError: transformers is not installed.
    """
    found = EncoderFolder.read(folder)
    _require_safetensors(folder)
    found.recipe().transformers_config()
    if found.modality == "text":
        found.token_format()


def load_folder(folder: Path, pooling: Pooling | None = None, form: Any = None) -> Backbone:
    """Build the encoder of a folder and load its weights.

    Args:
        folder: The folder.
        pooling: How outputs are pooled; None takes what the folder says, else the first token.
        form: Most tokens of a text, or the seconds of a window of sound; None takes the model's own.

    Raises:
        BackboneError: The folder holds no valid encoder.
        PluginError: transformers is not installed.
    """
    require_transformers()
    found = EncoderFolder.read(folder)
    recipe = found.recipe(pooling)
    _require_safetensors(folder)
    model = _load_model(recipe, folder)
    if found.modality == "audio":
        from autotransfer_plugins.backbones._encoder_sound import SoundEncoder, sound_recipe

        return SoundEncoder.of(model, sound_recipe(recipe, folder), form)
    from autotransfer_plugins.backbones._encoder_text import TextEncoder

    return TextEncoder(model, recipe, found.token_format(form))


def published_pooling(name: str, config: Mapping[str, Any]) -> Pooling | None:
    """Return the pooling of a sentence encoder that is known by its name; None for others."""
    names = (name, str(config.get("_name_or_path", "")).rpartition("/")[2])
    return "mean" if any(_MEAN_POOLED.match(each.lower()) for each in names) else None


def _declared_pooling(folder: Path) -> Pooling | None:
    """Return the pooling in the files of sentence-transformers; None where there are none."""
    try:
        modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        paths = [str(each["path"]) for each in modules if str(each["type"]).endswith("Pooling")]
        about = read_config(folder / Path(paths[0]).name)
    except (OSError, ValueError, TypeError, KeyError, IndexError, BackboneError):
        return None
    named = {"cls": "first", "mean": "mean", "max": "max"}.get(str(about.get("pooling_mode")))
    modes: dict[str, Pooling] = {"mean_tokens": "mean", "cls_token": "first", "max_tokens": "max"}
    found = named or next((pooling for key, pooling in modes.items() if about.get(f"pooling_mode_{key}") is True), None)
    return found  # type: ignore[return-value]


def _max_length(folder: Path, config: Mapping[str, Any]) -> int:
    """Return the least of what the files of a folder say about the length of a text, in tokens."""
    said: list[Any] = [config.get("max_length")]
    for name, key in (("sentence_bert_config.json", "max_seq_length"), ("tokenizer_config.json", "model_max_length")):
        try:
            said.append(read_config(folder, name).get(key))
        except BackboneError:
            continue
    positions = config.get("max_position_embeddings")
    if isinstance(positions, int):
        offset = config.get("pad_token_id", 1) if config.get("model_type") in _OFFSET_TYPES else -1
        said.append(positions - 1 - offset if isinstance(offset, int) else positions)
    known = [int(length) for length in said if type(length) is int and length in _LENGTHS]
    return min(known, default=_DEFAULT_LENGTH)


def _require_safetensors(folder: Path) -> None:
    """Check that the weights are in a format that cannot run code.

    Raises:
        BackboneError: They are not, or there are none.
    """
    if (folder / WEIGHTS).is_file() or (folder / _INDEX).is_file():
        return
    pickles = sorted(file.name for file in folder.iterdir() if file.suffix in _PICKLES) if folder.is_dir() else []
    if pickles:
        raise BackboneError(
            f"{folder} holds weights only as {', '.join(pickles)}, a format that can run code and is never loaded: "
            "load them where you trust them, and save them again with model.save_pretrained(FOLDER) of transformers."
        )
    raise BackboneError(f"{folder} holds no {WEIGHTS}.")


def _load_model(recipe: EncoderRecipe, folder: Path) -> Any:
    """Build a model with its weights, in float32; those of other parts, such as a classifier, are left out.

    Raises:
        BackboneError: A tensor is missing, has another shape, or holds values that are not finite.
    """
    import torch

    outline = recipe.outline()
    try:
        with quiet(), torch.inference_mode(False):  # parameters from inference mode cannot be trained
            if recipe.model_type == "whisper":  # the decoder is left out, which ``from_pretrained`` would miss
                model, missing = _load_whisper(recipe.build(), folder)
            else:
                model, found = type(outline).from_pretrained(
                    folder,
                    config=outline.config,
                    attn_implementation=outline.config._attn_implementation,
                    use_safetensors=True,
                    local_files_only=True,
                    trust_remote_code=False,
                    output_loading_info=True,
                )
                missing = sorted(found["missing_keys"])
    except Exception as error:  # damaged files, shapes that do not fit: transformers raises many kinds
        raise BackboneError(f"{folder} cannot be loaded: {type(error).__name__}: {one_line(error)}") from error
    if missing := [name for name in missing if not name.startswith("pooler.") and name != "masked_spec_embed"]:
        raise BackboneError(
            f"{folder / WEIGHTS} does not suit the model in config.json: {len(missing)} tensors are missing, such as "
            f"{missing[:3]}."
        )
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor.float()).all()):
            raise BackboneError(f"{folder / WEIGHTS}: the tensor {name!r} holds values that are not finite.")
    return model.float().eval()


def _load_whisper(model: Any, folder: Path) -> tuple[Any, list[str]]:
    """Load the encoder of a Whisper checkpoint; return it and the names of missing tensors."""
    from safetensors.torch import load_file

    prefix = re.compile(r"(model\.)?encoder\.")
    stored = {name: tensor for name, tensor in load_file(folder / WEIGHTS).items() if prefix.match(name)}
    weights = {prefix.sub("", name, count=1): tensor for name, tensor in stored.items()}
    return model, model.load_state_dict(weights, strict=False).missing_keys


def _converted_tokenizer(folder: Path) -> bytes:
    """Return the ``tokenizer.json`` of a folder with older files of a tokenizer.

    Raises:
        BackboneError: They cannot be converted.
    """
    require_transformers()
    from transformers import AutoTokenizer

    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        return str(tokenizer.backend_tokenizer.to_str()).encode()
    except Exception as error:  # a missing library, a damaged file
        raise BackboneError(
            f"{folder} holds no {TOKENIZER}, and its older files of a tokenizer cannot be converted: "
            f"{type(error).__name__}: {one_line(error)} Convert them once with "
            "transformers.AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)."
        ) from error
