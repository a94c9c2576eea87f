"""Where examples enter the network in training: as they are, at a boundary, or as the features that the head takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from autotransfer.backbones.cut import Activation, Cut
from autotransfer.backbones.inputs import laid_out
from autotransfer.contract.modality import Inputs, Store
from autotransfer.features.ragged import Array, Arrays, Ragged
from autotransfer.runtime.device import to_device
from autotransfer.runtime.memory import out_of_memory
from autotransfer.training.network import Network

__all__ = ["BoundaryFeed", "Feed", "FeatureFeed", "InputFeed"]

# Bytes of features that a GPU holds while it trains on them, and the share of its free memory that they may take.
_MAX_BYTES_ON_GPU, _MAX_GPU_SHARE = 2**30, 0.1
_CHUNK = 2**26


@dataclass(frozen=True)
class _HeldRagged:
    """A ragged array whose values are on a GPU."""

    array: Ragged
    values: Tensor

    def padded(self, rows: np.ndarray) -> Tensor:
        where, there = (to_device(found, self.values.device) for found in self.array.positions(rows))
        return self.values[where].masked_fill(~there[(...,) + (None,) * (self.values.ndim - 1)], 0.0)


Near = Array | Tensor | _HeldRagged
"""Cached features where they are, or held on a GPU."""


class Feed(Protocol):
    """A way into the network.

    Attributes:
        lengths: Number of positions of each example (N,) that passes; None where all take the same.
    """

    lengths: np.ndarray | None

    def outputs(self, network: Network, rows: np.ndarray, rng: torch.Generator | None) -> Tensor:
        """Return the head's outputs for these examples.

        ``rng`` draws a view, or augmentation; without it they are the mean over all views.
        """
        ...


class InputFeed:
    """Examples pass through the whole network: augmented on the device, or in the first ``views`` fixed views."""

    def __init__(
        self,
        store: Store,
        augmentation: str,
        device: torch.device,
        views: int = 1,
        lengths: np.ndarray | None = None,
    ) -> None:
        self.store, self.augmentation, self.device, self.lengths = store, augmentation, device, lengths
        self.views = store.modality.views[:views]

    def outputs(self, network: Network, rows: np.ndarray, rng: torch.Generator | None) -> Tensor:
        """Run the whole network."""
        how = network.backbone.preprocessing
        if rng:
            batch = self.store.augmented(rows, how, self.device, self.augmentation, rng)
            return network.head(network.features(batch))  # type: ignore[no-any-return]
        batches = (self.store.inputs(rows, how, self.device, view) for view in self.views)
        return _mean([network.head(network.features(batch)) for batch in batches])


class BoundaryFeed:
    """Cached activations enter at the boundary; only the suffix runs."""

    def __init__(
        self,
        views: Sequence[Arrays],
        cut: Cut,
        device: torch.device,
        store: Store,
        lengths: np.ndarray | None = None,
    ) -> None:
        self.views, self.cut, self.device, self.store = _near(views, device), cut, device, store
        self.lengths = lengths

    def outputs(self, network: Network, rows: np.ndarray, rng: torch.Generator | None) -> Tensor:
        """Run the suffix and the head."""
        backbone = network.backbone

        def as_map(inputs: Inputs) -> Tensor:
            return laid_out(backbone, backbone.forward_map(inputs), inputs, network.map_positions)

        def run(view: int, cached: Activation) -> Tensor:
            inputs = None
            if self.cut.joins:
                name = self.store.modality.views[view]
                inputs = self.store.inputs(rows, backbone.preprocessing, self.device, name)
            forward = as_map if network.head_takes == "map" else None
            return network.head(self.cut.suffix(backbone, cached, forward, inputs))  # type: ignore[no-any-return]

        return _mean([run(view, cached) for view, cached in _chosen(self.views, rows, rng, self.device)])


class FeatureFeed:
    """Cached features enter the head; the backbone does not run at all."""

    def __init__(self, views: Sequence[Arrays], device: torch.device) -> None:
        self.views, self.device = _near(views, device), device
        ragged = next((array for array in views[0] if isinstance(array, Ragged)), None)
        self.lengths = None if ragged is None else ragged.lengths

    def outputs(self, network: Network, rows: np.ndarray, rng: torch.Generator | None) -> Tensor:
        """Run the head."""
        mask = None
        if self.lengths is not None:
            lengths = to_device(self.lengths[rows], self.device)
            mask = torch.arange(int(self.lengths[rows].max()), device=self.device) < lengths[:, None]

        def taken(features: Tensor) -> Tensor:
            if network.head_takes != "map":
                return features
            return laid_out(network.backbone, features, None if mask is None else {"mask": mask}, network.map_positions)

        chosen = _chosen(self.views, rows, rng, self.device)
        return _mean([network.head(taken(features)) for _, (features,) in chosen])


def _chosen(
    views: Sequence[Sequence[Near]], rows: np.ndarray, rng: torch.Generator | None, device: torch.device
) -> Iterator[tuple[int, Activation]]:
    """Gather rows with the number of their view: in training each batch sees one of the views."""
    one = int(torch.randint(len(views), (1,), generator=rng)) if rng and len(views) > 1 else 0
    for number in [one] if rng else range(len(views)):
        view = views[number]
        yield number, tuple(_gathered(array, rows, device).float() for array in view)


def _mean(outputs: Sequence[Tensor]) -> Tensor:
    return outputs[0] if len(outputs) == 1 else torch.stack(list(outputs)).mean(0)


def _gathered(array: Near, rows: np.ndarray, device: torch.device) -> Tensor:
    if isinstance(array, _HeldRagged):
        return array.padded(rows)
    if isinstance(array, Ragged):
        return to_device(array.padded(rows), device)
    return array[to_device(rows, device)] if isinstance(array, Tensor) else to_device(array[rows], device)


def _near(views: Sequence[Arrays], device: torch.device) -> Sequence[Sequence[Near]]:
    """Bring features to a GPU once, if they are small beside its memory, instead of a batch of them in each step."""
    if device.type != "cuda":
        return views
    size = sum(array.nbytes for arrays in views for array in arrays)
    if size > min(_MAX_BYTES_ON_GPU, _MAX_GPU_SHARE * torch.cuda.mem_get_info(device)[0]):
        return views
    try:
        return [tuple(_held(array, device) for array in arrays) for arrays in views]
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        return views


def _held(array: Array, device: torch.device) -> Tensor | _HeldRagged:
    return _HeldRagged(array, _copied(array.values, device)) if isinstance(array, Ragged) else _copied(array, device)


def _copied(array: np.ndarray, device: torch.device) -> Tensor:
    """Copy an array in parts: one that is mapped to a file cannot be sent as it is."""
    step = max(1, _CHUNK * len(array) // max(array.nbytes, 1))
    return torch.cat([to_device(np.array(array[i : i + step]), device) for i in range(0, len(array), step)])
