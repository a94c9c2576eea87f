"""Words said by made-up voices: what the shipped audio backbone learns from.

    pip install espeakng-loader
    python examples/made_speech.py 20 --out clips      # writes some to listen to

The synthesiser is espeak-ng (GPL-3.0), which PyPI's espeakng-loader brings along; what it says is nobody's. Voice,
accent, pitch, speed and size of the vocal tract differ from clip to clip, and so do the room, the microphone and the
noise. No word is a digit or a command of the benchmarks, so that their figures are of words that were never heard.
"""

from __future__ import annotations

import argparse
import ctypes
import re
from functools import cache
from pathlib import Path

import numpy as np
import soxr
from scipy.signal import fftconvolve

RATE = 16_000  # Hz
SECONDS = 1.0
WORDS = re.findall(
    r"\w+",
    """
    about above again age ago air angry animal answer apple arm ask baby back bag ball bank bath beach bed begin
    bell below big bird black blood blue boat body book both bottle box boy bread bridge brother brown build
    busy butter buy call camera car carry cat chair cheese child church circle city clean clear clock cloud
    coffee cold colour corner country cow cross cry dance danger dark daughter day deep desk dinner dog door
    draw dream dress drink drive dry early earth east easy egg empty end enough evening every eye face fall
    family farm fast father field fire fish floor flower fly food foot forest friend fruit full funny game
    garden girl give glass gold good grass green ground group hair half hand happy hard hat have hear heart
    heavy help high hill home horse hot hour house husband ice jump keep key kitchen knee lady lake large laugh
    leaf learn leg letter light listen little long look lucky lunch machine many market meat middle milk minute
    money month moon morning mother mountain mouth music name narrow near neck never new night noise north nose
    ocean often old onion open orange other paper park party people picture pig plane plant play pocket poor
    potato pull push queen question quick quiet rain read red ring river road roof room round run sad salt
    school sea season send sharp sheep ship shoe shop short shoulder silver sister sit sky sleep slow small snow
    soft song south speak spoon spring square star stone street strong sugar summer sun sweet swim table talk
    tea teacher thank thick thin thing think throw time together tomorrow tooth tree uncle under use valley
    village visual voice wait walk wall warm wash watch water weather west wet wheel white wide window winter
    woman wood word
    """,
)
ACCENTS = ("en", "en-US", "en-GB-scotland", "en-GB-x-rp", "en-GB-x-gbclan", "en-GB-x-gbcwmd", "en-029", "en-US-nyc")
# Parameters of espeak-ng.
_SYNCHRONOUS, _RATE, _VOLUME, _PITCH, _RANGE, _UTF8 = 2, 1, 2, 3, 4, 1
_END_OF_CALLBACKS = 0
_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class Synthesiser:
    """espeak-ng as a function from text to sound."""

    def __init__(self) -> None:
        import espeakng_loader

        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        data = espeakng_loader.get_data_path()
        self.rate = self._library.espeak_Initialize(_SYNCHRONOUS, 0, str(Path(data).parent).encode(), 0)
        if self.rate <= 0:
            raise SystemExit(f"espeak-ng cannot read its voices in {data}: install espeakng-loader again.")
        files = sorted(Path(data, "voices", "!v").iterdir())
        # Breath is noise that differs from run to run.
        self.voices = [file.name for file in files if "breath" not in file.read_text(encoding="utf-8", errors="ignore")]
        self._parts: list[np.ndarray] = []
        self._callback = _Callback(self._receive)  # kept: the library holds no reference
        self._library.espeak_SetSynthCallback(self._callback)

    def _receive(self, samples: ctypes._Pointer[ctypes.c_short], count: int, events: int | None) -> int:
        if samples and count > 0:
            self._parts.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return _END_OF_CALLBACKS

    def say(self, text: str, voice: str, speed: int, pitch: int, spread: int) -> np.ndarray:
        """Return float32 (samples,) at ``rate``."""
        self._parts.clear()
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise SystemExit(f"espeak-ng has no voice {voice!r}.")
        for parameter, value in ((_RATE, speed), (_PITCH, pitch), (_RANGE, spread), (_VOLUME, 90)):
            self._library.espeak_SetParameter(parameter, value, 0)
        spoken = text.encode()
        self._library.espeak_Synth(spoken, len(spoken) + 1, 0, 0, 0, _UTF8, None, None)
        return np.concatenate(self._parts).astype(np.float32) / 2**15


