"""The demonstration: a search on examples that a modality brings along, with the installed backbones, offline."""

from __future__ import annotations

import shlex
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotransfer.analysis.transfer_gain import is_undertrained
from autotransfer.api import fit
from autotransfer.contract.demo_data import DemoData
from autotransfer.contract.modality import Modality
from autotransfer.contract.registry import Registry
from autotransfer.errors import ConfigError, WeightsUnavailableError
from autotransfer.pretraining.dataset import prepare_pretraining_data
from autotransfer.pretraining.distill import train_student
from autotransfer.pretraining.losses import from_labels
from autotransfer.pretraining.trainer import PretrainingSettings
from autotransfer.report.drawing import svg_file
from autotransfer.report.search_charts import draw_search
from autotransfer.report.search_section import search_chart
from autotransfer.run.progress import Progress
from autotransfer.run.result import FitResult
from autotransfer.runtime.device import resolve_device
from autotransfer.runtime.files import write_atomically
from autotransfer.runtime.memory import keep_freed_memory
from autotransfer.settings import Budget, Compute, DataOptions, RunOptions, SearchOptions
from autotransfer.tasks.bootstrap import paired_standard_error
from autotransfer.tasks.score import Score

__all__ = ["DemoResult", "run_demo"]

# Predictions and trials that are printed.
SHOWN_PREDICTIONS, SHOWN_TRIALS = 8, 8
# Share of the examples that training from scratch holds out: the trainer needs some.
HELD_OUT_SHARE = 0.02


@dataclass(frozen=True, kw_only=True)
class FromScratch:
    """An architecture that was trained from random weights for as long as the search took.

    Attributes:
        score: Its test score.
        epochs: Number of epochs.
        steps: Number of optimizer steps.
        error: Standard error of the difference between its test score and that of the model.
    """

    score: Score
    epochs: int
    steps: int
    error: float

    @property
    def undertrained(self) -> bool:
        """Whether it had too little training to say anything."""
        return is_undertrained(self.epochs, self.steps)


