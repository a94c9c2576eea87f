"""Where examples enter the network in training: as images, at a boundary, or as the features that the head takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from autotransfer.data.examples import Images
from autotransfer.transfer.boundary import Activation, Cut
from autotransfer.transfer.cache import Arrays
from autotransfer.transfer.device import send
from autotransfer.transfer.memory import out_of_memory
from autotransfer.transfer.network import Network
from autotransfer.transfer.pixels import augment, prepare

__all__ = ["BoundaryFeed", "Feed", "FeatureFeed", "PixelFeed"]

# Bytes of features that a GPU holds while it trains on them, and the share of its free memory that they may take.
_HELD, _HELD_SHARE = 2**30, 0.1
_CHUNK = 2**26


class Feed(Protocol):
    """A way into the network."""

    def outputs(self, network: Network, rows: np.ndarray, rng: torch.Generator | None) -> Tensor:
        """Return the head's outputs for these examples; ``rng`` draws views or augmentation, None means neither."""
        ...


class PixelFeed:
    """Images pass through the whole network, augmented on the device."""

    def __init__(self, images: Images, augmentation: str, device: torch.device) -> None:
        self.images, self.augmentation, self.device = images, augmentation, device

    def outputs(self, network: Network, rows: np.ndarray, rng: torch.Generator | None) -> Tensor:
        """Run the whole network."""
        how = network.backbone.preprocessing
        pixels = self.images.pixels[how.crop_mode][rows]
        batch = augment(pixels, how, self.device, self.augmentation, rng) if rng else prepare(pixels, how, self.device)
        return network.head(network.features(batch))  # type: ignore[no-any-return]


class BoundaryFeed:
    """Cached activations enter at the boundary; only the suffix runs."""

    def __init__(self, views: Sequence[Arrays], cut: Cut, device: torch.device) -> None:
        self.views, self.cut, self.device = _near(views, device), cut, device

    def outputs(self, network: Network, rows: np.ndarray, rng: torch.Generator | None) -> Tensor:
        """Run the suffix and the head."""
        cached = _draw(self.views, rows, rng, self.device)
        backbone = network.backbone
        if network.head_takes == "map":
            features = self.cut.suffix(backbone, cached, lambda x: backbone.as_map(backbone.forward_map(x)))
        else:
            features = self.cut.suffix(backbone, cached)
        return network.head(features)  # type: ignore[no-any-return]


class FeatureFeed:
    """Cached features enter the head; the backbone does not run at all."""

    def __init__(self, views: Sequence[Arrays], device: torch.device) -> None:
        self.views, self.device = _near(views, device), device

    def outputs(self, network: Network, rows: np.ndarray, rng: torch.Generator | None) -> Tensor:
        """Run the head."""
        (features,) = _draw(self.views, rows, rng, self.device)
        if network.head_takes == "map":
            features = network.backbone.as_map(features)
        return network.head(features)  # type: ignore[no-any-return]


def _draw(
    views: Sequence[Arrays] | Sequence[Activation], rows: np.ndarray, rng: torch.Generator | None, device: torch.device
) -> Activation:
    """Gather rows; in training each batch sees one of the views."""
    view = views[int(torch.randint(len(views), (1,), generator=rng)) if rng and len(views) > 1 else 0]
    return tuple(_gathered(array, rows, device).float() for array in view)


def _gathered(array: np.ndarray | Tensor, rows: np.ndarray, device: torch.device) -> Tensor:
    return array[send(rows, device)] if isinstance(array, Tensor) else send(array[rows], device)


def _near(views: Sequence[Arrays], device: torch.device) -> Sequence[Arrays] | Sequence[Activation]:
    """Bring features to a GPU once, if they are small beside its memory, instead of a batch of them in each step."""
    if device.type != "cuda":
        return views
    size = sum(array.nbytes for arrays in views for array in arrays)
    if size > min(_HELD, _HELD_SHARE * torch.cuda.mem_get_info(device)[0]):
        return views
    try:
        return [tuple(_copied(array, device) for array in arrays) for arrays in views]
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        return views


def _copied(array: np.ndarray, device: torch.device) -> Tensor:
    """Copy an array in parts: one that is mapped to a file cannot be sent as it is."""
    step = max(1, _CHUNK * len(array) // max(array.nbytes, 1))
    return torch.cat([send(np.array(array[i : i + step]), device) for i in range(0, len(array), step)])
