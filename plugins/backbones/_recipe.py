"""Recipes of timm models: read from untrusted JSON, and checked before timm gets any part of it.

timm and torch are imported when a model is built, so that listing a zoo does not import them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from autotransfer.errors import BackboneError, UnknownNameError
from autotransfer.runtime.text import one_line
from autotransfer_plugins.backbones._catalogue import architectures, is_architecture
from autotransfer_plugins.modalities.image.formats import MAX_CHANNELS, CropMode, Preprocessing, cycled

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Recipe", "preprocessing_of", "strip_classifier"]

# Allowed arguments of an architecture. Other arguments of timm read files, use the network, or have no limit of size.
_ALLOWED_MODEL_ARGS = frozenset(
    {
        "act_layer",
        "aux_logits",
        "class_token",
        "drop_path_rate",
        "drop_rate",
        "dynamic_img_pad",
        "dynamic_img_size",
        "fc_norm",
        "final_norm",
        "fix_stem",
        "global_pool",
        "img_size",
        "in_chans",
        "init_values",
        "no_embed_class",
        "norm_layer",
        "output_stride",
        "pad_type",
        "pool_include_prefix",
        "pos_embed",
        "pre_norm",
        "qk_norm",
        "qkv_bias",
        "reg_tokens",
        "round_chs_fn",
        "se_layer",
        "strict_img_size",
    }
)
_MAX_SIDE = 2048  # pixels
_CROP_MODES: Mapping[str, CropMode] = {"squash": "squash", "border": "letterbox"}
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_MAX_PARAMETERS = 3_000_000_000


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """An architecture with its arguments and its preprocessing.

    Attributes:
        architecture: timm's name without a tag.
        model_args: Arguments of the architecture.
        pretrained_cfg: Part of timm's configuration that concerns the model or its preprocessing.
    """

    architecture: str
    model_args: Mapping[str, Any]
    pretrained_cfg: Mapping[str, Any]

    @classmethod
    def from_json(cls, data: Any, where: str) -> Recipe:
        """Check a recipe, or a ``config.json`` as timm writes it.

        Args:
            data: The parsed JSON.
            where: Origin of the JSON, for messages.

        Raises:
            BackboneError: The JSON is no recipe, or has arguments that are not allowed.
        """
        if not isinstance(data, dict) or not isinstance(data.get("architecture"), str):
            raise BackboneError(f"{where} names no timm architecture: 'architecture' must be text.")
        architecture = data["architecture"]
        if "." in architecture or not is_architecture(architecture):
            raise BackboneError(f"{where}: {UnknownNameError('timm architecture', architecture, architectures())}")
        config = data.get("pretrained_cfg", data)  # one flat object before timm 0.9
        if not isinstance(config, dict):
            raise BackboneError(f"{where}: 'pretrained_cfg' must be an object; got {config!r:.60}.")
        for key in ("file", "state_dict", "hf_hub_filename"):
            if config.get(key) not in (None, "", "model.safetensors"):
                raise BackboneError(
                    f"{where}: {key!r} points at other weights, {config[key]!r:.60}; only the model.safetensors "
                    "beside it is read: remove the key."
                )
        args = _model_args(data.get("model_args", {}), where)
        config = {**config, "num_classes": data.get("num_classes", config.get("num_classes", 1000))}
        if "img_size" in args and config.get("fixed_input_size"):
            side = args["img_size"]
            config["input_size"] = [3, *([side, side] if isinstance(side, int) else side)]
        return cls(
            architecture=architecture,
            model_args=args,
            pretrained_cfg=_pretrained_cfg(config, args.pop("in_chans", None), where),
        )

    @property
    def preprocessing(self) -> Preprocessing:
        """Preprocessing of the images."""
        return preprocessing_of(self.pretrained_cfg)

    @property
    def resizable(self) -> bool:
        """Whether the model takes square images of another size, by timm's configuration."""
        known = architectures().get(self.architecture)
        fixed = self.pretrained_cfg["fixed_input_size"] or (known is not None and known.config["fixed_input_size"])
        return not fixed and "img_size" not in self.model_args

    @property
    def channels(self) -> int:
        """Number of channels of the images."""
        channels: int = self.pretrained_cfg["input_size"][0]
        return channels

    def at(self, side: int | None = None, channels: int | None = None) -> Recipe:
        """Return the recipe for square images of another side in pixels, or of other channels; None keeps its own."""
        config = dict(self.pretrained_cfg)
        if side is not None:
            config["input_size"] = [self.channels, side, side]
        if channels not in (None, self.channels):
            config |= {name: list(cycled(config[name], channels)) for name in ("mean", "std")}
            config["input_size"] = [channels, *config["input_size"][1:]]
        return replace(self, pretrained_cfg=config)

    def to_json(self) -> dict[str, Any]:
        """Return the recipe as JSON; ``from_json`` reads it."""
        return {
            "plugin": "timm",
            "architecture": self.architecture,
            "model_args": dict(self.model_args),
            "pretrained_cfg": dict(self.pretrained_cfg),
        }

    def build(self, *, outlined: bool = False) -> nn.Module:
        """Build the model with random weights and without its classifier.

        Args:
            outlined: Whether ``outline`` has succeeded already.

        Raises:
            BackboneError: timm cannot build the model, or the model is too large.
        """
        if not outlined:
            self.outline()
        return self._create()[0]

    def outline(self) -> tuple[nn.Module, set[str]]:
        """Build the model without memory for its weights.

        Returns:
            The model without classifier, on torch's meta device if possible, and the names of the classifier's weights.

        Raises:
            BackboneError: timm cannot build the model, or the model is too large.
        """
        import torch

        try:
            with torch.device("meta"):
                model, classifier = self._create()
        except BackboneError:  # a few models read values of weights while they are built
            model, classifier = self._create()
        if (count := sum(p.numel() for p in model.parameters())) > _MAX_PARAMETERS:
            raise BackboneError(
                f"{self.architecture} has {count / 1e9:.1f} billion parameters; 3 billion is the limit."
            )
        return model, classifier

    def build_whole(self, classes: int) -> Any:
        """Build the model with random weights and a classifier.

        Args:
            classes: Number of outputs of the classifier; 0 for no classifier.

        Raises:
            BackboneError: timm cannot build the model.
        """
        import timm
        import torch

        config = _tuples({**self.pretrained_cfg, "num_classes": classes})
        try:
            with torch.inference_mode(False):  # parameters from inference mode cannot be trained
                return timm.create_model(self.architecture, pretrained_cfg=config, **_tuples(self.model_args))
        except Exception as error:  # models may raise any error on wrong arguments
            raise self._unbuildable(error) from error

    def _create(self) -> tuple[nn.Module, set[str]]:
        import torch

        # The classifier is removed again, but timm builds heads with and without a classifier differently.
        model = self.build_whole(2 if self.pretrained_cfg["num_classes"] else 0)
        try:
            with torch.inference_mode(False):
                return model, strip_classifier(model)
        except Exception as error:
            raise self._unbuildable(error) from error

    def _unbuildable(self, error: Exception) -> BackboneError:
        reason = f"{type(error).__name__}: {one_line(error)}"
        return BackboneError(f"timm cannot build {self.architecture} with {dict(self.model_args)}: {reason}")


