"""The commands that use a trained model: ``autotransfer predict`` and ``autotransfer score``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autotransfer.cli.console import AsJson, announce_start, only_on_stderr, print_json, say, show
from autotransfer.cli.options import with_settings
from autotransfer.runtime.text import escape
from autotransfer.settings import Settings

if TYPE_CHECKING:
    from autotransfer.model.predictions import Prediction
    from autotransfer.tasks.task import Task

__all__ = ["predict", "score"]

_READING = ("input_column", "path_column", "root", "suffix", "follow_links")
_ANSWERS = ("target_column", "label_separator", "weight_column")
Model = Annotated[Path, typer.Argument(metavar="RUN_OR_MODEL", help="A run folder, or a folder of a saved model.")]


def _writable(file: Path | None) -> Path | None:
    """Refuse, before any work, a file that cannot be written in the end."""
    if file is not None and not file.absolute().parent.is_dir():
        raise typer.BadParameter(f"there is no folder {file.absolute().parent}")
    return file


@with_settings(Settings, only=(*_READING, "device"))
def predict(
    run: Model,
    examples: Annotated[
        list[str],
        typer.Argument(metavar="DATA", help="Files of examples, folders of them, tables that list or hold some."),
    ],
    settings: Settings,
    as_json: AsJson = False,
    csv: Annotated[
        Path | None,
        typer.Option("--csv", metavar="FILE", dir_okay=False, callback=_writable, help="Write a CSV file instead."),
    ] = None,
    coverage: Annotated[
        float | None,
        typer.Option(help="Add the set of labels, or the interval, that holds the truth at this rate, such as 0.9."),
    ] = None,
    unknown: Annotated[
        str | None,
        typer.Option(metavar="LABEL", help="Predict this label for examples that are unlike anything seen."),
    ] = None,
) -> None:
    """Predict with a trained model: PATH, PREDICTION, PROBABILITY on each line, with tabs between them.

    With --coverage, SET follows: labels, the most probable first, or the ends of an interval. Examples that cannot be
    read are named on standard error; it is an error when none can.
    """
    announce_start()
    with only_on_stderr():
        from autotransfer.model.transfer_model import TransferModel

        model = TransferModel.load(run, device=settings.compute.device)
        reading = settings.data_options
        how = {name: getattr(reading, name) for name in _READING}
        rows = model.predict_table(examples, coverage=coverage, unknown=unknown, **how)
    _hand_out(rows, model.task, csv, as_json=as_json)


def _hand_out(rows: Sequence[Prediction], task: Task, csv: Path | None, *, as_json: bool) -> None:
    """Print predictions, or write them into a CSV file; say what cannot be read, and what is lost of examples."""
    from autotransfer.model.predictions import to_csv
    from autotransfer.runtime.files import write_atomically, writing

    for row in rows:
        if row.error:
            say(f"{row.path} cannot be read: {row.error}")
        elif row.warning:
            say(f"{row.path}: {row.warning}")
    if csv is not None:
        with writing(csv, "Make room, or name a file elsewhere, and predict again."):
            write_atomically(csv, to_csv(rows, task))
        say(f"{len(rows)} rows written to {csv}")
    if as_json:
        print_json([row.to_json() for row in rows])
    elif csv is None:
        for row in rows:
            if not row.error:
                typer.echo("\t".join(map(escape, row.cells())).rstrip())


@with_settings(Settings, only=(*_READING, *_ANSWERS, "device"))
def score(
    run: Model,
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA", help="A folder with a sub-folder for each class, or a CSV, TSV or JSON lines file."
        ),
    ],
    settings: Settings,
    groups: Annotated[
        str | None,
        typer.Option(
            metavar="G",
            help="What counts together in the interval, as copies do: a column, or a regular expression that finds the "
            "group in a path. [default: each example for itself]",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Score a trained model on labelled examples, by the metric that its search used, with a 95% interval.

    Of data that are divided into parts, the test part alone is scored.
    """
    announce_start()
    with only_on_stderr():
        from autotransfer.model.scoring import labelled_examples
        from autotransfer.model.transfer_model import TransferModel

        model = TransferModel.load(run, device=settings.compute.device)
        how = {name: getattr(settings.data_options, name) for name in (*_READING, *_ANSWERS)}
        examples = labelled_examples(model, data, groups=groups, **how)
        found, skipped = model.score_examples(examples)
    for warning in examples.warnings:
        say(f"warning: {warning}")
    for left_out in skipped:
        say(f"{left_out.name} is left out: {left_out.reason}")
    if as_json:
        left = [{"name": entry.name, "reason": entry.reason} for entry in skipped]
        print_json({**found.to_json(), "skipped": left, "warnings": [w.to_json() for w in examples.warnings]})
    else:
        show(str(found))
