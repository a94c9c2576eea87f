"""What each kind of candidate brings, before any of its kind was tried on a task; learned from recorded runs.

Differences are those of levels, ``-log(error / error of the trivial predictor + 0.02)``: +0.69 halves the error. How
unsure they are has two parts, as candidates of one kind succeed and fail together: what all of them share on one task,
and what one has of its own. ``examples/benchmarks/fit_gain_prior.py`` learns them, and measures both on tasks that it
has left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from autotransfer.errors import ModelFormatError
from autotransfer.search.prior_file import read_part

__all__ = ["Gain", "GainPrior", "TuningGain", "error_of", "level_of", "tuning_features"]

Array = npt.NDArray[np.float64]
# Added to an error, as a share of the trivial predictor's, before its logarithm is taken: the last tenth of a percent
# does not count as much as the first half.
ERROR_FLOOR = 0.02
# No recorded task has fewer examples for each output, or more: a prior does not reach beyond what it has seen.
MIN_EXAMPLES_PER_OUTPUT, MAX_EXAMPLES_PER_OUTPUT = 20.0, 5000.0
MIN_SHARE = 0.1
# What has to be there, by kind: the gain of any head stands for those that were not recorded.
_NEEDED = (
    ("heads", "any"),
    *(("forms", name) for name in ("resolution", "framing", "views")),
    *(("drawn", name) for name in ("frozen_heads", "sampled_tuning")),
)


@dataclass(frozen=True, kw_only=True)
class Gain:
    """Difference of levels between a candidate and what it is compared with.

    Attributes:
        mean: Expected difference.
        task_deviation: Standard deviation of what all candidates of the kind share on one task.
        own_deviation: Standard deviation of what one candidate has of its own.
    """

    mean: float
    task_deviation: float
    own_deviation: float

    @property
    def deviation(self) -> float:
        """Standard deviation of the difference of one candidate on a new task."""
        return math.hypot(self.task_deviation, self.own_deviation)


@dataclass(frozen=True, kw_only=True)
class TuningGain(Gain):
    """What training stages brings: the more alike two trainings are, the more they share on one task.

    Attributes:
        parts: What makes up the task deviation: the weights of independent parts, whose squares add up to its square.
    """

    parts: Sequence[float]


def level_of(error: float) -> float:
    """Return the level of an error (0..1), in shares of the error of the trivial predictor."""
    return -math.log(max(error, 0.0) + ERROR_FLOOR)


def error_of(level: float) -> float:
    """Return the error whose level this is; 0 where no error is so small."""
    return max(math.exp(-level) - ERROR_FLOOR, 0.0)


def tuning_features(*, share: float, examples: int, outputs: int, error: float, distant: bool) -> Array:
    """Return what is known of a fine-tuning before it is tried: the features of a linear model; see ``tuning``."""
    each = min(max(examples / max(outputs, 2), MIN_EXAMPLES_PER_OUTPUT), MAX_EXAMPLES_PER_OUTPUT)
    # 0 where half of the stages train.
    depth = math.log2(min(max(share, MIN_SHARE), 1.0)) + 1
    amount, left = math.log10(each / 100), level_of(min(max(error, 0.0), 1.0)) - 2
    far = float(distant)
    return np.array([1.0, depth, depth * depth, amount, amount * depth, left, left * depth, far, far * depth])


class GainPrior:
    """What recorded runs say of the gain of each kind of candidate.

    Args:
        weights: Mean of the weights of the features of a fine-tuning.
        covariance: Their covariance on a new task.
        own_deviation: Deviation of one fine-tuning about what its task and its features say.
        gains: By kind of candidate (``heads``, ``forms``, ``drawn``), the gains by name.
    """

    def __init__(
        self, weights: Array, covariance: Array, own_deviation: float, gains: Mapping[str, Mapping[str, Gain]]
    ) -> None:
        values, vectors = np.linalg.eigh(covariance)
        self._weights, self._root = weights, vectors * np.sqrt(np.maximum(values, 0.0))
        self._own_deviation, self._gains = own_deviation, gains

    @classmethod
    def load(cls, path: Path | None = None) -> GainPrior:
        """Read the prior of a file; None means the one that ships with this package.

        Raises:
            ModelFormatError: The file has no such prior.
        """
        return cls.of(*read_part("gains", path))

    @classmethod
    def of(cls, tensors: Mapping[str, npt.NDArray[Any]], metadata: Mapping[str, Any]) -> GainPrior:
        """Return the prior that a part of a file holds.

        Raises:
            ModelFormatError: Something is missing.
        """
        try:
            gains = {
                kind: {name: Gain(**gain) for name, gain in of_kind.items()}
                for kind, of_kind in metadata["gains"].items()
            }
            missing = [kind for kind, name in _NEEDED if name not in gains[kind]]
            if missing:
                raise KeyError(*missing)
            return cls(tensors["weights"], tensors["covariance"], float(metadata["own_deviation"]), gains)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ModelFormatError(
                f"The prior of gains is incomplete ({error!r}); write it with fit_prior.py."
            ) from error

    def tuning(self, *, share: float, examples: int, outputs: int, error: float, distant: bool) -> TuningGain:
        """Return what training the last stages brings beyond the best closed form on the same frozen backbone.

        Args:
            share: Share of the stages that train, the last ones; above 0, at most 1.
            examples: Number of training examples.
            outputs: Number of classes, or of targets.
            error: Error of that closed form, in shares of the error of the trivial predictor (0..1).
            distant: Whether the examples are unlike those that the backbone was pretrained on.
        """
        features = tuning_features(share=share, examples=examples, outputs=outputs, error=error, distant=distant)
        parts = (features @ self._root).tolist()
        return TuningGain(
            mean=float(features @ self._weights),
            task_deviation=math.hypot(*parts),
            own_deviation=self._own_deviation,
            parts=parts,
        )

    def head(self, name: str) -> Gain:
        """Return what a closed-form head brings beyond ``logistic`` on the same features.

        Args:
            name: Name of the head; one that was not recorded may be as good as any.
        """
        return self._gains["heads"].get(name, self._gains["heads"]["any"])

    def drawn(self, kind: Literal["frozen_heads", "sampled_tuning"]) -> Gain:
        """Return what a candidate whose settings a sampler draws brings beyond the best known one of its backbone."""
        return self._gains["drawn"][kind]

    def form(self, kind: Literal["resolution", "framing", "views"]) -> Gain:
        """Return what another form of a backbone brings beyond the form before it, under the same head."""
        return self._gains["forms"][kind]
