"""The length of the window: chosen from the data, and said in the name of a form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from fixtures.sounds import RATE, tone

from autotransfer.contract.specs import BackboneSpec
from autotransfer.errors import ConfigError, ModelFormatError
from autotransfer.search.variants import offer_variants
from autotransfer_plugins.modalities.audio.formats import WaveFormat
from autotransfer_plugins.modalities.audio.modality import AUDIO
from autotransfer_plugins.modalities.audio.recordings import Recording
from autotransfer_plugins.modalities.audio.windows import fitting_window


def spec(**given: Any) -> BackboneSpec:
    about: dict[str, Any] = {"load": lambda: None, "load_at": lambda seconds: seconds, "gmacs": 1.0, **given}
    return BackboneSpec(name="net", modality="audio", preprocessing=WaveFormat(rate=RATE, seconds=2.0), **about)


def clips(*seconds: float) -> list[Recording]:
    return [Recording(np.zeros(round(RATE * length), np.int16), RATE) for length in seconds]


@pytest.mark.parametrize(
    ("seconds", "window"),
    [
        ([0.3], 0.5),
        ([1.0] * 50, 1.0),
        ([1.02] * 50, 1.0),
        ([1.0] * 97 + [9.0] * 3, 1.0),
        ([2.2, 3.7], 4.0),
        ([60.0], 10.0),
    ],
)
def test_window_covers_nearly_all_sounds(seconds: list[float], window: float) -> None:
    assert fitting_window(clips(*seconds), None) == window


def test_window_is_read_from_headers_and_rates(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", tone(440, 3.0), RATE)
    assert fitting_window([tmp_path / "a.flac"], None) == 3.0
    assert fitting_window([Recording(np.zeros(8000))], 4000) == 2.0
    assert fitting_window([Recording(np.zeros(8000)), tmp_path / "gone.wav"], None) is None


def test_backbones_get_the_window_and_a_shorter_one() -> None:
    offered = offer_variants([spec()], (), AUDIO, clips(*[5.0] * 9))
    assert [form.name for form in offered.first] == ["net@5s"]
    assert offered.after == {"net@2.5s": "net@5s"}
    assert {form.name for form in offered.backbones} == {"net@5s", "net@2.5s"}
    assert [form.gmacs for form in offered.backbones] == [2.5, 1.25]
    assert offered.first[0].preprocessing == WaveFormat(rate=RATE, seconds=5.0)
    assert not offered.unusual


def test_a_named_backbone_gets_the_window_alone() -> None:
    offered = offer_variants([spec()], {"net"}, AUDIO, clips(*[5.0] * 9))
    assert [form.name for form in offered.backbones] == ["net@5s"]


def test_a_window_that_the_user_names_stays() -> None:
    named = AUDIO.variant(spec(), "1.5s")
    assert named is not None
    offered = offer_variants([named], {"net@1.5s"}, AUDIO, clips(*[5.0] * 9))
    assert [form.name for form in offered.backbones] == ["net@1.5s"]


def test_a_backbone_of_one_window_keeps_it() -> None:
    offered = offer_variants([spec(load_at=None)], (), AUDIO, clips(*[5.0] * 9))
    assert [form.name for form in offered.backbones] == ["net"]


def test_pictures_cost_the_same_for_every_window() -> None:
    offered = offer_variants([spec(input_size=(224, 224), distant=True)], (), AUDIO, clips(*[5.0] * 9))
    assert [(form.name, form.gmacs) for form in offered.backbones] == [("net@5s", 1.0)]
    assert offered.unusual == {"net@5s"}


def test_unknown_forms_and_lengths_are_told_apart() -> None:
    assert AUDIO.variant(spec(), "128px") is None
    with pytest.raises(ConfigError, match="does not take windows of 999s"):
        AUDIO.variant(spec(), "999s")


@pytest.mark.parametrize("saved", [{"rate": 1, "seconds": 1.0}, {"rate": 16_000, "seconds": 1e9}, {"rate": True}, 3])
def test_formats_of_strangers_are_refused(saved: object) -> None:
    with pytest.raises(ModelFormatError):
        WaveFormat.from_json(saved)
