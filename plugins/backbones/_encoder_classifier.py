"""Encoders with a linear classifier as folders that the ``Auto`` classes of transformers for classification load."""

from __future__ import annotations

import json
import logging
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from autotransfer.backbones.frozen import PROBES
from autotransfer.contract.checkpoints import Checkpoint
from autotransfer.errors import AutoTransferError, ExportError
from autotransfer.runtime.files import write_atomically
from autotransfer.runtime.text import one_line
from autotransfer_plugins.backbones._encoder_folder import TOKENIZER
from autotransfer_plugins.backbones._encoder_heads import fill_head, head_layers
from autotransfer_plugins.backbones._encoder_recipe import EncoderRecipe, quiet
from autotransfer_plugins.backbones._encoder_sound import SoundEncoder, WaveBackbone
from autotransfer_plugins.backbones._encoder_text import TextEncoder
from autotransfer_plugins.backbones._zoo import CONFIG, WEIGHTS
from autotransfer_plugins.modalities.text.formats import TokenFormat

__all__ = ["export_folder"]

_TEXT_USAGE = """```python
from transformers import pipeline

classify = pipeline("text-classification", model="FOLDER", top_k=None)  # "OWNER/NAME" from the hub
print(classify("A new text.", truncation=True))
```"""
_SOUND_USAGE = """```python
from transformers import pipeline

classify = pipeline("audio-classification", model="FOLDER", top_k=None)  # "OWNER/NAME" from the hub
print(classify("new.wav"))
```"""
_DECIDING = """

```python
thresholds = classify.model.config.thresholds
for rows in classify({given}):
    print([row["label"] for row in rows if row["score"] > thresholds[row["label"]]])
```"""

log = logging.getLogger("autotransfer")

_PROBLEMS = {"regression": "regression", "multilabel": "multi_label_classification"}
_ADVICE = "Export with --format onnx"
# What families with a choice call a pooling in their configuration.
_NAMES_OF_POOLINGS = {"first": ("cls", "bos"), "mean": ("mean",), "max": ("max",)}


def export_folder(
    backbone: TextEncoder | SoundEncoder, classifier: tuple[Tensor, Tensor], about: Mapping[str, Any], folder: Path
) -> Checkpoint:
    """Write a folder, and load it with transformers.

    Raises:
        ExportError: The family has no class for classification, pools in another way, or has no place for a linear
            classifier.
    """
    recipe = EncoderRecipe.from_json(backbone.recipe)
    given = _given_text if isinstance(backbone, TextEncoder) else _given_sound
    _refuse_other_pooling(backbone, recipe)
    probe: Any = backbone.preprocessing.probe(PROBES)
    if isinstance(backbone, WaveBackbone) and not backbone.masked:
        probe = {**probe, "samples": torch.full_like(probe["samples"], probe["wave"].shape[1])}
    with torch.no_grad():
        expected = nn.functional.linear(backbone(probe), *classifier)
    for pooling in _NAMES_OF_POOLINGS[recipe.pooling]:
        model = _classification_model(backbone, recipe, classifier, about, pooling)

        def run(model: Any = model) -> Tensor:
            return _logits(model, given(backbone, probe))

        try:
            if fill_head(head_layers(model, model.base_model, run), classifier, expected, run):
                break
        except Exception as error:  # a class that does not know this pooling, or takes other inputs
            log.info("%s with the pooling %r: %s", type(model).__name__, pooling, error)
    else:
        raise ExportError(
            f"{type(model).__name__} has no place for a linear classifier on what the backbone pools: its own layers "
            f"behind the encoder compute something else. {_ADVICE}."
        )
    with quiet():
        model.save_pretrained(folder)
    shutil.copymode(folder / CONFIG, folder / WEIGHTS)
    _write_inputs(backbone, recipe, folder)
    loaded = _loaded(type(model), folder)
    usage = _usage(backbone, decides=bool(about.get("thresholds")))
    return Checkpoint(run=lambda inputs: _logits(loaded, given(backbone, inputs)), usage=usage)


def _usage(backbone: TextEncoder | SoundEncoder, *, decides: bool) -> str:
    """Return how to predict, in Markdown; with how to decide by thresholds where the model does."""
    text = isinstance(backbone, TextEncoder)
    usage, given = (_TEXT_USAGE, '["A new text."], truncation=True') if text else (_SOUND_USAGE, '["new.wav"]')
    return usage + (_DECIDING.format(given=given) if decides else "")


def _refuse_other_pooling(backbone: TextEncoder | SoundEncoder, recipe: EncoderRecipe) -> None:
    """Refuse what the classes of transformers do not pool.

    Raises:
        ExportError: They do not pool so.
    """
    how: Any = backbone.preprocessing
    if isinstance(backbone, SoundEncoder):
        if not isinstance(backbone, WaveBackbone):
            raise ExportError(
                f"A model of the type {recipe.model_type!r} sees windows of {how.seconds:g} seconds here, and "
                f"always its whole window in AutoModelForAudioClassification. {_ADVICE}, or fit with a "
                "backbone such as wav2vec 2.0."
            )
        return
    poolings = ("first", "mean") if hasattr(recipe.transformers_config(), "classifier_pooling") else ("first",)
    if recipe.pooling not in poolings:
        raise ExportError(
            f"The backbone pools its tokens by the {recipe.pooling}, and AutoModelForSequenceClassification of the "
            f"type {recipe.model_type!r} takes the first token. {_ADVICE}, or fit with a backbone that pools so, such "
            "as hf-hub:OWNER/NAME@first or local-dir:FOLDER@first."
        )


