"""The model that a search leaves behind: it predicts, saves and loads, and its files cannot run code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

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
from autotransfer.transfer.device import Device, resolve_device
from autotransfer.transfer.memory import memory_budget
from autotransfer.transfer.network import Network, to_scores
from autotransfer.transfer.pixels import prepare

__all__ = ["TransferModel"]

_FORMAT = 1
_BATCH = 64


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
        how = self.network.backbone.preprocessing
        pixels, parts = images.pixels[how.crop_mode], []
        with torch.inference_mode(), self.device.autocast(self.autocast):
            for start in range(0, len(images), _BATCH):
                batch = prepare(pixels[start : start + _BATCH], how, self.device.torch)
                parts.append(self.network(batch).float().cpu())
        return to_scores(self.task, torch.cat(parts))

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
            network = _rebuild(about, registry or Registry.load())
            state = load_file(folder / "model.safetensors")
            network.load_state_dict(state, strict=True)
            task, candidate = Task.from_json(about["task"]), Candidate.from_json(about["candidate"])
            side, autocast = int(about["side"]), bool(about["autocast"])
        except AutoTransferError:
            raise
        except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ModelFormatError(f"The model in {folder} cannot be read: {type(error).__name__}: {error}") from error
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


def _rebuild(about: Mapping[str, Any], registry: Registry) -> Network:
    """Build the network of a saved model, without its weights."""
    saved, candidate = about["backbone"], Candidate.from_json(about["candidate"])
    task, shape = Task.from_json(about["task"]), tuple(int(side) for side in about["head"]["shape"])
    backbone = registry.rebuild(saved["recipe"]) if saved["recipe"] else registry.backbone(saved["name"]).load()
    how: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in saved["preprocessing"].items()}
    backbone.preprocessing = Preprocessing(**how)
    head = registry.head(candidate.head).build(shape, task.outputs, candidate.head_params)
    width = np.zeros(task.width, dtype=np.float32) if task.kind == "regression" else 0.0
    return Network(backbone, head, shape, shift=width, scale=width)


def _model_folder(folder: Path) -> Path:
    for place in (folder, folder / "model"):
        if (place / "model.json").is_file():
            return place
    raise DataNotFoundError(f"There is no model in {folder}: expected model.json in it or in its folder model/.")


def _read_json(file: Path) -> dict[str, Any]:
    try:
        about = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
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
