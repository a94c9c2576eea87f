"""The model that a search leaves behind: it predicts, saves and loads, and its files cannot run code."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from autotransfer._version import __version__
from autotransfer.backbones.frozen import FrozenBackbone, batch_sizes
from autotransfer.backbones.inputs import pooled, rows_of
from autotransfer.candidate import Candidate
from autotransfer.contract.modality import Modality, Skipped, Store
from autotransfer.contract.registry import Registry
from autotransfer.data.examples import Examples
from autotransfer.data.sources import find_examples, load_examples
from autotransfer.errors import AutoTransferError, DataError, DataNotFoundError, ModelFormatError
from autotransfer.features.batches import Rows, collect
from autotransfer.model.serialization import Part, described, read_parts, tensors_of
from autotransfer.model.temperature import temper
from autotransfer.runtime.device import Device, resolve_device
from autotransfer.runtime.files import replacing, write_atomically, writing
from autotransfer.runtime.library_defaults import default_settings
from autotransfer.runtime.memory import memory_budget
from autotransfer.runtime.text import one_line
from autotransfer.tasks.score import Score
from autotransfer.tasks.task import Task
from autotransfer.training.network import Network, to_scores
from autotransfer.warnings import ValueRangeWarning

if TYPE_CHECKING:
    from autotransfer.model.predictions import Prediction

__all__ = ["TransferModel"]

_FORMAT = 5
_COLDEST, _HOTTEST = 0.01, 100.0


@dataclass(frozen=True, kw_only=True)
class TransferModel:
    """A trained model with all that it needs to predict on new examples: one network, or an ensemble.

    Attributes:
        network: Backbone and head, in eval mode.
        task: What it predicts.
        candidate: The setup that it was trained with.
        modality: What kind of examples it takes.
        reading: How new examples are read: as those to train on were.
        device: Where it runs.
        autocast: Whether 16 bit was used, and is used to predict.
        temperature: What the logits of a classifier are divided by.
        others: Further networks of an ensemble, whose outputs are averaged; this one's share is what theirs leave.
        views: Number of fixed views of an example that the network's outputs are the mean over.
    """

    network: Network
    task: Task
    candidate: Candidate
    modality: Modality
    reading: Mapping[str, Any]
    device: Device
    autocast: bool = False
    temperature: float = 1.0
    others: tuple[Part, ...] = ()
    views: int = 1

    @property
    def parts(self) -> tuple[Part, ...]:
        """All networks, the first one first."""
        weight = 1.0 - sum(part.weight for part in self.others)
        network, candidate = self.network, self.candidate
        first = Part(network=network, candidate=candidate, autocast=self.autocast, weight=weight, views=self.views)
        return (first, *self.others)

    def predict(self, data: Any) -> np.ndarray:
        """Predict for examples, in the order in which they are given.

        Args:
            data: A path, a folder, an example in memory, or several; a CSV file or DataFrame with a column of paths; a
                map-style Dataset.

        Returns:
            Labels (N,); an object array of label tuples for multilabel; float64 (N,) or (N, targets) for regression.

        Raises:
            DataError: An example cannot be read, or a row of a table names none.
        """
        return self.task.predict(self.predict_proba(data))

    def predict_proba(self, data: Any) -> np.ndarray:
        """Return probabilities (N, classes) as float32, or the values (N, targets) of a regression as float64.

        A ``ValueRangeWarning`` says where images do not suit the values of the training images.

        Raises:
            DataError: An example cannot be read, or a row of a table names none.
        """
        examples = self.find_examples(data, strict=True)
        store = self.decode(examples, strict=True)
        if store.remarks:
            warnings.warn(ValueRangeWarning.of(store.remarks, examples.names), stacklevel=2)
        return self.predict_store(store)

    def find_examples(self, data: Any, **where: Any) -> Examples:
        """Collect examples to predict on; what can be read in two ways is read as the training examples tell.

        Raises:
            DataError: There is no example, or something that is none.
        """
        return find_examples(data, modalities=(self.modality,), reading=self.reading, **where)

    def predict_table(self, data: Any, **reading: Any) -> list[Prediction]:
        """Predict for images, and for those in folders, with the path, label and probabilities of each.

        Returns:
            One for each image that was found; one that cannot be read says why.

        Raises:
            DataError: There is no image, or none can be read.
        """
        from autotransfer.model.predictions import predict_by_name

        return predict_by_name(self, data, **reading)

    def score(self, data: Any, targets: Any = None, **reading: Any) -> Score:
        """Score the model on labelled examples, in any form that ``fit`` takes.

        Images that cannot be read are left out.

        Args:
            data: The examples.
            targets: One target for each, where ``data`` does not hold them.
            reading: How they are read: ``path_column``, ``target_column`` and what else ``fit`` takes for that.

        Returns:
            The value of the metric that the search used, with its 95% interval.

        Raises:
            DataError: The data cannot be used, hold labels that the model does not know, or no image can be read.
        """
        return self.score_examples(load_examples(data, targets, modalities=(self.modality,), **reading))[0]

    def score_examples(self, examples: Examples) -> tuple[Score, tuple[Skipped, ...]]:
        """Return the score on labelled examples, and which of them cannot be read; see ``score``."""
        if examples.targets is None:
            raise DataError("The examples have no targets: give a folder for each class, a table, or targets.")
        self.task.encode(examples.targets)  # an unknown label is refused before anything is read
        store = self.decode(examples)
        encoded = self.task.encode([examples.targets[i] for i in store.kept])
        return Score.of(self.task, encoded, self.predict_store(store)), examples.skipped + store.skipped

    def decode(self, examples: Examples, *, strict: bool = False) -> Store:
        """Read examples as the search did."""
        return self.modality.load(
            examples.items,
            examples.names,
            [part.network.backbone.preprocessing for part in self.parts],
            options={},
            reading=self.reading,
            strict=strict,
            memory_limit=memory_budget(None),
        )

    @default_settings()
    def predict_store(self, store: Store) -> np.ndarray:
        """Like ``predict_proba``, for examples that were read.

        Each backbone sees each view of them once, however many heads it has.
        """
        parts, total = self.parts, np.zeros((len(store), self.task.outputs), dtype=self.task.dtype)
        for fast, members in self._fast:
            sums: dict[int, np.ndarray] = {}
            for position, view in enumerate(self.modality.views):
                seeing = [i for i in members if position < parts[i].views]
                found = self._outputs(store, view, fast, [parts[i].network for i in seeing]) if seeing else ()
                for i, outputs in zip(seeing, found, strict=True):
                    sums[i] = sums[i] + outputs if i in sums else outputs
            for i, outputs in sums.items():
                mean = parts[i].network.in_units(torch.from_numpy(outputs / parts[i].views))
                total += parts[i].weight * to_scores(self.task, mean)
        return temper(self.task, total, self.temperature)

    def _outputs(
        self, store: Store, view: str, fast: FrozenBackbone, networks: Sequence[Network]
    ) -> tuple[np.ndarray, ...]:
        """Return logits or standardised values (N, outputs) of networks that share a backbone, for one view."""
        how = networks[0].backbone.preprocessing
        maps = any(n.head_takes == "map" for n in networks)
        stages = next((network.stages for network in networks if network.stages is not None), None)

        def outputs(rows: Rows) -> tuple[Tensor, ...]:
            with fast.running() as backbone, ExitStack() as watching:
                batch = fast.take(store.inputs(rows, how, self.device.torch, view))
                given = [] if stages is None else watching.enter_context(stages.tapped(backbone, rows_of(batch)))
                found = backbone.forward_map(batch) if maps else backbone(batch)
                last = pooled(backbone, found, batch) if maps else found
                takes: dict[str, Tensor] = {"pooled": last}
                takes |= {"map": backbone.as_map(found)} if maps else {}
                takes |= {"stages": torch.cat([*given, last], 1)} if stages is not None else {}
            return tuple(network.head_outputs(takes[network.head_takes].float()) for network in networks)

        size = batch_sizes(self.device)[0]  # always the same: answers must not depend on a measurement
        fill = self.device.torch.type == "cuda"
        return collect(outputs, len(store), np.empty, (size,), half=False, lower=fast.lower, fill=fill)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is made again when needed."""
        return {name: value for name, value in self.__dict__.items() if name != "_fast"}

    def __repr__(self) -> str:
        others = f", an ensemble of {len(self.parts)} with {self.candidate}" if self.others else f", {self.candidate}"
        classes = f" of {len(self.task.classes)} classes" if self.task.classes else ""
        return f"<TransferModel: {self.task.kind}{classes}{others}, on {self.device.torch}>"

    @cached_property
    def _fast(self) -> list[tuple[FrozenBackbone, list[int]]]:
        """Each backbone as the search ran it while it was frozen, with the positions of the parts that it serves."""
        served: dict[int, list[int]] = {}
        for i, part in enumerate(self.parts):
            served.setdefault(id(part.network.backbone), []).append(i)
        found = []
        for members in served.values():
            first = self.parts[members[0]]
            device = self.device if first.autocast else replace(self.device, half=None)
            found.append((FrozenBackbone.of(first.network.backbone, device), members))
        return found

    def save(self, folder: str | Path) -> Path:
        """Write ``model.safetensors`` and ``model.json`` into a folder, each at once.

        Returns:
            The folder.

        Raises:
            OutputError: The disk is full, or the folder cannot be written.
        """
        with writing(folder, "Save the model again once there is room."):
            return self.write(Path(folder))

    def write(self, folder: Path) -> Path:
        """Like ``save``; what goes wrong with the disk is not put in words."""
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors_of(self.parts).items()}
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / "model.safetensors") as temporary:
            save_file(_unshared(tensors), temporary)
        write_atomically(folder / "model.json", json.dumps(self._describe(), indent=2))
        return folder

    @classmethod
    @default_settings()
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
            registry = registry or Registry.load()
            task, modality, temperature = Task.from_json(about["task"]), _modality(about, registry), _temperature(about)
            reading = modality.read_reading(about["reading"])
            first, *others = read_parts(about, task, modality, registry, state)
        except AutoTransferError:
            raise
        except Exception as error:  # a stranger may have written the files: anything can be in the place of anything
            reason = f"{type(error).__name__}: {one_line(error)}"
            raise ModelFormatError(f"The model in {folder} cannot be read: {reason}") from error
        for name, tensor in state.items():
            if not bool(tensor.isfinite().all()):
                raise ModelFormatError(f"The model in {folder} is damaged: {name!r} holds values that are not finite.")
        where = resolve_device(device)
        for part in (first, *others):
            where.place(part.network.eval().requires_grad_(False))
        return cls(
            network=first.network,
            task=task,
            candidate=first.candidate,
            modality=modality,
            reading=reading,
            device=where,
            autocast=first.autocast,
            temperature=temperature,
            others=tuple(others),
            views=first.views,
        )

    def _describe(self) -> dict[str, Any]:
        first, *others = described(self.parts)
        return {
            "format": _FORMAT,
            "autotransfer": __version__,
            "task": self.task.to_json(),
            **first,
            "modality": self.modality.name,
            "reading": dict(self.reading),
            "temperature": self.temperature,
            "others": others,
        }


def _modality(about: Mapping[str, Any], registry: Registry) -> Modality:
    """Return the modality of a saved model.

    Raises:
        ModelFormatError: No installed plugin has it.
    """
    name = about["modality"]
    if name not in registry.modalities:
        raise ModelFormatError(
            f"The model takes examples of the modality {name!r:.60}, which no installed plugin has; there are "
            f"{sorted(registry.modalities)}: install the plugin, and see 'autotransfer plugins'."
        )
    return registry.modalities[name]


def _temperature(about: Mapping[str, Any]) -> float:
    """Return the temperature of a saved model; 1 where it has none.

    Raises:
        ModelFormatError: It is none, or one at which every probability would be 0 or 1.
    """
    value = about.get("temperature", 1.0)
    if type(value) is not float or not _COLDEST <= value <= _HOTTEST:
        raise ModelFormatError(f"A temperature is a number from {_COLDEST} to {_HOTTEST}; got {value!r:.60}.")
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