@dataclass(frozen=True, kw_only=True)
class DemoResult:
    """The result of the demonstration.

    Attributes:
        fit: The result of the search.
        data: The examples.
        noun: What one example is called.
        scratch: The winner's architecture from random weights, trained on the same examples; None where the winner has
            no weights.
        truth: Targets of eight test examples.
        predicted: Predictions of the model for these examples.
        chart: File of the chart of the search.
    """

    fit: FitResult
    data: DemoData
    noun: str
    scratch: FromScratch | None
    truth: tuple[Any, ...]
    predicted: tuple[Any, ...]
    chart: Path

    @property
    def gain(self) -> float | None:
        """Test score of the model less that of its architecture from random weights; None where it has no weights."""
        assert self.fit.test is not None  # the demonstration has test examples
        return None if self.scratch is None else self.fit.test.score - self.scratch.score.score

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON."""
        predictions = [{"truth": t, "predicted": p} for t, p in zip(self.truth, self.predicted, strict=True)]
        return {
            **self.fit.to_json(),
            "scratch": self._scratch_as_json(),
            "gain": self.gain,
            "gain_error": None if self.scratch is None else self.scratch.error,
            "predictions": predictions,
            "leaderboard": list(self.fit.leaderboard())[:SHOWN_TRIALS],
            "chart": str(self.chart),
        }

    def _scratch_as_json(self) -> dict[str, Any] | None:
        if self.scratch is None:
            return None
        return {
            **self.scratch.score.to_json(),
            "epochs": self.scratch.epochs,
            "steps": self.scratch.steps,
            "seconds": self.fit.seconds["search"],
            "undertrained": self.scratch.undertrained,
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
                f"report             {self.fit.report}",
                f"next               autotransfer predict {run} {self.data.predict}",
                f"                   autotransfer fit {self.data.fit}",
                f"                   ({self.data.layout})",
            ]
        )

    def _gain_in_words(self) -> str:
        assert self.fit.test is not None  # the demonstration has test examples
        scratch, gain = self.scratch, self.gain
        if scratch is None or gain is None:
            return "none: the winner has no pretrained weights"
        trained = f"{scratch.epochs} epoch{'' if scratch.epochs == 1 else 's'}, {scratch.steps} steps"
        if scratch.undertrained:
            return f"not known: random weights were trained for {trained} only; give a larger --time-budget"
        beside = f"from scratch {scratch.score.score:.4f} in {trained}, as long as the search took"
        if abs(gain) <= scratch.error:
            return f"none measurable (standard error {scratch.error:.4f}): {beside}"
        return f"{gain:+.4f} ± {scratch.error:.4f} on {self.fit.test.examples} test {self.noun}s ({beside})"


def run_demo(
    *,
    modality: str | None = None,
    out: str | Path | None = None,
    time_budget: str | float = "20s",
    device: str = "auto",
    overwrite: bool = False,
    progress: bool = True,
) -> DemoResult:
    """Search on the examples that a modality brings along, with the installed backbones, and test on more of them.

    Args:
        modality: Name of the modality; None takes that of most installed backbones.
        out: The run folder; None makes a name up.
        time_budget: Budget of search and refit.
        device: The device.
        overwrite: Whether to replace a run that is there.
        progress: Whether to show progress.

    Raises:
        ConfigError: A setting is wrong, ``out`` holds a run, or the modality brings no examples along.
        WeightsUnavailableError: No backbone is installed.
    """
    registry = Registry.load()
    kind = _modality(registry, modality)
    data = _data(registry, kind)
    result = fit(
        data.train,
        data.targets,
        test=data.test,
        backbones=_backbones(registry, kind),
        time_budget=time_budget,
        out=out,
        data_options=DataOptions(test_targets=data.test_targets),
        search=SearchOptions(compare_scratch=False),  # the comparison below has more time, and test examples
        compute=Compute(device=device, cache=False),
        run=RunOptions(overwrite=overwrite, progress=progress),
    )
    scratch = _from_scratch(registry, result, device, progress)
    return DemoResult(
        fit=result,
        data=data,
        noun=kind.noun,
        scratch=scratch,
        truth=tuple(map(_plain, data.test_targets[:SHOWN_PREDICTIONS])),
        predicted=tuple(map(_plain, result.predict(list(data.test[:SHOWN_PREDICTIONS])))),
        chart=_draw(result, scratch),
    )


def _modality(registry: Registry, name: str | None) -> Modality:
    """Return the modality of this name; without a name, that of most installed backbones."""
    if name is not None:
        return registry.modality(name)
    counts = Counter(spec.modality for spec in registry.fallbacks())
    if not counts:
        raise WeightsUnavailableError("The backbones that come with the package are missing: install it again.")
    return registry.modality(min(counts, key=lambda each: (-counts[each], each)))


def _data(registry: Registry, modality: Modality) -> DemoData:
    """Return the examples that a modality brings along.

    Raises:
        ConfigError: There are none.
    """
    data = modality.demo_data()
    if data is None:
        known = [name for name, each in registry.modalities.items() if each.demo_data() is not None]
        raise ConfigError(f"The modality {modality.name!r} brings no demonstration along; these do: {known}.")
    return data


def _backbones(registry: Registry, modality: Modality) -> list[str]:
    """Return the names of the installed backbones of a modality.

    Raises:
        WeightsUnavailableError: There are none.
    """
    names = [spec.name for spec in registry.fallbacks(modality=modality.name)]
    if not names:
        raise WeightsUnavailableError(f"No backbone for a {modality.noun} came with the package: install it again.")
    # What needs no weights competes, too: transfer that does not pay is shown.
    free = (spec for spec in registry.backbones.values() if spec.heads is not None)
    return [*names, *(spec.name for spec in free if spec.default and spec.modality == modality.name)]


def _draw(result: FitResult, scratch: FromScratch | None) -> Path:
    """Draw the search into its run folder."""
    chart = result.run / "trials.svg"
    lines = {} if scratch is None else {"from scratch, test": scratch.score.score}
    write_atomically(chart, svg_file(draw_search, search_chart(result, lines).data))
    return chart


def _plain(target: Any) -> Any:
    """Return a target as Python's own type, which JSON takes."""
    return target.item() if hasattr(target, "item") else target


def _from_scratch(registry: Registry, result: FitResult, device: str, progress: bool) -> FromScratch | None:
    """Train the winner's architecture from random weights for as long as the search took.

    Returns:
        Its score and training; None where no backbone of the winner has weights.
    """
    backbones = [member.network.backbone for member in result.model.members]
    learned = [backbone for backbone in backbones if any(True for _ in backbone.parameters())]
    if not learned:
        return None
    where, test = resolve_device(device), result.data.test
    where.seed(0)
    backbone = registry.rebuild(learned[0].recipe)
    backbone.preprocessing = learned[0].preprocessing
    settings = PretrainingSettings(
        seconds=result.seconds["search"],
        batch_size=64,
        augmentation=result.model.modality.augmentations[:2][-1],
        ema=0.98,
        half=False,
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
        assert dataset.fold is not None  # all examples have targets
        task = dataset.fold.task
        objective = from_labels(task, dataset.fold.targets, where.torch)
        name = f"{result.best.backbone} from scratch"
        model, trainer = train_student(backbone, name, task, objective, dataset, settings, registry, where, display)
    assert test is not None
    assert test.targets is not None
    encoded = task.encode(test.targets)
    predictions, others = (one.predict_store(one.decode(test)) for one in (model, result.model))
    return FromScratch(
        score=Score.of(task, encoded, predictions),
        epochs=trainer.epoch,
        steps=trainer.step,
        error=paired_standard_error(task, encoded, predictions, others),
    )
