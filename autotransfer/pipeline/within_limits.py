"""Which backbones keep the limits on the model, in which forms: measured before anything is trained."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from autotransfer.backbones.loaded import LoadedBackbone
from autotransfer.contract.specs import BackboneSpec
from autotransfer.data.examples import Examples, modality_of
from autotransfer.errors import AutoTransferError, ConfigError, DataError
from autotransfer.evaluation.inference_cost import InferenceCost
from autotransfer.evaluation.latency import Clock, LatencySample
from autotransfer.model.inference_costs import LATENCY_SHARE, described
from autotransfer.model.latency import PassCost, measure_pass
from autotransfer.runtime.device import Device
from autotransfer.search.variants import Variants
from autotransfer.settings import Limits
from autotransfer.settings.limits import format_bytes, format_seconds
from autotransfer.warnings import WarningList

__all__ = ["BackbonesWithinLimits"]

# A backbone is not loaded if it would be over the limit at this many times the best throughput that was measured.
MAX_SPEED_UP = 2.0
# Share of the parameters of a backbone that a model holds at least: published numbers count the classifier of the
# source task, which holds nine tenths of some networks.
MIN_SHARE_OF_PARAMETERS, BYTES_PER_PARAMETER = 0.1, 4
# Loaded backbones that are handed on to the search, and backbones that a message names at most.
MAX_LOADED, MAX_NAMES_IN_MESSAGE = 8, 5


@dataclass(frozen=True, kw_only=True)
class _Verdict:
    """Whether a form of a backbone keeps the limits, and what it takes; None where that was not measured."""

    fits: bool
    measured: PassCost | None = None

    @property
    def cost(self) -> InferenceCost | None:
        """What a model takes at least that has this backbone."""
        return None if self.measured is None else self.measured.cost


@dataclass(kw_only=True)
class BackbonesWithinLimits:
    """Measures backbones in their forms, each once, and says which keep the limits.

    What is not measured within the time that there is counts as within the limits: it is measured before it is tried.

    Attributes:
        limits: The limits.
        examples: The examples of the task, a few of which are read.
        device: Where the backbones run.
        options: Options of the modality.
        forms: Returns backbones in their forms.
        expired: Whether there is no more time to measure.
        report: Called with a line of text.
        clock: Returns seconds.
        loaded: Backbones that are loaded, and keep the limits.
        passes: What each form that was measured takes, by name.
    """

    limits: Limits
    examples: Examples
    device: Device
    options: Mapping[str, Any]
    forms: Callable[[Sequence[BackboneSpec]], Variants]
    expired: Callable[[], bool] = lambda: False
    report: Callable[[str], None] = lambda text: None
    clock: Clock = time.perf_counter
    loaded: list[LoadedBackbone] = field(default_factory=list)
    passes: dict[str, PassCost] = field(default_factory=dict)
    _verdicts: dict[str, _Verdict] = field(default_factory=dict)
    _asked: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _throughput: float = 0.0
    _least_parameters: float = math.inf

    def over(self, specs: Sequence[BackboneSpec]) -> set[str]:
        """Return the names of the backbones that keep the limits in no form."""
        new = [spec for spec in specs if spec.name not in self._asked]
        if not self.limits.is_set or not new:
            return {spec.name for spec in specs if spec.name in self._asked and not self._fits_any(spec.name)}
        families = dict(zip((spec.name for spec in new), self.forms(new).families, strict=True))
        self._asked |= {name: tuple(form.name for form in family) for name, family in families.items()}
        self._measure(sorted((form for family in families.values() for form in family), key=lambda f: f.gmacs or 0.0))
        return {spec.name for spec in specs if not self._fits_any(spec.name)}

    def keep(self, variants: Variants) -> Variants:
        """Return the forms that keep the limits."""
        return variants.keep(self._fits)

    def warn(self, warnings: WarningList) -> None:
        """Say which backbones are left out."""
        gone = [name for name in self._asked if not self._fits_any(name)]
        if not gone:
            return
        measured = {name: cost for name in gone if (cost := self._cheapest(name)) is not None}
        shown = [f"{name} ({cost})" for name, cost in list(measured.items())[:MAX_NAMES_IN_MESSAGE]]
        more = len(gone) - len(shown)
        warnings.warn(
            "backbones_over_limit",
            f"{len(gone)} of {len(self._asked)} backbones are left out: they take more than the limits "
            f"({described(self.limits)}). {self._extremes(measured)} {', '.join(shown)}"
            f"{f', and {more} more' if more else ''}.",
            backbones={name: None if (cost := measured.get(name)) is None else cost.to_json() for name in gone},
            limits=str(self.limits),
        )

    def refuse(self) -> ConfigError:
        """Return the error where no backbone keeps the limits."""
        measured = {name: cost for name in self._asked if (cost := self._cheapest(name)) is not None}
        return ConfigError(
            f"No backbone keeps the limits ({described(self.limits)}): {len(self._asked)} were looked at. "
            f"{self._extremes(measured)} Raise the limits, name smaller backbones with --backbones, or give a zoo that "
            "holds some."
        )

    @property
    def has_refused(self) -> bool:
        """Whether a backbone keeps the limits in no form."""
        return not all(map(self._fits_any, self._asked))

    def _measure(self, forms: Sequence[BackboneSpec]) -> None:
        """Judge each form; those that are as fast as another one share its verdict."""
        sample, found = self._sample(forms), dict[tuple[Any, ...], _Verdict]()
        for number, form in enumerate(forms if sample is not None else ()):
            self.report(f"measuring backbones: {number} of {len(forms)}")
            key = _speed_key(form)
            if key not in found and sample is not None and not self.expired():
                found[key] = self._judged(form, sample)
            if key in found:
                self._verdicts[form.name] = found[key]
                if (measured := found[key].measured) is not None:
                    self.passes[form.name] = measured

    def _fits(self, form: str) -> bool:
        return form not in self._verdicts or self._verdicts[form].fits

    def _fits_any(self, name: str) -> bool:
        return any(map(self._fits, self._asked.get(name, ())))

    def _cheapest(self, name: str) -> InferenceCost | None:
        costs = [self._verdicts[form].cost for form in self._asked[name] if form in self._verdicts]
        return min((cost for cost in costs if cost is not None), key=lambda cost: cost.latency_seconds, default=None)

    def _extremes(self, measured: Mapping[str, InferenceCost]) -> str:
        """Return in words what the fastest and the smallest take."""
        if not measured:
            return "All of them are far larger, or slower."
        fastest = min(measured, key=lambda name: measured[name].latency_seconds)
        smallest = min(measured, key=lambda name: measured[name].size_bytes)
        least = min(measured, key=lambda name: measured[name].memory_bytes or 0)
        examples = "an example" if self.limits.batch == 1 else f"{self.limits.batch} examples"
        seconds, size = measured[fastest].latency_seconds, measured[smallest].size_bytes
        parts = [
            (self.limits.latency, f"The fastest of them, {fastest}, takes {format_seconds(seconds)} for {examples}."),
            (self.limits.size, f"The smallest, {smallest}, has {format_bytes(size)}."),
            (self.limits.memory, f"The least memory is {format_bytes(measured[least].memory_bytes or 0)}, of {least}."),
        ]
        return " ".join(text for limit, text in parts if limit is not None)

    def _judged(self, form: BackboneSpec, sample: LatencySample) -> _Verdict:
        """Measure a form of a backbone, unless it is far beyond the limits, and beyond others that were measured."""
        if self._is_hopeless(form):
            return _Verdict(fits=False)
        try:
            loaded = LoadedBackbone(form, self.device)
            found = measure_pass(loaded, sample, self.device, memory=self.limits.memory is not None, clock=self.clock)
        except (AutoTransferError, RuntimeError, MemoryError):  # its trial says why
            return _Verdict(fits=True)
        cost = found.cost
        self._least_parameters = min(self._least_parameters, form.parameters or 0)
        self._throughput = max(self._throughput, (form.gmacs or 0.0) / max(found.seconds, 1e-9))
        fits = not cost.exceeds(self.limits, LATENCY_SHARE)
        if fits and len(self.loaded) < MAX_LOADED:
            self.loaded.append(loaded)
        return _Verdict(fits=fits, measured=found)

    def _is_hopeless(self, form: BackboneSpec) -> bool:
        parameters = form.parameters or 0
        least = parameters * BYTES_PER_PARAMETER * MIN_SHARE_OF_PARAMETERS
        is_larger = parameters >= self._least_parameters and least > self.limits.size_bytes
        work = (form.gmacs or 0.0) * self.limits.batch
        fastest = work / (MAX_SPEED_UP * self._throughput) if self._throughput else 0.0
        return is_larger or fastest > self.limits.latency_seconds

    def _sample(self, forms: Sequence[BackboneSpec]) -> LatencySample | None:
        """Return a few examples, read for these forms; None where none can be read, which reading all of them says."""
        modality, count = modality_of(self.examples), len(self.examples)
        found = LatencySample.of(modality, self.examples.items, range(count), None, self.limits.batch)
        formats = [form.preprocessing for form in forms if form.preprocessing is not None]
        names = [f"item {i}" for i in range(len(found.items))]
        if not names:
            return None
        try:
            store = modality.load(found.items, names, formats, options=self.options)
        except DataError:
            return None
        return replace(found, items=tuple(found.items[i] for i in store.kept), reading=store.reading)


def _speed_key(form: BackboneSpec) -> tuple[Any, ...]:
    """Return what tells forms apart that differ in speed: framings of images of one size do not."""
    if form.gmacs is None or form.input_size is None:
        return (form.name,)
    return form.name.partition("@")[0], form.input_size, form.gmacs