def make_speech(clips_per_word: int, words: list[str] = WORDS, seed: int = 0) -> tuple[list[np.ndarray], list[str]]:
    """Return clips of a second, float32 (samples,) at 16 kHz, and their words.

    The first call of a process gives equal clips for equal seeds; the synthesiser goes on from one word to the next.
    """
    rng, synthesiser = np.random.default_rng(seed), _synthesiser()
    names = [word for word in words for _ in range(clips_per_word)]
    return [_clip(word, synthesiser, rng) for word in names], names


@cache
def _synthesiser() -> Synthesiser:
    """Return the synthesiser: a second one in a process would wait for ever."""
    return Synthesiser()


def _clip(word: str, synthesiser: Synthesiser, rng: np.random.Generator) -> np.ndarray:
    voice = f"{rng.choice(ACCENTS)}+{rng.choice(synthesiser.voices)}"
    speed, pitch, spread = (int(rng.integers(*limits)) for limits in ((110, 260), (10, 90), (20, 90)))
    sound = synthesiser.say(word, voice, speed, pitch, spread)
    loud = np.flatnonzero(np.abs(sound) > 0.01 * np.abs(sound).max())
    sound = sound[loud[0] : loud[-1] + 1]
    # Played faster or slower, a voice is of another size.
    sound = soxr.resample(sound, synthesiser.rate * rng.uniform(0.88, 1.14), RATE)
    sound = _through_a_room(sound, rng)
    return _in_noise(sound, rng)


def _through_a_room(sound: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add an echo that decays, and colour the spectrum as a microphone does."""
    if rng.random() < 0.6:
        decay = rng.uniform(0.02, 0.25) * RATE
        echo = rng.normal(0, 1, int(decay)) * np.exp(-np.arange(int(decay)) * 4 / decay) * rng.uniform(0.02, 0.15)
        echo[0] = 1.0
        sound = fftconvolve(sound, echo)
    spectrum = np.fft.rfft(sound)
    octaves = np.log2(np.maximum(np.fft.rfftfreq(len(sound), 1 / RATE), 40) / 1000)
    decibels = rng.uniform(-4, 4) * octaves + rng.uniform(0, 4) * np.sin(
        octaves * rng.uniform(1, 3) + rng.uniform(0, 6)
    )
    if rng.random() < 0.25:
        decibels -= 30 * (octaves > rng.uniform(1.6, 2.4))  # a telephone
    return np.fft.irfft(spectrum * 10 ** (decibels / 20), n=len(sound))


def _in_noise(sound: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Put a sound somewhere into a second, in noise of some colour."""
    length = int(RATE * SECONDS)
    sound = sound[:length]
    clip = np.zeros(length)
    start = int(rng.integers(0, length - len(sound) + 1))
    clip[start : start + len(sound)] = sound
    frequencies = np.maximum(np.fft.rfftfreq(length, 1 / RATE), 40)
    noise = np.fft.irfft(np.fft.rfft(rng.normal(0, 1, length)) * frequencies ** -rng.uniform(0, 1), n=length)
    if rng.random() < 0.2:
        hum = np.sin(2 * np.pi * rng.uniform(50, 1000) * np.arange(length) / RATE)
        noise = noise / noise.std() + hum * rng.uniform(0.3, 1.5)
    level = 10 ** (-rng.uniform(3, 40) / 20)
    clip += noise / noise.std() * sound.std() * level
    return (clip / np.abs(clip).max() * rng.uniform(0.1, 0.95)).astype(np.float32)


def main() -> None:
    import soundfile

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", type=int, help="number of words")
    parser.add_argument("--clips", type=int, default=4, help="clips of each word")
    parser.add_argument("--out", type=Path, required=True, help="the folder to write, a sub-folder for each word")
    given = parser.parse_args()
    clips, names = make_speech(given.clips, WORDS[: given.words])
    for number, (clip, name) in enumerate(zip(clips, names, strict=True)):
        folder = given.out / name
        folder.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / f"{number}.wav", clip, RATE, subtype="PCM_16")


if __name__ == "__main__":
    main()
