"""Suspected label errors, by confident learning on predictions of networks that did not train on the examples.

Source: Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels" (JAIR 2021).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autotransfer.contract.preview import Preview, optional_preview

__all__ = ["LabelError", "LabelErrors"]


@dataclass(frozen=True, kw_only=True)
class LabelError:
    """An example whose label is probably wrong.

    Attributes:
        row: Row of the example among those that were read.
        name: Its path, or its position.
        given: Its label; a list of labels, a number or a list of numbers, as the task has them.
        suggested: What networks predict for it, of the same kind.
        label: The label that is suspected, where an example has several; else None.
        score: How well its label fits, from 0 to 1; the lower, the more it is suspected.
        probability_given: Probability of the given label; None for a regression.
        probability_suggested: Probability of the suggested label; None for a regression.
        suspected: Whether it is among as many as are estimated to be wrong.
        preview: What to show of it; None for nothing.
    """

    row: int
    name: str
    given: Any
    suggested: Any
    label: Any = None
    score: float
    probability_given: float | None = None
    probability_suggested: float | None = None
    suspected: bool = True
    preview: Preview | None = None

    def to_json(self, *, previews: bool = True) -> dict[str, Any]:
        """Return it as JSON, with what to show of it or without."""
        about = {key: value for key, value in self.__dict__.items() if key != "preview"}
        return about | ({"preview": self.preview.to_json() if self.preview else None} if previews else {})

    @classmethod
    def from_json(cls, about: Mapping[str, Any]) -> LabelError:
        """Read what ``to_json`` returned.

        Raises:
            RunFormatError: What is shown of it is damaged.
            TypeError: A value is missing.
        """
        return cls(**{**about, "preview": optional_preview(about, "preview")})


@dataclass(frozen=True, kw_only=True)
class LabelErrors:
    """Suspected label errors.

    Attributes:
        worst: The most suspected examples, those first; ``label_errors.csv`` holds all.
        estimated: How many labels are estimated to be wrong; None where nothing was estimated.
        examined: How many examples were examined.
    """

    worst: tuple[LabelError, ...] = ()
    estimated: int | None = None
    examined: int = 0

    def to_json(self, *, previews: bool = True) -> dict[str, Any]:
        """Return them as JSON, with what to show of them or without."""
        worst = [each.to_json(previews=previews) for each in self.worst]
        return {"worst": worst, "estimated": self.estimated, "examined": self.examined}

    @classmethod
    def from_json(cls, about: Mapping[str, Any]) -> LabelErrors:
        """Read what ``to_json`` returned.

        Raises:
            RunFormatError: What is shown of an example is damaged.
            KeyError: A value is missing.
            TypeError: A value is missing.
        """
        worst = tuple(LabelError.from_json(each) for each in about["worst"])
        return cls(worst=worst, estimated=about["estimated"], examined=about["examined"])
