"""The demonstration: a search on scikit-learn's digits with the installed backbones, offline."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from autotransfer.analysis.transfer_gain import is_undertrained
from autotransfer.api import fit
from autotransfer.contract.registry import Registry
from autotransfer.errors import WeightsUnavailableError
from autotransfer.pretraining.dataset import prepare_pretraining_data
from autotransfer.pretraining.distill import train_student
from autotransfer.pretraining.losses import from_labels
from autotransfer.pretraining.trainer import PretrainingSettings, PretrainingTrainer
from autotransfer.report.chart import draw
from autotransfer.run.progress import Progress
from autotransfer.run.result import FitResult
from autotransfer.runtime.device import resolve_device
from autotransfer.runtime.files import write_atomically
from autotransfer.runtime.memory import keep_freed_memory
from autotransfer.settings import Budget, Compute, DataOptions, RunOptions, SearchOptions
from autotransfer.tasks.bootstrap import paired_standard_error
from autotransfer.tasks.score import Score

__all__ = ["DemoResult", "run_demo"]

TEST_EXAMPLES = 500
# Predictions and trials that are printed.
SHOWN_PREDICTIONS, SHOWN_TRIALS = 8, 8
# Share of the images that training from scratch holds out: the trainer needs some.
HELD_OUT_SHARE = 0.02


@dataclass(frozen=True, kw_only=True)
class DemoResult:
    """The result of the demonstration.

    Attributes:
        fit: The result of the search.
        scratch: Test score of the winner's architecture, trained from random weights on the same images.
        scratch_epochs: Number of epochs of the training from scratch.
        scratch_steps: Number of optimizer steps of the training from scratch.
        error: Standard error of the difference between the two test scores.
        truth: Labels of eight test images.
        predicted: Predictions of the model for these images.
        chart: File of the chart of the search.
    """

    fit: FitResult
    scratch: Score
    scratch_epochs: int
    scratch_steps: int
    error: float
    truth: tuple[int, ...]
    predicted: tuple[int, ...]
    chart: Path

    @property
    def gain(self) -> float:
        """Test score of the model less that of its architecture from random weights."""
        assert self.fit.test is not None  # the demonstration has test images
        return self.fit.test.score - self.scratch.score

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON."""
        predictions = [{"truth": t, "predicted": p} for t, p in zip(self.truth, self.predicted, strict=True)]
        return {
            **self.fit.to_json(),
            "scratch": {
                **self.scratch.to_json(),
                "epochs": self.scratch_epochs,
                "steps": self.scratch_steps,
                "seconds": self.fit.seconds["search"],
                "undertrained": is_undertrained(self.scratch_epochs, self.scratch_steps),
            },
            "gain": self.gain,
            "gain_error": self.error,
            "predictions": predictions,
            "leaderboard": list(self.fit.leaderboard())[:SHOWN_TRIALS],
            "chart": str(self.chart),
        }

    def __str__(self) -> str:
        run = shlex.quote(str(self.fit.run))
        seen = "  ".join(f"{t} -> {p}" for t, p in zip(self.truth, self.predicted, strict=True))
        table = str(self.fit.leaderboard()).splitlines()[: SHOWN_TRIALS + 1]
        return "\n".join(
            [
                str(self.fit),
                "",
                f"The best {len(table) - 1} of {len(self.fit.trials)} trials",
                *table,
                "",
                f"transfer gain      {self._gain_in_words()}",
                f"truth -> predicted {seen}",
                "",
                f"picture            {self.chart}",
                f"next               autotransfer predict {run} IMAGE_OR_FOLDER",
                "                   autotransfer fit YOUR_IMAGES --test YOUR_TEST_IMAGES",
                "                   (folders with a sub-folder for each class)",
            ]
        )

    def _gain_in_words(self) -> str:
        assert self.fit.test is not None  # the demonstration has test images
        trained = f"{self.scratch_epochs} epoch{'' if self.scratch_epochs == 1 else 's'}, {self.scratch_steps} steps"
        if is_undertrained(self.scratch_epochs, self.scratch_steps):
            return f"not known: random weights were trained for {trained} only; give a larger --time-budget"
        beside = f"from scratch {self.scratch.score:.4f} in {trained}, as long as the search took"
        if abs(self.gain) <= self.error:
            return f"none measurable (standard error {self.error:.4f}): {beside}"
        return f"{self.gain:+.4f} ± {self.error:.4f} on {self.fit.test.examples} test images ({beside})"


