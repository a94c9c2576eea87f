"""The command that takes a model away: ``autotransfer export``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autotransfer.cli.console import AsJson, announce_start, only_on_stderr, print_json, say, show

if TYPE_CHECKING:
    from autotransfer.data.examples import Examples
    from autotransfer.model.transfer_model import TransferModel

__all__ = ["export"]


Model = Annotated[Path, typer.Argument(metavar="RUN_OR_MODEL", help="A run folder, or a folder of a saved model.")]
Out = Annotated[
    Path, typer.Option("--out", metavar="FILE", help="What is written: model.onnx, model.pt2, or a folder.")
]
Format = Annotated[str, typer.Option("--format", metavar="FORMAT", help="onnx, torch, timm, transformers.")]
Check = Annotated[
    str | None,
    typer.Option(
        "--check",
        metavar="DATA",
        help="Examples to compare the export with the model on. [default: the training examples of the run]",
    ),
]
Quantize = Annotated[
    bool,
    typer.Option("--quantize", help="Write ONNX in 8 bits (int8), where that costs at most half a point of accuracy."),
]
Push = Annotated[
    str | None,
    typer.Option("--push", metavar="OWNER/NAME", help="Hand it to the Hugging Face hub, too, with the model card."),
]
Public = Annotated[bool, typer.Option("--public", help="Make a new repository of the hub public. [default: private]")]
Overwrite = Annotated[
    bool,
    typer.Option("--overwrite", help="Replace what is there: the file, or in a folder the files of an earlier export."),
]


def export(
    run: Model,
    out: Out,
    format: Format = "onnx",
    check: Check = None,
    quantize: Quantize = False,
    push: Push = None,
    public: Public = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Export a model to another program, with the preprocessing inside.

    The export is run on a few hundred examples and compared with the model. It is written only where both agree.
    """
    announce_start()
    with only_on_stderr():
        from autotransfer.model.export.exporters import find_exporter
        from autotransfer.model.export.hub import require_access
        from autotransfer.model.transfer_model import TransferModel
        from autotransfer.run.training_data import test_examples, trained_on, training_examples

        exporter = find_exporter(format)
        exporter.check_packages()
        exporter.check_path(out, overwrite=overwrite)
        if push is not None:
            require_access(push)
        model = TransferModel.load(run, device="cpu")
        examples = training_examples(run) if check is None else _given_examples(model, check, labelled=quantize)
        scored = test_examples(run) if quantize and check is None else None
        say(f"exporting {model!r}, to be compared on up to 256 of {len(examples)} examples")
        about = trained_on(examples) if check is None else None
        more: dict[str, Any] = {"overwrite": overwrite, "quantize": quantize, "scored": scored}
        report = model.export(out, format=format, check_data=examples, trained_on=about, **more)
        address = None if push is None else report.push(push, private=not public)
    if as_json:
        print_json(report.to_json() | ({} if address is None else {"pushed_to": address}))
    else:
        show(str(report), *(() if address is None else (f"pushed to {address}",)))


def _given_examples(model: TransferModel, data: str, *, labelled: bool) -> Examples:
    """Return the examples that the user names; with their labels where what 8 bits cost is measured on them."""
    from autotransfer.data.sources import load_examples

    if not labelled:
        return model.find_examples(data)
    return load_examples(data, modalities=(model.modality,), columns=model.columns)
