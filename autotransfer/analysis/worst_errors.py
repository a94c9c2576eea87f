"""The worst errors: what the model gets most wrong, by predictions of networks that did not train on the examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autotransfer.contract.preview import Preview, optional_preview

__all__ = ["WorstError"]


@dataclass(frozen=True, kw_only=True)
class WorstError:
    """One of the worst errors.

    Attributes:
        row: Row of the example among those that were read.
        name: Its path, or its position.
        true: Its label; a list of labels, a number or a list of numbers, as the task has them.
        predicted: What was predicted for it, of the same kind.
        label: The label that is wrong, where an example has several; else None.
        probability: Probability of what was predicted: of the predicted label, or for ``label`` of what was said of it.
            None for a regression.
        loss: Log loss of the example, or of ``label``; for a regression the error in standard deviations of the target.
        preview: What to show of it; None for nothing.
    """

    row: int
    name: str
    true: Any
    predicted: Any
    label: Any = None
    probability: float | None = None
    loss: float
    preview: Preview | None = None

    def to_json(self, *, previews: bool = True) -> dict[str, Any]:
        """Return it as JSON, with what to show of it or without."""
        about = {key: value for key, value in self.__dict__.items() if key != "preview"}
        return about | ({"preview": self.preview.to_json() if self.preview else None} if previews else {})

    @classmethod
    def from_json(cls, about: Mapping[str, Any]) -> WorstError:
        """Read what ``to_json`` returned.

        Raises:
            RunFormatError: What is shown of it is damaged.
            TypeError: A value is missing.
        """
        return cls(**{**about, "preview": optional_preview(about, "preview")})
