"""The training loop: it learns, keeps an average, stops on time, and goes on where it was interrupted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from autotransfer.contract.modality import Modality
from autotransfer.contract.registry import Registry
from autotransfer.errors import ConfigError, TrialError
from autotransfer.pretraining.losses import from_labels
from autotransfer.pretraining.trainer import PretrainingSettings, PretrainingTrainer, Student, training_length
from autotransfer.runtime.device import Device
from autotransfer.tasks.task import infer_task
from autotransfer_plugins.modalities.image.images import Images
from autotransfer_plugins.modalities.image.modality import IMAGE

CPU = Device(torch=torch.device("cpu"), half=None)


@pytest.fixture(scope="module")
def recipe() -> Any:
    return Registry.load().outline("test_resnet", 32, 3)


def make_trainer(
    recipe: Any, digits: tuple[np.ndarray, np.ndarray], saved: Path | None = None, **settings: Any
) -> PretrainingTrainer:
    """A trainer on 90 of the 120 digits, with fixed initial weights."""
    pixels, labels = digits
    images = Images(
        arrays={"center": np.repeat(pixels[..., None], 3, axis=-1)},
        digests=tuple(map(str, range(len(pixels)))),
        kept=np.arange(len(pixels)),
        side=32,
    )
    CPU.seed(0)
    backbone = Registry.load().rebuild(recipe)
    task = infer_task(labels.tolist())
    objective = from_labels(task, task.encode(labels), CPU.torch)
    given = {"epochs": 4, "batch_size": 32, "augmentation": "light", "ema": 0.8, **settings}
    student = Student(backbone, {"answers": nn.Linear(backbone.width, 3)})
    return PretrainingTrainer(
        student, images, np.arange(90), [objective], PretrainingSettings(**given), CPU, saved=saved, key="one"
    )


class Interrupted(Exception):
    """What a user's Ctrl-C is to the training."""


@pytest.mark.slow
def test_it_learns_and_the_average_does(recipe: Any, digits: tuple[np.ndarray, np.ndarray]) -> None:
    learning = make_trainer(recipe, digits, epochs=16, batch_size=16)
    losses: list[float] = []
    learning.run(lambda epoch, loss: losses.append(loss))
    assert losses[-1] < losses[0]
    said = learning.outputs(np.arange(90, 120))["answers"]
    assert (said.argmax(1) == digits[1][90:]).mean() > 0.8
    raw = learning.outputs(np.arange(90, 120), learning.student.eval())["answers"]
    assert not np.allclose(raw, said), "what remains is the average, not the last step"


@pytest.mark.slow
def test_resumed_training_equals_an_uninterrupted_one(
    recipe: Any, digits: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    whole = make_trainer(recipe, digits)
    whole.run(lambda epoch, loss: None)

    def interrupt(epoch: int, loss: float) -> None:
        if epoch == 2:
            raise Interrupted

    with pytest.raises(Interrupted):
        make_trainer(recipe, digits, tmp_path / "state.pt").run(interrupt)
    resumed = make_trainer(recipe, digits, tmp_path / "state.pt")
    assert resumed.epoch == 2
    seen: list[int] = []
    resumed.run(lambda epoch, loss: seen.append(epoch))
    assert seen == [3, 4]
    for name, tensor in whole.learned.state_dict().items():
        assert torch.equal(tensor, resumed.learned.state_dict()[name]), name


def test_state_of_another_training_is_refused(
    recipe: Any, digits: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    torch.save({"key": "another"}, tmp_path / "state.pt")
    with pytest.raises(ConfigError, match="other data or settings"):
        make_trainer(recipe, digits, tmp_path / "state.pt")
    (tmp_path / "state.pt").write_bytes(b"no state at all")
    with pytest.raises(ConfigError, match="cannot be read"):
        make_trainer(recipe, digits, tmp_path / "state.pt")


def test_time_budget_ends_training_within_an_epoch(recipe: Any, digits: tuple[np.ndarray, np.ndarray]) -> None:
    learning = make_trainer(recipe, digits, epochs=None, seconds=0.01)
    learning.run(lambda epoch, loss: None)
    assert learning.done == 1
    assert learning.step < 3, "one step takes longer than the time that is allowed"


@pytest.mark.slow
def test_a_loss_that_is_not_finite_is_an_error(recipe: Any, digits: tuple[np.ndarray, np.ndarray]) -> None:
    learning = make_trainer(recipe, digits)
    with torch.no_grad():
        learning.student.heads["answers"].weight.fill_(torch.inf)
    with pytest.raises(TrialError, match="loss became"):
        learning.run(lambda epoch, loss: None)


class Scarce(nn.Module):
    """Memory for a few images at once."""

    def __init__(self, backbone: nn.Module, room: int) -> None:
        super().__init__()
        self.backbone, self.room, self.sizes = backbone, room, list[int]()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if len(images) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.sizes.append(len(images))
        return self.backbone(images)  # type: ignore[no-any-return]


def test_a_lack_of_memory_halves_the_batch(recipe: Any, digits: tuple[np.ndarray, np.ndarray]) -> None:
    learning = make_trainer(recipe, digits, epochs=1, batch_size=30, augmentation="none")
    whole = learning._loss(np.arange(30)).item()
    limited = make_trainer(recipe, digits, epochs=1, batch_size=30, augmentation="none")
    scarce = Scarce(limited.student.backbone, room=8)
    limited.student.forward = lambda images: {"answers": limited.student.heads["answers"](scarce(images)).float()}  # type: ignore[method-assign]
    assert limited._learn(np.arange(30)) == pytest.approx(whole, rel=0.1), "batch norm sees fewer images at once"
    assert scarce.sizes == [7, 7, 7, 7, 2]
    assert len(limited.outputs(np.arange(90), limited.student)["answers"]) == 90
    assert max(scarce.sizes) <= 8


def test_not_even_room_for_one_is_an_error(recipe: Any, digits: tuple[np.ndarray, np.ndarray]) -> None:
    learning = make_trainer(recipe, digits)
    learning.student.forward = Scarce(learning.student.backbone, room=0).forward  # type: ignore[assignment, method-assign]
    with pytest.raises(TrialError, match="memory runs out even with one example"):
        learning.run(lambda epoch, loss: None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 1}, "batch size"),
        ({"lr": 0}, "learning rate"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PretrainingSettings(**settings)


def test_default_augmentation_is_one_of_the_modality() -> None:
    class Plain(Modality):
        name, augmentations = "plain", ("none",)

    given = PretrainingSettings()
    assert [given.for_modality(each).augmentation for each in (IMAGE, Plain())] == ["medium", "none"]


def test_augmentation_that_a_modality_lacks_is_refused() -> None:
    with pytest.raises(ConfigError, match="wild"):
        PretrainingSettings(augmentation="wild").for_modality(IMAGE)


def test_the_length_is_epochs_or_time() -> None:
    assert training_length(None, "2m") == {"seconds": 120.0}
    assert training_length(3, None) == {"epochs": 3}
    with pytest.raises(ConfigError, match="not both"):
        training_length(3, "2m")
    with pytest.raises(ConfigError, match="at least 1"):
        training_length(0, None)
