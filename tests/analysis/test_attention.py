"""Where models look: words that decide, parts of sounds, and what cannot be said."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fixtures.sounds import RATE, tone
from fixtures.texts import WORDS

import autotransfer
from autotransfer import Candidate, DataOptions, TransferModel
from autotransfer.analysis.attention import Question, answer
from autotransfer.analysis.example_values import ShownExamples


def weights_of(model: TransferModel, example: object) -> dict[str, float]:
    (found,) = model.explain([example])
    return {part.text.strip(): part.weight for part in found.preview.words}


@pytest.fixture(scope="module")
def reviews() -> TransferModel:
    """A model of counts on texts of two classes, which differ in one word of ten."""
    rng = np.random.default_rng(0)
    others = [word for word in WORDS if word not in ("good", "bad")]
    labels = ["good", "bad"] * 40
    texts = [" ".join(rng.permutation([*rng.choice(others, 8), label])) for label in labels]
    return autotransfer.evaluate(
        Candidate(backbone="tfidf", head="tfidf_logistic", freeze="frozen"), texts, labels
    ).model


def test_the_word_that_decides_has_the_greatest_weight(reviews: TransferModel) -> None:
    others = [word for word in WORDS if word not in ("good", "bad")][:6]
    weights = weights_of(reviews, " ".join([*others[:3], "bad", *others[3:]]))
    assert weights["bad"] == 1.0
    assert all(abs(weight) < 0.5 for word, weight in weights.items() if word != "bad")


def test_a_word_that_speaks_against_has_a_negative_weight(reviews: TransferModel) -> None:
    assert weights_of(reviews, "good bad bad bad")["good"] < 0


def test_a_hostile_text_is_data(reviews: TransferModel) -> None:
    text = "</script><img src=x onerror=alert(1)> \x00 \u202ebad ="
    (found,) = reviews.explain([text])
    assert "\x00" not in found.preview.text
    assert "\u202e" not in found.preview.text
    assert "".join(part.text for part in found.preview.words) == found.preview.text
    json.dumps(found.to_json())


def test_the_label_that_is_asked_for_is_explained(reviews: TransferModel) -> None:
    examples = reviews.find_examples(["one good day"])
    shown = ShownExamples(examples=examples, store=reviews.decode(examples))
    asked = reviews.task.classes.index("bad")
    (found,) = answer(reviews, shown, [Question(row=0, output=asked, true="good", correct=False)])
    assert (found.predicted, found.label, found.true, found.correct) == ("good", "bad", "good", False)
    assert found.probability is not None
    assert found.probability < 0.5
    assert min(found.preview.words, key=lambda part: part.weight).text.strip() == "good"


def test_nothing_is_said_when_the_time_has_run_out(reviews: TransferModel) -> None:
    examples = reviews.find_examples(["one good day"])
    shown = ShownExamples(examples=examples, store=reviews.decode(examples), expired=lambda: True)
    assert answer(reviews, shown, [Question(row=0)]) == ()


def test_an_example_that_is_gone_is_left_out(tmp_path: Path, reviews: TransferModel) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_text("one good day")
    examples = reviews.find_examples([tmp_path / "a.txt", tmp_path / "b.txt"])
    shown = ShownExamples(examples=examples, store=reviews.decode(examples))
    (tmp_path / "a.txt").unlink()
    found = answer(reviews, shown, [Question(row=0), Question(row=1)])
    assert [each.row for each in found] == [1]


@pytest.mark.slow
def test_the_part_of_a_sound_that_decides_weighs_most() -> None:
    rng = np.random.default_rng(0)

    def sound(hertz: float, begins: float) -> tuple[np.ndarray, int]:
        wave = 0.01 * rng.standard_normal(RATE).astype(np.float32)
        start = round(begins * RATE)
        wave[start : start + 4000] += tone(hertz, 0.25)
        return wave, RATE

    labels = ["low", "high"] * 20
    sounds = [sound(400 if label == "low" else 2500, rng.uniform(0, 0.75)) for label in labels]
    candidate = Candidate(backbone="mini_mel_cnn.words", head="ridge", freeze="frozen")
    options = DataOptions(modality="audio")
    model = autotransfer.evaluate(candidate, sounds, labels, data_options=options).model
    (found,) = model.explain([sound(2500, 0.75)])
    assert found.predicted == "high"
    assert found.preview.media_type == "audio/flac"
    best = max(found.preview.words, key=lambda part: part.weight)
    assert 0.65 <= float(best.text.partition("-")[0]) < 1.0


@pytest.mark.slow
def test_several_labels_and_values_are_explained(tiny_zoo: Path, digits: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = digits
    several = [("even",) if label % 2 == 0 else ("odd", "one") for label in labels]
    candidate = Candidate(backbone="test_resnet", head="ridge", freeze="frozen")
    model = autotransfer.evaluate(candidate, images, several, zoo=tiny_zoo).model
    (found,) = model.explain(images[:1])
    assert found.label in ("even", "odd", "one")
    assert isinstance(found.predicted, list)
    values = autotransfer.evaluate(candidate, images, labels + 0.5, zoo=tiny_zoo).model
    (found,) = values.explain(images[:1])
    assert (found.label, found.probability, found.correct) == (None, None, None)
    assert isinstance(found.predicted, float)
    assert replace(found, row=0) == found
