"""How good each pretrained model will be on a task, before any is tried and after each that was tried.

Learned from recorded runs: models by targets, with the accuracy of each fine-tuning. Within a target, a model has a
level: minus the log of its share of the ranking, so that the few best ones stand far apart and the many poor ones close
together. The levels of one target are taken to be Gaussian. Their mean is what a model reached elsewhere, or models
like it, and rises with the published accuracy; their covariance says which models rise and fall together: models of
similar names and properties, and models that did so on the recorded targets. Models are not independent: what two or
three of them show on a new target says much of all the others.

A search asks in levels of the log error instead (``ModelPrior.expect``): how much the log error differs for one level
of the ranking is learned too, and differs from target to target.

That a static order by the mean rank elsewhere is hard to beat is known (arXiv 2510.06448); ``replay.py zoo`` shows it
beside this one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from autotransfer.search.gain_prior import ERROR_FLOOR
from autotransfer.search.model_similarity import ModelInfo, Similarity, knows
from autotransfer.search.prior_file import read_part

__all__ = [
    "BenchmarkBySize",
    "LogErrorUnit",
    "ModelPrior",
    "PriorScales",
    "RecordedModels",
    "Task",
    "level_covariance",
    "shared_covariance",
]

Array = npt.NDArray[np.float64]
PART, TENSORS = "models", ("levels", "runs", "factors")
# Deviation of the log error of two forms of one model, such as one at another resolution: measured on seven pairs of
# models for 224 and 384 pixels, 0.04 to 0.16 on six targets.
FORM_DEVIATION = 0.1
# The deviations of a modality without recorded runs are this many times those of images.
UNRECORDED_FACTOR = 2.0


@dataclass(frozen=True, kw_only=True)
class PriorScales:
    """Variances of what a level is made of, and what evidence adds to it; learned from recorded runs.

    Attributes:
        model: Variance of what a model has of its own on all targets.
        shared: Variances of what similar models share on all targets, by kind of similarity.
        run: Variance of one recorded level about what its model reaches on average.
        own: Variance of what a model has of its own on one target.
        similar: Variances of what similar models share on one target, by kind of similarity.
        profile: Variance of what models share on a target whose residuals went together on the recorded targets.
        benchmark: Levels that one level of the log error on the usual benchmark adds.
        benchmark_doubt: Variance of that from one target to the next.
        weights: Levels that each kind of evidence adds for one standard deviation, and the knowledge of the target.
        doubts: Variances of these weights from one target to the next.
    """

    model: Any
    shared: Any
    run: Any
    own: Any
    similar: Any
    profile: Any
    benchmark: Any
    benchmark_doubt: Any
    weights: Any
    doubts: Any

    @classmethod
    def initial(cls, evidence: int = 0) -> PriorScales:
        """Return where learning starts: a model that knows the target is expected to lead by one level."""
        kinds = Similarity.KINDS
        return cls(
            model=np.array(0.37),
            shared=np.full(kinds, 0.14),
            run=np.array(0.5),
            own=np.array(0.37),
            similar=np.full(kinds, 0.14),
            profile=np.array(0.14),
            benchmark=np.array(3.0),
            benchmark_doubt=np.array(2.0),
            weights=np.append(np.full(evidence, 0.1), 1.0),
            doubts=np.append(np.full(evidence, 0.02), 1.0),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the numbers."""
        return {field.name: np.asarray(getattr(self, field.name)).tolist() for field in fields(self)}

    @classmethod
    def from_json(cls, numbers: Mapping[str, Any]) -> PriorScales:
        """Read what ``to_json`` wrote."""
        return cls(**{field.name: np.asarray(numbers[field.name]) for field in fields(cls)})


@dataclass(frozen=True, kw_only=True)
class LogErrorUnit:
    """How much the log error differs for one level of the ranking.

    Attributes:
        slope: Levels of the log error for one level of the ranking.
        variance: Variance of the slope from one target to the next.
        factor: What variances are multiplied by, so that 90% intervals hold nine in ten.
        level: Level of the log error that half of the models reach on a usual target.
    """

    slope: float = 0.2
    variance: float = 0.015
    factor: float = 1.0
    level: float = 1.0

    def log_error(self, mean: Array, covariance: Array) -> tuple[Array, Array]:
        """Return mean (n,) and covariance (n, n) of levels of the log error, from those of the ranking."""
        mean = mean - mean.mean()
        # The product of an unknown slope and an unknown level: its first two moments.
        covariance = (self.slope**2 + self.variance) * covariance + self.variance * np.outer(mean, mean)
        return self.slope * mean, self.factor * covariance + FORM_DEVIATION**2 * np.eye(len(mean))


