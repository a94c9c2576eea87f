"""A frozen backbone, run as fast as the hardware can without changing what comes out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from hashlib import blake2b
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from autotransfer.backbones.fold_batch_norm import fold_batch_norm
from autotransfer.backbones.fuse_layers import can_fuse, fuse_layers
from autotransfer.backbones.inputs import dense, moved
from autotransfer.contract.backbone import Backbone
from autotransfer.contract.modality import Inputs
from autotransfer.runtime.device import Device

__all__ = ["PROBES", "FrozenBackbone", "Precision", "batch_sizes", "outputs_digest"]

log = logging.getLogger("autotransfer")

PROBES = 3
"""Examples on which a backbone is checked: cuts are recorded and checked with different numbers of them."""

Precision = Literal["half", "autocast", "full"]
"""16-bit weights and activations; 16 bit where torch's autocast deems it safe; float32."""

# What is tried, the fastest first: a precision, and whether layers are fused. The last one is always right.
_LADDER: tuple[tuple[Precision, bool], ...] = (
    ("half", True),
    ("half", False),
    ("autocast", False),
    ("full", True),
    ("full", False),
)
# Cosine between the fast and the float32 features of an example below which the next precision is tried.
_AGREEMENT = 0.995
# Small batches stay in a CPU's cache, large ones fill a GPU; there, setting up the layers for another size takes longer
# than a better one could save.
_BATCHES = {"cpu": (16, 8, 32), "cuda": (128,)}
# The same in positions, where examples have lengths.
_POSITIONS = {"cpu": (1024, 512, 2048), "cuda": (32768,)}
# Seconds of work from which compiling is tried, and the speed-up from which its result is used.
_COMPILE_FROM, _COMPILE_GAIN = 600.0, 1.05
# Sums that stand for the outputs on the probe.
_SUMS = 8
# Numbers in an attention matrix beyond which torch's kernel, which never holds all of it, is used.
_LARGEST_ATTENTION = 2**25


class FrozenBackbone:
    """A copy of a backbone that only infers: batch norm folded, in 16 bit where its features stay.

    Args:
        backbone: In eval mode, float32, on the device; it is not changed.
        probe: Inputs (N, ...) on the CPU: what the check runs on.
        exact: Its pooled features (N, width) in float32.
        device: Where it runs.

    Attributes:
        module: The copy.
        precision: What it runs in.
    """

    def __init__(self, backbone: Backbone, probe: Inputs, exact: Tensor, device: Device) -> None:
        self._device, self._probe, self._exact = device, probe, dense(exact)
        # Folded on the CPU: on a GPU, float32 may be rounded by more than the check tolerates.
        plain = backbone if device.torch.type == "cpu" else deepcopy(backbone).cpu()
        self._folded = device.place(fold_batch_norm(plain, probe))
        self.module, self.precision = self._folded, "full"
        self._compiled: dict[Any, Callable[[Any], Tensor]] = {}
        self._below = iter(_LADDER)
        self.lower()

    @classmethod
    def of(cls, backbone: Backbone, device: Device) -> FrozenBackbone:
        """Make one of a backbone on the device, in eval mode."""
        probe = backbone.preprocessing.probe(PROBES)
        with torch.inference_mode():
            exact = backbone(moved(probe, device.torch)).float().cpu()
        return cls(backbone, probe, exact, device)

    def lower(self) -> bool:
        """Go on to the next precision that does the probe right; return False if this one is the last."""
        for precision, fused in self._below:
            if (precision != "full" and self._device.half is None) or (fused and not can_fuse(self._device.torch)):
                continue
            self.module, self.precision, self._compiled = self._folded, precision, {}
            if (precision, fused) == _LADDER[-1]:
                return True
            try:
                self.module = self._made(fused)
            except Exception as error:  # a model's own code may insist on a type
                log.info("a backbone does not run in precision %r: %s", precision, error)
                continue
            if self.agrees(self.module):
                return True
        return False

    @property
    def held(self) -> tuple[Backbone, ...]:
        """The modules that it keeps in memory."""
        return self._folded, self.module

    @property
    def dtype(self) -> torch.dtype:
        """Type that its input takes."""
        half = self._device.half
        return half if half is not None and self.precision == "half" else torch.float32

    def take(self, inputs: Any) -> Any:
        """Bring what enters the module, a tensor or inputs of several, to its device and type."""
        exact = self.module.exact_inputs and isinstance(inputs, Mapping)
        return moved(inputs, self._device.torch, torch.float32 if exact else self.dtype)

    @contextmanager
    def running(self) -> Iterator[Backbone]:
        """Run the module within: without gradients, in its precision, with the fastest attention."""
        composed = self.precision == "half" and self._device.torch.type == "cpu"
        with (
            torch.inference_mode(),
            self._device.autocast(self.precision == "autocast"),
            _ComposedAttention() if composed else nullcontext(),
        ):
            yield self.module

    def agrees(self, features: Callable[[Any], Tensor]) -> bool:
        """Whether ``features`` of the probe, computed by parts of the module, are those of float32."""
        try:
            with self.running():
                fast = dense(features(self.take(self._probe)).float().cpu())
        except Exception as error:  # a model's own code may insist on a type
            log.info("16 bit is not used here: %s", error)
            return False
        return bool(fast.isfinite().all()) and _cosine(self._exact, fast) >= _AGREEMENT

    def __call__(self, inputs: Inputs) -> Tensor:
        """Map inputs to pooled features, within ``running``; compiled where that was found to pay."""
        run = self._compiled.get(_shape(inputs), self.module)  # a smaller last batch is not compiled
        return run(inputs)

    def compile_for(self, batch: Inputs, count: int) -> None:
        """Compile the module for batches like this one, if ``count`` of them are work enough to pay for it.

        Nothing changes where they are not, where it cannot be compiled (no C++ compiler, say), or where that makes it
        no faster.
        """
        with self.running():
            eager = _seconds(self.module, batch)
            if eager * count < _COMPILE_FROM or _shape(batch) in self._compiled:
                return
            try:
                # Without our own fusing: compilers do that, and cannot look into packed weights.
                fast: Callable[[Any], Tensor] = torch.compile(self._made(fused=False), dynamic=False)
                alike = _cosine(self.module(batch).float(), fast(batch).float())
                gain = eager / _seconds(fast, batch)
            except Exception as error:  # compilers fail in every way
                log.info("a backbone is not compiled: %s", error)
                return
        if gain >= _COMPILE_GAIN and alike >= _AGREEMENT:
            log.info("a backbone is compiled: %.2f times as fast", gain)
            self._compiled[_shape(batch)] = fast

    def _made(self, fused: bool) -> Backbone:
        module = deepcopy(self._folded).to(self.dtype) if fused or self.precision == "half" else self._folded
        if fused:
            fuse_layers(module, self.take(self._probe))
        return module


