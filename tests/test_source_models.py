"""The script that makes the shipped backbones again does so, on a tenth of nothing."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from autotransfer.contract.registry import Registry

SCRIPT = Path(__file__).parents[1] / "examples" / "source_models.py"


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPT.parent)  # as for a script that is run
        yield importlib.import_module("source_models")


def test_it_makes_every_backbone_that_is_shipped(script: ModuleType) -> None:
    assert list(script.RECIPES) == [spec.name for spec in Registry.load().fallbacks()]


def test_letters_are_drawn_equally_each_time(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "IMAGES_PER_LETTER", 2)
    (images, names), (again, _) = script.draw_letters(), script.draw_letters()
    assert images.shape == (2 * len(script.LETTERS), 32, 32, 3)
    assert images.dtype == np.uint8
    assert len(names) == len(images)
    assert np.array_equal(images, again)
    assert all(image.std() > 5 for image in images), "ink and paper differ"


@pytest.mark.slow
def test_a_recipe_makes_a_backbone(
    script: ModuleType, digit_folder: Path, tiny_zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOTRANSFER_CACHE", str(tmp_path / "cache"))
    for name in ("mini_byobnet.cifar10", "mini_vit.letters"):
        given = ["--cifar10", digit_folder / "train", "--teacher", "test_vit", "--zoo", tiny_zoo]
        monkeypatch.setattr(
            sys, "argv", [str(SCRIPT), "--out", str(tmp_path), "--only", name, "--epochs", "1", *map(str, given)]
        )
        script.main()
        assert (tmp_path / name / "model.safetensors").is_file()


@pytest.mark.slow
def test_texts_make_static_embeddings_of_8_bits(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOTRANSFER_CACHE", str(tmp_path / "cache"))
    texts = [f"{first} {second}" for first in ("red", "blue", "old", "new") for second in ("car", "tree", "house")]
    monkeypatch.setattr(script.wordnet_texts, "read_texts", lambda folder, count: texts)
    arguments = ["--wordnet", "dict", "--out", str(tmp_path), "--only", "mini_static.wordnet", "--epochs", "1"]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *arguments])
    script.main()
    vectors = load_file(tmp_path / "mini_static.wordnet" / "model.safetensors")
    assert vectors["embeddings"].dtype == np.int8
    assert vectors["embeddings"].shape == (8000, 128)


def test_texts_of_wordnet_are_words_with_definition_and_examples(script: ModuleType, tmp_path: Path) -> None:
    line = (
        '00001740 03 n 02 big_cat 0 cat(p) 0 001 @ 00001740 n 0000 | a wild animal; "the big cat slept all day"; "no"\n'
    )
    for kind in ("noun", "verb", "adj", "adv"):
        (tmp_path / f"data.{kind}").write_text(f"  1 a licence\n{line if kind == 'noun' else ''}")
    found = script.wordnet_texts.read_texts(tmp_path, 10)
    assert sorted(found) == ["big cat, cat: a wild animal", "the big cat slept all day"]


def test_rounded_vectors_differ_by_less_than_a_step(script: ModuleType, tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(0, 1, (50, 4)).astype(np.float32)
    save_file({"embeddings": vectors.astype(np.float16)}, tmp_path / "model.safetensors")
    script.wordnet_texts.round_to_8_bits(tmp_path / "model.safetensors")
    rounded = load_file(tmp_path / "model.safetensors")
    found = rounded["embeddings"] / 127 * rounded["scale"].astype(np.float32)
    assert np.abs(found - vectors).max() < 0.02 * np.abs(vectors).max()


def test_clip_has_a_second_whatever_its_word_takes(script: ModuleType) -> None:
    speech, rng = script.made_speech, np.random.default_rng(0)
    for samples in (2_000, 15_000, 30_000):
        sound = np.sin(np.arange(samples) / 10)
        clip = speech._in_noise(speech._through_a_room(sound, rng), rng)
        assert clip.shape == (speech.RATE,)
        assert 0.1 <= np.abs(clip).max() <= 0.95


def test_shipped_sounds_say_what_the_recipe_does(script: ModuleType) -> None:
    folder = SCRIPT.parents[1] / "plugins" / "backbones" / "weights" / "mini_mel_cnn.words"
    about = json.loads((folder / "config.json").read_text())
    source, speech = about["source"], script.made_speech
    assert about["label_names"] == sorted(speech.WORDS)
    clips = len(speech.WORDS) * script.CLIPS_PER_WORD
    assert source["examples"] + source["score"]["examples"] == clips == 6000
    assert source["teacher"].startswith(f"features of whisper_tiny_en_encoder@{speech.SECONDS:g}s ")
    readme = (folder.parent / "README.md").read_text()
    facts = f"| {source['epochs']} | MIT |", f"{source['examples']:,} clips of {len(speech.WORDS)} words"
    facts += (f"accuracy {source['score']['score']:.3f}", f"{source['match']:.1%} of the features' variance")
    for fact in facts:
        assert fact in readme


@pytest.mark.slow
def test_sounds_make_the_network_that_is_shipped(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOTRANSFER_CACHE", str(tmp_path / "cache"))
    speech, rng = script.made_speech, np.random.default_rng(0)

    def tones(count: int) -> tuple[list[np.ndarray], list[str]]:
        names = [word for word in speech.WORDS[:2] for _ in range(count)]
        clips = [speech._in_noise(np.sin(np.arange(8_000) / (4 + len(name))), rng) for name in names]
        return clips, names

    monkeypatch.setattr(speech, "make_speech", tones)  # espeak-ng is not installed everywhere
    name, teacher = "mini_mel_cnn.words", ["--audio-teacher", "mini_mel_cnn.words"]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--out", str(tmp_path), "--only", name, "--epochs", "1", *teacher])
    script.main()
    made, shipped = (
        load_file(folder / name / "model.safetensors")
        for folder in (tmp_path, SCRIPT.parents[1] / "plugins" / "backbones" / "weights")
    )
    shapes = [
        {key: (value.dtype, value.shape) for key, value in tensors.items() if not key.startswith("classifier")}
        for tensors in (made, shipped)
    ]
    assert shapes[0] == shapes[1]
    assert json.loads((tmp_path / name / "config.json").read_text())["network"] == "mel_cnn_small"
