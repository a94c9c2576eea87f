"""All that a worker needs to evaluate the candidates of a search, wherever it is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from autotransfer.contract.modality import Store
from autotransfer.contract.registry import Registry
from autotransfer.data.folds import Fold
from autotransfer.evaluation.checkpoints import Checkpoints
from autotransfer.evaluation.evaluator import Evaluator
from autotransfer.evaluation.subsample import draw
from autotransfer.features.cache import ActivationCache
from autotransfer.features.extractor import FeatureExtractor
from autotransfer.runtime.device import resolve_device
from autotransfer.settings import Settings

__all__ = ["Assignment"]


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """All that a worker needs to evaluate the candidates of a search.

    Attributes:
        store: The examples, without their arrays where ``files`` holds them.
        files: Files of arrays by name, which the processes of one machine share.
        folds: The folds.
        seed: Seed of training.
        zoos: Folders of checkpoints, for the registry.
        ahead: Number of last boundaries that are cached along the way.
        staged: Whether what all stages give is, too.
        cache: Folder of the activation cache.
        memory: Bytes that activations may take in a worker's memory.
        checkpoints: Folder of paused trainings; None, or one that is not there, is one of the worker's own.
        device: Name of the device.
        threads: Number of threads that compute.
        sampling: Whether closed forms are judged by a sample of the examples first; the search answers at once.
    """

    store: Store
    files: Mapping[str, Path] = field(default_factory=dict)
    folds: tuple[Fold, ...]
    seed: int
    zoos: tuple[Path, ...]
    ahead: int
    staged: bool
    cache: Path
    memory: int
    checkpoints: Path | None
    device: str
    threads: int
    sampling: bool = False

    @classmethod
    def of(
        cls,
        settings: Settings,
        extractor: FeatureExtractor,
        folds: tuple[Fold, ...],
        *,
        threads: int,
        share: int,
        checkpoints: Path | None = None,
    ) -> Assignment:
        """Return what workers need who go on from what was prepared here.

        Args:
            settings: The settings.
            extractor: The examples that were read and the cache of their features.
            folds: The folds.
            threads: Number of threads of each worker.
            share: Number of workers that share this machine's memory.
            checkpoints: Folder of paused trainings.
        """
        return cls(
            store=extractor.store,
            folds=folds,
            seed=settings.seed,
            zoos=tuple(folder.absolute() for folder in settings.zoos),
            ahead=extractor.ahead,
            staged=extractor.staged,
            cache=extractor.cache.root.absolute(),
            memory=extractor.cache.memory_limit // share,
            checkpoints=checkpoints,
            device=settings.compute.device,
            threads=threads,
        )

    def shared(self, folder: Path) -> Assignment:
        """Return the same with its arrays in files of a folder, which processes map instead of copying them."""
        files = {}
        for number, (name, array) in enumerate(self.store.arrays.items()):
            files[name] = folder / f"{number}.npy"
            np.save(files[name], array, allow_pickle=False)
        return replace(self, store=replace(self.store, arrays={}), files=files)

    def evaluator(self) -> Evaluator:
        """Return what evaluates candidates, in a worker."""
        torch.set_num_threads(self.threads)
        # Copied on writing, which nobody does: torch warns of arrays that cannot be written to.
        arrays = {name: np.load(file, mmap_mode="c") for name, file in self.files.items()}
        store = replace(self.store, arrays=arrays) if arrays else self.store
        cache = ActivationCache(self.cache, memory_limit=self.memory)
        paused = self.checkpoints
        return Evaluator(
            Registry.load(self.zoos),
            FeatureExtractor(store=store, cache=cache, ahead=self.ahead, staged=self.staged),
            self.folds,
            resolve_device(self.device),
            seed=self.seed,
            checkpoints=Checkpoints(paused if paused is not None and os.access(paused.parent, os.W_OK) else None),
            sample=draw(self.folds, self.seed) if self.sampling else None,
        )
