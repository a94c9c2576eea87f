"""The command that takes a model away: ``autotransfer export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from autotransfer.cli.console import AsJson, announce_start, only_on_stderr, print_json, say, show

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
Push = Annotated[
    str | None,
    typer.Option("--push", metavar="OWNER/NAME", help="Hand it to the Hugging Face hub, too, with the model card."),
]
Public = Annotated[bool, typer.Option("--public", help="Make a new repository of the hub public. [default: private]")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]


def export(
    run: Model,
    out: Out,
    format: Format = "onnx",
    check: Check = None,
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
        from autotransfer.run.training_data import trained_on, training_examples

        exporter = find_exporter(format)
        exporter.check_packages()
        exporter.check_path(out, overwrite=overwrite)
        if push is not None:
            require_access(push)
        model = TransferModel.load(run, device="cpu")
        examples = training_examples(run) if check is None else model.find_examples(check)
        say(f"exporting {model!r}, to be compared on up to 256 of {len(examples)} examples")
        about = trained_on(examples) if check is None else None
        report = model.export(out, format=format, check_data=examples, trained_on=about, overwrite=overwrite)
        address = None if push is None else report.push(push, private=not public)
    if as_json:
        print_json(report.to_json() | ({} if address is None else {"pushed_to": address}))
    else:
        show(str(report), *(() if address is None else (f"pushed to {address}",)))
