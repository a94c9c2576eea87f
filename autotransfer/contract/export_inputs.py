"""What an exported model is given in place of examples, and the modules that make inputs of backbones of it.

An exported model runs where this package is not installed. So it cannot read files: a program gives it arrays of what
was decoded, and the first modules of the model do the rest of what a ``Store`` does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from autotransfer.contract.store import Item

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

__all__ = ["ExportAxis", "ExportInput", "ExportInputs"]


@dataclass(frozen=True, kw_only=True)
class ExportAxis:
    """An axis of an input whose length is free.

    Attributes:
        name: What it is called; axes of one name have one length.
        least: The least length.
        greatest: The greatest length; None for any.
    """

    name: str
    least: int = 1
    greatest: int | None = None


@dataclass(frozen=True, kw_only=True)
class ExportInput:
    """One input of an exported model: an array with a row for each example.

    Attributes:
        name: What it is called.
        dtype: Type of its values by its name in NumPy, such as ``"uint8"``.
        axes: Its axes behind that of the examples: an axis of free length, or the number of a fixed one.
        about: What it holds, in a sentence.
    """

    name: str
    dtype: str
    axes: tuple[ExportAxis | int, ...]
    about: str


class ExportInputs(Protocol):
    """How the examples of a model become the inputs of its backbones where it is exported; it holds no examples.

    Attributes:
        inputs: What the exported model is given, in order.
        files: Files that a program needs beside the model to make these inputs, such as a vocabulary, by name.
    """

    inputs: tuple[ExportInput, ...]
    files: Mapping[str, bytes]

    def reader(self) -> nn.Module:
        """Return a module of what is done once for each example, whatever backbone sees it.

        It maps the tensors of ``inputs``, in order, to a dictionary of tensors.
        """
        ...

    def view(self, how: Any, view: str) -> nn.Module:
        """Return a module that maps what ``reader`` returned to what ``Store.inputs`` gives a backbone.

        Args:
            how: The backbone's ``InputFormat``.
            view: One of ``Modality.views``.
        """
        ...

    def decoded(self, items: Sequence[Item]) -> Sequence[Item]:
        """Return the examples in memory, as far as a program decodes them before it calls the model."""
        ...

    def arrays(self, items: Sequence[Item]) -> Iterator[Mapping[str, np.ndarray]]:
        """Yield arrays by the names of ``inputs`` for what ``decoded`` returned, in order, in batches of any size."""
        ...
