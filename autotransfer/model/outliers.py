"""Whether an example is like any that a model was trained on, from the features that its forward pass computes anyway.

A detector is a small module: it maps pooled features (N, width), as the backbone of one member gives them for the first
view, to scores (N,). A score above 1 means unlike anything seen: one in a hundred training examples would have it, were
it not among them. There are two kinds. Both take features of length 1, since the length of features tells more of, say,
how long a text is than of what it says.

The module computes in float32, and no branch of it depends on values: it can be exported. A graph that has the pooled
features of the first view (``features_for_heads(...)["pooled"]``) for the networks that share the backbone of
``model.members[model.outliers.member]`` calls ``model.outliers.detector`` on them, and gives its result (N,) as one
more output.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.nn import functional as F

from autotransfer.errors import ConfigError, ModelFormatError
from autotransfer.model.ensemble_member import EnsembleMember
from autotransfer.tasks.task import Task

__all__ = [
    "MIN_EXAMPLES",
    "MahalanobisDetector",
    "NeighbourDetector",
    "OutlierDetector",
    "Outliers",
    "covariance_bytes",
    "directions_of",
    "mark_unknown",
    "require_outliers",
]

# Names of the tensors of a detector begin so in a file.
PREFIX = "outliers."
# Fewest examples that tell what is usual.
MIN_EXAMPLES = 20
# Directions of the covariance, and examples for each: with more directions, what is left beside them is too little to
# estimate.
MAX_DIRECTIONS, EXAMPLES_PER_DIRECTION = 128, 4
# Which of the nearest training examples the distance is to (Sun et al. 2022).
NEIGHBOUR = 5
# Most directions of a covariance, and most training examples that a detector keeps.
MAX_RANK, MAX_REFERENCE = 256, 20_000


class OutlierDetector(nn.Module):
    """Maps features (N, width) to scores (N,).

    Args:
        tensors: Its tensors by name.
        threshold: Distance that has the score 1.
    """

    kind = ""
    names: tuple[str, ...] = ()

    def __init__(self, tensors: Mapping[str, Tensor], threshold: float = 1.0) -> None:
        super().__init__()
        for name in self.names:
            self.register_buffer(name, tensors[name])
        self.threshold = threshold

    def distance(self, directions: Tensor) -> Tensor:
        """Return the distance (N,) of features (N, width) of length 1."""
        raise NotImplementedError

    def forward(self, features: Tensor) -> Tensor:
        """Return scores (N,) of features (N, width)."""
        return self.distance(F.normalize(features.float(), dim=1)) / self.threshold

    @classmethod
    def check(cls, tensors: Mapping[str, Tensor], width: int) -> bool:
        """Whether tensors of a file have the shapes that features of a width need."""
        raise NotImplementedError


class MahalanobisDetector(OutlierDetector):
    """The Mahalanobis distance (Lee et al. 2018), by the directions in which training examples differ most.

    What is left of a difference beside these directions is taken to be equal in all others. One mean serves all
    classes: with one for each, the distance separates unlike sets no better.
    """

    kind = "mahalanobis"
    names = ("mean", "basis", "rest")
    mean: Tensor
    basis: Tensor
    rest: Tensor

    def distance(self, directions: Tensor) -> Tensor:
        """Return the distance (N,)."""
        centered = directions - self.mean
        along = centered @ self.basis  # (N, rank), each of variance 1
        scale = self.basis.square().sum(0)  # 1 / variance of each direction
        left = (centered - (along / scale) @ self.basis.T).square().sum(1)
        return (along.square().sum(1) + left * self.rest).sqrt()

    @classmethod
    def check(cls, tensors: Mapping[str, Tensor], width: int) -> bool:
        """Whether the shapes are right."""
        mean, basis, rest = (tensors[name] for name in cls.names)
        return (
            mean.shape == (width,)
            and basis.ndim == 2
            and len(basis) == width
            and 0 < basis.shape[1] <= min(MAX_RANK, width)
            and rest.shape == ()
            and bool((basis.square().sum(0) > 0).all())
            and bool(rest >= 0)
        )


class NeighbourDetector(OutlierDetector):
    """The distance to the fifth nearest of some training examples (Sun et al. 2022)."""

    kind = "neighbours"
    names = ("reference",)
    reference: Tensor

    def distance(self, directions: Tensor) -> Tensor:
        """Return the distance (N,)."""
        cosines = directions @ self.reference.float().T
        nearest = cosines.topk(min(NEIGHBOUR, len(self.reference)), dim=1).values[:, -1]
        return (2 - 2 * nearest).clamp(min=0.0).sqrt()

    @classmethod
    def check(cls, tensors: Mapping[str, Tensor], width: int) -> bool:
        """Whether the shapes are right."""
        reference = tensors["reference"]
        return reference.ndim == 2 and 0 < len(reference) <= MAX_REFERENCE and reference.shape[1] == width


_KINDS: Mapping[str, type[OutlierDetector]] = {one.kind: one for one in (MahalanobisDetector, NeighbourDetector)}


@dataclass(frozen=True, kw_only=True)
class Outliers:
    """What tells a model which examples are unlike anything seen.

    Attributes:
        detector: Scores features.
        member: Position of the member whose backbone's features it takes.
    """

    detector: OutlierDetector
    member: int = 0

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors by their names in a file."""
        return {PREFIX + name: tensor for name, tensor in self.detector.state_dict().items()}

    def to_json(self) -> dict[str, Any]:
        """Return what is no tensor as JSON."""
        return {"kind": self.detector.kind, "threshold": self.detector.threshold, "member": self.member}

    @classmethod
    def from_json(cls, data: Any, members: Sequence[EnsembleMember], state: Mapping[str, Tensor]) -> Outliers:
        """Read what ``to_json`` and ``tensors`` wrote.

        Raises:
            ModelFormatError: It is damaged.
        """
        member, threshold = data["member"], data["threshold"]
        kind = _KINDS.get(data["kind"])
        if kind is None or type(member) is not int or not 0 <= member < len(members):
            raise ModelFormatError(f"A detector of outliers is one of {sorted(_KINDS)} on a member; got {data!r:.80}.")
        if type(threshold) is not float or not 0 < threshold < math.inf:
            raise ModelFormatError(f"The threshold of outliers is a number above 0; got {threshold!r:.60}.")
        tensors = {name: state[PREFIX + name] for name in kind.names}
        known = all(tensor.is_floating_point() for tensor in tensors.values())
        if not known or not kind.check(tensors, members[member].network.backbone.width):
            raise ModelFormatError("The tensors of the detector of outliers do not suit the features of the model.")
        return cls(detector=kind(tensors, threshold), member=member)


