"""The run folder: everything that one search leaves on disk."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import shlex
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from autotransfer.errors import ConfigError, RunExistsError, RunFormatError
from autotransfer.runtime.files import write_atomically, writing
from autotransfer.runtime.text import cell, one_line
from autotransfer.search.trials import TrialRecord

__all__ = ["RunFolder"]

# Columns of trials.csv that are always there, in this order; the settings of the candidates stand between them.
FIRST_COLUMNS = ("number", "state", "score", "backbone", "head", "freeze", "depth")
LAST_COLUMNS = ("source", "latency_ms", "size_bytes", "objective", "best_epoch", "epochs", "seconds", "reason")
# What a run writes into its folder.
FILES_OF_A_RUN = (
    "run.json",
    "result.json",
    "report.json",
    "report.html",
    "trials.csv",
    "trials.svg",
    "pareto.svg",
    "label_errors.csv",
    "study.journal",
    "model",
    "checkpoints",
)


@dataclass(frozen=True, kw_only=True)
class RunFolder:
    """A run folder: ``run.json`` (its settings), ``trials.csv``, ``result.json`` and ``model/``.

    Attributes:
        path: The folder.
        resumed: Whether a run that it holds is resumed.
    """

    path: Path
    resumed: bool = False

    @classmethod
    def choose(cls, out: str | Path | None, *, overwrite: bool = False, resume: bool = False) -> RunFolder:
        """Choose the folder, without touching it; without a name, ``runs/DATE-TIME`` in the current folder.

        With ``resume``, a run that it holds goes on.

        Raises:
            RunExistsError: The folder holds a run, and ``overwrite`` is not set.
            ConfigError: The folder holds something else, is a file, or cannot be read.
        """
        path = Path(out) if out is not None else _fresh(Path("runs") / datetime.now().strftime("%Y%m%d-%H%M%S"))
        if path.exists() and not path.is_dir():
            raise ConfigError(f"The output {path} is a file; give the name of a folder.")
        try:
            there = {entry.name for entry in path.iterdir()} if path.exists() else set()
        except OSError as error:
            raise ConfigError(f"The output folder {path} cannot be read: {error}.") from error
        if there & {"run.json", "result.json"}:
            if resume and "run.json" in there:
                return cls(path=path, resumed=True)
            if not overwrite:
                raise RunExistsError(
                    f"{path} already holds a run. Choose another folder, go on with it (resume), or pass --overwrite."
                )
        elif there:
            raise ConfigError(f"The output folder {path} is not empty and holds no run; choose another one.")
        return cls(path=path)

    def create(self, settings: dict[str, Any]) -> None:
        """Make the folder, without what an earlier run left in it, and write what this run was asked for.

        ``run.json`` is replaced at once: whoever looks for a free folder never sees this one without it.

        Raises:
            ConfigError: It cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            for entry in (self.path / name for name in FILES_OF_A_RUN if name != "run.json"):
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry)
                else:
                    entry.unlink(missing_ok=True)
            write_atomically(self.path / "run.json", _as_json(settings))
        except OSError as error:
            raise ConfigError(f"The output folder {self.path} cannot be written: {error}.") from error

    def refuse_unwritable(self) -> None:
        """Refuse, before any work, a folder that cannot be written; nothing is left of the attempt.

        Raises:
            ConfigError: It cannot be written.
        """
        missing = [place for place in (self.path, *self.path.parents) if not place.exists()]
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path):
                pass
        except OSError as error:
            raise ConfigError(f"The output folder {self.path} cannot be written: {error}.") from error
        finally:
            for place in missing:
                with contextlib.suppress(OSError):  # it was not made, or another process has put something there
                    place.rmdir()

    def read(self) -> dict[str, Any]:
        """Return what ``create`` wrote.

        Raises:
            RunFormatError: The file is damaged, or there is none.
        """
        file = self.path / "run.json"
        try:
            settings = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise RunFormatError(f"{file} cannot be read: {one_line(error)}. The run cannot go on.") from error
        if not isinstance(settings, dict) or not isinstance(settings.get("data"), str):
            raise RunFormatError(f"{file} is not of a run that can go on: it does not say what its data were.")
        return settings

    def update(self, **settings: Any) -> None:
        """Replace some of what ``create`` wrote: what the run goes on with.

        Raises:
            OutputError: It cannot be written.
        """
        with self.writing():
            write_atomically(self.path / "run.json", _as_json(self.read() | settings))

    def writing(self) -> AbstractContextManager[None]:
        """Say what it means when something cannot be written to the folder within the block."""
        run = shlex.quote(str(self.path))
        return writing(self.path, f"Once that is put right, go on with autotransfer resume {run}.")

    @property
    def study(self) -> Path:
        """File of the study."""
        return self.path / "study.journal"

    @property
    def label_errors(self) -> Path:
        """File of the examples whose labels are probably wrong."""
        return self.path / "label_errors.csv"

    @property
    def checkpoints(self) -> Path:
        """Folder of paused trainings; gone when the run has ended."""
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        """Folder of the model."""
        return self.path / "model"

    def write_trials(self, records: Sequence[TrialRecord]) -> None:
        """Write a row for each trial; text that a spreadsheet would run as a formula gets an apostrophe before it.

        Raises:
            OutputError: It cannot be written.
        """
        rows = [record.to_row() for record in records]
        settings = sorted({name for row in rows for name in row} - {*FIRST_COLUMNS, *LAST_COLUMNS})
        text = io.StringIO()
        writer = csv.DictWriter(text, [*FIRST_COLUMNS, *settings, *LAST_COLUMNS], restval="")
        writer.writeheader()
        writer.writerows({name: cell(value) for name, value in row.items()} for row in rows)
        with self.writing():
            write_atomically(self.path / "trials.csv", text.getvalue())

    def write_result(self, result: dict[str, Any]) -> None:
        """Write the result as JSON.

        Raises:
            OutputError: It cannot be written.
        """
        with self.writing():
            write_atomically(self.path / "result.json", json.dumps(result, indent=2))


def _as_json(settings: dict[str, Any]) -> str:
    return json.dumps(settings, indent=2, default=str)


def _fresh(path: Path) -> Path:
    """Return the path, or the first of ``path-2``, ``path-3``, … that is not there."""
    taken, number = path, 1
    while taken.exists():
        number += 1
        taken = path.with_name(f"{path.name}-{number}")
    return taken
