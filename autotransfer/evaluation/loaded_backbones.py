"""The backbones of a search, and the setup of each candidate: looked up, built and checked once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from autotransfer.backbones.loaded import LoadedBackbone
from autotransfer.candidate import Candidate
from autotransfer.contract.registry import Registry
from autotransfer.evaluation.setup import Setup
from autotransfer.runtime.device import Device
from autotransfer.tasks.task import Task

__all__ = ["LoadedBackbones"]

# Backbones that stay loaded: enough for a shortlist, and a bound on memory.
MAX_LOADED_BACKBONES = 8


class LoadedBackbones:
    """Loads each backbone once, and makes one setup of each candidate.

    Args:
        registry: Where names are looked up.
        device: Where backbones are loaded to.
        task: The task.
        loaded: Backbones that are loaded already.
    """

    def __init__(self, registry: Registry, device: Device, task: Task, loaded: Iterable[LoadedBackbone] = ()) -> None:
        self._registry, self._device, self._task = registry, device, task
        self._loaded = OrderedDict((backbone.spec.name, backbone) for backbone in loaded)
        self._stages: dict[str, tuple[str, ...]] = {}
        self._setups: dict[str, dict[str, Setup]] = {}  # by backbone, then by candidate

    def load(self, name: str) -> LoadedBackbone:
        """Return a backbone; the one that was used least recently goes where too many are loaded."""
        if name not in self._loaded:
            self._loaded[name] = LoadedBackbone(self._registry.backbone(name), self._device)
            if len(self._loaded) > MAX_LOADED_BACKBONES:
                gone, _ = self._loaded.popitem(last=False)
                self._setups.pop(gone, None)
        self._loaded.move_to_end(name)
        return self._loaded[name]

    def is_loaded(self, name: str) -> bool:
        """Whether a backbone is loaded now."""
        return name in self._loaded

    def stages(self, name: str) -> tuple[str, ...]:
        """Return the stages of a backbone, which is loaded once for that, however many others are."""
        if name not in self._stages:
            self._stages[name] = self.load(name).backbone.stages
        return self._stages[name]

    def setup(self, candidate: Candidate) -> Setup:
        """Return the setup of a candidate.

        Raises:
            AutoTransferError: The candidate names what is not there, or what does not go together.
        """
        loaded, key = self.load(candidate.backbone), repr(candidate)
        setups = self._setups.setdefault(candidate.backbone, {})
        if key not in setups:
            setups[key] = Setup.of(candidate, loaded, self._registry, self._task)
        return setups[key]
