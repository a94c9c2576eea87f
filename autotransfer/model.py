"""The model that a search leaves behind: it predicts, saves and loads, and its files cannot run code."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from autotransfer._version import __version__
from autotransfer.candidate import Candidate
from autotransfer.contract.registry import Registry
from autotransfer.contract.specs import Preprocessing
from autotransfer.data.decode import decode
from autotransfer.data.examples import Examples, Images
from autotransfer.data.sources import find_images
from autotransfer.errors import AutoTransferError, DataNotFoundError, ModelFormatError
from autotransfer.files import write_atomically
from autotransfer.task import Task
from autotransfer.text import one_line
from autotransfer.transfer.batches import collect
from autotransfer.transfer.device import Device, resolve_device
from autotransfer.transfer.inference import FrozenBackbone, batch_sizes
from autotransfer.transfer.memory import memory_budget
from autotransfer.transfer.network import Network, to_scores
from autotransfer.transfer.pixels import prepare

__all__ = ["TransferModel"]

_FORMAT = 1
_LARGEST_SIDE = 8192


@dataclass(frozen=True, kw_only=True)
class TransferModel:
    """A trained model with all that it needs to predict on new images.

    Attributes:
        network: Backbone and head, in eval mode.
        task: What it predicts.
        candidate: The setup that it was trained with.
        side: Height and width in pixels of the squares that images are decoded to, as in the search.
        device: Where it runs.
        autocast: Whether 16 bit was used, and is used to predict.
    """

    network: Network
    task: Task
    candidate: Candidate
    side: int
    device: Device
    autocast: bool = False

    def predict(self, data: Any) -> np.ndarray:
        """Predict for images: paths, folders, arrays or PIL images.

        Returns:
            Labels (N,); an object array of label tuples for multilabel; float32 (N,) or (N, targets) for regression.

        Raises:
            DataError: An image cannot be read.
        """
        return self.task.predict(self.predict_proba(data))

    def predict_proba(self, data: Any) -> np.ndarray:
        """Return probabilities (N, classes), or the values (N, targets) of a regression, as float32.

        Raises:
            DataError: An image cannot be read.
        """
        return self.predict_images(self.decode(find_images(data), strict=True))

    def decode(self, examples: Examples, *, strict: bool = False) -> Images:
        """Decode examples as the search did."""
        mode = self.network.backbone.preprocessing.crop_mode
        return decode(examples, {mode: self.side}, exact=True, strict=strict, memory_limit=memory_budget(None))

    def predict_images(self, images: Images) -> np.ndarray:
        """Like ``predict_proba``, for decoded images."""
        how, network, fast = self.network.backbone.preprocessing, self.network, self._fast
        pixels, pooled = images.pixels[how.crop_mode], network.head_takes == "pooled"

        def outputs(rows: slice) -> tuple[Tensor]:
            with fast.running() as backbone:
                batch = fast.take(prepare(pixels[rows], how, self.device.torch))
                features = backbone(batch) if pooled else backbone.as_map(backbone.forward_map(batch))
            return (network.head_outputs(features.float()),)

        size = batch_sizes(self.device)[0]  # always the same: answers must not depend on a measurement
        (found,) = collect(outputs, len(images), np.empty, (size,), half=False, lower=fast.lower)
        return to_scores(self.task, torch.from_numpy(found))

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is made again when needed."""
        return {name: value for name, value in self.__dict__.items() if name != "_fast"}

    @cached_property
    def _fast(self) -> FrozenBackbone:
        """The backbone as the search ran it while it was frozen."""
        device = self.device if self.autocast else replace(self.device, half=None)
        return FrozenBackbone.of(self.network.backbone, device)

    def save(self, folder: str | Path) -> Path:
        """Write ``model.safetensors`` and ``model.json`` into a folder, each at once.

        Returns:
            The folder.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.network.state_dict().items()}
        temporary = folder / ".model.safetensors.new"
        save_file(_unshared(tensors), temporary)
        temporary.replace(folder / "model.safetensors")
        write_atomically(folder / "model.json", json.dumps(self._describe(), indent=2))
        return folder

    @classmethod
    def load(cls, folder: str | Path, *, device: str = "auto", registry: Registry | None = None) -> TransferModel:
        """Read what ``save`` wrote, or the model of a run folder.

        Raises:
            DataNotFoundError: There is no model in this folder.
            ModelFormatError: The files are damaged, or not a model.
        """
        folder = _model_folder(Path(folder))
        about = _read_json(folder / "model.json")
        try:
            state = load_file(folder / "model.safetensors")
            network = _rebuild(about, registry or Registry.load(), sum(tensor.numel() for tensor in state.values()))
            network.load_state_dict(state, strict=True)
            task, candidate = Task.from_json(about["task"]), Candidate.from_json(about["candidate"])
            side, autocast = _side(about["side"]), about["autocast"] is True
        except AutoTransferError:
            raise
        except Exception as error:  # a stranger may have written the files: anything can be in the place of anything
            reason = f"{type(error).__name__}: {one_line(error)}"
            raise ModelFormatError(f"The model in {folder} cannot be read: {reason}") from error
        for name, tensor in state.items():
            if not bool(tensor.isfinite().all()):
                raise ModelFormatError(f"The model in {folder} is damaged: {name!r} holds values that are not finite.")
        where = resolve_device(device)
        where.place(network.eval().requires_grad_(False))
        return cls(network=network, task=task, candidate=candidate, side=side, device=where, autocast=autocast)

    def _describe(self) -> dict[str, Any]:
        backbone = self.network.backbone
        return {
            "format": _FORMAT,
            "autotransfer": __version__,
            "task": self.task.to_json(),
            "candidate": self.candidate.to_json(),
            "backbone": {
                "name": self.candidate.backbone,
                "recipe": dict(backbone.recipe),
                "preprocessing": asdict(backbone.preprocessing),
            },
            "head": {"shape": list(self.network.head_shape), "takes": self.network.head_takes},
            "side": self.side,
            "autocast": self.autocast,
        }


def _rebuild(about: Mapping[str, Any], registry: Registry, size: int) -> Network:
    """Build the network of a saved model, without its weights, of which there are ``size``."""
    saved, candidate = about["backbone"], Candidate.from_json(about["candidate"])
    task, shape = Task.from_json(about["task"]), tuple(int(side) for side in about["head"]["shape"])
    recipe = saved["recipe"]
    if not isinstance(recipe, dict):
        raise ModelFormatError(f"The recipe of the backbone must be an object; got a {type(recipe).__name__}.")
    backbone = registry.rebuild(recipe) if recipe else registry.backbone(saved["name"]).load()
    backbone.preprocessing = _preprocessing(saved["preprocessing"])
    spec = registry.head(candidate.head)
    with torch.device("meta"):  # a head of any size takes no memory there
        asked = sum(p.numel() for p in spec.build(shape, task.outputs, candidate.head_params).parameters())
    if asked > size:
        raise ModelFormatError(f"Its head is to have {asked} parameters; the file of weights holds {size} values.")
    head = spec.build(shape, task.outputs, candidate.head_params)
    width = np.zeros(task.width, dtype=np.float32) if task.kind == "regression" else 0.0
    return Network(backbone, head, shape, shift=width, scale=width)


def _preprocessing(saved: Mapping[str, Any]) -> Preprocessing:
    """Return how the images were prepared.

    Raises:
        ModelFormatError: A value is none that it can have.
    """
    given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in saved.items()}
    how = Preprocessing(**given)
    numbers = (*how.mean, *how.std, how.crop_fraction)
    if not (
        len(how.size) == 2
        and all(_side(side) for side in how.size)
        and len(how.mean) == len(how.std) == 3
        and all(isinstance(n, (int, float)) and math.isfinite(n) for n in numbers)
        and how.crop_fraction > 0
        and min(how.std) > 0
        and how.interpolation in ("bicubic", "bilinear", "nearest")
        and how.crop_mode in ("center", "squash")
    ):
        raise ModelFormatError(f"The preprocessing {given} is none.")
    _side(how.resized)
    return how


def _side(value: Any) -> int:
    """Return the side of an image in pixels.

    Raises:
        ModelFormatError: It is none, or so large that images of that size would not fit into memory.
    """
    if type(value) is not int or not 0 < value <= _LARGEST_SIDE:
        raise ModelFormatError(f"The side of an image is from 1 to {_LARGEST_SIDE} pixels; got {value!r:.60}.")
    return value


def _model_folder(folder: Path) -> Path:
    for place in (folder, folder / "model"):
        if (place / "model.json").is_file():
            return place
    raise DataNotFoundError(f"There is no model in {folder}: expected model.json in it or in its folder model/.")


def _read_json(file: Path) -> dict[str, Any]:
    try:
        about = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelFormatError(f"{file} is not readable JSON: {error}") from error
    if not isinstance(about, dict) or about.get("format") != _FORMAT:
        given = about.get("format") if isinstance(about, dict) else type(about).__name__
        raise ModelFormatError(f"{file} is not a model of format {_FORMAT}: it says {given!r}.")
    return about


def _unshared(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Copy tensors that share memory: safetensors stores each by itself."""
    seen: set[int] = set()
    for name, tensor in tensors.items():
        if tensor.data_ptr() in seen and tensor.numel():
            tensors[name] = tensor.clone()
        seen.add(tensor.data_ptr())
    return tensors
