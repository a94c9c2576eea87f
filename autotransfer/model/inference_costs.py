"""What candidates would take to predict: known before they are trained, by backbones that are measured once."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from autotransfer.backbones.loaded import LoadedBackbone
from autotransfer.candidate import Candidate
from autotransfer.contract.loading import PLUGIN_ERRORS
from autotransfer.contract.specs import Takes
from autotransfer.evaluation.evaluator import Evaluator
from autotransfer.evaluation.head_cost import HeadCost, measure_head
from autotransfer.evaluation.inference_cost import InferenceCost
from autotransfer.evaluation.latency import Clock, LatencySample
from autotransfer.evaluation.setup import Setup
from autotransfer.model.conformal import MAX_QUANTILES
from autotransfer.model.latency import PassCost, measure_pass
from autotransfer.model.outliers import MIN_EXAMPLES, MahalanobisDetector, covariance_bytes
from autotransfer.search.jobs import describe
from autotransfer.settings import Limits

__all__ = ["LATENCY_SHARE", "InferenceCosts", "described"]

log = logging.getLogger("autotransfer")

# Share of the limit on the latency that candidates may take: two processes have measured one network with 10 and 12 ms.
LATENCY_SHARE = 0.85
# Seconds after which no further run begins: with a limit on the latency, and without, where it is only written down.
MAX_SECONDS_WITH_LIMIT, MAX_SECONDS_WITHOUT_LIMIT = 0.3, 0.05
# Bytes of a tensor's entry in a file of safetensors, of what is said of a model, and of what is said of a member.
BYTES_PER_TENSOR, BYTES_PER_MODEL, BYTES_PER_MEMBER = 120, 1000, 1500
# Bytes of a quantile in the table that sets of labels are made of.
BYTES_PER_QUANTILE = 100


class InferenceCosts:
    """Knows what candidates take to predict.

    With a limit on the latency, each number of views and kind of features is measured. Otherwise a backbone is measured
    once, in one view, and the rest follows.

    Args:
        evaluator: What looks candidates up, and loads backbones.
        sample: The examples to measure on.
        limits: The limits.
        known: What backbones take in one view, by name, where this was measured before.
        quiet: Whether nothing else runs beside the measurements; where not, as little as possible is measured.
        clock: Returns seconds.

    Attributes:
        refused: What the candidates take that exceed the limits.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        sample: LatencySample,
        limits: Limits,
        *,
        known: Mapping[str, PassCost] = MappingProxyType({}),
        quiet: bool = True,
        clock: Clock = time.perf_counter,
    ) -> None:
        self._evaluator, self.sample, self.limits, self.clock = evaluator, sample, limits, clock
        self._passes: dict[tuple[str, int, Takes], PassCost] = {(name, 1, "pooled"): one for name, one in known.items()}
        self._is_exact = limits.latency is not None and quiet
        self._heads: dict[str, HeadCost] = {}
        self.refused: dict[Candidate, InferenceCost] = {}

    def of(self, candidate: Candidate) -> InferenceCost | None:
        """Return what a candidate takes as a model; None where that cannot be measured: training it says why."""
        try:
            return self.of_members([candidate])
        except PLUGIN_ERRORS as error:  # code of plugins; the evaluation of the candidate meets the error, too
            log.info("the latency of %s is not known: %s", candidate, describe(error))
            return None

    def admits(self, candidate: Candidate) -> bool:
        """Whether a candidate keeps the limits, as far as is known."""
        return self.admits_members([candidate])

    def admits_members(self, candidates: Sequence[Candidate]) -> bool:
        """Whether an ensemble of candidates keeps the limits, as far as is known."""
        if not self.limits.is_set:
            return True
        cost = self.of(candidates[0]) if len(candidates) == 1 else self.of_members(candidates)
        if cost is None or not cost.exceeds(self.limits, LATENCY_SHARE):
            return True
        if len(candidates) == 1:
            self.refused[candidates[0]] = cost
        return False

    @property
    def why_refused(self) -> str:
        """What the candidates take that were refused, in words; empty where none was."""
        if not self.refused:
            return ""
        fastest = min(self.refused, key=lambda candidate: self.refused[candidate].latency_seconds)
        return (
            f"{len(self.refused)} candidates take more than the limits ({described(self.limits)}), the fastest of "
            f"them, {fastest}, {self.refused[fastest]}: raise the limits"
        )

    def admits_views(self, backbone: str, views: int) -> bool:
        """Whether a backbone keeps the limits that sees an example in so many views."""
        if not self.limits.is_set:
            return True
        try:
            found = self._measured(self._evaluator.load(backbone), views, "pooled")
        except PLUGIN_ERRORS as error:  # code of plugins; the evaluation meets the error, too
            log.info("the latency of %s is not known: %s", backbone, describe(error))
            return True
        return not found.cost.exceeds(self.limits, LATENCY_SHARE)

    def of_members(self, candidates: Sequence[Candidate]) -> InferenceCost:
        """Return what an ensemble of candidates takes. Frozen candidates share the pass of their backbone.

        Raises:
            AutoTransferError: A candidate cannot be made.
        """
        setups = [self._evaluator.setup(candidate) for candidate in candidates]
        networks: dict[tuple[str, int], list[Setup]] = {}
        for number, setup in enumerate(setups):
            networks.setdefault((setup.loaded.spec.name, -1 if setup.frozen else number), []).append(setup)
        passes = [self._pass_of(sharing) for sharing in networks.values()]
        heads = [self._head_of(setup) for setup in setups]
        loading = max(one.load_seconds for one in passes)
        seconds = sum(one.seconds - one.load_seconds for one in passes) + sum(head.seconds for head in heads)
        peaks = [one.peak_bytes for one in passes if one.peak_bytes is not None]
        held = sum(one.memory_bytes for one in passes) + sum(head.memory_bytes for head in heads)
        return InferenceCost(
            latency_seconds=loading + seconds,
            size_bytes=self._size(setups, passes, heads),
            memory_bytes=held + max(peaks) if len(peaks) == len(passes) else None,
        )

    def _pass_of(self, sharing: Sequence[Setup]) -> PassCost:
        """Return what the backbone takes that some members share: the views and features of all of them."""
        loaded, views = sharing[0].loaded, max(len(setup.views) for setup in sharing)
        kinds = dict.fromkeys(setup.head.features for setup in sharing)
        return max((self._measured(loaded, views, takes) for takes in kinds), key=lambda found: found.seconds)

    def _measured(self, loaded: LoadedBackbone, views: int, takes: Takes) -> PassCost:
        key: tuple[str, int, Takes] = (loaded.spec.name, 1, "pooled")
        if self._is_exact:
            key = (loaded.spec.name, views, takes)
        if key not in self._passes:
            has_limit = self.limits.latency is not None
            self._passes[key] = measure_pass(
                loaded,
                self.sample,
                self._evaluator.device,
                views=key[1],
                takes=key[2],
                memory=self.limits.memory is not None,
                max_seconds=MAX_SECONDS_WITH_LIMIT if has_limit else MAX_SECONDS_WITHOUT_LIMIT,
                clock=self.clock,
            )
        found = self._passes[key]
        return found if self._is_exact or views == 1 else found.in_views(views)

    def _head_of(self, setup: Setup) -> HeadCost:
        own = "" if setup.closed_form else json.dumps(setup.candidate.head_params, sort_keys=True)
        key = f"{setup.head.name} {setup.head_shape} {own}"
        if key not in self._heads:
            examples, device = len(self._evaluator.targets), self._evaluator.device.torch
            self._heads[key] = measure_head(
                setup, self._evaluator.task, examples, device, self.sample.batch, self.clock
            )
        return self._heads[key]

    def _size(self, setups: Sequence[Setup], passes: Sequence[PassCost], heads: Sequence[HeadCost]) -> int:
        """Return the bytes of the files that a model is loaded from."""
        parts: list[PassCost | HeadCost] = [*passes, *heads]
        tensors = sum(part.state_bytes + BYTES_PER_TENSOR * part.tensors for part in parts)
        files: dict[str, int] = {}
        for one in passes:
            files |= one.files
        said = {setup.loaded.spec.name: _json_bytes(dict(setup.loaded.backbone.recipe)) for setup in setups}
        task, scored = self._evaluator.task, min(len(self._evaluator.targets), MAX_QUANTILES)
        about = BYTES_PER_MODEL + _json_bytes(task.to_json()) + len(setups) * BYTES_PER_MEMBER
        about += BYTES_PER_QUANTILE * scored * (task.width if task.kind == "regression" else 1)
        return tensors + sum(files.values()) + sum(said.values()) + about + self._outlier_bytes(setups)

    def _outlier_bytes(self, setups: Sequence[Setup]) -> int:
        """Return the bytes of what tells a model which examples are unlike those that it was trained on."""
        examples = len(self._evaluator.targets)
        dense = next((setup.loaded for setup in setups if not setup.loaded.sparse), None)
        if dense is None or examples < MIN_EXAMPLES:
            return 0
        return covariance_bytes(examples, dense.backbone.width) + len(MahalanobisDetector.names) * BYTES_PER_TENSOR


def _json_bytes(value: Any) -> int:
    return len(json.dumps(value, indent=2, default=str))


def described(limits: Limits) -> str:
    """Return limits in words, with the margin that is kept."""
    margin = f"; {1 - LATENCY_SHARE:.0%} of the time is kept free, since processes differ" if limits.latency else ""
    return f"{limits}{margin}"
