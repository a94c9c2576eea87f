"""Features of examples at any boundary of a backbone: computed once, cached, reused by every trial."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate, chain, pairwise
from typing import cast

import numpy as np
import torch
from torch import Tensor

from autotransfer._version import __version__
from autotransfer.backbones.cut import Activation, Cut
from autotransfer.backbones.frozen import batch_sizes
from autotransfer.backbones.inputs import mask_of, pooled
from autotransfer.backbones.loaded import LoadedBackbone
from autotransfer.backbones.stage_features import StageFeatures
from autotransfer.contract.modality import Inputs, Store
from autotransfer.contract.specs import Takes
from autotransfer.features.batches import Features, Rows, collect
from autotransfer.features.cache import ActivationCache, Allocate, content_key
from autotransfer.features.ragged import Array, Arrays, Packed, Ragged, by_length
from autotransfer.features.sparse import as_matrix, collect_sparse
from autotransfer.runtime.memory import out_of_memory, release_freed_memory

__all__ = ["FeatureExtractor"]

log = logging.getLogger("autotransfer")

Look = Callable[[], object]

# Kinds of boundary beside the depths: what the heads take from a backbone that is frozen as a whole.
POOLED: Takes = "pooled"
MAP: Takes = "map"
STAGES: Takes = "stages"

# Bytes of cached features that are read in a second, and the speed of a frozen prefix relative to float32, in which
# cuts are timed. Measured on two CPU cores.
_READ_BYTES_PER_SECOND, _FROZEN_SPEEDUP = 1e9, 4.0
# Examples from which on a few more are passed to see whether compiling pays.
_COMPILED = 1000
# Share of the cache's memory for activations of further boundaries, and most bytes of them for each second that
# computing them takes: 2e8 bytes are written in a second, and a quarter of the cache is read again.
_MAX_EXTRA_CACHE_SHARE, _MAX_BYTES_PER_SECOND_SAVED = 0.6, 5e7


@dataclass(frozen=True, kw_only=True)
class FeatureExtractor:
    """Features of one store of examples.

    Attributes:
        store: The examples.
        cache: Where features are kept.
        ahead: Number of last boundaries that are cached along the way when examples pass them, since trials are going
            to train from there on.
        sample: Rows that pass first where somebody wants to look at them before all others do.
        staged: Whether what all stages give is cached along the way, since heads are going to ask for it.
    """

    store: Store
    cache: ActivationCache
    ahead: int = 0
    sample: np.ndarray | None = None
    staged: bool = False

    def taken(self, loaded: LoadedBackbone, takes: Takes = POOLED, view: str | None = None) -> np.ndarray:
        """Return what a closed form takes from a frozen backbone: float32 (N, width); sparse ones as scipy's CSR."""
        return _taken(loaded, self.at(loaded, loaded.depths, view, head_takes=takes))

    def pooled(self, loaded: LoadedBackbone, view: str | None = None, *, look: Look | None = None) -> np.ndarray:
        """Return float32 pooled features (N, width).

        Args:
            loaded: The backbone.
            view: The view; None for the plain one.
            look: Is called when ``sampled`` knows those of the sample, if they are computed now; an error ends the
                rest.
        """
        return _taken(loaded, self._at(loaded, POOLED, view, look))

    def sampled(self, loaded: LoadedBackbone, takes: Takes = POOLED) -> np.ndarray | None:
        """Return what a closed form takes of the sample, float32 (rows, width), if it is known."""
        if self.is_cached(loaded, loaded.depths, head_takes=takes):
            return self.taken(loaded, takes)[self.sample]
        found = self.cache.get(self._sample_key(loaded, takes))
        return None if found is None else _side_by_side(found).astype(np.float32)

    def at(self, loaded: LoadedBackbone, depth: int, view: str | None = None, *, head_takes: Takes = POOLED) -> Arrays:
        """Return the activations (N, ...) at a depth; at the last one, what the head takes.

        What follows the length of the examples is ragged. The cut at the depth must be exact.
        """
        boundary = head_takes if depth == loaded.depths else f"stage{depth}"
        if boundary != STAGES:
            return self._at(loaded, boundary, view)
        pooled = replace(self, staged=True)._at(loaded, POOLED, view)  # the stages are passed on the way there
        stages = self._at(loaded, STAGES, view) if loaded.stages.widths else ()
        return (_side_by_side((*stages, *pooled)),)

    def is_cached(
        self, loaded: LoadedBackbone, depth: int, view: str | None = None, *, head_takes: Takes = POOLED
    ) -> bool:
        """Whether ``at`` would compute nothing."""
        boundary = head_takes if depth == loaded.depths else f"stage{depth}"
        if boundary != STAGES:
            return self.cache.contains(self._key(loaded, boundary, view))
        parts = (POOLED, STAGES) if loaded.stages.widths else (POOLED,)
        return all(self.cache.contains(self._key(loaded, part, view)) for part in parts)

    def _key(self, loaded: LoadedBackbone, boundary: str, view: str | None) -> str:
        return content_key(
            version=__version__,  # how features are computed may change with it
            backbone=loaded.identity,
            boundary=boundary,
            preprocessing=loaded.backbone.preprocessing.to_json(),
            view=view or self.store.modality.views[0],
            examples=self.store.key,
            half=str(loaded.device.half),  # the rest of the way in which it is computed follows from the backbone
        )

    def _sample_key(self, loaded: LoadedBackbone, takes: Takes) -> str:
        assert self.sample is not None  # somebody looks at it
        return content_key(whole=self._key(loaded, takes, None), rows=self.sample.tolist())

    def _about(self, loaded: LoadedBackbone, boundary: str, view: str | None) -> str:
        noun, plain = self.store.modality.noun, self.store.modality.views[0]
        return f"{loaded.spec.name} {boundary} {view or plain} ({len(self.store)} {noun}s)"

    def _at(self, loaded: LoadedBackbone, boundary: str, view: str | None, look: Look | None = None) -> Arrays:
        key = self._key(loaded, boundary, view)
        about = self._about(loaded, boundary, view)
        if loaded.sparse:
            return self.cache.get_or_compute(key, about, lambda allocate: self._sparse(loaded, view))
        if boundary == POOLED and self.cache.contains(map_key := self._key(loaded, MAP, view)):
            features = self.cache.get(map_key)
            if features is not None:
                return self.cache.get_or_compute(
                    key, about, lambda allocate: self._pool(loaded, view, features, allocate)
                )
        return self.cache.get_or_compute(
            key, about, lambda allocate: self._compute(loaded, boundary, view, allocate, look)
        )

    def _compute(
        self, loaded: LoadedBackbone, boundary: str, view: str | None, allocate: Allocate, look: Look | None
    ) -> Arrays:
        """Run the prefix over all examples, from the nearest boundary before that is cached, else from the start."""
        # A stage that is not passed gives nothing.
        nearest = None if boundary == STAGES else self._nearest(loaded, boundary, view)
        taps = self._taps(loaded, boundary, view) if nearest is None else {}
        cuts = [tap.depth for tap in taps.values() if isinstance(tap, Cut)]
        for depth in {_end(loaded, boundary), *cuts} - {loaded.depths}:
            loaded.check_boundary(depth)
        if nearest is not None:
            return self._extend(loaded, boundary, view, *nearest, allocate)
        fast, sizes = loaded.fast, [0]
        whole = boundary == POOLED and not taps
        if whole and len(self.store) >= _COMPILED and self._lengths(loaded) is None:
            self._compile(loaded, view)

        def features(rows: Rows) -> Features:
            inputs = self._input(loaded, rows, view)
            with fast.running() as backbone, ExitStack() as watching:
                noted = [watching.enter_context(tap.recorded(backbone, inputs)) for tap in taps.values()]
                found = [(fast(inputs),) if whole else _run(loaded, boundary, inputs), *map(tuple, noted)]
                follow = [self._follows(loaded, end) for end in (boundary, *map(_boundary_of, taps.values()))]
            sizes[:] = accumulate(map(len, found))
            return tuple(chain.from_iterable(map(partial(self._packed, inputs), found, follow)))

        def show(arrays: Arrays) -> None:
            """Keep what is known of the sample, then let it be looked at: those who look may end the pass."""
            known: dict[Takes, Arrays] = {POOLED: arrays[:1]}
            if self._key(loaded, STAGES, view) in taps:
                known[STAGES] = (*arrays[1 : sizes[1]], *arrays[:1])
            for takes, given in known.items():
                kept = tuple(cast("np.ndarray", array)[self.sample] for array in given)
                self.cache.put(self._sample_key(loaded, takes), self._about(loaded, "sample", view), kept)
            if look is not None:
                look()

        collected = self._collect(loaded, features, allocate, None if look is None else show)
        for (key, tap), (start, stop) in zip(taps.items(), pairwise(sizes), strict=True):
            self.cache.put(key, self._about(loaded, _boundary_of(tap), view), collected[start:stop])
        return collected[: sizes[0]]

    def _sparse(self, loaded: LoadedBackbone, view: str | None) -> Arrays:
        """Run a backbone whose pooled features are sparse over all examples."""

        def features(rows: Rows) -> Tensor:
            with loaded.fast.running() as backbone:
                return backbone(self._input(loaded, rows, view))  # type: ignore[no-any-return]

        lengths = self._lengths(loaded)
        return collect_sparse(features, len(self.store), lengths)

    def _compile(self, loaded: LoadedBackbone, view: str | None) -> None:
        """Compile the backbone where that pays, and a batch fits into memory: which size does, is found out later."""
        first = slice(batch_sizes(loaded.device)[0])
        try:
            loaded.fast.compile_for(self._input(loaded, first, view), len(self.store) // first.stop)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise

    def _extend(
        self, loaded: LoadedBackbone, boundary: str, view: str | None, cut: Cut, cached: Arrays, allocate: Allocate
    ) -> Arrays:
        """Go on from what is cached at a cut."""

        def features(rows: Rows) -> Features:
            with loaded.fast.running() as backbone:
                entering = tuple(loaded.fast.take(_rows(array, rows)) for array in cached)
                inputs = self._input(loaded, rows, view) if cut.joins else None
                found = cut.suffix(backbone, entering, lambda entry: _run(loaded, boundary, entry), inputs)
                return self._packed(inputs, found, self._follows(loaded, boundary))

        return self._collect(loaded, features, allocate)

    def _collect(
        self,
        loaded: LoadedBackbone,
        features: Callable[[Rows], Features],
        allocate: Allocate,
        show: Callable[[Arrays], None] | None = None,
    ) -> Arrays:
        looking, lengths = None, self._lengths(loaded)
        parts = [np.arange(len(self.store))]
        if show is not None and (sample := self.sample) is not None:
            parts = [sample, np.setdiff1d(parts[0], sample)]
            looking = (len(sample), show)
        if lengths is not None:
            parts = [part[by_length(lengths, part)] for part in parts]
        collected = collect(
            features,
            len(self.store),
            allocate,
            batch_sizes(loaded.device, lengths),
            half=not loaded.precise,
            lower=loaded.fast.lower,
            fill=loaded.device.torch.type == "cuda" and lengths is None,
            order=None if looking is None and lengths is None else np.concatenate(parts),
            lengths=lengths,
            look=looking,
        )
        release_freed_memory()
        return collected

    def _lengths(self, loaded: LoadedBackbone) -> np.ndarray | None:
        """Return the number of positions of each example (N,); None where all take the same."""
        return self.store.lengths(loaded.backbone.preprocessing)

    def _taps(self, loaded: LoadedBackbone, boundary: str, view: str | None) -> dict[str, Cut | StageFeatures]:
        """Return by key the activations to cache in the same pass: the deepest cuts that fit and save enough time."""
        taps: dict[str, Cut | StageFeatures] = {}
        if self.staged and boundary == POOLED and loaded.stages.widths:
            taps[self._key(loaded, STAGES, view)] = loaded.stages
        room, size = _MAX_EXTRA_CACHE_SHARE * self.cache.memory_limit, 4 if loaded.precise else 2
        max_bytes_per_second = _MAX_BYTES_PER_SECOND_SAVED / (1.0 if loaded.precise else _FROZEN_SPEEDUP)
        for depth in range(_end(loaded, boundary) - 1, max(loaded.depths - 1 - self.ahead, 0), -1):
            key = self._key(loaded, f"stage{depth}", view)
            if not self.cache.contains(key) and (cut := loaded.cut(depth)).exact:
                numbers, seconds = self._cost(loaded, cut)
                room -= numbers * len(self.store) * size
                if room < 0 or numbers * size > max_bytes_per_second * seconds:
                    break
                taps[key] = cut
        return taps

    def _input(self, loaded: LoadedBackbone, rows: Rows, view: str | None) -> Inputs:
        inputs: Inputs = loaded.fast.take(
            self.store.inputs(rows, loaded.backbone.preprocessing, loaded.device.torch, view)
        )
        return inputs

    def _nearest(self, loaded: LoadedBackbone, boundary: str, view: str | None) -> tuple[Cut, Arrays] | None:
        """Return the deepest cut before a boundary whose activations are cached."""
        for depth in range(_end(loaded, boundary) - 1, 0, -1):
            key = self._key(loaded, f"stage{depth}", view)
            if self.cache.contains(key) and loaded.can_extend(depth) and (arrays := self.cache.get(key)) is not None:
                return (loaded.cut(depth), arrays) if self._saves(loaded, loaded.cut(depth), arrays) else None
        return None

    def _saves(self, loaded: LoadedBackbone, cut: Cut, arrays: Arrays) -> bool:
        """Whether reading what is cached takes less time than computing it."""
        _, seconds = self._cost(loaded, cut)
        return sum(a.nbytes for a in arrays) / len(self.store) / _READ_BYTES_PER_SECOND < seconds / _FROZEN_SPEEDUP

    def _follows(self, loaded: LoadedBackbone, boundary: str) -> tuple[bool, ...]:
        """Return whether each tensor at a boundary follows the length of the examples; empty for none."""
        if boundary in (POOLED, STAGES) or self._lengths(loaded) is None:
            return ()
        return (loaded.map_follows,) if boundary == MAP else loaded.cut(_end(loaded, boundary)).follows

    def _packed(self, inputs: Inputs | None, found: Activation, follows: tuple[bool, ...]) -> Features:
        """Leave padding out of what follows the length of the examples."""
        mask = mask_of(inputs)
        if mask is None or not any(follows):
            return found
        return tuple(Packed.of(tensor, mask) if grows else tensor for tensor, grows in zip(found, follows, strict=True))

    def _cost(self, loaded: LoadedBackbone, cut: Cut) -> tuple[float, float]:
        """Return how many numbers cross a cut for an example, and its seconds up to there, on average."""
        lengths = self._lengths(loaded)
        if lengths is None or cut.length is None:
            return cut.numbers, cut.seconds
        mean = float(lengths.mean())
        return cut.numbers_of(mean), cut.seconds * mean / cut.length

    def _pool(self, loaded: LoadedBackbone, view: str | None, maps: Arrays, allocate: Allocate) -> Arrays:
        """Pool cached feature maps: no example passes through the backbone again."""

        def features(rows: Rows) -> Features:
            with loaded.fast.running() as backbone:
                inputs = self._input(loaded, rows, view) if loaded.joins else None
                return (pooled(backbone, loaded.fast.take(_rows(maps[0], rows)), inputs),)

        return self._collect(loaded, features, allocate)


def _run(loaded: LoadedBackbone, boundary: str, inputs: Inputs) -> Activation:
    """Run the fast backbone up to a boundary."""
    if boundary == POOLED:
        return (loaded.frozen(inputs),)
    if boundary == MAP:
        return (loaded.frozen.forward_map(inputs),)
    if boundary == STAGES:
        return loaded.stages(loaded.frozen, inputs)[:-1]
    return loaded.cut(_end(loaded, boundary)).prefix(loaded.frozen, inputs)


def _end(loaded: LoadedBackbone, boundary: str) -> int:
    """Return the number of stages before a boundary."""
    return loaded.depths if boundary in (POOLED, MAP, STAGES) else int(boundary.removeprefix("stage"))


def _boundary_of(tap: Cut | StageFeatures) -> str:
    return f"stage{tap.depth}" if isinstance(tap, Cut) else STAGES


def _rows(array: Array, rows: Rows) -> Tensor:
    if isinstance(array, Ragged):
        return torch.from_numpy(array.padded(rows))
    return torch.from_numpy(np.array(array[rows]))  # a copy: what is mapped cannot be written to


def _taken(loaded: LoadedBackbone, arrays: Arrays) -> np.ndarray:
    """Return features as float32."""
    if loaded.sparse:
        return cast("np.ndarray", as_matrix(arrays, loaded.backbone.width))  # heads of sparse features know of it
    return cast("np.ndarray", arrays[0]).astype(np.float32)


def _side_by_side(arrays: Arrays) -> np.ndarray:
    return np.concatenate(cast("tuple[np.ndarray, ...]", arrays), axis=1)
