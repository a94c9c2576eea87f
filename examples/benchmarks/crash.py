"""Kill searches at random moments, let each go on, and count what was lost.

Every fit runs once undisturbed. Then the same fit is begun again, killed (``kill -9``) after a random time and gone on
with, over and over; at the end it runs to its end. Nothing that was finished may be missing or different, nothing may
be there twice, and the trials and the score must be those of the undisturbed fit; with workers, whose trials end in
another order each time, these may be others, and with a budget of time, too. Of a run with a budget of time, every
third part has a budget of trials, and every third one a new budget of time.
"""

from __future__ import annotations

import csv
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import finish, note, parser

# Trials of these states may go on; how many epochs one has may change then.
GOING_ON, LENGTH = ("paused", "pruned"), "training.epochs"


def main() -> None:
    options = parser(__doc__.splitlines()[0])
    options.add_argument("--fits", type=int, default=5, help="fits, each with a seed of its own")
    options.add_argument("--kills", type=int, default=10, help="kills in each fit")
    options.add_argument("--trials", type=int, default=25)
    options.add_argument("--time-budget", help="a budget of time, such as 60s, in place of one of trials")
    options.add_argument("--epochs", type=int, default=3)
    options.add_argument("--workers", type=int, help="worker processes of each fit; none means the process itself")
    arguments = options.parse_args()
    rows: list[dict[str, Any]] = []
    for seed in range(arguments.fits):
        with tempfile.TemporaryDirectory(prefix="autotransfer-crash-") as folder:
            note(rows, **crash(arguments, seed, Path(folder)))
    finish(rows, arguments.out)


def crash(arguments: Any, seed: int, folder: Path) -> dict[str, Any]:
    """Kill one fit so many times; return what came of it."""
    cache, chance = folder / "cache", random.Random(seed)
    run(command(arguments, seed, folder / "warm", cache))  # so that both find the same activations
    started = time.monotonic()
    run(command(arguments, seed, folder / "whole", cache))
    seconds, killed = time.monotonic() - started, folder / "killed"
    kills = lost = unreadable = 0
    while kills < arguments.kills:
        before = trials(killed)
        goes_on = arguments.time_budget is not None and (killed / "run.json").exists()
        how = going_on(arguments, killed, kills) if goes_on else command(arguments, seed, killed, cache)
        process = subprocess.Popen(how, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            process.wait(timeout=chance.uniform(0.0, seconds))
        except subprocess.TimeoutExpired:
            process.kill()
            kills += 1
        _, errors = process.communicate()
        if process.returncode > 0:
            unreadable += 1
            print(errors.decode(errors="replace"), file=sys.stderr)
            break
        after = trials(killed)
        ended = {number: row for number, row in before.items() if row["state"] not in GOING_ON}
        lost += sum(after.get(number) != row for number, row in ended.items()) + len(set(before) - set(after))
        if process.returncode == 0:  # it came to its end before it was killed: the next one begins anew
            shutil.rmtree(killed)
    if not unreadable:
        goes_on = arguments.time_budget is not None and (killed / "run.json").exists()
        run(going_on(arguments, killed, 0) if goes_on else command(arguments, seed, killed, cache))
    whole, found = trials(folder / "whole"), trials(killed)
    candidates = [
        json.dumps({k: v for k, v in row.items() if ("." in k and k != LENGTH) or k in ("backbone", "head", "freeze")})
        for row in found.values()
    ]
    return {
        "seed": seed,
        "kills": kills,
        "trials": len(found),
        "lost": lost,
        "repeated": len(candidates) - len(set(candidates)),
        "unreadable": unreadable,
        "same trials": found == whole,
        "same score": score(killed) == score(folder / "whole"),
    }


def command(arguments: Any, seed: int, out: Path, cache: Path) -> list[str]:
    """Return the command line of a fit that goes on with what ``out`` holds."""
    where = ["--zoo", arguments.zoo, "--out", out, "--cache-dir", cache]
    how = [
        "--seed",
        seed,
        *(
            ["--trials", arguments.trials]
            if arguments.time_budget is None
            else ["--time-budget", arguments.time_budget]
        ),
        "--epochs",
        arguments.epochs,
        "--no-compare-scratch",
        "--resume",
        *([] if arguments.workers is None else ["--workers", arguments.workers]),
    ]
    return [sys.executable, "-m", "autotransfer", "fit", *map(str, [arguments.data, *where, *how])]


def going_on(arguments: Any, out: Path, part: int) -> list[str]:
    """Return the command line that goes on with a run of a time budget, under one budget after the other."""
    budgets = [[], ["--trials", len(trials(out)) + 5], ["--time-budget", arguments.time_budget]]
    return [sys.executable, "-m", "autotransfer", "resume", *map(str, [out, *budgets[part % 3]])]


def run(how: list[str]) -> None:
    """Run a fit to its end."""
    subprocess.run(how, check=True, capture_output=True)


def trials(out: Path) -> dict[str, dict[str, str]]:
    """Return the rows of ``trials.csv`` by number, without what a clock says; a column is there when a trial has it."""
    if not (out / "trials.csv").exists():
        return {}
    with (out / "trials.csv").open(newline="") as file:
        rows = [
            {name: value for name, value in row.items() if value and name != "seconds"} for row in csv.DictReader(file)
        ]
    return {row["number"]: row for row in rows}


def score(out: Path) -> Any:
    """Return the validation score of a run; None where it has none."""
    file = out / "result.json"
    return json.loads(file.read_text())["validation"] if file.exists() else None


if __name__ == "__main__":
    main()
