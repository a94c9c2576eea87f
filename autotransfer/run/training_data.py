"""The training examples of a run folder, found again by what its ``run.json`` says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autotransfer.data.examples import Examples
from autotransfer.errors import DataError
from autotransfer.pipeline.load_data import load_data
from autotransfer.run.folder import RunFolder
from autotransfer.settings.serialization import call_from_json, is_complete

__all__ = ["test_examples", "trained_on", "training_examples"]


def training_examples(run: Path) -> Examples:
    """Return the examples that the model of a run was trained on.

    Raises:
        DataError: The folder is none of a run, its data were in memory, or they are gone.
    """
    return _examples_of(run)[0]


def test_examples(run: Path) -> Examples | None:
    """Return the test examples of a run; None where it had none.

    Raises:
        DataError: The folder is none of a run, its data were in memory, or they are gone.
    """
    return _examples_of(run)[1]


def trained_on(examples: Examples) -> dict[str, Any]:
    """Return what an exported model says of the examples that it was trained on, as JSON."""
    return {"examples": len(examples), "described": examples.described}


def _examples_of(run: Path) -> tuple[Examples, Examples | None]:
    """Return the examples to train on, and those to test on."""
    advice = "name examples to compare on: --check DATA, or check_data="
    if not (run / "run.json").is_file():
        raise DataError(f"{run} is no run folder, so that its training examples are not known: {advice}.")
    call = RunFolder(path=run).read().get("call")
    if not isinstance(call, dict) or not is_complete(call):
        raise DataError(f"The run in {run} was started with data in memory, which no file holds: {advice}.")
    try:
        arguments, settings = call_from_json(call)
        return load_data(arguments, settings.data_options)
    except (DataError, KeyError, TypeError) as error:
        raise DataError(
            f"The training examples of the run in {run} cannot be read: {error} Put them back where they were; an "
            "export may compare on others: --check DATA, or check_data=."
        ) from error
