"""How many wrong labels a fit names: a share of the labels is flipped at random, and looked for in its list.

    python label_errors.py --data ants_bees sign_digits dtd10 --zoo zoo/timm --trials 6

Each of the data is a folder that holds train/ with a folder for each class, or a file train.tsv with the columns text
and label. Every fit is a process of its own, with an empty cache. Of the flipped labels, ``found`` is the share that is
among the first ones of label_errors.csv: twice as many as were flipped. ``at_random`` is what a list in random order
would find. ``estimated`` is how many labels the fit says are wrong.
"""

from __future__ import annotations

import csv
import json
import tempfile
from pathlib import Path
from typing import Any

import common
import numpy as np

SHARE = 0.05

_FIT = """
import json, sys
import autotransfer
from autotransfer import Compute, RunOptions, SearchOptions

folder, zoo, trials, seconds, seed = sys.argv[1:]
with open(folder + "/examples.json") as file:
    examples, labels = json.load(file)
result = autotransfer.fit(examples, labels, zoo=zoo, trials=int(trials) or None, time_budget=float(seconds) or None,
    seed=int(seed), out=folder + "/run", search=SearchOptions(compare_scratch=False),
    compute=Compute(cache_dir=folder + "/cache"), run=RunOptions(progress=False))
found = result.analysis.label_errors
print(json.dumps({"names": [each.name for each in found.listed], "estimated": found.estimated,
    "examined": found.examined, "score": result.validation.score, "seconds": result.seconds["total"]}))
"""


def examples_of(data: Path, limit: int) -> tuple[list[str], list[str]]:
    """Return examples and labels: paths of files, or texts; at most so many of them, drawn at random."""
    table = data / "train.tsv"
    if table.is_file():
        with table.open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
        examples, labels = [row["text"] for row in rows], [row["label"] for row in rows]
    else:
        files = sorted(path for path in (data / "train").glob("*/*") if path.is_file())
        examples, labels = [str(path.resolve()) for path in files], [path.parent.name for path in files]
    chosen = np.sort(np.random.default_rng(0).permutation(len(examples))[:limit])
    return [examples[i] for i in chosen], [labels[i] for i in chosen]


def flip(labels: list[str], seed: int) -> tuple[list[str], set[int]]:
    """Return the labels, a share of them changed to another one at random, and the positions of these."""
    random, classes = np.random.default_rng(seed), sorted(set(labels))
    flipped = random.choice(len(labels), round(SHARE * len(labels)), replace=False).tolist()
    changed = list(labels)
    for position in flipped:
        changed[position] = str(random.choice([label for label in classes if label != labels[position]]))
    return changed, set(flipped)


def measure(data: Path, zoo: Path, trials: int, seconds: float, seed: int, limit: int) -> dict[str, Any]:
    """Run one fit on labels of which a share is flipped; return which of these it names."""
    examples, labels = examples_of(data, limit)
    changed, flipped = flip(labels, seed)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "examples.json").write_text(json.dumps([examples, changed]))
        done = common.in_own_process(_FIT, folder, zoo, trials, seconds, seed)
    places = {name: position for position, name in enumerate(examples)}
    named = [places[name] if name in places else int(name.rpartition(" ")[2]) for name in done["names"]]
    first = set(named[: 2 * len(flipped)])
    return {
        "data": data.name,
        "seed": seed,
        "examples": len(examples),
        "classes": len(set(labels)),
        "flipped": len(flipped),
        "found": len(first & flipped) / len(flipped),
        "at_random": 2 * SHARE,
        "estimated": done["estimated"],
        "validation": done["score"],
        "seconds": done["seconds"],
    }


def main() -> None:
    """Run the benchmark."""
    parser = common.parser(__doc__.split("\n")[0], several=True)
    parser.add_argument("--trials", type=int, default=0, help="trials of each fit; 0 for a budget of time")
    parser.add_argument("--seconds", type=float, default=0.0, help="seconds of each fit")
    parser.add_argument("--seeds", type=int, default=1, help="number of seeds")
    parser.add_argument("--limit", type=int, default=5000, help="most examples of each data set")
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for data in arguments.data:
        for seed in range(arguments.seeds):
            row = measure(data, arguments.zoo, arguments.trials, arguments.seconds, seed, arguments.limit)
            common.note(rows, **row)
    common.finish(rows, arguments.out)


if __name__ == "__main__":
    main()
