"""A backbone with its weights on the device: a template for trials, a fast module for inference, and its cuts."""

from __future__ import annotations

import copy
import logging
from dataclasses import replace
from functools import cached_property
from hashlib import blake2b

import torch
from torch import Tensor, nn

from autotransfer.backbones.cut import Cut
from autotransfer.backbones.frozen import PROBES, FrozenBackbone, outputs_digest
from autotransfer.backbones.inputs import dense, joined, length_of, mask_of, moved, pooled, shortened, without_padding
from autotransfer.backbones.stage_features import StageFeatures
from autotransfer.contract.backbone import Backbone
from autotransfer.contract.modality import Inputs
from autotransfer.contract.plugin_call import plugin_call
from autotransfer.contract.specs import BackboneSpec
from autotransfer.errors import BackboneError, PluginError
from autotransfer.features.cache import content_key
from autotransfer.runtime.device import Device

__all__ = ["LoadedBackbone"]

log = logging.getLogger("autotransfer")


class LoadedBackbone:
    """A backbone with its weights on the device, in eval mode, and its cuts. Trials train copies of the backbone.

    Args:
        spec: Spec of the backbone.
        device: Device of the backbone.

    Attributes:
        spec: Spec of the backbone.
        backbone: The module.
        digest: Hash of the weights.
        identity: Hash of everything that activations depend on: weights, architecture, stages, versions of the plugin
            and its libraries, and the outputs for the probe, which reveal changes of code.
        sparse: Whether pooled features are sparse.
        map_shape: Shape (C, h, w) of the last feature map.
        map_follows: Whether that map follows the length of the examples before it is laid out.

    Raises:
        PluginError: The backbone breaks its contract.
        BackboneError: The backbone cannot be loaded.
    """

    def __init__(self, spec: BackboneSpec, device: Device) -> None:
        with plugin_call(f"The backbone {spec.name!r}"):
            backbone = spec.load()
        if not isinstance(backbone, Backbone):
            raise PluginError(f"The backbone {spec.name!r} loads a {type(backbone).__name__}; expected a Backbone.")
        self.spec, self.device = spec, device
        with plugin_call(f"The backbone {spec.name!r}"), torch.inference_mode():
            self.backbone = backbone.eval().requires_grad_(False)
            self.digest = _weights_digest(backbone)
            self._probe = backbone.preprocessing.probe(PROBES)
            features = backbone.forward_map(self._probe)
            found = pooled(backbone, features, self._probe)
            self.sparse = isinstance(found, Tensor) and found.layout != torch.strided
            features = without_padding(dense(features), mask_of(self._probe))
            self.map_shape = tuple(backbone.as_map(features).shape[1:])
            self.map_follows = _follows_length(backbone, features, self._probe)
            stages = {backbone.stage_of(name) for name in backbone.state_dict()}
        if not isinstance(found, Tensor) or found.shape != (3, backbone.width):
            given = tuple(found.shape) if isinstance(found, Tensor) else f"a {type(found).__name__}"
            raise PluginError(f"The backbone {spec.name!r} pools to {given}; said (3, {backbone.width}).")
        if odd := stages - set(range(self.depths)):
            raise PluginError(f"The backbone {spec.name!r} has {self.depths} stages, and parameters in stages {odd}.")
        found = dense(found)
        if not bool(found.isfinite().all()):
            raise BackboneError(f"The backbone {spec.name!r} gives features that are not finite.")
        self._pooled = found
        with plugin_call(f"The backbone {spec.name!r}"):
            self.identity = self._identity(features, found)
        if self.sparse:
            self.device = replace(device, half=None)  # counts are not rounded
        device.place(self.backbone)
        self._cuts: dict[int, Cut] = {}
        self._extendable: dict[int, bool] = {}
        self._checked_boundaries: set[int] = set()

    def _identity(self, features: Tensor, pooled: Tensor) -> str:
        stage_of = self.backbone.stage_of
        return content_key(
            weights=self.digest,
            architecture=self.backbone.recipe or self.spec.name,
            stages=[(name, stage_of(name)) for name in sorted(self.backbone.state_dict())],
            versions=[self.spec.origin, self.spec.version],
            outputs=[outputs_digest(features), outputs_digest(pooled)],
        )

    @cached_property
    def fast(self) -> FrozenBackbone:
        """The backbone for inference; made when it is first needed."""
        return FrozenBackbone(self.backbone, self._probe, self._pooled, self.device)

    @cached_property
    def stages(self) -> StageFeatures:
        """Features of the stages."""
        return StageFeatures(self.backbone, moved(self._probe, self.device.torch))

    @cached_property
    def linear_layers(self) -> tuple[str, ...]:
        """Names of the plain linear layers that a forward pass calls."""
        called: dict[str, None] = {}
        hooks = []
        for name, module in self.backbone.named_modules():
            if type(module) is nn.Linear:

                def note(module: nn.Module, args: object, name: str = name) -> None:
                    called[name] = None

                hooks.append(module.register_forward_pre_hook(note))
        try:
            with torch.no_grad():
                self.backbone(moved(self._probe, self.device.torch))
        finally:
            for hook in hooks:
                hook.remove()
        return tuple(called)

    @property
    def joins(self) -> bool:
        """Whether the inputs hold whole numbers or truth values, which cuts and pooling get again."""
        return joined(self._probe) is not None

    @property
    def frozen(self) -> Backbone:
        """The module for fast inference."""
        return self.fast.module

    @property
    def precise(self) -> bool:
        """Whether the backbone needs float32, since its features in 16 bit differ too much."""
        return self.fast.precision == "full"

    @property
    def depths(self) -> int:
        """Number of stages."""
        return len(self.backbone.stages)

    def cut(self, depth: int) -> Cut:
        """Return the cut at a depth; it is made and checked once, in float32."""
        if depth not in self._cuts:
            probe = moved(self._probe, self.device.torch)
            others = None
            if joined(probe) is not None:  # opposite tokens could be none
                others = moved(self.backbone.preprocessing.probe(PROBES, seed=1), self.device.torch)
            cut = Cut(self.backbone, depth, probe, others)
            if not cut.exact:
                log.info("%s is frozen, but not cached, at stage %d: %s", self.spec.name, depth, cut.reason)
            self._cuts[depth] = cut
        return self._cuts[depth]

    def check_boundary(self, depth: int) -> None:
        """Check once that training stages match the fast module's activations at a depth; else raise its precision."""

        def through_boundary(inputs: Inputs) -> Tensor:
            cut = self.cut(depth)
            entering = tuple(tensor.float() for tensor in cut.prefix(self.frozen, inputs))
            with self.device.autocast(not self.precise):  # as in training
                return cut.suffix(self.backbone, entering, inputs=inputs)  # type: ignore[no-any-return]

        if depth not in self._checked_boundaries:
            while not self.fast.agrees(through_boundary) and self.fast.lower():
                log.info("%s runs in precision %r from now on", self.spec.name, self.fast.precision)
            self._checked_boundaries.add(depth)

    def can_extend(self, depth: int) -> bool:
        """Whether the fast module can compute from activations that are cached at a depth; checked once."""
        if depth not in self._extendable:
            cut = self.cut(depth)
            self._extendable[depth] = cut.exact and (
                self.precise or self.fast.agrees(lambda x: cut.suffix(self.frozen, cut.prefix(self.frozen, x), None, x))
            )
        return self._extendable[depth]

    def copy(self) -> Backbone:
        """Return a copy to train."""
        return copy.deepcopy(self.backbone)


def _follows_length(backbone: Backbone, features: Tensor, probe: Inputs) -> bool:
    """Whether the last feature map (N, L, C) follows the length of the examples."""
    length = length_of(probe)
    if length is None or length < 2 or features.ndim != 3 or features.shape[1] != length:
        return False
    return backbone.forward_map(shortened(probe, length - 1)).shape[1] == length - 1


def _weights_digest(backbone: Backbone) -> str:
    digest = blake2b(digest_size=20)
    for name, tensor in sorted(backbone.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