@dataclass(frozen=True, kw_only=True)
class BenchmarkBySize:
    """What is expected of the log error on the usual benchmark of a modality, where no accuracy is published.

    The numbers that stand here are those of published ImageNet accuracies.

    Attributes:
        mean: Mean level of published accuracies: minus the log of the error; None takes that of the models at hand.
        variance: Variance of these levels.
        log_parameters: Mean log of the number of parameters; None takes that of the models at hand.
        slope: Levels for one more of the log of the number of parameters.
        residual: Variance of the levels about that.
    """

    mean: float | None = None
    variance: float = 0.05
    log_parameters: float | None = None
    slope: float = 0.12
    residual: float = 0.02

    def of(self, models: Sequence[ModelInfo]) -> tuple[Array, Array]:
        """Return the level (n,) of each model, 0 on average, and its variance: 0 where an accuracy is published."""
        errors = [math.nan if m.benchmark is None else 1 - m.benchmark for m in models]
        published = _centred(-np.log(np.array(errors) + ERROR_FLOOR), self.mean)
        sizes = _centred(
            np.array([math.log(m.parameters) if m.parameters else math.nan for m in models]), self.log_parameters
        )
        by_size = np.nan_to_num(self.slope * sizes)
        doubt = np.where(np.isnan(sizes), self.variance, self.residual)
        is_published = ~np.isnan(published)
        return np.where(is_published, published, by_size), np.where(is_published, 0.0, doubt)


