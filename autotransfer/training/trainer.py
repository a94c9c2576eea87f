"""Training a candidate by gradient."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from autotransfer.contract.specs import FreezePlan
from autotransfer.data.folds import Fold
from autotransfer.errors import TrialError
from autotransfer.features.batches import BatchSize, in_batches
from autotransfer.features.ragged import by_length
from autotransfer.runtime.device import Device, to_device
from autotransfer.training.adapters import is_adapter
from autotransfer.training.freezing import depth_at, freeze, parameter_groups, train_mode
from autotransfer.training.inputs import Feed
from autotransfer.training.length_batches import of_similar_length
from autotransfer.training.network import Network, to_predictions
from autotransfer.training.optimization import StepTaker, task_loss, warm_up_and_cosine
from autotransfer.training.settings import TrainingSettings

__all__ = ["Training"]

_OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": torch.optim.AdamW,
    "adam": torch.optim.Adam,
    "sgd": lambda groups, lr, fused: torch.optim.SGD(groups, lr=lr, momentum=0.9, nesterov=True, fused=fused),
}
_EVALUATION_BATCH = 128
# Largest norm of all gradients of a step that trains stages: a single spike can undo what a backbone has learned.
_MAX_GRADIENT_NORM = 1.0
# Steps after which their losses are checked: a GPU has to end all of them before it can say whether they are finite.
_STEPS_BETWEEN_CHECKS = {"cpu": 1, "cuda": 32}

EpochReport = Callable[[int, float, np.ndarray], bool]
"""Called after each epoch with its number, the score and the predictions; returns True to stop."""


class Training:
    """One network in training. ``run`` goes epoch by epoch; the best epoch's weights are kept.

    Where stages train, gradients are clipped to a norm of 1 over all of them (Pascanu et al., 2013).

    Args:
        network: What trains, on the device.
        plan: What of it trains, and when.
        settings: How.
        fold: From what.
        feed: ``feed(depth)`` is the way in when so many leading stages are frozen.
        device: Where.
        autocast: Whether 16 bit may be used.
        seed: Seed of order, views, augmentation and dropout.
    """

    def __init__(
        self,
        network: Network,
        plan: FreezePlan,
        settings: TrainingSettings,
        fold: Fold,
        feed: Callable[[int], Feed],
        device: Device,
        *,
        autocast: bool,
        seed: int,
    ) -> None:
        self.network, self.plan, self.settings, self.fold = network, plan, settings, fold
        self.feed, self.device, self.autocast = feed, device, autocast
        self.epoch, self.best_epoch, self.best_score = 0, 0, -math.inf
        self.loss = math.nan  # mean of the last epoch
        self.interrupted = False  # within an epoch: what was learned since its start belongs to no epoch
        self.best_predictions: np.ndarray | None = None
        self._best_state: dict[str, Tensor] = {}
        self._depth: int | None = None
        self._rng = torch.Generator().manual_seed(seed)
        self._evaluation_size = BatchSize((_EVALUATION_BATCH,))
        groups = parameter_groups(
            network.backbone,
            network.head,
            plan,
            lr=settings.lr,
            backbone_lr=settings.backbone_lr,
            weight_decay=settings.weight_decay,
        )
        fused = device.torch.type in ("cpu", "cuda")  # one kernel for an update, not one for each of its operations
        self._optimizer = _OPTIMIZERS[settings.optimizer](groups, lr=settings.lr, fused=fused)
        self._trained = [parameter for group in groups for parameter in group["params"]]
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimizer, self._rate)
        self._steps = StepTaker(self._optimizer, device, batch_size=settings.batch_size, autocast=autocast)
        self._targets = self._to_tensor(fold)
        weights = fold.class_weights
        self._weights = None if weights is None else torch.as_tensor(weights, device=device.torch)
        self._sample_weights = self._sample_weights_of(fold)

    @property
    def learning_rate(self) -> float:
        """Rate of the head in the step that was taken last."""
        return self.settings.lr * self._rate(max(self._schedule.last_epoch - 1, 0))

    def prepare(self) -> None:
        """Compute what the next epoch takes in, where that is not known: it is no part of what an epoch takes."""
        self.feed(depth_at(self.plan, self.epoch, self.settings.epochs))

    def run(self, epochs: int, report: EpochReport, expired: Callable[[], bool]) -> None:
        """Train until ``epochs`` are done, ``report(epoch, score, predictions)`` returns True, or ``expired()`` does.

        Raises:
            TrialError: The loss, the outputs or the score are not finite, or one example does not fit into memory.
        """
        while self.epoch < epochs:
            depth = depth_at(self.plan, self.epoch, self.settings.epochs)
            with self.device.repeatable():
                self.interrupted = not self._train_epoch(depth, expired)
            if self.interrupted:
                return
            self.epoch += 1
            if not len(self.fold.validation_rows):
                continue
            predictions = self.predict(self.fold.validation_rows, depth)
            score = self.fold.score(self.fold.validation_rows, predictions)
            if math.isnan(score):
                raise TrialError(f"the metric {self.fold.task.metric!r} is not defined on the validation examples")
            if score >= self.best_score:  # of equals, the later one: its learning rates are lower
                self._keep(score, predictions)
            if report(self.epoch, score, predictions):
                return

    def predict(self, rows: np.ndarray, depth: int) -> np.ndarray:
        """Return probabilities or values (N, outputs) for these rows.

        Raises:
            TrialError: They are not finite, or one example does not fit into memory.
        """
        self.network.head.eval()
        if not self._frozen(depth):
            self.network.backbone.eval()
        feed = self.feed(depth)
        order = None if feed.lengths is None else by_length(feed.lengths, rows)
        passed = rows if order is None else rows[order]

        def part_outputs(part: slice) -> Tensor:
            return feed.outputs(self.network, passed[part], None).float()

        with self._autocast(depth):
            outputs = torch.cat([found for _, found in in_batches(part_outputs, len(rows), self._evaluation_size)])
        if order is not None:
            outputs = outputs[torch.from_numpy(np.argsort(order)).to(outputs.device)]
        if not bool(outputs.isfinite().all()):
            raise TrialError("the outputs are not finite: the training diverged")
        return to_predictions(self.fold.task, self.network.to_target_units(outputs))

    def predict_now(self, rows: np.ndarray) -> np.ndarray:
        """Return ``predict`` of the network as its last epoch has left it."""
        return self.predict(rows, depth_at(self.plan, max(self.epoch - 1, 0), self.settings.epochs))

    def state(self, *, ended: bool = False) -> dict[str, Any]:
        """Return all that a training between two epochs needs to go on: tensors, numbers and text.

        Of one that has ended, it is what its best epoch needs.
        """
        best = {
            "epoch": self.epoch,
            "best_epoch": self.best_epoch,
            "best_score": self.best_score,
            "best_predictions": None if self.best_predictions is None else torch.from_numpy(self.best_predictions),
            "best": self._best_state,
        }
        if ended:
            return best
        return {
            **best,
            "network": _state_that_changes(self.network, self.plan),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "scaler": self._steps.scaler.state_dict(),
            "rng": self._rng.get_state(),
        }

    def go_on_from(self, state: Mapping[str, Any]) -> None:
        """Take up what ``state`` returned; the steps that follow are those that would have followed there."""
        self.epoch, self.best_epoch, self.best_score = state["epoch"], state["best_epoch"], state["best_score"]
        self.best_predictions = None if state["best_predictions"] is None else state["best_predictions"].numpy()
        self._best_state = dict(state["best"])
        if "network" in state:
            self.network.load_state_dict(state["network"], strict=False)
            self._optimizer.load_state_dict(state["optimizer"])
            self._schedule.load_state_dict(state["schedule"])
            self._steps.scaler.load_state_dict(state["scaler"])
            self._rng.set_state(state["rng"])

    def restore_best(self) -> None:
        """Put the weights of the best epoch back."""
        if self._best_state:
            self.network.load_state_dict(self._best_state, strict=False)

    def _train_epoch(self, depth: int, expired: Callable[[], bool]) -> bool:
        """Train on all rows once; return False when the time ran out before the end."""
        if depth != self._depth:
            freeze(self.network.backbone, self.plan, depth)
            self._depth = depth
        # Dropout draws from torch's own generator: seeded here, it does not depend on what else drew before.
        self.device.seed(int(torch.randint(2**31, (1,), generator=self._rng)))
        self.network.head.train()
        if not self._frozen(depth):
            # Batch norm cannot learn from one example.
            update_norms = self.settings.batch_norm == "live" and len(self.fold.train_rows) > 1
            train_mode(self.network.backbone, self.plan, depth, update_norms=update_norms)
        feed, size = self.feed(depth), self.settings.batch_size
        order = self.fold.train_rows[torch.randperm(len(self.fold.train_rows), generator=self._rng).numpy()]
        if feed.lengths is not None:
            order = of_similar_length(order, feed.lengths, size, self._rng)
        unchecked, total, count = list[Tensor](), torch.zeros((), device=self.device.torch), 0
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            if len(rows) == 1 < min(size, len(order)):
                continue
            unchecked.append(self._step(feed, rows, depth))
            total, count = total + unchecked[-1] * len(rows), count + len(rows)
            if len(unchecked) == _STEPS_BETWEEN_CHECKS.get(self.device.torch.type, 1):
                self._check(unchecked)
            if expired():
                return False
        self._check(unchecked)
        self.loss = float(total) / max(count, 1)
        return True

    def _step(self, feed: Feed, rows: np.ndarray, depth: int) -> Tensor:
        """Take one optimizer step and return its loss."""
        taken = to_device(rows, self.device.torch)
        targets = self._targets[taken]
        each = None if self._sample_weights is None else self._sample_weights[taken]

        def loss(part: slice) -> Tensor:
            with self._autocast(depth):
                outputs = feed.outputs(self.network, rows[part], self._rng)
            found = self._loss(outputs.float(), targets[part], None if each is None else each[part])
            return found * self._share(targets[part], targets)

        clipped = () if self._frozen(depth) else self._trained
        found = self._steps.step(len(rows), loss, clipped, _MAX_GRADIENT_NORM)
        self._schedule.step()
        return found

    def _check(self, losses: list[Tensor]) -> None:
        """Look at losses, and forget them.

        Raises:
            TrialError: One is not finite: the training diverged.
        """
        for loss in torch.stack(losses).tolist() if losses else ():
            if not math.isfinite(loss):
                raise TrialError(f"the loss became {loss} in epoch {self.epoch + 1}: lower the lr")
        losses.clear()

    def _loss(self, outputs: Tensor, targets: Tensor, sample_weights: Tensor | None) -> Tensor:
        smoothing, weights = self.settings.label_smoothing, self._weights
        return task_loss(
            self.fold.task,
            outputs,
            targets,
            weights=weights,
            sample_weights=sample_weights,
            label_smoothing=smoothing,
        )

    def _share(self, part: Tensor, whole: Tensor) -> Tensor | float:
        """Return what a part of a batch counts in the mean loss of all of it."""
        if self._weights is None or not self.fold.task.single_label:
            return len(part) / len(whole)
        return self._weights[part].sum() / self._weights[whole].sum()  # the weighted mean divides by the weights

    def _rate(self, step: int) -> float:
        """Return the factor on the learning rates in a step."""
        if self.settings.schedule == "constant":
            return 1.0
        steps = self.settings.epochs * math.ceil(len(self.fold.train_rows) / self.settings.batch_size)
        return warm_up_and_cosine(step, warm_up=max(1.0, self.settings.warmup * steps), end=steps, offset=1.0)

    def _frozen(self, depth: int) -> bool:
        """Whether the head trains alone, on features: the backbone does not run, and stays in eval mode."""
        return depth == len(self.network.backbone.stages)

    def _autocast(self, depth: int) -> torch.autocast:
        # A head alone is too small to gain anything from 16 bit.
        return self.device.autocast(self.autocast and not self._frozen(depth))  # type: ignore[return-value]

    def _sample_weights_of(self, fold: Fold) -> Tensor | None:
        """Return the weight (N,) of each training row, with a mean of 1; other rows have none."""
        if fold.weights is None:
            return None
        whole = np.zeros(len(fold.targets), dtype=np.float32)
        whole[fold.train_rows] = fold.train_weights
        return torch.from_numpy(whole).to(self.device.torch)

    def _to_tensor(self, fold: Fold) -> Tensor:
        return torch.from_numpy(fold.standardised_targets()).to(self.device.torch)

    def _keep(self, score: float, predictions: np.ndarray) -> None:
        self.best_score, self.best_epoch, self.best_predictions = score, self.epoch, predictions
        trained = _state_that_changes(self.network, self.plan)
        self._best_state = {name: tensor.detach().clone() for name, tensor in trained.items()}


def _state_that_changes(network: Network, plan: FreezePlan) -> dict[str, Tensor]:
    """Return the head's tensors and those of the stages that train at some time."""
    changing = {f"head.{name}": tensor for name, tensor in network.head.state_dict().items()}
    stage_of = network.backbone.stage_of
    if plan.depth < len(network.backbone.stages):
        state = network.backbone.state_dict()
        if plan.adapters is not None:
            return changing | {f"backbone.{name}": tensor for name, tensor in state.items() if is_adapter(name)}
        changing |= {f"backbone.{name}": tensor for name, tensor in state.items() if stage_of(name) >= plan.depth}
    return changing