def preprocessing_of(config: Mapping[str, Any]) -> Preprocessing:
    """Return the preprocessing of a ``pretrained_cfg``; unknown modes become the most similar known mode."""
    interpolation: Literal["bicubic", "bilinear", "nearest"] = "bicubic"  # also for "", "random" and "lanczos"
    if config["interpolation"] in ("bilinear", "nearest"):
        interpolation = config["interpolation"]
    return Preprocessing(
        size=(config["input_size"][1], config["input_size"][2]),
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        interpolation=interpolation,
        crop_fraction=min(config["crop_pct"], 1.0),
        crop_mode=_CROP_MODES.get(config["crop_mode"], "center"),
    )


def strip_classifier(model: Any) -> set[str]:
    """Remove the classifier, so that the model returns pooled features; return the names of the removed weights."""
    before = set(model.state_dict())
    model.reset_classifier(0)
    return before - set(model.state_dict())


def _tuples(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}


def _model_args(data: Any, where: str) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise BackboneError(f"{where}: 'model_args' must be an object; got {data!r:.60}.")
    args = {key: value for key, value in data.items() if key != "num_classes" and value is not None}
    if unknown := sorted(set(args) - _ALLOWED_MODEL_ARGS):
        raise BackboneError(f"{where}: 'model_args' may not set {unknown}; allowed are {sorted(_ALLOWED_MODEL_ARGS)}.")
    for key, value in args.items():
        if not all(map(_is_plain, value if isinstance(value, list) and len(value) <= 8 else [value])):
            raise BackboneError(f"{where}: {key!r} in 'model_args' must be a plain, small value; got {value!r:.60}.")
    return args


def _is_plain(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= 64
    return isinstance(value, (bool, int, float)) and abs(value) <= _MAX_SIDE


def _pretrained_cfg(config: Mapping[str, Any], channels: Any, where: str) -> dict[str, Any]:
    """Check and return the keys that are used, with timm's defaults."""

    def numbers(key: str, default: tuple[float, ...], low: float, high: float) -> list[Any]:
        value = config.get(key) or default
        kinds = (int,) if isinstance(default[-1], int) else (int, float)
        counts = (3,) if key == "input_size" else (1, 3, size[0])  # others than the channels are taken in turns
        is_list = isinstance(value, (list, tuple)) and len(value) in counts
        if not is_list or not all(type(v) in kinds and low <= v <= high for v in value):
            raise BackboneError(f"{where}: {key!r} must be three numbers from {low} to {high}; got {value!r:.60}.")
        return list(value)

    size = numbers("input_size", (3, 224, 224), 1, _MAX_SIDE)
    size[0] = size[0] if channels is None else channels
    if type(size[0]) is not int or not 1 <= size[0] <= MAX_CHANNELS:
        raise BackboneError(f"{where}: a model takes images of 1 to {MAX_CHANNELS} channels; got {size[0]!r:.20}.")
    crop, classes = config.get("crop_pct") or 0.875, config["num_classes"]
    if type(crop) not in (int, float) or not 0 < crop <= 2:
        raise BackboneError(f"{where}: 'crop_pct' must be a share of the image; got {crop!r:.60}.")
    if type(classes) is not int or not 0 <= classes <= 10**6:
        raise BackboneError(f"{where}: 'num_classes' must be a number of classes; got {classes!r:.60}.")
    return {
        "input_size": size,
        "fixed_input_size": config.get("fixed_input_size") is True,
        "num_classes": classes,
        "interpolation": str(config.get("interpolation") or "bicubic"),
        "crop_pct": crop,
        "crop_mode": str(config.get("crop_mode") or "center"),
        "mean": list(cycled(numbers("mean", _MEAN, -10.0, 10.0), size[0])),
        "std": list(cycled(numbers("std", _STD, 1e-6, 10.0), size[0])),
    }
