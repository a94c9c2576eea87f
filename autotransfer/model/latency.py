"""What models take to predict, measured: a model as it is, and each backbone as a model of it would run it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from autotransfer.backbones.loaded import LoadedBackbone
from autotransfer.candidate import Candidate
from autotransfer.contract.plugin_call import plugin_call
from autotransfer.contract.specs import Takes
from autotransfer.data.examples import Examples
from autotransfer.evaluation.inference_cost import InferenceCost, held_bytes, state_bytes
from autotransfer.evaluation.latency import MAX_SECONDS, Clock, LatencySample, median_seconds
from autotransfer.evaluation.peak_memory import peak_bytes
from autotransfer.model.ensemble_member import EnsembleMember
from autotransfer.model.inference import MembersOfBackbone
from autotransfer.model.transfer_model import TransferModel
from autotransfer.runtime.device import Device
from autotransfer.training.network import Network

__all__ = ["PassCost", "files_bytes", "measure_model", "measure_pass"]


@dataclass(frozen=True, kw_only=True)
class PassCost:
    """What a backbone takes to compute the features of examples.

    Attributes:
        seconds: Median seconds, preprocessing included.
        load_seconds: Seconds of these for what is done once, however many backbones there are.
        state_bytes: Bytes of its tensors in the file of a model.
        tensors: Number of its tensors.
        files: Bytes of each file that its input format needs, by name.
        memory_bytes: Bytes of its weights as they are held to predict.
        peak_bytes: What a prediction adds at its peak; None where this was not measured.
    """

    seconds: float
    load_seconds: float
    state_bytes: int
    tensors: int
    files: Mapping[str, int]
    memory_bytes: int
    peak_bytes: int | None = None

    @property
    def cost(self) -> InferenceCost:
        """What a model takes at least that has this backbone."""
        memory = None if self.peak_bytes is None else self.memory_bytes + self.peak_bytes
        size = self.state_bytes + sum(self.files.values())
        return InferenceCost(latency_seconds=self.seconds, size_bytes=size, memory_bytes=memory)

    def in_views(self, views: int) -> PassCost:
        """Return about what several views take, from what one takes."""
        return replace(self, seconds=self.load_seconds + views * (self.seconds - self.load_seconds))


class _NoHead(nn.Module):
    """Takes features and computes nothing."""

    def forward(self, features: Tensor) -> Tensor:
        """Return a zero for each example (N, 1)."""
        return torch.zeros(features.shape[0], 1, device=features.device)


def measure_pass(
    loaded: LoadedBackbone,
    sample: LatencySample,
    device: Device,
    *,
    views: int = 1,
    takes: Takes = "pooled",
    memory: bool = False,
    max_seconds: float = MAX_SECONDS,
    clock: Clock = time.perf_counter,
) -> PassCost:
    """Measure how long a backbone takes for examples.

    Args:
        loaded: The backbone.
        sample: The examples.
        device: Where it runs.
        views: Number of views of each example.
        takes: Kind of features.
        memory: Whether to measure the peak of the memory, too.
        max_seconds: Seconds after which no further run begins.
        clock: Returns seconds.
    """
    backbone, head, how = loaded.backbone, _NoHead(), loaded.backbone.preprocessing
    stages = loaded.stages if takes == "stages" else None
    network = Network(backbone, head, (backbone.width,), head_takes=takes, stages=stages)
    member = EnsembleMember(network=network, candidate=Candidate(backbone=loaded.spec.name), views=views)
    group, loading = MembersOfBackbone(backbone=loaded.fast, members=(member,), device=device), list[float]()

    def run(number: int) -> None:
        with plugin_call(f"The backbone {loaded.spec.name!r}"):
            start = clock()
            store = sample.load(number, [how])
            loading.append(clock() - start)
            for _, outputs in group.outputs(store):
                outputs.cpu()

    seconds = median_seconds(run, clock, max_seconds=max_seconds)
    return PassCost(
        seconds=seconds,
        load_seconds=min(sorted(loading)[len(loading) // 2], seconds),
        state_bytes=state_bytes(backbone),
        tensors=len(backbone.state_dict()),
        files={name: len(data) for name, data in sample.modality.format_files(how).items()},
        memory_bytes=held_bytes([backbone, *loaded.fast.held]),
        peak_bytes=peak_bytes(lambda: run(0), device) if memory else None,
    )


def measure_model(
    model: TransferModel,
    sample: LatencySample,
    folder: Path,
    *,
    memory: bool = False,
    max_seconds: float = MAX_SECONDS,
    clock: Clock = time.perf_counter,
) -> InferenceCost:
    """Measure what a saved model takes to predict.

    Args:
        model: The model.
        sample: The examples.
        folder: The folder that it was saved in.
        memory: Whether to measure the memory, too.
        max_seconds: Seconds after which no further run begins.
        clock: Returns seconds.
    """

    def run(number: int) -> None:
        items = sample.examples(number)
        model.predict_store(model.decode(Examples(items=items, names=tuple(f"item {i}" for i in range(len(items))))))

    return InferenceCost(
        latency_seconds=median_seconds(run, clock, max_seconds=max_seconds),
        size_bytes=files_bytes(folder),
        memory_bytes=model.held_bytes + peak_bytes(lambda: run(0), model.device) if memory else None,
    )


def files_bytes(folder: Path) -> int:
    """Return the bytes of the files that a saved model is loaded from."""
    return sum(file.stat().st_size for file in TransferModel.files_of(folder))
