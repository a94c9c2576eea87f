"""The command ``autotransfer pretrain``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from autotransfer.cli.console import (
    AsJson,
    CacheDir,
    Device,
    Zoos,
    announce_start,
    only_on_stderr,
    option,
    print_json,
    show,
)

__all__ = ["pretrain"]


def pretrain(
    data: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE_DATA",
            help="A folder with a sub-folder for each class, or a table; with --no-labels, images and folders.",
        ),
    ],
    architecture: Annotated[str, option("--architecture", metavar="NAME", help="One of timm's architectures.")],
    out: Annotated[Path, option("--out", metavar="ZOO/NAME", help="The folder to write: NAME becomes a backbone.")],
    epochs: Annotated[int | None, option("--epochs", help="Passes over the images. [default: 30]")] = None,
    time_budget: Annotated[
        str | None, option("--time-budget", help="Training time instead, such as 90s, 5m, 1h30m.")
    ] = None,
    input_size: Annotated[
        int | None, option("--input-size", metavar="N", help="Side of the images in pixels. [default: its own]")
    ] = None,
    teacher: Annotated[
        str | None, option("--teacher", metavar="BACKBONE", help="A backbone whose knowledge is carried over.")
    ] = None,
    match: Annotated[
        str, option("--match", metavar="WHAT", help="What the teacher gives: features, or answers of a probe on them.")
    ] = "features",
    no_labels: Annotated[
        bool, option("--no-labels", help="There are no labels: learn from the teacher alone.")
    ] = False,
    zoo: Zoos = None,
    augmentation: Annotated[str, option("--augmentation", help="none, light, medium or strong.")] = "medium",
    batch_size: Annotated[int, option("--batch-size", help="Images in one step.")] = 128,
    lr: Annotated[float, option("--lr", help="Highest learning rate.")] = 2e-3,
    source: Annotated[str, option("--source", help="What the images are, in words. [default: the folder's name]")] = "",
    license: Annotated[str, option("--license", help="Licence of the weights.")] = "",
    groups: Annotated[
        str | None, option("--groups", metavar="G", help="Column, or regular expression on paths; see fit.")
    ] = None,
    seed: Annotated[int, option("--seed", help="Seed of the first weights, the split and the training.")] = 0,
    device: Device = "auto",
    overwrite: Annotated[bool, option("--overwrite", help="Replace the folder, and begin anew.")] = False,
    cache_dir: CacheDir = None,
    as_json: AsJson = False,
) -> None:
    """Train a backbone on a source task, or on what a teacher sees; interrupted, the same command goes on with it."""
    announce_start()
    with only_on_stderr():
        from autotransfer.pretraining.pretrain import pretrain as train

        if len(data) > 1 and not no_labels:
            raise typer.BadParameter("labelled data are one folder or table")
        result = train(
            data if no_labels else data[0],
            architecture=architecture,
            out=out,
            epochs=epochs,
            time_budget=time_budget,
            input_size=input_size,
            teacher=teacher,
            match=match,  # type: ignore[arg-type]  # checked there
            labels=not no_labels,
            zoo=zoo,
            augmentation=augmentation,
            batch_size=batch_size,
            lr=lr,
            source=source,
            license=license,
            groups=groups,
            seed=seed,
            device=device,
            overwrite=overwrite,
            cache_dir=cache_dir,
        )
    if as_json:
        print_json(result.to_json())
    else:
        next_step = f"autotransfer fit DATA --zoo {shlex.quote(str(out.absolute().parent))}"
        show(*str(result).split("\n"), f"next        {next_step}")