def _shape(inputs: Inputs) -> Any:
    """Return what tells batches of equal sizes apart from others."""
    return inputs.shape if isinstance(inputs, Tensor) else tuple((name, t.shape) for name, t in inputs.items())


def outputs_digest(outputs: Tensor) -> str:
    """Return a hash of what a backbone gives for its probe: another computation has another one.

    Float noise, as of another number of threads, mostly leaves it as it is, since what is hashed are a few rounded
    sums over all numbers, with random signs, relative to their norm: noise of one in a million changes it once in a
    hundred times, a change of a single feature by a hundredth of the norm always.
    """
    values = outputs.detach().cpu().flatten().double()
    norm = values.norm().clamp(min=torch.finfo(torch.float32).tiny)
    signs = torch.randint(0, 2, values.shape, generator=torch.Generator().manual_seed(0), dtype=torch.int8) * 2 - 1
    signed = signs * values / norm
    sums = [round(float(signed[part::_SUMS].sum()), 3) + 0.0 for part in range(_SUMS)]  # of two zeros, the positive one
    return blake2b(f"{tuple(outputs.shape)} {norm:.2e} {sums}".encode(), digest_size=20).hexdigest()


def batch_sizes(device: Device, lengths: Any = None) -> tuple[int, ...]:
    """Return the batch sizes to try, first the one that is taken without a trial.

    Args:
        device: The device.
        lengths: Lengths of the examples; with them, sizes are in positions. None where all are equally long.
    """
    sizes = _BATCHES if lengths is None else _POSITIONS
    return sizes.get(device.torch.type, sizes["cuda"])


def _cosine(exact: Tensor, found: Tensor) -> float:
    """Return the cosine between features (N, width) of the example where they differ most; of any magnitude."""
    largest = exact.abs().max().clamp(min=torch.finfo(torch.float32).tiny)
    return float(F.cosine_similarity(exact / largest, found / largest, dim=1).min())


def _seconds(run: Callable[[Any], Tensor], batch: Inputs) -> float:
    """Return the time of a batch, the best of two after one that warms up."""
    taken = []
    for _ in range(3):
        begin = time.perf_counter()
        run(batch).sum().item()  # waits for a GPU to end
        taken.append(time.perf_counter() - begin)
    return min(taken[1:])


class _ComposedAttention(TorchFunctionMode):
    """Attention as two products of matrices and a softmax: in 16 bit on a CPU, 1.5 times as fast as torch's kernel."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention and _composable(*args, **kwargs):
            return _attend(*args, **kwargs)
        return func(*args, **kwargs)


def _composable(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0, **options: Any
) -> bool:
    numbers = query.numel() // max(query.shape[-1], 1) * key.shape[-2]
    others = any(given for name, given in options.items() if name != "scale")  # causal, grouped
    masked = attn_mask is not None and attn_mask.dtype != query.dtype
    alike = query.ndim >= 3 and query.shape[:-2] == key.shape[:-2] == value.shape[:-2]
    return alike and numbers <= _LARGEST_ATTENTION and not (dropout_p or others or masked)


def _attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    scale: float | None = None,
    **others: Any,
) -> Tensor:
    """Compute softmax(query key^T scale + mask) value for (..., length, width); nothing is dropped."""
    factor = query.shape[-1] ** -0.5 if scale is None else scale
    q, k, v = query.flatten(0, -3), key.flatten(0, -3), value.flatten(0, -3)
    scores = torch.baddbmm(q.new_empty(()), q, k.transpose(1, 2), beta=0, alpha=factor)
    if attn_mask is not None:
        scores = (scores.view(*query.shape[:-1], key.shape[-2]) + attn_mask).flatten(0, -3)
    return (scores.softmax(-1) @ v).view(*query.shape[:-1], value.shape[-1])
