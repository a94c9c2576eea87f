"""How good each pretrained model will be on a task, before any is tried and after each that was tried.

Learned from recorded runs: models by targets, with the accuracy of each fine-tuning. Within a target, a model has a
level: minus the log of its share of the ranking, so that the few best ones stand far apart and the many poor ones close
together. The levels of one target are taken to be Gaussian. Their mean is what a model reached elsewhere, or models
like it; their covariance says which models rise and fall together: models of similar names and properties, and models
that did so on the recorded targets. Models are not independent: what two or three of them show on a new target says
much of all the others.

That a static order by the mean rank elsewhere is hard to beat is known (arXiv 2510.06448); ``replay.py zoo`` shows it
beside this one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import log_ndtr, ndtr

__all__ = ["ModelBelief", "ModelInfo", "ModelPrior", "PriorScales", "Recorded", "level_covariance", "levels_of"]

Array = npt.NDArray[np.float64]
# Levels are shares of a ranking; an error of this much is added before its logarithm is taken, so that the last tenth
# of a percent does not count as much as the first half.
ERROR_FLOOR = 0.02
# Variance of a level that was seen: equal trainings differ in their ranks.
SEEN_VARIANCE = 0.05
# A word of a target's name that a model's name, or its source, shares says that the model knows the target. Words
# that say nothing are left out.
MIN_WORD_LETTERS, EMPTY_WORDS = 3, frozenset({"label", "eval", "data", "dataset"})


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """What is known of a model without running it.

    Attributes:
        name: Its name, with an owner in front or not.
        source: The data that it was pretrained on, in a word.
        architecture: Its architecture, in a word.
        parameters: Number of parameters.
        input_size: Side of its inputs.
        accuracy: Published accuracy on its source, 0..1.
        classes: Number of classes of its source.
    """

    name: str
    source: str = ""
    architecture: str = ""
    parameters: float | None = None
    input_size: float | None = None
    accuracy: float | None = None
    classes: float | None = None


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """Recorded runs of models on targets.

    Attributes:
        models: The models.
        targets: Names of the targets.
        accuracy: Accuracy of each model's fine-tuning on each target (targets, models); NaN where none was recorded.
        evidence: What was measured of each model on each target before any fine-tuning (targets, models, kinds), such
            as a transferability score: standardised within a target, 0 where it was not measured.
    """

    models: tuple[ModelInfo, ...]
    targets: tuple[str, ...]
    accuracy: Array
    evidence: Array

    def take(self, positions: Sequence[int]) -> Recorded:
        """Return some of the targets."""
        chosen = list(positions)
        targets = tuple(self.targets[i] for i in chosen)
        return replace(self, targets=targets, accuracy=self.accuracy[chosen], evidence=self.evidence[chosen])


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
        weights: Levels that each kind of evidence adds for one standard deviation, and the knowledge of the target.
        doubts: Variances of these weights from one target to the next.
    """

    model: Any
    shared: Any
    run: Any
    own: Any
    similar: Any
    profile: Any
    weights: Any
    doubts: Any

    @classmethod
    def initial(cls, kinds: int, evidence: int) -> PriorScales:
        """Return where learning starts: a model that knows the target is expected to lead by one level."""
        return cls(
            model=np.array(0.37),
            shared=np.full(kinds, 0.14),
            run=np.array(0.5),
            own=np.array(0.37),
            similar=np.full(kinds, 0.14),
            profile=np.array(0.14),
            weights=np.append(np.full(evidence, 0.1), 1.0),
            doubts=np.full(evidence + 1, 0.02),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the numbers."""
        return {field.name: np.asarray(getattr(self, field.name)).tolist() for field in fields(self)}


@dataclass(frozen=True, kw_only=True)
class Known:
    """What the recorded targets say of the models of one task, in arrays of numpy or torch.

    Attributes:
        rows: Positions (n,) of the task's models among all models.
        seen: Positions (k,) of the models with recorded levels.
        counts: Number (k,) of their recorded levels.
        means: Mean (k,) of their recorded levels.
        profile: Mean product (n, n) of the residuals of two models over the targets that both were recorded on.
        evidence: Evidence (n, kinds + 1) on the task; the last column says whether a model knows the target.
    """

    rows: npt.NDArray[np.int64]
    seen: npt.NDArray[np.int64]
    counts: Any
    means: Any
    profile: Any
    evidence: Any


class ModelPrior:
    """What recorded runs say of the models of a task.

    Args:
        recorded: The runs.
        scales: Variances, as learned from such runs; None means where learning starts.
    """

    def __init__(self, recorded: Recorded, scales: PriorScales | None = None) -> None:
        self.recorded = recorded
        kinds = len(similarities(recorded.models[:1]))
        self.scales = scales or PriorScales.initial(kinds, recorded.evidence.shape[-1])

    def belief(self, target: str, models: Sequence[ModelInfo], evidence: Array | None = None) -> ModelBelief:
        """Return what is expected of models on a new target.

        Args:
            target: Name of the target; a model whose name or source shares a word with it knows the target.
            models: The models; those that were not recorded are judged by models like them.
            evidence: What was measured on the target (models, kinds), as in ``Recorded``; None for nothing.
        """
        known = {model.name: i for i, model in enumerate(self.recorded.models)}
        new = [model for model in models if model.name not in known]
        union = (*self.recorded.models, *new)
        position = {model.name: i for i, model in enumerate(union)}
        rows = np.array([position[model.name] for model in models], dtype=np.int64)
        levels = np.pad(self._levels, ((0, 0), (0, len(new))), constant_values=np.nan)
        given = np.zeros((len(models), self.recorded.evidence.shape[-1])) if evidence is None else evidence
        about = known_of(levels, rows, with_knowledge(given, target, models))
        mean, covariance = level_covariance(np, self.scales, similarities(union), about)
        return ModelBelief(mean, covariance)

    @cached_property
    def _levels(self) -> Array:
        return np.stack([levels_of(row) for row in self.recorded.accuracy])


class ModelBelief:
    """What is expected of the models of one task, given what some of them have shown.

    Args:
        mean: Expected level (n,) of each model.
        covariance: Covariance (n, n) of the levels.

    Attributes:
        mean: Expected level (n,), given what was seen.
        deviation: Standard deviation (n,) of the levels, given what was seen.
    """

    def __init__(self, mean: Array, covariance: Array) -> None:
        self._mean, self._covariance = mean, covariance
        self._seen: list[int] = []
        self._errors: list[float] = []
        self.mean, self.deviation = mean, np.sqrt(np.diag(covariance))

    def observe(self, position: int, accuracy: float) -> None:
        """Learn the accuracy (0..1) that a model reached."""
        self._seen.append(position)
        self._errors.append(-math.log(1 - min(max(accuracy, 0.0), 1.0) + ERROR_FLOOR))
        seen, levels = self._seen, self._observed_levels()
        inner = self._covariance[np.ix_(seen, seen)] + SEEN_VARIANCE * np.eye(len(seen))
        outer = self._covariance[:, seen]
        solved = np.linalg.solve(inner, np.column_stack([levels - self._mean[seen], outer.T]))
        self.mean = self._mean + outer @ solved[:, 0]
        variance = np.diag(self._covariance) - np.einsum("ij,ji->i", outer, solved[:, 1:])
        self.deviation = np.sqrt(np.maximum(variance, 1e-9))
        self.mean[seen] = levels

    def log_expected_improvement(self) -> Array:
        """Return the log of the expected improvement (n,) on the best level that was seen; before that, the level."""
        if not self._seen:
            return np.asarray(self.mean + self.deviation**2 / 2)  # log of the expected share of the ranking
        u = (self.mean - max(self.mean[self._seen])) / self.deviation
        gain = self.deviation * (u * ndtr(u) + np.exp(-u * u / 2) / math.sqrt(2 * math.pi))
        # Far below the best, the gain is too small for a float: its logarithm is known still.
        log_gain = np.where(u > -5, np.log(np.maximum(gain, 1e-300)), log_ndtr(u) + np.log(self.deviation))
        log_gain[self._seen] = -np.inf
        return np.asarray(log_gain)

    def _observed_levels(self) -> Array:
        """Return the levels of what was seen: the target's own scale is fitted to what was expected."""
        errors, expected = np.array(self._errors), self._mean[self._seen]
        spread = errors - errors.mean()
        slope = (spread @ (expected - expected.mean()) + 1.0) / (spread @ spread + 1.0)  # one level a unit, until known
        return np.asarray(expected.mean() + max(slope, 0.3) * spread)


def levels_of(accuracy: Array) -> Array:
    """Return minus the log of each model's share of the ranking on one target, 0 on average; NaN stays NaN."""
    levels = np.full(len(accuracy), np.nan)
    recorded = np.flatnonzero(~np.isnan(accuracy))
    values = accuracy[recorded]
    above = (values[None, :] > values[:, None]).sum(1)
    equal = (values[None, :] == values[:, None]).sum(1)
    levels[recorded] = -np.log((above + (equal + 1) / 2) / max(len(recorded), 1)) - 1
    return levels


def similarities(models: Sequence[ModelInfo]) -> Array:
    """Return how similar models are (kinds, n, n), 0 to 1: in names, numbers, architecture and source."""
    numbers = np.array(
        [
            [math.log(value) if value and value > 0 else np.nan for value in (m.parameters, m.input_size, m.classes)]
            + [np.nan if m.accuracy is None else m.accuracy]
            for m in models
        ]
    )
    counts = np.maximum((~np.isnan(numbers)).sum(0), 1)
    centred = np.nan_to_num(numbers - np.nansum(numbers, 0) / counts)  # an unknown number is like the mean
    spread = np.sqrt((centred**2).sum(0) / counts)
    centred /= np.where(spread > 0, spread, 1.0)
    distance = ((centred[:, None] - centred[None]) ** 2).sum(-1)
    return np.stack(
        [
            _name_similarities([model.name for model in models]),
            np.exp(-distance / 4),
            _equal([model.architecture for model in models]),
            _equal([model.source for model in models]),
        ]
    )


def with_knowledge(evidence: Array, target: str, models: Sequence[ModelInfo]) -> Array:
    """Append whether the name or source of each model shares a word with the target: evidence (n, kinds + 1)."""
    words = _words(target)
    shared = [float(bool(words & (_words(model.name) | _words(model.source)))) for model in models]
    return np.column_stack([evidence, shared])


def known_of(levels: Array, rows: npt.NDArray[np.int64], evidence: Array) -> Known:
    """Return what recorded levels (targets, models) say of some models."""
    there = ~np.isnan(levels)
    counts, totals = there.sum(0), np.nansum(levels, 0)
    residuals = np.where(there, levels - totals / np.maximum(counts, 1), 0.0)[:, rows]
    both = there[:, rows].astype(float)
    seen = np.flatnonzero(counts)
    return Known(
        rows=rows,
        seen=seen,
        counts=counts[seen].astype(float),
        means=totals[seen] / counts[seen],
        profile=(residuals.T @ residuals) / np.maximum(both.T @ both, 1.0),
        evidence=evidence,
    )


def level_covariance(xp: Any, scales: PriorScales, similarity: Any, known: Known) -> tuple[Any, Any]:
    """Return mean (n,) and covariance (n, n) of the levels of the models of a task.

    Args:
        xp: ``numpy``, or ``torch`` where the scales are learned by gradient; arrays are of that library.
        scales: The variances.
        similarity: How similar all models are (kinds, models, models).
        known: What is recorded of the models.
    """
    rows, seen = known.rows, known.seen
    shared = scales.model * xp.eye(similarity.shape[1], dtype=similarity.dtype)
    shared = shared + sum(scale * kind for scale, kind in zip(scales.shared, similarity, strict=True))
    recorded = shared[seen][:, seen] + xp.diag(scales.run / known.counts)
    outer = shared[rows][:, seen]
    solved = xp.linalg.solve(recorded, xp.column_stack([known.means, outer.T]))
    mean = outer @ solved[:, 0] + known.evidence @ scales.weights
    covariance = shared[rows][:, rows] - outer @ solved[:, 1:]
    for scale, kind in zip(scales.similar, similarity, strict=True):
        covariance = covariance + scale * kind[rows][:, rows]
    covariance = covariance + scales.profile * known.profile + (known.evidence * scales.doubts) @ known.evidence.T
    return mean, covariance + scales.own * xp.eye(len(rows), dtype=similarity.dtype)


def _name_similarities(names: Sequence[str]) -> Array:
    """Return the cosines (n, n) of the names' letters in runs of three to five, the owners left out."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    plain = [re.sub(r"[-_/]", " ", name.rsplit("/", 1)[-1].lower()) + " ." for name in names]
    letters = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True).fit_transform(plain)
    return np.asarray((letters @ letters.T).toarray())


def _equal(words: Sequence[str]) -> Array:
    """Return where two words are equal (n, n); an empty one is equal to none but itself."""
    codes = np.unique(np.array(words, dtype=object).astype(str), return_inverse=True)[1]
    same = (codes[:, None] == codes[None]).astype(float)
    empty = np.array([not word for word in words])
    same[empty[:, None] & empty[None]] = 0.0
    np.fill_diagonal(same, 1.0)
    return np.asarray(same)


def _words(name: str) -> set[str]:
    parts = re.split(r"[^a-z0-9]+", name.rsplit("/", 1)[-1].lower())
    return {part for part in parts if len(part) >= MIN_WORD_LETTERS} - EMPTY_WORDS
