"""Recipes of encoders of transformers: read from untrusted JSON, and checked before transformers gets any part of it.

transformers and torch are imported when a model is built, so that listing a zoo does not import them.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal, get_args

from autotransfer.errors import BackboneError, PluginError
from autotransfer.runtime.text import one_line

__all__ = [
    "POOLINGS",
    "SOUND_TYPES",
    "EncoderRecipe",
    "Pooling",
    "quiet",
    "require_transformers",
    "transformers_version",
]

Pooling = Literal["first", "mean", "max"]
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)

SOUND_TYPES = frozenset({"audio-spectrogram-transformer", "hubert", "wav2vec2", "wavlm", "whisper"})
"""Values of ``model_type`` that mean an encoder of sound."""

# Keys of a configuration that run code of strangers, fetch it, change how a model is run, or are of
# its labels. They are left out.
_IGNORED_KEYS = frozenset(
    {
        "_attn_implementation",
        "_attn_implementation_internal",
        "_attn_implementation_autoset",
        "_experts_implementation",
        "_name_or_path",
        "attn_implementation",
        "auto_map",
        "compression_config",
        "custom_pipelines",
        "dtype",
        "id2label",
        "label2id",
        "output_attentions",
        "output_hidden_states",
        "return_dict",
        "thresholds",
        "torch_dtype",
        "torchscript",
        "use_bfloat16",
        "use_kernels",
    }
)
_MAX_PARAMETERS = 3_000_000_000
_MAX_JSON_CHARACTERS = 2**20


@dataclass(frozen=True, kw_only=True)
class EncoderRecipe:
    """An encoder of transformers: its configuration, and how its outputs are pooled.

    Attributes:
        config: What transformers builds the model from, without what could run code.
        pooling: What is taken of the tokens or frames of an example.
        sound: How an encoder of sound wants its waveform; empty for text.
    """

    config: Mapping[str, Any]
    pooling: Pooling = "first"
    sound: Mapping[str, Any] | None = None

    @classmethod
    def of_config(cls, config: Mapping[str, Any], pooling: Pooling, where: str) -> EncoderRecipe:
        """Check a ``config.json`` as transformers writes it.

        Args:
            config: The parsed JSON.
            pooling: How outputs are pooled.
            where: Origin of the JSON, for messages.

        Raises:
            BackboneError: It names no model, or weights that only further code can read.
        """
        if not isinstance(config.get("model_type"), str):
            raise BackboneError(f"{where} names no model of transformers: 'model_type' must be text.")
        if config.get("quantization_config"):
            raise BackboneError(f"{where}: its weights are quantised, which no plain model reads: save them in 16 bit.")
        if len(str(config)) > _MAX_JSON_CHARACTERS:
            raise BackboneError(f"{where} has more than {_MAX_JSON_CHARACTERS} characters, which no model needs.")
        kept = {key: value for key, value in config.items() if key not in _IGNORED_KEYS}
        return cls(config=kept, pooling=pooling)

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> EncoderRecipe:
        """Read what ``to_json`` returned, which may come from a stranger.

        Raises:
            BackboneError: It is damaged.
        """
        config, pooling, sound = saved.get("config"), saved.get("pooling"), saved.get("sound")
        if not isinstance(config, dict) or pooling not in POOLINGS or not isinstance(sound, (dict, type(None))):
            raise BackboneError("The recipe of an encoder has a config, a pooling and perhaps sound settings.")
        return replace(cls.of_config(config, pooling, "The recipe of the backbone"), sound=sound)

    @property
    def model_type(self) -> str:
        """What transformers calls the family."""
        return str(self.config["model_type"])

    def to_json(self) -> dict[str, Any]:
        """Return the recipe as JSON; ``from_json`` reads it."""
        sound = None if self.sound is None else dict(self.sound)
        return {"plugin": "transformers", "config": dict(self.config), "pooling": self.pooling, "sound": sound}

    def transformers_config(self) -> Any:
        """Return the configuration as an object of transformers.

        Raises:
            BackboneError: transformers knows no encoder of this type, or refuses a value.
            PluginError: transformers is not installed.
        """
        require_transformers()
        from transformers import CONFIG_MAPPING
        from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

        kind = self.model_type
        if kind not in SOUND_TYPES and kind not in MODEL_FOR_MASKED_LM_MAPPING_NAMES:
            raise BackboneError(
                f"transformers {transformers_version()} has no encoder of the type {kind!r}, and code of a model is "
                "never run: give an encoder whose class transformers holds, such as BERT's or ModernBERT's."
            )
        try:
            with quiet():
                config = CONFIG_MAPPING[kind].from_dict(dict(self.config))
        except Exception as error:  # configurations raise errors of any kind
            raise BackboneError(f"transformers refuses the configuration: {one_line(error)}") from error
        if getattr(config, "is_decoder", False) or (config.is_encoder_decoder and kind not in SOUND_TYPES):
            raise BackboneError(f"The model of the type {kind!r} is a decoder; give an encoder.")
        return config

    def outline(self) -> Any:
        """Build the model without memory for its weights.

        Raises:
            BackboneError: transformers cannot build the model, or the model is too large.
            PluginError: transformers is not installed.
        """
        import torch

        config = self.transformers_config()
        with quiet(), torch.device("meta"):
            model = _made(config)
        if (count := sum(parameter.numel() for parameter in model.parameters())) > _MAX_PARAMETERS:
            raise BackboneError(f"The model has {count / 1e9:.1f} billion parameters; 3 billion is the limit.")
        return model

    def build(self) -> Any:
        """Build the model with random weights, in float32 and eval mode.

        Raises:
            BackboneError: transformers cannot build the model, or the model is too large.
            PluginError: transformers is not installed.
        """
        import torch

        config = self.outline().config
        with quiet(), torch.inference_mode(False):  # parameters from inference mode cannot be trained
            return _made(config).float().eval()


def _made(config: Any) -> Any:
    """Build a model; attention by torch's own kernel where the model has it.

    Raises:
        BackboneError: transformers cannot build it.
    """
    from transformers import AutoModel, WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    reason: Exception | None = None
    for attention in ("sdpa", "eager"):
        config._attn_implementation = attention
        try:
            if isinstance(config, WhisperConfig):
                return WhisperEncoder(config)
            return AutoModel.from_config(config, attn_implementation=attention)
        except Exception as error:  # models raise errors of any kind on values that do not fit together
            reason = reason or error
    raise BackboneError(f"transformers cannot build the model: {one_line(reason)}") from reason


@cache
def transformers_version() -> str:
    """Return the installed version of transformers; empty where transformers is not installed."""
    try:
        return version("transformers")
    except PackageNotFoundError:
        return ""


def require_transformers() -> None:
    """Check that transformers is there.

    Raises:
        PluginError: It is not installed.
    """
    if not transformers_version():
        raise PluginError('transformers is not installed: pip install "autotransfer[text]" (or "autotransfer[audio]").')


@contextmanager
def quiet() -> Iterator[None]:
    """Keep progress bars, advice and warnings of transformers from the terminal: problems are raised as errors."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # DeBERTa's module scripts functions when it is imported
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
