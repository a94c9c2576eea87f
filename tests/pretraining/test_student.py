"""Which network becomes the student: a backbone in any form that a search takes, or an architecture."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fixtures.fitting import distill_with
from fixtures.sounds import tone, write_tones

import autotransfer
from autotransfer.contract.registry import Registry
from autotransfer.data.examples import Examples
from autotransfer.errors import ConfigError, UnknownNameError
from autotransfer.pretraining.distill import _student
from autotransfer.settings import Compute
from autotransfer_plugins.modalities.audio.recordings import Recording

SOUNDS = [Recording(tone(440, 0.9), 16_000)] * 3
IMAGES = [np.zeros((40, 40, 3), np.uint8)] * 3


def student_of(name: str, items: list[Any], zoo: Path, *, input_size: int | None = None) -> tuple[Any, str]:
    """Return the student of a teacher of which only its modality and its reading matter, and its name."""
    registry = Registry.load((zoo,))
    modality = registry.modality("audio" if items is SOUNDS else "image")
    backbone = SimpleNamespace(preprocessing=None)
    teacher: Any = SimpleNamespace(
        members=[SimpleNamespace(network=SimpleNamespace(backbone=backbone))],
        modality=modality,
        reading={"full_scale": 1.0, "sampling_rate": None} if items is SOUNDS else {},
    )
    examples = Examples(items=items, names=("a", "b", "c"), modality=modality)
    return _student(registry, name, input_size, teacher, examples)


def test_a_form_of_an_image_backbone_has_its_side(tiny_zoo: Path) -> None:
    student, name = student_of("test_resnet@64px", IMAGES, tiny_zoo)
    assert name == "test_resnet@64px"
    assert student.preprocessing.size == (64, 64)


def test_a_path_of_a_checkpoint_is_a_student(tiny_zoo: Path) -> None:
    student, name = student_of(f"local-dir:{tiny_zoo / 'test_resnet'}", IMAGES, tiny_zoo)
    own, _ = student_of("test_resnet", IMAGES, tiny_zoo)
    assert name == f"local-dir:{(tiny_zoo / 'test_resnet').resolve()}"
    weights = own.state_dict()
    assert all(np.allclose(weight, weights[key]) for key, weight in student.state_dict().items())


@pytest.mark.parametrize(
    ("given", "name", "seconds"),
    [
        ("mini_mel_cnn.words@5s", "mini_mel_cnn.words@5s", 5.0),
        ("mini_mel_cnn.words", "mini_mel_cnn.words@1s", 1.0),  # as in a search
        ("test_resnet@mel", "test_resnet@mel@1s", 1.0),
        ("test_resnet", "test_resnet@mel@1s", 1.0),
    ],
)
def test_a_student_for_sounds_has_a_window(given: str, name: str, seconds: float, tiny_zoo: Path) -> None:
    student, found = student_of(given, SOUNDS, tiny_zoo)
    assert (found, student.preprocessing.seconds) == (name, seconds)


def test_the_name_of_an_architecture_starts_without_weights(tiny_zoo: Path) -> None:
    # timm knows weights of this name, too, which would be fetched.
    student, name = student_of("test_byobnet", IMAGES, tiny_zoo, input_size=32)
    assert (name, student.preprocessing.size) == ("test_byobnet", (32, 32))


def test_what_is_no_student_is_refused(tiny_zoo: Path) -> None:
    with pytest.raises(UnknownNameError, match="test_resnett"):
        student_of("test_resnett", IMAGES, tiny_zoo)
    with pytest.raises(ConfigError, match="has no form 'huge'"):
        student_of("test_resnet@huge", IMAGES, tiny_zoo)
    with pytest.raises(ConfigError, match="leave input_size out"):
        student_of("test_resnet@64px", IMAGES, tiny_zoo, input_size=32)
    with pytest.raises(ConfigError, match="takes a sound"):
        student_of("mini_mel_cnn.words", IMAGES, tiny_zoo)


@pytest.mark.slow
def test_a_student_in_a_form_is_distilled_and_saved(tmp_path: Path) -> None:
    tones = write_tones(tmp_path / "tones")
    compute = Compute(cache=False, device="cpu")
    candidate = autotransfer.Candidate(backbone="mini_mel_cnn.words", freeze="frozen", head="logistic")
    teacher = autotransfer.evaluate(candidate, tones, compute=compute).model
    given: dict[str, Any] = {"epochs": 1, "batch_size": 8, "device": "cpu", "progress": False}
    result = distill_with(teacher, tones, architecture="mini_mel_cnn.words@1s", **given)
    assert "mini_mel_cnn.words@1s" in str(result)
    loaded = autotransfer.load(result.model.save(tmp_path / "model"), device="cpu")
    np.testing.assert_array_equal(loaded.predict(tones), result.model.predict(tones))
