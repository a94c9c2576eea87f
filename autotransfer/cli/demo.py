"""The whole thing at once: a search on scikit-learn's digits with the backbones that are installed, offline."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from autotransfer.analysis.transfer_gain import too_little
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
from autotransfer.tasks.score import Score

__all__ = ["DemoResult", "run_demo"]

_TEST, _SHOWN, _ROWS = 500, 8, 8
_HELD = 0.02  # of the images, which training from scratch leaves out: a course always holds some out


@dataclass(frozen=True, kw_only=True)
class DemoResult:
    """What the demonstration found.

    Attributes:
        fit: The result of the search.
        scratch: Test score of the winner's architecture, trained from random weights on the same images.
        scratch_epochs: Epochs that it was trained for.
        scratch_steps: Optimizer steps of these epochs.
        truth: What some test images show.
        predicted: What the model says that they show.
        chart: The picture of the search.
    """

    fit: FitResult
    scratch: Score
    scratch_epochs: int
    scratch_steps: int
    truth: tuple[int, ...]
    predicted: tuple[int, ...]
    chart: Path

    @property
    def gain(self) -> float:
        """What the pretrained weights are worth here: the test score less that from random weights."""
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
                "too_little_training": too_little(self.scratch_epochs, self.scratch_steps),
            },
            "gain": self.gain,
            "predictions": predictions,
            "leaderboard": list(self.fit.leaderboard())[:_ROWS],
            "chart": str(self.chart),
        }

    def __str__(self) -> str:
        assert self.fit.test is not None
        run = shlex.quote(str(self.fit.run))
        seen = "  ".join(f"{t} -> {p}" for t, p in zip(self.truth, self.predicted, strict=True))
        table = str(self.fit.leaderboard()).splitlines()[: _ROWS + 1]
        had = f"{self.scratch_epochs} epochs, {self.scratch_steps} steps, {self.fit.seconds['search']:.1f} s"
        gain = f"{self.gain:+.4f}"
        if too_little(self.scratch_epochs, self.scratch_steps):
            gain = "not known: random weights had too little training; a larger --time-budget gives them more"
        return "\n".join(
            [
                str(self.fit),
                "",
                f"The best of {len(self.fit.trials)} trials",
                *table,
                "",
                f"What transfer gained, on {self.fit.test.examples} test images",
                f"pretrained    {self.fit.test.score:.4f}  ({self.fit.insight.selected})",
                f"from scratch  {self.scratch.score:.4f}  (the winner's network: {had}, as long as the search took)",
                f"gain          {gain}",
                "",
                f"Images that it has not seen, and what it says: {seen}",
                "",
                f"picture     {self.chart}",
                f"next        autotransfer predict {run} IMAGE_OR_FOLDER",
                "            autotransfer fit YOUR_IMAGES --test YOUR_TEST_IMAGES",
                "            where both are folders with a sub-folder for each class",
            ]
        )


def run_demo(
    *,
    out: str | Path | None = None,
    time_budget: str | float = "20s",
    device: str = "auto",
    overwrite: bool = False,
    progress: bool = True,
) -> DemoResult:
    """Search on 1,297 handwritten digits, 8 x 8 pixels, with the backbones that are installed; 500 more are the test.

    Raises:
        ConfigError: A setting is wrong, or ``out`` holds a run.
        WeightsUnavailableError: No backbone is installed.
    """
    registry = Registry.load()
    names = [spec.name for spec in registry.fallbacks()]
    if not names:
        raise WeightsUnavailableError("The backbones that come with the package are missing: install it again.")
    data = load_digits()
    images, test, digits, truth = train_test_split(
        np.rint(data.images * (255 / 16)).astype(np.uint8),
        data.target,
        test_size=_TEST,
        random_state=0,
        stratify=data.target,
    )
    result = fit(
        images,
        digits,
        test=test,
        backbones=names,
        time_budget=time_budget,
        out=out,
        data_options=DataOptions(test_targets=truth),
        search=SearchOptions(compare_scratch=False),  # its own comparison below has more time, and test images
        compute=Compute(device=device, cache=False),
        run=RunOptions(overwrite=overwrite, progress=progress),
    )
    scratch, course = _from_scratch(registry, result, device, progress)
    chart = result.run / "trials.svg"
    lines = {"from scratch, test": scratch.score}
    title = "Handwritten digits: every trial of the search"
    write_atomically(chart, draw(list(result.trials), title, lines, metric=result.validation.metric))
    return DemoResult(
        fit=result,
        scratch=scratch,
        scratch_epochs=course.epoch,
        scratch_steps=course.step,
        truth=tuple(truth[:_SHOWN].tolist()),
        predicted=tuple(result.predict(list(test[:_SHOWN])).tolist()),
        chart=chart,
    )


def _from_scratch(
    registry: Registry,
    result: FitResult,
    device: str,
    progress: bool,
) -> tuple[Score, PretrainingTrainer]:
    """Train the winner's architecture from random weights for as long as the search took, and score it alike."""
    where, test = resolve_device(device), result.test_examples
    where.seed(0)
    backbone = registry.rebuild(result.model.members[0].network.backbone.recipe)
    settings = PretrainingSettings(
        seconds=result.seconds["search"], batch_size=64, augmentation="light", ema=0.98, half=False
    )
    with keep_freed_memory(), Progress(Budget(), shown=progress) as show:
        material = prepare_pretraining_data(
            result.examples,
            [backbone.preprocessing],
            share=_HELD,
            seed=0,
            show=show,
            decoding=result.model.decoding,
        )
        assert material.fold is not None  # all have labels
        task = material.fold.task
        objective = from_labels(task, material.fold.targets, where.torch)
        name = f"{result.best.backbone} from scratch"
        model, course = train_student(backbone, name, task, objective, material, settings, registry, where, show)
    assert test is not None
    assert test.targets is not None
    return Score.of(task, task.encode(test.targets), model.predict_images(model.decode(test))), course
