"""Warnings of a fit as data, each with a code that never changes its meaning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from autotransfer.errors import ConfigError
from autotransfer.runtime.text import escape

__all__ = [
    "WARNING_CODES",
    "FitWarning",
    "ValueRangeWarning",
    "WarningList",
    "add_warning_codes",
    "warning_codes",
]

WARNING_CODES: Mapping[str, str] = {
    "backbones_not_tried": "Backbones that the search had no time to try.",
    "backbones_over_limit": "Backbones that take more than the limits on the model, with what they take.",
    "backbones_skipped": "Backbones that are unavailable, or that the budget does not allow to try.",
    "dependent_data": "Examples depend on each other: folds of whole clusters score far lower than random folds.",
    "examples_skipped": "Files or rows that are not used, by reason and class.",
    "folds_changed": "A resumed run whose folds are others: near-duplicates are seen otherwise than before.",
    "grouping_failed": "Near-duplicates were found, but could not be kept on one side of the split.",
    "input_assumed": "What a column or list holds, where it could be read in another way.",
    "label_conflicts": "Copies of one example have different labels; all of them are skipped.",
    "limits_exceeded": "The saved model was measured to exceed a limit, and no candidate was found that keeps it.",
    "missing_classes": "Validation or test examples lack a class of the training examples.",
    "negative_transfer": "A pretrained backbone scores lower than random weights.",
    "plugin_failed": "A plugin failed; the names that it would have registered are missing.",
    "positive_class": "The class that the metric takes for the positive one.",
    "refit_rejected": "The refit on all examples was stopped or failed; the model is the one that was validated.",
    "report_failed": "The page report.html could not be made; everything else is complete.",
    "small_classes": "Classes with too few examples, which are skipped.",
    "split_ignored": "Data that look divided into splits are used as one.",
    "split_used": "Data that are divided into train, validation and test examples are used so.",
    "target_format_assumed": "The format of targets that could be read in another way.",
    "test_below_validation": "The test score lies below the interval of the validation score.",
    "test_not_scored": "Test examples that could not be scored.",
    "test_overlaps_training": "Test examples that are copies or near-duplicates of training examples.",
    "transfer_does_not_pay": "The best candidate knows no pretrained model; every pretrained backbone scores lower.",
    "trials_not_restored": "Trials of a resumed run that could not be restored.",
    "undertrained_baseline": "The transfer gain is not known: random weights had too little training.",
    "unlike_training": "Test examples that do not suit how the training examples were read.",
    "validation_overlaps_training": "Validation examples that are copies or near-duplicates of training examples.",
}
"""The codes of the core's warnings, with their meanings."""

_MODALITY_CODES: dict[str, str] = {}


def add_warning_codes(codes: Mapping[str, str]) -> None:
    """Add the codes of a modality, which ``FitWarning`` takes from then on.

    Args:
        codes: The codes with their meanings.

    Raises:
        ConfigError: A code has another meaning already.
    """
    known = warning_codes()
    for code, meaning in codes.items():
        if known.get(code, meaning) != meaning:
            raise ConfigError(f"The warning code {code!r} means {known[code]!r} already: take another code.")
    _MODALITY_CODES.update(codes)


def warning_codes() -> dict[str, str]:
    """Return every code of a warning with its meaning: those of the core, and of the modalities that are imported."""
    return {**WARNING_CODES, **_MODALITY_CODES}


@dataclass(frozen=True, kw_only=True)
class FitWarning:
    """A warning of a fit.

    Attributes:
        code: One of ``WARNING_CODES``, or of the ``warnings`` of a modality.
        message: The problem and what to do, as text.
        details: Figures and names of the message as JSON values.

    Raises:
        ConfigError: The code is unknown, or a detail is called ``code`` or ``message``.
    """

    code: str
    message: str
    details: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", escape(self.message))  # messages may hold names from data
        if self.code not in (known := warning_codes()):
            raise ConfigError(f"No warning has the code {self.code!r}; the codes are {sorted(known)}.")
        if taken := {"code", "message"} & set(self.details):
            raise ConfigError(f"The details of a warning cannot be called {sorted(taken)}.")

    def to_json(self) -> dict[str, Any]:
        """Return ``{"code": ..., "message": ...}`` with the details beside them."""
        return {"code": self.code, "message": self.message, **self.details}

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class WarningList:
    """The different warnings of a fit, in order."""

    def __init__(self) -> None:
        self._warnings: list[FitWarning] = []

    def __iter__(self) -> Iterator[FitWarning]:
        return iter(self._warnings)

    def __len__(self) -> int:
        return len(self._warnings)

    def add(self, *warnings: FitWarning) -> None:
        """Add warnings that are not in the list yet."""
        for warning in warnings:
            if warning not in self._warnings:
                self._warnings.append(warning)

    def warn(self, code: str, message: str, **details: Any) -> None:
        """Add a warning with this code, message and details."""
        self.add(FitWarning(code=code, message=message, details=details))


class ValueRangeWarning(UserWarning):
    """Values of examples leave the range of the training examples, or are nearly constant."""

    @classmethod
    def of(cls, remarks: Mapping[int, str], names: Sequence[str]) -> ValueRangeWarning:
        """Return the warning for remarks on examples, by their positions in the names."""
        position, first = next(iter(remarks.items()))
        count = "1 example does" if len(remarks) == 1 else f"{len(remarks)} examples do"
        return cls(f"{count} not suit the values of the training examples; the first, {names[position]}: {first}.")