def run_demo(
    *,
    out: str | Path | None = None,
    time_budget: str | float = "20s",
    device: str = "auto",
    overwrite: bool = False,
    progress: bool = True,
) -> DemoResult:
    """Search on 1,297 handwritten digits of 8 x 8 pixels with the installed backbones, and test on 500 more.

    Raises:
        ConfigError: A setting is wrong, or ``out`` holds a run.
        WeightsUnavailableError: No backbone is installed.
    """
    registry = Registry.load()
    names = [spec.name for spec in registry.fallbacks()]
    if not names:
        raise WeightsUnavailableError("The backbones that come with the package are missing: install it again.")
    images, test, digits, truth = _digits()
    result = fit(
        images,
        digits,
        test=test,
        backbones=names,
        time_budget=time_budget,
        out=out,
        data_options=DataOptions(test_targets=truth),
        search=SearchOptions(compare_scratch=False),  # the comparison below has more time, and test images
        compute=Compute(device=device, cache=False),
        run=RunOptions(overwrite=overwrite, progress=progress),
    )
    scratch, error, trainer = _from_scratch(registry, result, device, progress)
    chart = result.run / "trials.svg"
    lines = {"from scratch, test": scratch.score}
    title = "Handwritten digits: every trial of the search"
    write_atomically(chart, draw(list(result.trials), title, lines, metric=result.validation.metric))
    return DemoResult(
        fit=result,
        scratch=scratch,
        scratch_epochs=trainer.epoch,
        scratch_steps=trainer.step,
        error=error,
        truth=tuple(truth[:SHOWN_PREDICTIONS].tolist()),
        predicted=tuple(result.predict(list(test[:SHOWN_PREDICTIONS])).tolist()),
        chart=chart,
    )


def _digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return images (N, 8, 8) to train on and to test on, and the digits (N,) of both."""
    data = load_digits()
    images, test, digits, truth = train_test_split(
        np.rint(data.images * (255 / 16)).astype(np.uint8),
        data.target,
        test_size=TEST_EXAMPLES,
        random_state=0,
        stratify=data.target,
    )
    return images, test, digits, truth


def _from_scratch(
    registry: Registry,
    result: FitResult,
    device: str,
    progress: bool,
) -> tuple[Score, float, PretrainingTrainer]:
    """Train the winner's architecture from random weights for as long as the search took.

    Returns:
        The test score, the standard error of its difference to the model's score, and the trainer.
    """
    where, test = resolve_device(device), result.data.test
    where.seed(0)
    backbone = registry.rebuild(result.model.members[0].network.backbone.recipe)
    settings = PretrainingSettings(
        seconds=result.seconds["search"], batch_size=64, augmentation="light", ema=0.98, half=False
    )
    with keep_freed_memory(), Progress(Budget(), shown=progress) as display:
        dataset = prepare_pretraining_data(
            result.data.train,
            [backbone.preprocessing],
            share=HELD_OUT_SHARE,
            seed=0,
            progress=display,
            reading=result.model.reading,
        )
        assert dataset.fold is not None  # all images have labels
        task = dataset.fold.task
        objective = from_labels(task, dataset.fold.targets, where.torch)
        name = f"{result.best.backbone} from scratch"
        model, trainer = train_student(backbone, name, task, objective, dataset, settings, registry, where, display)
    assert test is not None
    assert test.targets is not None
    encoded = task.encode(test.targets)
    predictions, others = (one.predict_store(one.decode(test)) for one in (model, result.model))
    error = paired_standard_error(task, encoded, predictions, others)
    return Score.of(task, encoded, predictions), error, trainer
