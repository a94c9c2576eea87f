"""Features of decoded images at any boundary of a backbone: computed once, cached, reused by every trial."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import torch
from torch import Tensor

from autotransfer._version import __version__
from autotransfer.contract.backbone import Backbone
from autotransfer.contract.specs import BackboneSpec
from autotransfer.data.examples import Images
from autotransfer.errors import BackboneError, PluginError
from autotransfer.transfer.boundary import Activation, Cut
from autotransfer.transfer.cache import ActivationCache, Allocate, Arrays, content_key
from autotransfer.transfer.device import Device
from autotransfer.transfer.inference import FrozenBackbone
from autotransfer.transfer.memory import out_of_memory
from autotransfer.transfer.pixels import prepare

__all__ = ["FeatureExtractor", "LoadedBackbone"]

log = logging.getLogger("autotransfer")

# Kinds of boundary beside the depths: what the heads take from a backbone that is frozen as a whole.
POOLED, MAP = "pooled", "map"

# Batch sizes that are tried, the one that is taken without a trial first: small ones stay in a CPU's cache, large ones
# fill a GPU.
_BATCHES = {"cpu": (16, 8, 32, 64), "cuda": (128, 32, 256)}


class LoadedBackbone:
    """A backbone with its weights on the device, in eval mode, and its cuts. It is never trained: trials copy it.

    Args:
        spec: What to load.
        device: Where it runs.

    Attributes:
        spec: Its spec.
        backbone: The module.
        fast: The same, made fast for inference.
        digest: Hash of its weights.
        map_shape: Shape (C, h, w) of the last feature map.

    Raises:
        PluginError: It does not keep its contract.
        BackboneError: It cannot be loaded.
    """

    def __init__(self, spec: BackboneSpec, device: Device) -> None:
        backbone = spec.load()
        if not isinstance(backbone, Backbone):
            raise PluginError(f"The backbone {spec.name!r} loads a {type(backbone).__name__}; expected a Backbone.")
        self.spec = spec
        self.device = device
        self.backbone = backbone.eval().requires_grad_(False)
        self.digest = _weights_digest(backbone)
        self._images = torch.randn(3, 3, *backbone.preprocessing.size, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            features = backbone.forward_map(self._images)
            pooled = backbone.pool(features)
            self.map_shape = tuple(backbone.as_map(features).shape[1:])
        if pooled.shape != (3, backbone.width):
            raise PluginError(f"The backbone {spec.name!r} pools to {tuple(pooled.shape)}; said (3, {backbone.width}).")
        if not bool(pooled.isfinite().all()):
            raise BackboneError(f"The backbone {spec.name!r} gives features that are not finite.")
        self.fast = FrozenBackbone(self.backbone, self._images, pooled, device)
        device.place(self.backbone)
        self._cuts: dict[int, Cut] = {}
        self._extendable: dict[int, bool] = {}

    @property
    def frozen(self) -> Backbone:
        """The module that infers fast."""
        return self.fast.module

    @property
    def precise(self) -> bool:
        """Whether 16 bit is not good enough for it."""
        return self.fast.precision == "full"

    @property
    def depths(self) -> int:
        """Number of stages."""
        return len(self.backbone.stages)

    def cut(self, depth: int) -> Cut:
        """Return the cut at a depth; made and checked once, in float32."""
        if depth not in self._cuts:
            cut = Cut(self.backbone, depth, self._images.to(self.device.torch))
            if not cut.exact:
                log.info("%s is frozen, but not cached, at stage %d: %s", self.spec.name, depth, cut.reason)
            self._cuts[depth] = cut
        return self._cuts[depth]

    def extends(self, depth: int) -> bool:
        """Whether the fast module, too, goes on from what is cached at a depth; checked once."""
        if depth not in self._extendable:
            cut = self.cut(depth)
            self._extendable[depth] = cut.exact and (
                self.precise or self.fast.agrees(lambda x: cut.suffix(self.frozen, cut.prefix(self.frozen, x)))
            )
        return self._extendable[depth]

    def copy(self) -> Backbone:
        """Return a copy to train."""
        return copy.deepcopy(self.backbone)


@dataclass(frozen=True, kw_only=True)
class FeatureExtractor:
    """Features of one set of decoded images.

    Attributes:
        images: The images.
        cache: Where features are kept.
    """

    images: Images
    cache: ActivationCache

    def pooled(self, loaded: LoadedBackbone, view: str = "center") -> np.ndarray:
        """Return float32 pooled features (N, width)."""
        return self._at(loaded, POOLED, view)[0].astype(np.float32)

    def at(self, loaded: LoadedBackbone, depth: int, view: str = "center", *, head_takes: str = POOLED) -> Arrays:
        """Return the activations (N, ...) at a depth; at the last one, what the head takes.

        The cut at the depth must be exact.
        """
        boundary = head_takes if depth == loaded.depths else f"stage{depth}"
        return self._at(loaded, boundary, view)

    def is_cached(self, loaded: LoadedBackbone, depth: int, view: str = "center", *, head_takes: str = POOLED) -> bool:
        """Whether ``at`` would compute nothing."""
        boundary = head_takes if depth == loaded.depths else f"stage{depth}"
        return self.cache.contains(self._key(loaded, boundary, view))

    def _key(self, loaded: LoadedBackbone, boundary: str, view: str) -> str:
        return content_key(
            version=__version__,  # how features are computed may change with it
            weights=loaded.digest,
            architecture=loaded.backbone.recipe or loaded.spec.name,
            boundary=boundary,
            preprocessing=repr(loaded.backbone.preprocessing),
            view=view,
            images=self.images.fingerprint,
            side=self.images.side,
            precision=f"{loaded.fast.precision} {loaded.device.half}",
        )

    def _at(self, loaded: LoadedBackbone, boundary: str, view: str) -> Arrays:
        key = self._key(loaded, boundary, view)
        about = f"{loaded.spec.name} {boundary} {view} ({len(self.images)} images)"
        if boundary == POOLED and self.cache.contains(map_key := self._key(loaded, MAP, view)):
            features = self.cache.get(map_key)
            if features is not None:
                return self.cache.get_or_compute(key, about, lambda allocate: self._pool(loaded, features, allocate))
        return self.cache.get_or_compute(key, about, lambda allocate: self._compute(loaded, boundary, view, allocate))

    def _compute(self, loaded: LoadedBackbone, boundary: str, view: str, allocate: Allocate) -> Arrays:
        """Run the prefix over all images, from the nearest boundary before that is cached, else from the pixels."""
        fast, run, nearest = loaded.fast, _prefix(loaded, boundary), self._nearest(loaded, boundary, view)

        def features(rows: slice) -> Activation:
            with fast.running() as backbone:
                if nearest is None:
                    return run(self._input(loaded, rows, view))
                cut, arrays = nearest
                activation: Activation = cut.suffix(backbone, tuple(fast.take(_rows(a, rows)) for a in arrays), run)
                return activation

        return _collect(features, len(self.images), allocate, _batches(loaded.device), allow_half=not loaded.precise)

    def _input(self, loaded: LoadedBackbone, rows: slice, view: str) -> Tensor:
        how = loaded.backbone.preprocessing
        return loaded.fast.take(prepare(self.images.pixels[how.crop_mode][rows], how, loaded.device.torch, view))

    def _nearest(self, loaded: LoadedBackbone, boundary: str, view: str) -> tuple[Cut, Arrays] | None:
        """Return the deepest cut before a boundary whose activations are cached."""
        end = int(boundary.removeprefix("stage")) if boundary.startswith("stage") else loaded.depths
        for depth in range(end - 1, 0, -1):
            key = self._key(loaded, f"stage{depth}", view)
            if self.cache.contains(key) and loaded.extends(depth) and (arrays := self.cache.get(key)) is not None:
                return loaded.cut(depth), arrays
        return None

    def _pool(self, loaded: LoadedBackbone, maps: Arrays, allocate: Allocate) -> Arrays:
        """Pool cached feature maps: no image passes through the backbone again."""

        def features(rows: slice) -> Activation:
            with loaded.fast.running() as backbone:
                return (backbone.pool(loaded.fast.take(_rows(maps[0], rows))),)

        return _collect(features, len(self.images), allocate, _batches(loaded.device), allow_half=not loaded.precise)


def _prefix(loaded: LoadedBackbone, boundary: str) -> Callable[[Tensor], Activation]:
    backbone = loaded.frozen
    if boundary == POOLED:
        return lambda batch: (backbone(batch),)
    if boundary == MAP:
        return lambda batch: (backbone.forward_map(batch),)
    cut = loaded.cut(int(boundary.removeprefix("stage")))
    return lambda batch: cut.prefix(backbone, batch)


def _rows(array: np.ndarray, rows: slice) -> Tensor:
    return torch.from_numpy(np.array(array[rows]))  # a copy: what is mapped cannot be written to


def _batches(device: Device) -> tuple[int, ...]:
    return _BATCHES.get(device.torch.type, _BATCHES["cuda"])


class _Pace:
    """Chooses the batch size by a short measurement on batches that count anyway."""

    def __init__(self, sizes: tuple[int, ...], n: int) -> None:
        # The first batch warms up; measuring must not take more than a share of the work.
        self._due = [sizes[0], *sizes] if n >= 4 * sum(sizes) else []
        self._rates: dict[int, float] = {}
        self._warm = False
        self.size = sizes[0]

    def took(self, images: int, seconds: float) -> None:
        """Note how long a batch took, and choose the size of the next."""
        if not self._due:
            return
        if self._warm:
            self._rates[self.size] = images / max(seconds, 1e-9)
        self._warm = True
        self._due.pop(0)
        self.size = self._due[0] if self._due else max(self._rates, key=self._rates.__getitem__)

    def halve(self) -> None:
        """Go on with half the size: memory ran out."""
        self._due, self.size = [], max(1, self.size // 2)


def _collect(
    features: Callable[[slice], Activation], n: int, allocate: Allocate, batches: tuple[int, ...], *, allow_half: bool
) -> Arrays:
    """Fill arrays batch by batch; the batch halves when memory runs out, and float32 follows where 16 bit overflows."""
    pace, start, arrays, half = _Pace(batches, n), 0, None, allow_half
    while start < n:
        rows = slice(start, min(start + pace.size, n))
        begin = time.perf_counter()
        try:
            with torch.inference_mode():
                batch = [tensor.float() for tensor in features(rows)]
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error) or pace.size == 1:
                raise
            pace.halve()
            continue
        if half and not all(bool(t.half().isfinite().all()) for t in batch):
            half, arrays, start = False, None, 0
            continue
        dtype = np.dtype(np.float16 if half else np.float32)
        arrays = arrays or tuple(allocate((n, *t.shape[1:]), dtype) for t in batch)
        for array, tensor in zip(arrays, batch, strict=True):
            array[rows] = (tensor.half() if half else tensor).cpu().numpy()
        pace.took(rows.stop - rows.start, time.perf_counter() - begin)
        start = rows.stop
    assert arrays is not None  # n > 0: empty data are refused before
    return arrays


def measure_seconds_per_image(loaded: LoadedBackbone, images: Images, batch: int = 16) -> float:
    """Return the seconds that one image takes through the backbone, the best of two passes over a small batch."""
    how = loaded.backbone.preprocessing
    pixels = images.pixels[how.crop_mode][:batch]
    best = float("inf")
    with loaded.fast.running() as backbone:
        for _ in range(2):
            begin = time.perf_counter()
            backbone(loaded.fast.take(prepare(pixels, how, loaded.device.torch))).float().cpu()
            best = min(best, time.perf_counter() - begin)
    return best / len(pixels)


def _weights_digest(backbone: Backbone) -> str:
    digest = blake2b(digest_size=20)
    for name, tensor in sorted(backbone.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