def _classification_model(
    backbone: TextEncoder | SoundEncoder,
    recipe: EncoderRecipe,
    classifier: tuple[Tensor, Tensor],
    about: Mapping[str, Any],
    pooling: str,
) -> Any:
    """Return a model for classification with the weights of the encoder; ``pooling`` is what its family calls it.

    Raises:
        ExportError: transformers has none of this family, or its encoder has other weights.
    """
    from transformers import AutoModelForAudioClassification, AutoModelForSequenceClassification

    kind = AutoModelForSequenceClassification if isinstance(backbone, TextEncoder) else AutoModelForAudioClassification
    labels = list(about["labels"]) or [f"value {i}" for i in range(len(classifier[0]))]
    try:
        config = recipe.transformers_config()
        config.num_labels = len(labels)
        config.id2label, config.label2id = dict(enumerate(labels)), {label: i for i, label in enumerate(labels)}
        config.problem_type = _PROBLEMS.get(about["kind"], "single_label_classification")
        if thresholds := about.get("thresholds"):  # by label; classes of transformers keep what they do not know
            config.thresholds = dict(thresholds)
        for name, value in _head_settings(config, pooling, backbone.width).items():
            if hasattr(config, name):
                setattr(config, name, value)
        with quiet(), torch.inference_mode(False):
            model = kind.from_config(config).float().eval()
    except AutoTransferError:
        raise
    except Exception as error:  # a family without such a class, or one whose head takes other settings
        raise ExportError(
            f"{kind.__name__} makes no model of the type {recipe.model_type!r}: {one_line(error)}. {_ADVICE}."
        ) from error
    found = model.base_model.load_state_dict(backbone.model.state_dict(), strict=False)
    wrong = [name for name in (*found.missing_keys, *found.unexpected_keys) if not name.startswith("pooler.")]
    if wrong:
        raise ExportError(f"The encoder of {type(model).__name__} has other weights: {wrong[:3]}. {_ADVICE}.")
    return model


def _head_settings(config: Any, pooling: str, width: int) -> dict[str, Any]:
    """Return the settings of heads, for those families that have them, with which a linear map has a form."""
    return {
        "classifier_pooling": pooling,
        "classifier_bias": True,
        "classifier_activation": False if isinstance(getattr(config, "classifier_activation", ""), bool) else "linear",
        "classifier_proj_size": width,
        "use_weighted_layer_sum": False,
    }


def _logits(model: Any, given: Mapping[str, Tensor]) -> Tensor:
    with warnings.catch_warnings():  # torch would rather have both masks of WavLM in one type
        warnings.filterwarnings("ignore", "Support for mismatched key_padding_mask", UserWarning)
        found: Tensor = model(**given).logits
    return found


def _given_text(backbone: Any, inputs: Any) -> dict[str, Tensor]:
    mask = inputs["mask"]
    return {"input_ids": inputs["tokens"].masked_fill(~mask, backbone.pad), "attention_mask": mask.long()}


def _given_sound(backbone: Any, inputs: Any) -> dict[str, Tensor]:
    wave, samples = inputs["wave"], inputs["samples"]
    there = torch.arange(wave.shape[1], device=wave.device) < samples[:, None]
    given = {"input_values": backbone.frontend(wave, there)}
    if backbone.masked:
        return {**given, "attention_mask": there.long()}
    if not bool(there.all()):
        raise ExportError(
            f"The encoder takes no mask, and some sounds are shorter than the {backbone.preprocessing.seconds:g} "
            "seconds that it sees: transformers would average what pads them, too. Export with --format onnx, or fit "
            "with an encoder that takes a mask, such as WavLM large."
        )
    return given


def _loaded(kind: Any, folder: Path) -> Any:
    with quiet():
        return kind.from_pretrained(folder, local_files_only=True, use_safetensors=True).float().eval()


def _write_inputs(backbone: TextEncoder | SoundEncoder, recipe: EncoderRecipe, folder: Path) -> None:
    """Write what ``AutoTokenizer`` or ``AutoFeatureExtractor`` loads."""
    how: Any = backbone.preprocessing
    if isinstance(how, TokenFormat):
        tokenizer = how.tokenizer.load()
        write_atomically(folder / TOKENIZER, tokenizer.to_str())  # without truncation and padding of its last use
        about = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": how.max_length,
            "pad_token": tokenizer.id_to_token(how.tokenizer.pad_id),
            "padding_side": "right",
            "truncation_side": "right",
            "model_input_names": ["input_ids", "attention_mask"],
        }
        write_atomically(folder / "tokenizer_config.json", json.dumps(about, indent=2))
        return
    settings = {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "feature_size": 1,
        "padding_value": 0.0,
        "sampling_rate": how.rate,
        "do_normalize": (recipe.sound or {}).get("do_normalize", True),
        "return_attention_mask": backbone.masked if isinstance(backbone, WaveBackbone) else False,
    }
    write_atomically(folder / "preprocessor_config.json", json.dumps(settings, indent=2))
