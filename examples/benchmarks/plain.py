"""The plain way: an Optuna study over timm models, as a careful user writes it in an afternoon.

    python plain.py --data ants_bees --zoo zoo/timm --minutes 20 --out plain/ants_bees.json

A random stratified 75/25 split of train/, TPE and the median pruner, five epochs in float32. The weights of the best
epoch of all trials are kept and scored on test/ at the end. Nothing of ours is imported: ``versus_plain.py`` compares.
"""

from __future__ import annotations

import argparse
import copy
import json
from pathlib import Path
from typing import Any

import common
import optuna
import timm
import torch
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Subset
from torchvision.datasets import ImageFolder


class Study:
    """The objective, and the best that it has seen."""

    def __init__(self, data: Path, zoo: Path, *, epochs: int, minutes: float, clock: str, seed: int) -> None:
        self.data, self.zoo, self.epochs, self.minutes, self.clock = data, zoo, epochs, minutes, clock
        self.models = sorted(folder.name for folder in zoo.iterdir() if (folder / "config.json").is_file())
        self.classes = len(ImageFolder(data / "train").classes)
        self.train, self.validation = split(data, seed)
        self.score, self.best, self.history = -1.0, None, list[tuple[float, float]]()

    def __call__(self, trial: optuna.Trial) -> float:
        """Train a trial's model; return its best validation accuracy of all epochs."""
        name = trial.suggest_categorical("model", self.models)
        frozen = trial.suggest_categorical("freeze", [True, False])
        head = trial.suggest_categorical("head", ["linear", "mlp"])
        size = trial.suggest_categorical("batch_size", [16, 32, 64])
        rate = trial.suggest_float("lr", 1e-4, 1e-2, log=True)
        decay = trial.suggest_float("weight_decay", 1e-6, 1e-1, log=True)

        backbone = timm.create_model(f"local-dir:{self.zoo / name}", pretrained=True, num_classes=0)
        backbone.requires_grad_(not frozen)
        model = nn.Sequential(backbone, make_head(head, backbone.head_hidden_size, self.classes))
        transform = transform_of(backbone)
        images = ImageFolder(self.data / "train", transform)
        train = DataLoader(Subset(images, self.train), batch_size=size, shuffle=True)
        validation = DataLoader(Subset(images, self.validation), batch_size=64)
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=rate, weight_decay=decay)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.epochs * len(train))

        best = 0.0
        for epoch in range(self.epochs):
            model.train()
            if frozen:
                backbone.eval()  # or its batch-norm statistics would move
            for batch, targets in train:
                optimizer.zero_grad()
                cross_entropy(model(batch), targets).backward()
                optimizer.step()
                schedule.step()
            score = accuracy(model, validation)
            best = max(best, score)
            self.keep(score, model)
            trial.report(score, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
            if common.process_seconds(self.clock) >= self.minutes * 60:
                break  # one more epoch may take minutes
        return best

    def keep(self, score: float, model: nn.Module) -> None:
        """Keep the model if it is the best so far, and note the time."""
        if score > self.score:
            self.score, self.best = score, copy.deepcopy(model)
            self.history.append((common.process_seconds(self.clock), score))
            print(f"{self.history[-1][0]:.0f} s: {score:.4f}", flush=True)

    def test(self) -> float:
        """Return the accuracy of the best model on the test images."""
        images = ImageFolder(self.data / "test", transform_of(self.best[0]))
        return accuracy(self.best, DataLoader(images, batch_size=64))


def split(data: Path, seed: int) -> tuple[list[int], list[int]]:
    """Return which images of train/, in the order of ``ImageFolder``, train and which validate."""
    targets = ImageFolder(data / "train").targets
    train, validation = train_test_split(range(len(targets)), test_size=0.25, stratify=targets, random_state=seed)
    return train, validation


def make_head(kind: str, width: int, classes: int) -> nn.Module:
    if kind == "linear":
        return nn.Linear(width, classes)
    return nn.Sequential(nn.Linear(width, 256), nn.ReLU(), nn.Dropout(0.2), nn.Linear(256, classes))


def transform_of(backbone: nn.Module) -> Any:
    return timm.data.create_transform(**timm.data.resolve_model_data_config(backbone), is_training=False)


@torch.inference_mode()
def accuracy(model: nn.Module, loader: DataLoader) -> float:
    model.eval()
    right = sum(int((model(batch).argmax(1) == targets).sum()) for batch, targets in loader)
    return right / len(loader.dataset)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--data", type=Path, required=True, help="a folder that holds train/ and test/")
    arguments.add_argument("--zoo", type=Path, required=True, help="a folder of checkpoints in timm's format")
    arguments.add_argument("--minutes", type=float, default=20.0, help="the epoch that runs then is the last")
    arguments.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="see common.process_seconds")
    arguments.add_argument("--epochs", type=int, default=5)
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--out", type=Path, required=True, help="write the result here, as JSON")
    given = arguments.parse_args()
    torch.manual_seed(given.seed)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    objective = Study(
        given.data, given.zoo, epochs=given.epochs, minutes=given.minutes, clock=given.clock, seed=given.seed
    )
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=given.seed),
        pruner=optuna.pruners.MedianPruner(),
    )

    def stop_in_time(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        now = common.process_seconds(given.clock)
        print(f"{now:.0f} s: {trial.number} {trial.state.name} {trial.value} {trial.params}", flush=True)
        if now >= given.minutes * 60:
            study.stop()

    study.optimize(objective, callbacks=[stop_in_time])
    taken = common.process_seconds(given.clock)
    result = {
        "data": given.data.name,
        "clock": given.clock,
        "minutes": taken / 60,
        "validation": objective.score,
        "test": objective.test(),
        "history": objective.history,
        "trials": [{"state": trial.state.name, "value": trial.value, **trial.params} for trial in study.trials],
        "machine": common.machine(),
    }
    given.out.write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
