"""Specs of encoders of transformers, made without torch, transformers or a network."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping
from functools import cache, partial
from importlib import resources
from pathlib import Path
from typing import Any

from autotransfer.contract.lazy_import import LazyImport
from autotransfer.contract.specs import BackboneSpec
from autotransfer.errors import BackboneError, WeightsUnavailableError
from autotransfer_plugins.backbones._encoder_folder import TOKENIZER, EncoderFolder
from autotransfer_plugins.backbones._encoder_recipe import POOLINGS, SOUND_TYPES, Pooling, transformers_version
from autotransfer_plugins.backbones._zoo import count_parameters
from autotransfer_plugins.modalities.audio.formats import WaveFormat

__all__ = ["folder_spec", "folder_specs", "portfolio", "repository_spec", "split_pooling"]

_FOLDER, _HUB = "autotransfer_plugins.backbones._encoder_folder", "autotransfer_plugins.backbones._encoder_hub"
_LOAD_FOLDER, _CHECK_FOLDER = LazyImport(f"{_FOLDER}:load_folder"), LazyImport(f"{_FOLDER}:check_folder")
_LOAD_REPOSITORY, _CHECK_REPOSITORY = LazyImport(f"{_HUB}:load_repository"), LazyImport(f"{_HUB}:check_repository")
# Repositories whose names say that they hold an encoder of sound.
_SOUND_NAME = re.compile(r"whisper|wav2vec2|hubert|wavlm|(^|[/-])ast-", re.IGNORECASE)
# What an encoder is called that pools in another way than by default.
_OTHER_POOLING: Pooling = "mean"
# The window of a sound whose length nothing says, at the rate that all encoders of sound take.
_SOUND = WaveFormat(rate=16_000, seconds=2.0)
# Tokens a second of sound: frames of 20 ms, or 12 bands of patches that are 100 ms apart.
_FRAMES_PER_SECOND = {"audio-spectrogram-transformer": 120}
# Multiply-accumulates of the convolutions before the blocks, in 10^9 for a second of sound. Those on waveforms have
# seven layers of 512 channels.
_CONVOLUTION_GMACS = {"audio-spectrogram-transformer": 0.024, "whisper": 0.03}
_WAVE_CONVOLUTION_GMACS = 3.5
# Families whose inner layer has a gate, a third matrix.
_GATED_TYPES = frozenset({"eurobert", "modernbert", "nomic_bert"})
# The licence in the first lines of a model card, and how many characters of it are read.
_LICENSE, _MODEL_CARD_HEAD = re.compile(r"\A---\n(?:.*\n)*?license: *([\w.+-]+) *\n"), 4096
# Parts of checkpoints that are left out.
_LEFT_OUT = ["cls", "classifier", "lm_head", "pooler", "decoder", "predictions", "qa_outputs", "projector"]
_LEFT_OUT += [f"{prefix}.pooler" for prefix in ("albert", "bert", "camembert", "mpnet", "roberta")]
_LEFT_OUT += ["model.decoder", "proj_out"]


def split_pooling(name: str) -> tuple[str, Pooling | None]:
    """Split ``NAME@mean`` into the name and the pooling; None where the name says no pooling."""
    own, _, form = name.rpartition("@")
    return (own, form) if own and form in POOLINGS else (name, None)


def folder_specs(folder: Path, name: str) -> list[BackboneSpec]:
    """Return the specs of the encoder in a folder: of texts that nothing says how to pool, one for each usual pooling.

    Where neither the folder nor its name says how tokens are pooled, the first token is taken, and the mean is a
    backbone of its own, ``NAME@mean``.
    """
    spec = folder_spec(folder, name)
    try:
        found = EncoderFolder.read(folder)
    except BackboneError:
        return [spec]
    if found.pooling is not None or found.modality != "text":
        return [spec]
    return [spec, folder_spec(folder, name, _OTHER_POOLING)]


def folder_spec(folder: Path, name: str, pooling: Pooling | None = None) -> BackboneSpec:
    """Return the spec of the encoder in a folder, pooled as it says, or in another way, as ``NAME@POOLING``.

    ``check`` reports errors of the folder.
    """
    preprocessing: Any = None
    parameters = found = None
    try:
        found = EncoderFolder.read(folder)
        parameters = count_parameters(folder, _LEFT_OUT)
        if found.modality == "audio":
            preprocessing = _SOUND
        elif (folder / TOKENIZER).is_file():  # converting older files imports transformers: ``load`` does it
            preprocessing = found.token_format()
    except BackboneError:
        pass  # ``check`` reports the error
    text = found is None or found.modality == "text"
    config: Mapping[str, Any] = {} if found is None else found.config
    length = found.max_length if found is not None and text else _SOUND.length
    return _spec(
        name=f"{name}@{pooling}" if pooling else name,
        modality="text" if text else "audio",
        load=partial(_LOAD_FOLDER, folder, pooling),
        check=partial(_CHECK_FOLDER, folder),
        locate=partial(_locate, folder),
        source=str(config.get("description") or config.get("source") or ""),
        weights=f"folder {folder}",
        parameters=parameters,
        gmacs=_text_gmacs(config, length) if text else _sound_gmacs(config, str(config["model_type"])),
        input_size=None if found is None else (length,),
        preprocessing=preprocessing,
        license=str(config.get("license") or _license_of(folder)),
    )


def repository_spec(
    repository: str, config: Mapping[str, Any], prefix: str = "", pooling: Pooling | None = None
) -> BackboneSpec:
    """Return the spec of a repository of the hub, ``OWNER/NAME`` or ``OWNER/NAME@REVISION``.

    Args:
        repository: The repository.
        config: Its ``config.json``; empty where that is not known.
        prefix: What its name begins with, such as ``hf-hub:``.
        pooling: How it is pooled; None as it says itself.
    """
    row = _table().get(repository)
    if row is not None:
        return _portfolio_spec(row, prefix=prefix, pooling=pooling, default=True)
    kind = config.get("model_type")
    sound = kind in SOUND_TYPES if kind else _SOUND_NAME.search(repository) is not None
    return _spec(
        name=f"{prefix}{repository}" + (f"@{pooling}" if pooling else ""),
        modality="audio" if sound else "text",
        load=partial(_LOAD_REPOSITORY, repository, pooling),
        check=partial(_CHECK_REPOSITORY, repository),
        weights=f"hub {repository}",
    )


def portfolio(taken: Iterable[str], *, default: bool) -> list[BackboneSpec]:
    """Return good public encoders, of sentences, of tokens and of sound, with what is published of them.

    Args:
        taken: Names that checkpoints of a zoo have.
        default: Whether they are searched when the user names none.
    """
    shadowed = set(taken)
    specs = []
    for row in _table().values():
        specs.append(_portfolio_spec(row, default=default))
        if row["modality"] == "text" and not row["pooling"]:
            specs.append(_portfolio_spec(row, pooling=_OTHER_POOLING, default=default))
    return [spec for spec in specs if spec.name not in shadowed]


def _portfolio_spec(
    row: Mapping[str, str], *, default: bool, prefix: str = "", pooling: Pooling | None = None
) -> BackboneSpec:
    text = row["modality"] == "text"
    length = int(row["input_size"]) if text else _SOUND.length
    shape = {"hidden_size": row["width"], "num_hidden_layers": row["layers"], "intermediate_size": row["inner"]}
    shape["model_type"] = row["model_type"]
    return _spec(
        name=prefix + row["name"] + (f"@{pooling}" if pooling else ""),
        modality=row["modality"],
        load=partial(_LOAD_REPOSITORY, row["name"], pooling or row["pooling"] or None),
        check=partial(_CHECK_REPOSITORY, row["name"]),
        source=row["source"],
        weights=f"hub {row['name']}",
        default=default,
        parameters=int(row["parameters"]),
        gmacs=_text_gmacs(shape, length) if text else _sound_gmacs(shape, row["model_type"]),
        input_size=(length,),
        preprocessing=None if text else _SOUND,
        accuracy=float(row["accuracy"]) if row["accuracy"] else None,
        license=row["license"],
    )


def _spec(*, load: Any, **known: Any) -> BackboneSpec:
    return BackboneSpec(load=load, load_at=load, version=f"transformers {transformers_version()}", **known)


def _license_of(folder: Path) -> str:
    """Return the licence that the model card of the hub, ``README.md``, begins with; empty where there is none."""
    try:
        with (folder / "README.md").open(encoding="utf-8", errors="replace") as file:
            found = _LICENSE.search(file.read(_MODEL_CARD_HEAD))
    except OSError:
        return ""
    return found[1] if found else ""


def _locate(folder: Path) -> None:
    """Raise ``WeightsUnavailableError`` if the folder is gone; ``check`` reads its files."""
    if not folder.is_dir():
        raise WeightsUnavailableError(f"The checkpoint folder {folder} is gone.")


def _text_gmacs(config: Mapping[str, Any], length: int) -> float | None:
    """Return the multiply-accumulates of a pass of so many tokens, in 10^9; None for an unknown family.

    A block has four square matrices, two or three of the inner layer, and attention between all tokens.
    """

    def size(*names: str) -> int:
        return int(next(config[name] for name in names if config.get(name)))

    try:
        width, layers = size("hidden_size", "dim", "d_model"), size("num_hidden_layers", "n_layers", "encoder_layers")
        inner = size("intermediate_size", "hidden_dim", "encoder_ffn_dim")
    except (StopIteration, TypeError, ValueError):
        return None
    matrices = 3 if config.get("model_type") in _GATED_TYPES else 2
    return layers * length * (4 * width**2 + matrices * width * inner + 2 * length * width) / 1e9


def _sound_gmacs(config: Mapping[str, Any], kind: str) -> float | None:
    """Return the multiply-accumulates of a window of sound, in 10^9; None for an unknown family."""
    blocks = _text_gmacs(config, round(_SOUND.seconds * _FRAMES_PER_SECOND.get(kind, 50)))
    return None if blocks is None else blocks + _SOUND.seconds * _CONVOLUTION_GMACS.get(kind, _WAVE_CONVOLUTION_GMACS)


@cache
def _table() -> Mapping[str, Mapping[str, str]]:
    """Return the portfolio by name."""
    text = (resources.files("autotransfer_plugins.backbones") / "encoders.csv").read_text(encoding="utf-8")
    return {row["name"]: row for row in csv.DictReader(text.splitlines())}