def directions_of(examples: int, width: int) -> int:
    """Return how many directions the covariance of so many examples has."""
    return max(min(examples // EXAMPLES_PER_DIRECTION, MAX_DIRECTIONS, width), 1)


def covariance_bytes(examples: int, width: int) -> int:
    """Return the bytes of the tensors that a covariance of features (examples, width) is kept in."""
    return 4 * (width * (directions_of(examples, width) + 1) + 1)


def require_outliers(outliers: Outliers | None) -> Outliers:
    """Return what scores examples.

    Raises:
        ConfigError: The model has nothing that does.
    """
    if outliers is None:
        raise ConfigError(
            "The model does not know what its training examples were like: fit keeps that for models whose backbone "
            "has dense features, with at least 20 examples."
        )
    return outliers


def mark_unknown(task: Task, predicted: np.ndarray, unlike: np.ndarray, unknown: Any) -> np.ndarray:
    """Return predictions with a label for examples that are unlike anything seen.

    Args:
        task: What is predicted.
        predicted: What ``Task.predict`` returned.
        unlike: Truth values (N,).
        unknown: The label; a tuple of it alone for multilabel, NaN for a regression.
    """
    if task.kind == "regression":
        values = predicted.astype(np.float64)
        values[unlike] = np.nan
        return values
    marked = predicted.astype(object)
    label = np.empty(1, dtype=object)
    label[0] = unknown if task.single_label else (unknown,)
    marked[unlike] = label
    kinds = {type(value) for value in (*task.classes, unknown)}
    return np.array(marked.tolist()) if task.single_label and len(kinds) == 1 else marked
