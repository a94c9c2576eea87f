"""The project in two minutes against a plain Optuna script in twenty: the same zoo and machine, one after the other.

    python versus_plain.py --data ants_bees dtd10 --zoo zoo/timm --plain plain

``plain.py`` is the plain script. Both validate on the same images, the quarter of train/ that the plain script splits
off at random; with ``--split own`` we are given train/ as it is, and divide it into folds. A side has reached a score
when what it holds for its best has at least that score. Times are of each side's whole process, imports and decoding
included.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import common
from plain import split
from torchvision.datasets import ImageFolder


def plain(data: Path, zoo: Path, folder: Path, *options: object) -> dict[str, Any]:
    """Return what the plain script came to; it runs unless the folder holds its result."""
    out = folder / f"{data.name}.json"
    if not out.is_file():
        script = Path(__file__).with_name("plain.py")
        command = [sys.executable, script, "--data", data, "--zoo", zoo, "--out", out, *options]
        subprocess.run(list(map(str, command)), check=True, stdout=sys.stderr)
    result: dict[str, Any] = json.loads(out.read_text())
    return result


def ours(data: Path, zoo: Path, way: str, *, seed: int, **settings: Any) -> dict[str, Any]:
    """Return what a fit comes to, in a process of its own."""
    given: list[Any] = []
    if way == "same":
        images = ImageFolder(data / "train")
        labelled = [(path, images.classes[label]) for path, label in images.samples]
        sides = ([labelled[row] for row in rows] for rows in split(data, seed))
        given, held_out = ([list(part) for part in zip(*side, strict=True)] for side in sides)
        settings |= dict(zip(("validation", "validation_targets"), held_out, strict=True))
    return common.call_in_own_process(common.fit, data, zoo, *given, seed=seed, **settings)


def reached(history: list[tuple[float, float]], score: float) -> float:
    """Return the seconds after which the best so far had at least this score; infinite where it never had."""
    return min((seconds for seconds, best in history if best >= score), default=math.inf)


def row(data: Path, theirs: dict[str, Any], ours: dict[str, Any]) -> dict[str, Any]:
    target = theirs["validation"]
    return {
        "data": data.name,
        "plain minutes": theirs["minutes"],
        "plain validation": target,
        "plain test": theirs["test"],
        "our minutes": ours["seconds"] / 60,
        "our validation": ours["validation"],
        "our test": ours["test"],
        "test difference": ours["test"] - theirs["test"],
        "plain reached (s)": reached(theirs["history"], target),
        "we reached (s)": reached(ours["history"], target),
        "speed-up": reached(theirs["history"], target) / reached(ours["history"], target),
    }


def main() -> None:
    arguments = common.parser(__doc__.splitlines()[0], several=True)
    arguments.add_argument("--plain-minutes", type=float, default=20.0)
    arguments.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="of the plain script: on a machine that others use, cpu counts only what it used itself, which favours it",
    )
    arguments.add_argument("--plain", type=Path, help="keep the plain script's results in this folder, and reuse them")
    arguments.add_argument("--minutes", type=float, default=2.0, help="our time budget, always of wall time")
    arguments.add_argument("--split", choices=("same", "own"), default="same", help="on which images we validate")
    arguments.add_argument("--seed", type=int, default=0)
    given = arguments.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.plain or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for data in given.data:
            options = ("--minutes", given.plain_minutes, "--clock", given.clock, "--seed", given.seed)
            theirs = plain(data, given.zoo, folder, *options)
            mine = ours(data, given.zoo, given.split, time_budget=given.minutes * 60, seed=given.seed)
            common.note(rows, **row(data, theirs, mine))
    print(f"median speed-up: {common.median([r['speed-up'] for r in rows]):.3g}", file=sys.stderr)
    common.finish(rows, given.out)


if __name__ == "__main__":
    main()
