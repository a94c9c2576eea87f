"""Which forms of backbones stay: those within the limits, each after the nearest one that stays before it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from autotransfer.contract.specs import BackboneSpec
from autotransfer.data.examples import Examples
from autotransfer.evaluation.inference_cost import InferenceCost
from autotransfer.model.latency import PassCost
from autotransfer.pipeline import within_limits
from autotransfer.pipeline.within_limits import BackbonesWithinLimits
from autotransfer.runtime.device import resolve_device
from autotransfer.search.variants import Variants
from autotransfer.settings import Limits
from autotransfer.warnings import WarningList
from autotransfer_plugins.modalities.image.formats import Preprocessing
from autotransfer_plugins.modalities.image.modality import IMAGE


def never() -> Any:
    raise AssertionError


def spec(name: str, gmacs: float = 1.0, side: int = 32, parameters: int = 10) -> BackboneSpec:
    return BackboneSpec(
        name=name,
        modality="image",
        load=never,
        gmacs=gmacs,
        input_size=(side, side),
        parameters=parameters,
        preprocessing=Preprocessing(size=(side, side)),
    )


def forms(specs: Any) -> Variants:
    """Return each backbone with a smaller form, and one of another framing after it."""
    small = [replace(one, name=f"{one.name}@16px", gmacs=(one.gmacs or 0) / 4, input_size=(16, 16)) for one in specs]
    framed = [replace(one, name=f"{one.name}+squash") for one in small]
    after = {b.name: a.name for a, b in zip(specs, small, strict=True)}
    after |= {b.name: a.name for a, b in zip(small, framed, strict=True)}
    return Variants(backbones=(*specs, *small, *framed), first=tuple(specs), after=after, unusual=frozenset())


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let a backbone take a millisecond for each 10^9 multiply-accumulates; return the names that are measured."""
    names = list[str]()

    class Loaded:
        def __init__(self, spec: BackboneSpec, device: Any) -> None:
            self.spec = spec

    def measure(loaded: Any, *_: Any, **__: Any) -> PassCost:
        names.append(loaded.spec.name)
        seconds, size = (loaded.spec.gmacs or 0) / 1e3, 4 * (loaded.spec.parameters or 0)
        return PassCost(
            seconds=seconds, load_seconds=0.0, state_bytes=size, tensors=1, files={}, memory_bytes=0, peak_bytes=None
        )

    monkeypatch.setattr(within_limits, "LoadedBackbone", Loaded)
    monkeypatch.setattr(within_limits, "measure_pass", measure)
    return names


def make(limits: Limits, **more: Any) -> BackbonesWithinLimits:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (20, 20), dtype=np.uint8) for _ in range(4)]
    examples = Examples(items=images, names=("a", "b", "c", "d"), modality=IMAGE)
    return BackbonesWithinLimits(
        limits=limits, examples=examples, device=resolve_device("cpu"), options={}, forms=forms, **more
    )


def test_a_smaller_form_takes_the_place_of_one_over_the_limit(measured: list[str]) -> None:
    specs = [spec("a", 2.0), spec("b", 8.0), spec("c", 100.0)]
    known = make(Limits(latency="3ms"))
    assert known.over(specs) == {"c"}
    kept = known.keep(forms(specs))
    assert [one.name for one in kept.first] == ["a", "b@16px"]
    assert kept.after == {"a@16px": "a", "a@16px+squash": "a@16px", "b@16px+squash": "b@16px"}
    assert kept.unusual == {"b@16px"}
    assert measured.count("a@16px") == 1
    assert "a@16px+squash" not in measured  # as fast as the other framing


def test_what_is_far_over_the_limit_is_not_loaded(measured: list[str]) -> None:
    known = make(Limits(latency="3ms"))
    known.over([spec("a", 2.0), spec("c", 100.0)])
    assert "c" not in measured
    large = make(Limits(size="1kB"))
    assert large.over([spec("a"), spec("huge", 1.5, parameters=10**6)]) == {"huge"}
    assert "huge" not in measured


def test_the_error_and_the_warning_say_what_the_fastest_takes(measured: list[str]) -> None:
    known, warnings = make(Limits(latency="1ms", size="1MB")), WarningList()
    assert known.over([spec("a", 8.0), spec("b", 40.0)]) == {"a", "b"}
    assert "the limits (1 ms, 1 MB; 15% of the time is kept free, since processes differ): 2 were" in str(
        known.refuse()
    )
    assert "The fastest of them, a, takes 2 ms" in str(known.refuse())
    known.warn(warnings)
    (warning,) = warnings
    assert warning.code == "backbones_over_limit"
    assert warning.details["backbones"]["a"]["latency_ms"] == 2.0


def test_what_there_is_no_time_to_measure_stays(measured: list[str]) -> None:
    known = make(Limits(latency="1ms"), expired=lambda: len(measured) >= 1)
    assert known.over([spec("a", 80.0), spec("b", 100.0)]) == set()
    assert [one.name for one in known.keep(forms([spec("a", 80.0)])).first] == ["a"]


def test_a_share_of_the_latency_is_kept_for_noise(measured: list[str]) -> None:
    assert make(Limits(latency="1.05ms")).over([spec("a", 4.0)]) == {"a"}
    assert InferenceCost(latency_seconds=1e-3, size_bytes=1).exceeds(Limits(latency="1.05ms")) is False
