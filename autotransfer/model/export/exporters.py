"""The formats that a model can be exported in: what each is called, needs, and is written by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np

from autotransfer.contract.lazy_import import LazyImport
from autotransfer.data.examples import Examples
from autotransfer.errors import ConfigError, ExportError, UnknownNameError
from autotransfer.model.export.folder import check_folder
from autotransfer.model.transfer_model import TransferModel

__all__ = ["EXPORTERS", "ExportRequest", "Exporter", "Predict", "WriteFormat", "find_exporter"]

Predict = Callable[[Examples], np.ndarray]
"""Predicts with what was written: examples to probabilities (N, classes), or the values (N, targets) of a regression.

The rows are in the order of the examples.
"""


@dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """What is to be written.

    Attributes:
        model: The model.
        path: The file, or the folder, that is to be written. It is a temporary one with the final name; files that
            belong to a file stand beside it.
        examples: Examples that the model can read, as ``ExportInputs.decoded`` returns them: what tracing
            and calibration run on, and what is compared afterwards.
        about: What the file says of itself, as JSON: labels, task, preprocessing, versions.
    """

    model: TransferModel
    path: Path
    examples: Examples
    about: Mapping[str, Any] = field(default_factory=dict)


class WriteFormat(Protocol):
    """Writes a model in one format."""

    def __call__(self, request: ExportRequest) -> Predict:
        """Write ``request.path``, and return what predicts with the files that were written.

        Raises:
            ExportError: The model has a part that the format has no form for; the message says which, and what to do.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Exporter:
    """A format.

    Attributes:
        name: What it is called.
        suffix: Suffix of its file; empty where it is a folder.
        packages: Packages that writing it needs beside those of the core.
        extra: The extra of this package that installs them.
        write: What writes it.
        decoded: Whether what is written takes decoded examples; where not, it takes inputs of the model's backbone.
    """

    name: str
    suffix: str
    packages: tuple[str, ...] = ()
    extra: str = "export"
    write: WriteFormat
    decoded: bool = True

    def check_packages(self) -> None:
        """Check that the packages are installed.

        Raises:
            ExportError: One is not.
        """
        if missing := [name for name in self.packages if find_spec(name) is None]:
            raise ExportError(
                f"The format {self.name!r} needs {' and '.join(missing)}, which this Python does not have: "
                f'pip install "autotransfer[{self.extra}]"'
            )

    def check_path(self, path: Path, *, overwrite: bool) -> None:
        """Check, before any work, the name of what is to be written.

        Raises:
            ConfigError: It has another suffix, is there already, is a folder that holds no export, or its folder is
                missing.
        """
        if self.suffix and path.suffix != self.suffix:
            raise ConfigError(f"A file of the format {self.name!r} ends with {self.suffix}; got {path}.")
        if not self.suffix and (path.is_file() or path.suffix in {each.suffix for each in EXPORTERS.values()} - {""}):
            raise ConfigError(f"The format {self.name!r} is a folder of files: name a folder; got {path}.")
        if not path.absolute().parent.is_dir():
            raise ConfigError(f"There is no folder {path.absolute().parent}: make it, or name another place.")
        if path.is_dir() and self.suffix:
            raise ConfigError(f"The file {path} cannot be written: there is a folder of that name.")
        if path.is_dir():
            check_folder(path, overwrite=overwrite)
        elif path.exists() and not overwrite:
            raise ConfigError(f"{path} is there already: name another place, or pass overwrite=True (--overwrite).")


_HERE = "autotransfer.model.export"
_RUNTIME = ("onnx", "onnxscript", "onnxruntime")

EXPORTERS: Mapping[str, Exporter] = MappingProxyType(
    {
        each.name: each
        for each in (
            Exporter(name="onnx", suffix=".onnx", packages=_RUNTIME, write=LazyImport(f"{_HERE}.onnx:write")),
            Exporter(name="torch", suffix=".pt2", write=LazyImport(f"{_HERE}.torch_export:write")),
            Exporter(name="timm", suffix="", write=LazyImport(f"{_HERE}.timm:write"), decoded=False),
            Exporter(
                name="transformers",
                suffix="",
                packages=("transformers",),
                extra="text",
                write=LazyImport(f"{_HERE}.transformers:write"),
                decoded=False,
            ),
        )
    }
)
"""The formats by name."""


def find_exporter(name: str) -> Exporter:
    """Return a format.

    Raises:
        UnknownNameError: There is none of this name.
    """
    if name not in EXPORTERS:
        raise UnknownNameError("export format", name, EXPORTERS)
    return EXPORTERS[name]
