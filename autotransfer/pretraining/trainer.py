"""Training of a network on objectives of pretraining, which can be resumed after an interruption."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from autotransfer.contract.backbone import Backbone
from autotransfer.contract.modality import Inputs, Modality, Store
from autotransfer.contract.specs import FreezePlan, Phase
from autotransfer.errors import ConfigError, TrialError
from autotransfer.features.batches import BatchSize, in_batches
from autotransfer.features.ragged import by_length
from autotransfer.pretraining.losses import Objective
from autotransfer.runtime.device import Device, to_device
from autotransfer.settings import TrainingOptions, parse_duration
from autotransfer.training.freezing import parameter_groups, train_mode
from autotransfer.training.length_batches import of_similar_length
from autotransfer.training.optimization import StepTaker, warm_up_and_cosine

__all__ = ["PretrainingTrainer", "PretrainingSettings", "Student", "training_length"]

_ALL = FreezePlan(phases=(Phase(start=0.0, depth=0),))
_WARM_UP_SHARE = 0.05  # of the training, in which the learning rate rises
_MAX_GRADIENT_NORM = 5.0
_EVALUATION_BATCH = 256
_EPOCHS = 30
_DEFAULT_AUGMENTATION = 2  # position among those of a modality, which the mildest, "none", begins


@dataclass(frozen=True, kw_only=True)
class PretrainingSettings:
    """How a network is trained.

    Attributes:
        epochs: Passes over the training examples; None where time decides.
        seconds: Training time; None where epochs decide.
        lr: Highest learning rate of AdamW.
        weight_decay: Decoupled decay of weights; norms and biases are spared.
        batch_size: Examples in one step.
        augmentation: Strength, one of ``Modality.augmentations``; see ``for_modality`` for None.
        ema: Decay by step of the moving average of the weights, which is what remains.
        half: Whether 16 bit is used where the hardware has it.
        seed: Seed of the first weights, of order, augmentation and dropout.
    """

    epochs: int | None = None
    seconds: float | None = None
    lr: float = 2e-3
    weight_decay: float = 0.05
    batch_size: int = 128
    augmentation: str | None = None
    ema: float = 0.998
    half: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.batch_size, int) or self.batch_size < 2:
            raise ConfigError(f"The batch size is a whole number from 2 on; got {self.batch_size!r}.")
        if not 0 < self.lr < 1:
            raise ConfigError(f"The learning rate lies between 0 and 1; got {self.lr!r}.")

    @classmethod
    def of(cls, options: TrainingOptions, *, lr: float, batch_size: int, **more: Any) -> PretrainingSettings:
        """Return the settings that a user gave; ``lr`` and ``batch_size`` are for a user who gave none."""
        return cls(
            lr=lr if options.lr is None else options.lr,
            batch_size=options.batch_size or batch_size,
            augmentation=options.augmentation,
            half=options.half,
            **more,
        )

    def for_modality(self, modality: Modality) -> PretrainingSettings:
        """Return the settings with an augmentation of a modality: by default the third of them, or the last.

        Raises:
            ConfigError: The modality does not have the augmentation that is set.
        """
        known = modality.augmentations
        if self.augmentation is None:
            return replace(self, augmentation=known[: _DEFAULT_AUGMENTATION + 1][-1])
        if self.augmentation not in known:
            raise ConfigError(f"The augmentation is one of {list(known)}; got {self.augmentation!r}.")
        return self


def training_length(epochs: int | None, time_budget: str | float | None) -> dict[str, Any]:
    """Return the length of a training as settings: ``epochs`` or ``seconds``.

    Raises:
        ConfigError: Both are given, or the number of epochs is invalid.
    """
    if time_budget is not None:
        if epochs is not None:
            raise ConfigError(
                "Give epochs or a time budget, not both: one of them says when the learning rate is zero."
            )
        return {"seconds": parse_duration(time_budget)}
    if epochs is not None and (not isinstance(epochs, int) or epochs < 1):
        raise ConfigError(f"The number of epochs must be at least 1; got {epochs!r}.")
    return {"epochs": epochs or _EPOCHS}


class Student(nn.Module):
    """A backbone with a head for each kind of objective."""

    def __init__(self, backbone: Backbone, heads: dict[str, nn.Module]) -> None:
        super().__init__()
        self.backbone = backbone
        self.heads = nn.ModuleDict(heads)

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        """Map inputs (N, ...) to the float32 outputs (N, outputs) of each head."""
        features = self.backbone(inputs)
        return {name: head(features).float() for name, head in self.heads.items()}


class PretrainingTrainer:
    """Trains a network; the result is the moving average of the weights.

    Args:
        student: The network; it is moved to the device.
        examples: The examples.
        rows: Rows of the training examples.
        objectives: The objectives; their losses are added.
        settings: Training settings.
        device: Device of the training.
        saved: File of the state, which is written after each epoch and resumed from; None saves nothing.
        key: Hash of everything that the training depends on.

    Raises:
        ConfigError: The file holds the state of another training, or is damaged.
    """

    def __init__(
        self,
        student: Student,
        store: Store,
        rows: np.ndarray,
        objectives: Sequence[Objective],
        settings: PretrainingSettings,
        device: Device,
        *,
        saved: Path | None = None,
        key: str = "",
    ) -> None:
        self.student, self.store, self.rows = device.place(student), store, rows
        self.objectives, self.settings, self.device = objectives, settings, device
        self.saved, self.key = saved, key
        self.epoch, self.step, self.seconds = 0, 0, 0.0
        self._augmentation = settings.for_modality(store.modality).augmentation or "none"
        self._rng = torch.Generator().manual_seed(settings.seed)
        self._average = AveragedModel(student, multi_avg_fn=self._move_average, use_buffers=True)
        self._evaluation_size = BatchSize((_EVALUATION_BATCH,))
        self._lengths = store.lengths(student.backbone.preprocessing)
        groups = parameter_groups(
            student.backbone, student.heads, _ALL, lr=settings.lr, backbone_lr=1.0, weight_decay=settings.weight_decay
        )
        self._optimizer = torch.optim.AdamW(groups, fused=device.torch.type in ("cpu", "cuda"))
        self._steps = StepTaker(self._optimizer, device, batch_size=settings.batch_size, autocast=settings.half)
        if saved is not None and saved.is_file():
            self._resume(saved)

    @property
    def learned(self) -> Student:
        """The moving average of the network, in eval mode."""
        student = self._average.module.eval()
        assert isinstance(student, Student)
        return student

    @property
    def done(self) -> float:
        """Share of the training that is done, 0..1."""
        if self.settings.seconds is not None:
            return min(1.0, self.seconds / self.settings.seconds)
        assert self.settings.epochs is not None  # one of the two is given
        steps = self.settings.epochs * math.ceil(len(self.rows) / self.settings.batch_size)
        return min(1.0, self.step / steps)

    def run(self, report: Callable[[int, float], None]) -> None:
        """Train to the end; ``report(epoch, loss)`` is called after each epoch.

        Raises:
            TrialError: The loss is not finite, or one example does not fit into memory.
        """
        while self.done < 1:
            with self.device.repeatable():
                loss = self._train_epoch()
            self.epoch += 1
            if self.saved is not None:
                self._save(self.saved)
            report(self.epoch, loss)

    def outputs(self, rows: np.ndarray, student: Student | None = None) -> dict[str, np.ndarray]:
        """Return the outputs (N, outputs) of each head for these examples, in float32."""
        student, how = student or self.learned, self.student.backbone.preprocessing
        order = np.arange(len(rows)) if self._lengths is None else by_length(self._lengths, rows)

        def part_outputs(part: slice) -> dict[str, Tensor]:
            inputs = self.store.inputs(rows[order[part]], how, self.device.torch)
            return student(inputs)  # type: ignore[no-any-return]

        parts = [found for _, found in in_batches(part_outputs, len(rows), self._evaluation_size)]
        back = np.argsort(order)
        return {name: torch.cat([part[name] for part in parts]).cpu().numpy()[back] for name in student.heads}

    def _train_epoch(self) -> float:
        """Train on all rows once, or until the time is over, and return the mean loss."""
        # Dropout draws from torch's own generator: seeded here, it does not depend on what else drew before.
        self.device.seed(int(torch.randint(2**31, (1,), generator=self._rng)))
        self.student.heads.train()
        train_mode(self.student.backbone, _ALL, 0, update_norms=True)
        order = self.rows[torch.randperm(len(self.rows), generator=self._rng).numpy()]
        total, seen, size = 0.0, 0, self.settings.batch_size
        if self._lengths is not None:
            order = of_similar_length(order, self._lengths, size, self._rng)
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            self.step += 1
            if len(rows) == 1 < len(order):
                continue  # batch norm cannot learn from one example
            started = time.monotonic()
            total += self._learn(rows) * len(rows)
            seen += len(rows)
            self.seconds += time.monotonic() - started
            if self.settings.seconds is not None and self.done >= 1:
                break
        return total / max(seen, 1)

    def _learn(self, rows: np.ndarray) -> float:
        """Take one step and return its loss."""
        for group in self._optimizer.param_groups:
            # A training by time begins at 0: the rate of its first step is that of a thousandth.
            group["lr"] = self.settings.lr * warm_up_and_cosine(max(self.done, 1e-3), warm_up=_WARM_UP_SHARE, end=1.0)

        def loss(part: slice) -> Tensor:
            return self._loss(rows[part]) * (len(rows[part]) / len(rows))

        total = self._steps.step(len(rows), loss, list(self.student.parameters()), _MAX_GRADIENT_NORM)
        self._average.update_parameters(self.student)
        found = float(total)  # a GPU is waited for once in a step, at its end
        if not math.isfinite(found):
            raise TrialError(f"The loss became {found} in epoch {self.epoch + 1}: lower the learning rate.")
        return found

    def _loss(self, rows: np.ndarray) -> Tensor:
        """Return the mean loss of these examples."""
        how = self.student.backbone.preprocessing
        batch = self.store.augmented(rows, how, self.device.torch, self._augmentation, self._rng)
        with self.device.autocast(self.settings.half):
            outputs = self.student(batch)
        at = to_device(rows, self.device.torch)
        return torch.stack([objective.loss(outputs[objective.head], at) for objective in self.objectives]).sum()

    def _move_average(self, averages: Sequence[Tensor], values: Sequence[Tensor], count: Tensor | int) -> None:
        """Update an exponential moving average that forgets faster at first, while there is little in it."""
        done = int(self._average.n_averaged)  # ``count`` is the same on the device, which would be waited for
        weight = 1 - min(self.settings.ema, (1 + done) / (10 + done))
        if averages[0].is_floating_point():  # they are grouped by type
            torch._foreach_lerp_(list(averages), list(values), weight)
        else:
            torch._foreach_copy_(list(averages), list(values))

    def _save(self, file: Path) -> None:
        state = {
            "key": self.key,
            "at": {"epoch": self.epoch, "step": self.step, "seconds": self.seconds},
            "student": self.student.state_dict(),
            "average": self._average.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._steps.scaler.state_dict(),
            "rng": self._rng.get_state(),
        }
        temporary = file.with_name(f"{file.name}.new")
        torch.save(state, temporary)
        temporary.replace(file)

    def _resume(self, file: Path) -> None:
        try:
            state = torch.load(file, map_location=self.device.torch, weights_only=True)
            other = state["key"] != self.key
        except Exception as error:  # a damaged file: torch raises many kinds
            raise ConfigError(f"The interrupted training in {file} cannot be read: {error} Remove it.") from error
        if other:
            raise ConfigError(
                f"{file} holds an interrupted training with other data or settings. Give the same ones to go on with "
                "it, another folder, or --overwrite to begin anew."
            )
        self.epoch, self.step, self.seconds = (state["at"][name] for name in ("epoch", "step", "seconds"))
        self.student.load_state_dict(state["student"])
        self._average.load_state_dict(state["average"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._steps.scaler.load_state_dict(state["scaler"])
        self._rng.set_state(state["rng"].cpu())
