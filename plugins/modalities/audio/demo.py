"""The sounds of the demonstration: syllables of two vowels, said by made-up voices in noise.

A voice is a sum of harmonics under formants, the resonances of the vocal tract (Fant, *Acoustic theory of speech
production*, 1960). Pitch, size of the vocal tract, tempo, loudness and noise differ from clip to clip. Half of the
syllables are another one backwards, so that the mean spectrum does not tell them apart.
"""

from __future__ import annotations

import numpy as np

from autotransfer.contract.demo_data import DemoData

__all__ = ["syllables"]

RATE = 8000  # Hz
TRAIN_PER_CLASS, TEST_PER_CLASS = 40, 40
# Frequencies of the first three formants in Hz (Peterson and Barney, 1952, mean of men).
FORMANTS = {"a": (730, 1090, 2440), "i": (270, 2290, 3010), "u": (300, 870, 2240), "o": (570, 840, 2410)}
SYLLABLES = ("ai", "ia", "au", "ua", "iu", "ui", "oa", "ao")
# Ranges that voices are drawn from.
PITCH = (90.0, 260.0)  # Hz
TRACT = (0.82, 1.22)  # factor on the formants
SECONDS = (0.35, 1.0)
NOISE_DB = (-24.0, -2.0)  # of noise against voice
BANDWIDTH, SLOPE = 90.0, 1.3  # of a formant in Hz, and exponent of the fall of harmonics


def syllables(seed: int = 0) -> DemoData:
    """Return 320 sounds of 8 syllables to train on, and 320 to test on; equal for equal seeds."""
    rng = np.random.default_rng(seed)
    names = np.repeat(SYLLABLES, TRAIN_PER_CLASS + TEST_PER_CLASS)
    rng.shuffle(names)
    sounds = [{"array": _say(name, rng), "sampling_rate": RATE} for name in names.tolist()]
    train, test = _split(names, rng)
    return DemoData(
        title="Syllables in noise",
        train=[sounds[i] for i in train],
        targets=names[train].tolist(),
        test=[sounds[i] for i in test],
        test_targets=names[test].tolist(),
        predict="SOUND_OR_FOLDER",
        fit="YOUR_SOUNDS --test YOUR_TEST_SOUNDS",
        layout="folders with a sub-folder for each class",
    )


def _split(names: np.ndarray, rng: np.random.Generator) -> tuple[list[int], list[int]]:
    """Return positions to train on, the first of each class, and positions to test on."""
    train = {int(i) for name in SYLLABLES for i in np.flatnonzero(names == name)[:TRAIN_PER_CLASS]}
    return sorted(train), rng.permutation([i for i in range(len(names)) if i not in train]).tolist()


def _say(name: str, rng: np.random.Generator) -> np.ndarray:
    """Return a syllable as float32 (samples,) in -1..1."""
    samples = int(rng.uniform(*SECONDS) * RATE)
    time = np.linspace(0, 1, samples)
    # From one vowel to the other, around a moment that differs.
    turn = 1 / (1 + np.exp(-(time - rng.uniform(0.35, 0.65)) * rng.uniform(8, 20)))
    first, last = (np.array(FORMANTS[vowel]) * rng.normal(1, 0.03, 3) for vowel in name)
    formants = rng.uniform(*TRACT) * (first[:, None] * (1 - turn) + last[:, None] * turn)  # (3, samples)
    pitch = rng.uniform(*PITCH) * (1 + rng.uniform(-0.15, 0.15) * time + 0.02 * np.sin(2 * np.pi * 5 * time))
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    voice = np.zeros(samples)
    for harmonic in range(1, int(RATE / 2 / pitch.max())):
        resonance = sum(1 / (1 + ((harmonic * pitch - formant) / BANDWIDTH) ** 2) for formant in formants)
        voice += resonance * harmonic**-SLOPE * np.sin(harmonic * phase)
    voice *= np.minimum(1, np.minimum(time, 1 - time) * 12)
    noise = rng.normal(0, 1, samples) * voice.std() * 10 ** (rng.uniform(*NOISE_DB) / 20)
    silence = np.zeros(int(rng.uniform(0, 0.1) * RATE))
    sound = np.concatenate([silence, voice + noise, silence])
    loud: np.ndarray = (sound / np.abs(sound).max() * rng.uniform(0.2, 0.95)).astype(np.float32)
    return loud
