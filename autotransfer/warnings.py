"""What a user should know of a fit, beside its result: warnings as data, each with a code that stays the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from autotransfer.errors import ConfigError
from autotransfer.runtime.text import escape

__all__ = ["WARNING_CODES", "FitWarning", "ValueRangeWarning", "WarningList"]

WARNING_CODES: Mapping[str, str] = {
    "backbones_left_out": "Backbones that could not be had, or that the budget allows no look at.",
    "constant_images": "Images that hold one single value.",
    "cropped": "The crop leaves out more than a third of the images' area.",
    "dependent_data": "Examples depend on each other: folds of whole clusters score far lower than folds at random.",
    "grouping_given_up": "Near-duplicates were found, and could not be kept on one side of the split.",
    "label_conflicts": "Copies of one image have different labels; all of them were left out.",
    "left_out": "Files or rows that were not used, by reason and class.",
    "missing_classes": "Examples to score on lack a class that was trained.",
    "negative_transfer": "A pretrained backbone does worse than random weights.",
    "not_tried": "Backbones that the search had no time to try.",
    "plugin_failed": "A plugin failed; what it would have offered is missing.",
    "positive_class": "Which class the metric takes for the positive one.",
    "read_as": "How the targets were read, where they can be read in another way.",
    "refit_cut": "The refit on all examples was cut or went wrong; the model is the one that was validated.",
    "several_frames": "Files with several frames or pages, of which the first is used.",
    "small_classes": "Classes with too few examples were left out.",
    "split_ignored": "Data that look as if they were divided into parts were read as one.",
    "split_used": "Data that were divided into train, validation and test parts were used as such.",
    "test_below_validation": "The test score lies below the interval of the validation score.",
    "test_not_scored": "Test examples that could not be scored.",
    "test_repeats_training": "Test examples that are copies or near-duplicates of examples to train on.",
    "transparent_images": "Transparent images were laid on a ground other than white.",
    "trials_lost": "Trials of the run that goes on could not be taken over.",
    "undertrained_baseline": "The transfer gain is not known: random weights had too little training.",
    "validation_repeats_training": "Validation examples that are copies or near-duplicates of examples to train on.",
    "value_range": "Values outside of the range that was decided over the training data.",
}
"""Every code, with what it says. A code never changes its meaning."""


@dataclass(frozen=True, kw_only=True)
class FitWarning:
    """Something that a user should know.

    Attributes:
        code: One of ``WARNING_CODES``.
        message: What it is and what to do, for people.
        details: Figures and names behind the message, as JSON values.

    Raises:
        ConfigError: The code is unknown, or a detail is called ``code`` or ``message``.
    """

    code: str
    message: str
    details: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", escape(self.message))  # names from data may hold anything
        if self.code not in WARNING_CODES:
            raise ConfigError(f"No warning has the code {self.code!r}; the codes are {sorted(WARNING_CODES)}.")
        if taken := {"code", "message"} & set(self.details):
            raise ConfigError(f"The details of a warning cannot be called {sorted(taken)}.")

    def to_json(self) -> dict[str, Any]:
        """Return ``{"code": ..., "message": ...}`` with the details beside them."""
        return {"code": self.code, "message": self.message, **self.details}

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class WarningList:
    """Collects the warnings of a fit in the order in which they came; one that is there already is not added again."""

    def __init__(self) -> None:
        self._warnings: list[FitWarning] = []

    def __iter__(self) -> Iterator[FitWarning]:
        return iter(self._warnings)

    def __len__(self) -> int:
        return len(self._warnings)

    def add(self, *warnings: FitWarning) -> None:
        """Add warnings."""
        for warning in warnings:
            if warning not in self._warnings:
                self._warnings.append(warning)

    def warn(self, code: str, message: str, **details: Any) -> None:
        """Add a warning with this code, message and details."""
        self.add(FitWarning(code=code, message=message, details=details))


class ValueRangeWarning(UserWarning):
    """Images to predict on leave the range of the training images' values, or hold next to one single value of it."""

    @classmethod
    def of(cls, remarks: Mapping[int, str], names: Sequence[str]) -> ValueRangeWarning:
        """Return the warning for what is said of images by their position in the names."""
        position, first = next(iter(remarks.items()))
        count = "1 image does" if len(remarks) == 1 else f"{len(remarks)} images do"
        return cls(f"{count} not suit the values of the training images; the first, {names[position]}: {first}.")