@dataclass(frozen=True, kw_only=True)
class RecordedModels:
    """What was learned from the recorded runs of models of one modality.

    Attributes:
        models: The models.
        levels: Level (n,) that each is expected to reach on average.
        runs: Number (n,) of recorded runs of each.
        factors: What made the level of each differ from target to target (n, rank): models with similar rows rise and
            fall together.
        scales: Variances, as learned from the runs.
        unit: How levels become levels of the log error.
        sizes: What is expected of the log error on the usual benchmark.
    """

    models: tuple[ModelInfo, ...]
    levels: Array
    runs: Array
    factors: Array
    scales: PriorScales
    unit: LogErrorUnit = LogErrorUnit()
    benchmark: BenchmarkBySize = BenchmarkBySize()

    @classmethod
    def none(cls) -> RecordedModels:
        """Return what is known where no run was recorded: that published accuracies say something, and how unsure."""
        nothing = np.zeros(0)
        return cls(models=(), levels=nothing, runs=nothing, factors=np.zeros((0, 1)), scales=PriorScales.initial())

    def to_part(self) -> tuple[dict[str, npt.NDArray[np.float32]], dict[str, Any]]:
        """Return tensors and JSON."""
        tensors = {name: np.float32(getattr(self, name)) for name in TENSORS}
        models = {field.name: [getattr(model, field.name) for model in self.models] for field in fields(ModelInfo)}
        about = {"unit": asdict(self.unit), "benchmark": asdict(self.benchmark), "scales": self.scales.to_json()}
        return tensors, {**about, "models": models}

    @classmethod
    def from_part(cls, tensors: Mapping[str, npt.NDArray[Any]], about: Mapping[str, Any]) -> RecordedModels:
        """Read what ``to_part`` returned."""
        columns = about["models"]
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        return cls(
            models=tuple(ModelInfo(**row) for row in rows),
            scales=PriorScales.from_json(about["scales"]),
            unit=LogErrorUnit(**about["unit"]),
            benchmark=BenchmarkBySize(**about["benchmark"]),
            **{name: np.float64(tensors[name]) for name in TENSORS},
        )


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is known of the models of one task, in arrays of numpy or torch.

    Attributes:
        means: Mean (k,) of the recorded levels of each recorded model.
        counts: Number (k,) of these levels.
        recorded_benchmark: Levels (k,) of the recorded models on the usual benchmark, 0 on average.
        benchmark: The same of the models of the task (n,).
        doubt: Variances (n,) of these, where they are not published.
        factors: What made the level of each differ on the recorded targets (n, rank).
        evidence: Evidence (n, kinds + 1) on the task; the last column says whether a model knows the target.
        among: How similar the recorded models are to each other (kinds, k, k), as ``Similarity`` says.
        across: The same of the models of the task and the recorded ones (kinds, n, k).
        within: The same of the models of the task (kinds, n, n).
    """

    means: Any
    counts: Any
    recorded_benchmark: Any
    benchmark: Any
    doubt: Any
    factors: Any
    evidence: Any
    among: Any
    across: Any
    within: Any


class ModelPrior:
    """What recorded runs say of the models of a task.

    Args:
        recorded: What was learned.
    """

    def __init__(self, recorded: RecordedModels) -> None:
        self.recorded = recorded
        self._similarity = Similarity(recorded.models)

    @classmethod
    def load(cls, modality: str, path: Path | None = None) -> ModelPrior:
        """Return the prior of a modality.

        Where no runs were recorded for it, published accuracies and sizes say as much as they do for images, and with
        more doubt.

        Args:
            modality: Name of the modality.
            path: File of the prior; None means the one that ships with this package.
        """
        return _shipped(modality) if path is None else _load(modality, path)

    def expect(self, models: Sequence[ModelInfo], target: str = "") -> tuple[Array, Array]:
        """Return mean (n,) and covariance (n, n) of the levels of the log error that models reach on a new task.

        A level is minus the logarithm of the error as a share of the error of the trivial predictor. Only differences
        between the models count: how hard the task is, is not known.

        Args:
            models: The models, once for each form of one; those that were not recorded are judged by models like them.
            target: Name of the task; a model whose name or source shares a word with it knows the task.
        """
        if not models:
            return np.zeros(0), np.zeros((0, 0))
        return self.recorded.unit.log_error(*self.rank(models, target))

    def rank(self, models: Sequence[ModelInfo], target: str = "", evidence: Array | None = None) -> tuple[Array, Array]:
        """Return mean (n,) and covariance (n, n) of the levels of the ranking of models on a new task.

        Args:
            models: The models.
            target: Name of the task.
            evidence: What was measured on the task (models, kinds), in the kinds that the scales were learned with;
                None for nothing.
        """
        return level_covariance(np, self.recorded.scales, self.task(models, target, evidence))

    def task(self, models: Sequence[ModelInfo], target: str = "", evidence: Array | None = None) -> Task:
        """Return what is known of the models of a task; see ``rank``."""
        recorded = self.recorded
        given = np.zeros((len(models), len(recorded.scales.weights) - 1)) if evidence is None else evidence
        across = self._similarity.between(models, recorded.models)
        benchmark, doubt = recorded.benchmark.of(models)
        is_recorded = across[0].max(1, initial=0.0) > 0
        return Task(
            means=self._means,
            counts=recorded.runs,
            recorded_benchmark=recorded.benchmark.of(recorded.models)[0],
            benchmark=benchmark,
            doubt=np.where(is_recorded, 0.0, doubt),
            factors=across[0] @ recorded.factors,
            evidence=np.column_stack([given, knows(target, models)]),
            among=self._among,
            across=across,
            within=self._similarity.between(models, models),
        )

    @cached_property
    def _among(self) -> Array:
        return self._similarity.between(self.recorded.models, self.recorded.models)

    @cached_property
    def _means(self) -> Array:
        """Return the mean recorded levels under which the expected levels are what they are."""
        recorded = self.recorded
        benchmark = recorded.scales.benchmark * recorded.benchmark.of(recorded.models)[0]
        pull = np.linalg.solve(shared_covariance(recorded.scales, self._among), recorded.levels - benchmark)
        return np.asarray(recorded.levels + recorded.scales.run / recorded.runs * pull)


def level_covariance(xp: Any, scales: PriorScales, task: Task) -> tuple[Any, Any]:
    """Return mean (n,) and covariance (n, n) of the levels of the ranking of the models of a task.

    Args:
        xp: ``numpy``, or ``torch`` where the scales are learned by gradient; arrays are of that library.
        scales: The variances.
        task: What is known of the models.
    """
    recorded = shared_covariance(scales, task.among) + xp.diag(scales.run / task.counts)
    outer = shared_covariance(scales, task.across)
    above = task.means - scales.benchmark * task.recorded_benchmark
    solved = xp.linalg.solve(recorded, xp.column_stack([above, outer.T]))
    mean = outer @ solved[:, 0] + scales.benchmark * task.benchmark + task.evidence @ scales.weights
    covariance = shared_covariance(scales, task.within) - outer @ solved[:, 1:]
    for scale, kind in zip(scales.similar, task.within[1:], strict=True):
        covariance = covariance + scale * kind
    covariance = covariance + scales.own * task.within[0] + scales.profile * task.factors @ task.factors.T
    covariance = covariance + scales.benchmark_doubt * xp.outer(task.benchmark, task.benchmark)
    covariance = covariance + scales.benchmark**2 * task.doubt * task.within[0]
    return mean, covariance + (task.evidence * scales.doubts) @ task.evidence.T


def shared_covariance(scales: PriorScales, similarity: Any) -> Any:
    """Return the covariance of what models reach on average, by how similar they are."""
    kinds = zip(scales.shared, similarity[1:], strict=True)
    return scales.model * similarity[0] + sum(scale * kind for scale, kind in kinds)


def _centred(values: Array, mean: float | None) -> Array:
    """Return values less their mean; NaN stays NaN."""
    known = values[~np.isnan(values)]
    return values - (mean if mean is not None else known.mean() if len(known) else 0.0)


@lru_cache
def _shipped(modality: str) -> ModelPrior:
    return _load(modality, None)


def _load(modality: str, path: Path | None) -> ModelPrior:
    tensors, about = read_part(PART, path)
    if modality in about:
        own = {name: tensors[f"{modality}.{name}"] for name in TENSORS}
        return ModelPrior(RecordedModels.from_part(own, about[modality]))
    nothing = RecordedModels.none()
    return ModelPrior(replace(nothing, unit=replace(nothing.unit, factor=UNRECORDED_FACTOR**2)))
