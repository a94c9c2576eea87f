"""The syllables of the demonstration."""

from __future__ import annotations

import numpy as np
import pytest

from autotransfer_plugins.modalities.audio import demo


@pytest.fixture(autouse=True)
def fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "TRAIN_PER_CLASS", 3)
    monkeypatch.setattr(demo, "TEST_PER_CLASS", 2)


def test_syllables_differ_and_are_made_equally_each_time() -> None:
    data, again = demo.syllables(), demo.syllables()
    assert sorted(data.targets) == sorted(demo.SYLLABLES * 3)
    assert sorted(data.test_targets) == sorted(demo.SYLLABLES * 2)
    sounds = [sound["array"] for sound in (*data.train, *data.test)]
    assert len({sound.tobytes() for sound in sounds}) == 40
    assert all(np.array_equal(one["array"], other["array"]) for one, other in zip(data.test, again.test, strict=True))
    assert len({len(sound) for sound in sounds}) > 10, "they have different lengths"
    assert all(0.1 < np.abs(sound).max() <= 1 for sound in sounds)


def test_voice_moves_from_one_vowel_to_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    # The first formant of a is 730 Hz, that of i 270 Hz.
    monkeypatch.setattr(demo, "NOISE_DB", (-80.0, -79.0))
    for name, falls in (("ai", True), ("ia", False)):
        first, last = (_share_below(half, 450) for half in np.array_split(demo._say(name, np.random.default_rng(0)), 2))
        assert (last > first) == falls


def _share_below(sound: np.ndarray, hertz: float) -> float:
    power = np.abs(np.fft.rfft(sound)) ** 2
    return float(power[np.fft.rfftfreq(len(sound), 1 / demo.RATE) < hertz].sum() / power.sum())
