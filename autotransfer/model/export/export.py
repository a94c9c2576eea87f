"""Export of a model: written beside its place, compared with the model, and moved there when both agree."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autotransfer.data.examples import Examples
from autotransfer.errors import ConfigError, DataError, ExportError
from autotransfer.model.export.card import USAGES, card_of
from autotransfer.model.export.comparison import MAX_DIFFERENCE, MIN_LABEL_AGREEMENT, Agreement, compare
from autotransfer.model.export.decisions import in_words, thresholds_of
from autotransfer.model.export.exporters import Exporter, ExportRequest, find_exporter
from autotransfer.model.export.folder import move_folder, write_manifest
from autotransfer.model.export.hub import push
from autotransfer.model.export.metadata import describe
from autotransfer.model.export.pipeline import export_inputs_of
from autotransfer.model.transfer_model import TransferModel
from autotransfer.report.card_usage import CARD
from autotransfer.runtime.files import writing
from autotransfer.runtime.library_defaults import default_settings

if TYPE_CHECKING:
    from autotransfer.model.export.quantization import Quantization

__all__ = ["MAX_COMPARED_EXAMPLES", "MAX_SCORED_EXAMPLES", "ExportReport", "export_model"]

MAX_COMPARED_EXAMPLES = 256
"""Most examples that an export is compared on, spread over all that there are."""

MAX_SCORED_EXAMPLES = 1000
"""Most examples on which the loss of a quantization is measured."""


@dataclass(frozen=True, kw_only=True)
class ExportReport:
    """What was exported, and how far it predicts as the model does.

    Attributes:
        path: The file, or the folder.
        format: The format.
        files: All files that were written.
        agreement: The figures of the comparison with the model.
        card: The model card, which says how to predict with the files.
        quantization: What 8 bits change; None where the model was exported in float32.
        thresholds: The probability above which each label is predicted, by its name; empty where one half, or the
            highest one, decides. No format applies them: the program that predicts does.
    """

    path: Path
    format: str
    files: tuple[Path, ...]
    agreement: Agreement
    card: str = field(default="", repr=False)
    quantization: Quantization | None = None
    thresholds: Mapping[str, float] = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        """Bytes of all files."""
        return sum(file.stat().st_size for file in self.files)

    def push(self, repository: str, *, private: bool = True) -> str:
        """Hand the files to the Hugging Face hub, with the model card, and return the address.

        Args:
            repository: ``OWNER/NAME``; it is made where it is new.
            private: Whether a new repository is private.

        Raises:
            ConfigError: The name is none, or there is no token of the hub.
            ExportError: The hub cannot be reached, or refuses.
        """
        folder = self.path if self.path.is_dir() else self.path.parent
        return push(folder, self.files, self.card, repository, private=private)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "path": str(self.path),
            "format": self.format,
            "files": [str(file) for file in self.files],
            "size_bytes": self.size_bytes,
            **self.agreement.to_json(),
            "quantization": None if self.quantization is None else self.quantization.to_json(),
            "thresholds": dict(self.thresholds),
        }

    def __str__(self) -> str:
        changed = "" if self.quantization is None else f"{self.quantization}; before, "
        decided = f"; decide by its thresholds: {in_words(self.thresholds)}" if self.thresholds else ""
        return f"{self.path}: {self.size_bytes / 1e6:.1f} MB; {changed}{self.agreement}{decided}"


@default_settings()
def export_model(
    model: TransferModel,
    path: str | Path,
    *,
    format: str = "onnx",
    examples: Examples,
    trained_on: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    quantize: bool = False,
    scored: Examples | None = None,
) -> ExportReport:
    """Export a model, and compare what was exported with it.

    Args:
        model: The model.
        path: The file, or the folder of a format that is one.
        format: One of ``EXPORTERS``.
        examples: Examples to compare on; of more than a few hundred, some are taken.
        trained_on: What the file is to say of the training examples, as JSON.
        overwrite: Replace what is there: the file, or in a folder the files of an earlier export.
        quantize: Write ONNX in 8 bits, where that costs at most half a point of accuracy.
        scored: Labelled examples, such as test examples, to measure this loss on; None takes ``examples``.

    Raises:
        ConfigError: There is no such format, or the place cannot be used.
        DataError: There are no labels to measure the loss of 8 bits on.
        ExportError: The format has no form for the model, a package is missing, or the predictions do not agree.
        OutputError: The disk is full, or cannot be written.
    """
    path, exporter = _named(Path(path)), find_exporter(format)
    exporter.check_packages()
    exporter.check_path(path, overwrite=overwrite)
    if quantize:
        _check_quantization(format, examples if scored is None else scored)
    _check_files(model, path, exporter, overwrite=overwrite)
    originals = _some_of(model, examples)
    compared = _decoded(model, originals) if exporter.decoded else originals
    parent = path.absolute().parent
    with (
        writing(path, "Export again once there is room."),
        tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=parent) as beside,
    ):
        folder = Path(beside)
        about = describe(model, trained_on or {})
        request = ExportRequest(model=model, path=folder / path.name, examples=compared, about=about)
        agreement = _held(compare(model, compared, exporter.write(request), originals))
        quantization = _quantized(request, examples, scored) if quantize else None
        if request.path.is_dir():
            write_manifest(request.path, format, about)
        files = _moved(folder, path, overwrite=overwrite)
    card = _card(model, format, path)
    known: dict[str, Any] = {"quantization": quantization, "thresholds": thresholds_of(model.task)}
    return ExportReport(path=path, format=format, files=files, agreement=agreement, card=card, **known)


def _held(agreement: Agreement) -> Agreement:
    """Return the figures of a comparison that holds.

    Raises:
        ExportError: It does not.
    """
    if not agreement.holds:
        raise ExportError(
            f"What was exported does not predict as the model does: {agreement}. Needed are labels that agree in "
            f"{MIN_LABEL_AGREEMENT:.1%}, and differences up to {MAX_DIFFERENCE}. Nothing was written; another "
            "format, or a model of another backbone, may do."
        )
    return agreement


def _named(path: Path) -> Path:
    """Return a path that ends with a name: ``.`` and ``..`` become the folders that they stand for."""
    return path.resolve() if path.name in ("", "..") else path


def _check_files(model: TransferModel, path: Path, exporter: Exporter, *, overwrite: bool) -> None:
    """Refuse, before any work, to replace files that would stand beside a file.

    Raises:
        ConfigError: A file of that name is there, with another content.
        ExportError: The modality, or a backbone, has no form that can be exported.
    """
    if exporter.decoded:
        for name, data in export_inputs_of(model).files.items():
            _check_beside(path.with_name(name), data, path, overwrite=overwrite)


def _check_quantization(format: str, scored: Examples) -> None:
    """Refuse, before any work, what cannot be quantized, or be judged.

    Raises:
        ConfigError: The format has no 8 bits.
        DataError: There are no labels to measure the loss on.
    """
    if format != "onnx":
        raise ConfigError(f"Models are quantized in the format 'onnx'; got {format!r}: leave out --quantize.")
    if scored.targets is None:
        raise DataError("What 8 bits cost is measured on labelled examples, and these have no labels: name others.")


def _quantized(request: ExportRequest, examples: Examples, scored: Examples | None) -> Quantization:
    """Quantize what was written; the loss is measured on labelled examples.

    Raises:
        ExportError: It costs too much, or cannot be done.
    """
    from autotransfer.model.export.quantization import quantize

    chosen, name = (examples, "examples of the comparison") if scored is None else (scored, "test examples")
    model, inputs = request.model, export_inputs_of(request.model)
    chosen = _decoded(model, _some_of(model, chosen, MAX_SCORED_EXAMPLES))
    return quantize(request.path, model, inputs, request.examples, chosen, name)


def _card(model: TransferModel, format: str, path: Path) -> str:
    """Return the card that a folder holds, and for a file one that says how to predict with it."""
    if (path / CARD).is_file():
        return (path / CARD).read_text(encoding="utf-8")
    return card_of(model, format, USAGES.get(format, "").replace("FILE", path.stem))


def _decoded(model: TransferModel, examples: Examples) -> Examples:
    """Return the examples as an exported model is given them."""
    return replace(examples, items=list(export_inputs_of(model).decoded(list(examples.items))))


def _some_of(model: TransferModel, examples: Examples, most: int = MAX_COMPARED_EXAMPLES) -> Examples:
    """Return some of the examples that can be read."""
    rows = np.unique(np.linspace(0, len(examples) - 1, min(len(examples), most)).astype(int))
    chosen = examples.take(rows.tolist())
    return chosen.take(model.decode(chosen).kept.tolist())


def _check_beside(target: Path, data: bytes, path: Path, *, overwrite: bool) -> None:
    """Check that a file may stand beside what is exported.

    Raises:
        ConfigError: It is there already, with another content.
    """
    if target.exists() and not overwrite and target.read_bytes() != data:
        raise ConfigError(
            f"{target}, which belongs to {path.name}, is there already with another content: export to another folder, "
            "or pass overwrite=True (--overwrite)."
        )


def _moved(folder: Path, path: Path, *, overwrite: bool) -> tuple[Path, ...]:
    """Move what was written to its place, the files beside a file first, and return all files.

    Raises:
        ConfigError: A file that would stand beside it is there already, with another content, or a folder of that name
            holds something else than an export.
    """
    written, parent = sorted(folder.iterdir(), key=lambda file: file.name == path.name), path.parent
    for file in written[:-1]:
        _check_beside(parent / file.name, file.read_bytes(), path, overwrite=overwrite)
    found: list[Path] = []
    for file in written:
        target = parent / file.name
        if file.is_dir():
            found += move_folder(file, target, overwrite=overwrite)
        else:
            file.replace(target)
            found.append(target)
    return tuple(found)
