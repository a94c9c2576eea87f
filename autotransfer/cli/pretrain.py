"""The commands that train source models and students: ``autotransfer pretrain`` and ``autotransfer distill``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from autotransfer.cli.console import AsJson, announce_start, only_on_stderr, option, print_json, show
from autotransfer.cli.options import with_settings
from autotransfer.settings import DistillOptions, PretrainOptions

__all__ = ["distill", "pretrain"]


@with_settings(PretrainOptions)
def pretrain(
    data: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE_DATA",
            help="A folder with a sub-folder for each class, or a table; with --no-labels, files and folders.",
        ),
    ],
    *,
    settings: PretrainOptions,
    as_json: AsJson = False,
) -> None:
    """Train a backbone on a source task, or on what a teacher sees; interrupted, the same command goes on with it."""
    announce_start()
    with only_on_stderr():
        from autotransfer.pretraining.pretrain import pretrain as train

        if len(data) > 1 and settings.labels:
            raise typer.BadParameter("labelled data are one folder or table")
        result = train(data[0] if settings.labels else data, **vars(settings))
    if as_json:
        print_json(result.to_json())
    else:
        next_step = f"autotransfer fit DATA --zoo {shlex.quote(str(Path(settings.out).absolute().parent))}"
        show(*str(result).split("\n"), f"next        {next_step}")


@with_settings(DistillOptions)
def distill(
    run: Annotated[Path, typer.Argument(metavar="RUN_OR_MODEL", help="The teacher: a run folder or a saved model.")],
    data: Annotated[
        list[str],
        typer.Argument(metavar="DATA", help="Examples to learn on: files, folders and tables; labels are ignored."),
    ],
    *,
    out: Annotated[Path, option("--out", help="The folder to write the student to.", metavar="DIR")],
    test: Annotated[
        str | None, option("--test", help="Labelled examples to compare teacher and student on.", metavar="DATA")
    ] = None,
    settings: DistillOptions,
    as_json: AsJson = False,
) -> None:
    """Distil a trained model into a small one that predicts alike; the student is saved as a model."""
    announce_start()
    with only_on_stderr():
        from autotransfer.model.transfer_model import TransferModel
        from autotransfer.pretraining.distill import distill as train

        known = settings.run.overwrite and (out / "model.json").is_file()
        if out.exists() and not known and (not out.is_dir() or any(out.iterdir())):
            raise typer.BadParameter(
                f"{out} is there already: give the name of a new folder; --overwrite replaces a model"
            )
        teacher = TransferModel.load(run, device=settings.compute.device)
        result = train(teacher, data, test=test, **vars(settings))
        result.model.save(out)
    if as_json:
        print_json({**result.to_json(), "model": str(out)})
    else:
        show(*str(result).split("\n"), f"next        autotransfer predict {shlex.quote(str(out))} DATA")
