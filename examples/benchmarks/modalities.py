"""Whole fits on texts and sounds, each held against what a fit is to reach there.

python modalities.py --data text/* audio/*.tar --zoo zoo/text zoo/audio --time-budget 300

Each of the data is a folder that holds train.tsv and test.tsv, or a folder or tar file that holds train/ and test/.
Every fit is a process of its own, with an empty cache. The scores of sources are those on validation examples, with all
stages frozen.
"""

from __future__ import annotations

import argparse
import json
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import common

# Test accuracy to reach, by the name of the data: above a frozen probe of the best backbone of the zoo.
TO_REACH = {
    "trec6": 0.95,
    "sst2": 0.86,
    "tweet_emotion": 0.79,
    "tweet_irony": 0.70,
    "banking77": 0.935,
    "ag_news": 0.90,
    "speech_commands10": 0.975,
    "emodb7": 0.84,
    "spoken_digits": 0.985,
}

# Where training and test examples are of different speakers, the pattern of the speaker in the names of files.
SPEAKERS = {"speech_commands10": r"(\w+)_nohash", "emodb7": r"/(\d\d)\w+\.flac"}

_FIT = """
import json, sys
import autotransfer
from autotransfer import Compute, DataOptions, RunOptions

train, test, zoos, seconds, seed, groups, folder = sys.argv[1:]
result = autotransfer.fit(train, test=test, zoo=json.loads(zoos), time_budget=float(seconds), metric="accuracy",
    seed=int(seed), out=folder + "/run", data_options=DataOptions(groups=groups or None),
    compute=Compute(cache_dir=folder + "/cache"), run=RunOptions(progress=False))
best = result.selection.best
print(json.dumps({
    "train": len(result.data.train), "validation": result.validation.score, "test": result.test.score,
    "model": result.selection.selected.to_json(), "candidate": result.best.to_json(), "depth": best.depth,
    "sources": {row.backbone: row.frozen for row in result.analysis.backbones},
    "warnings": sorted({warning.code for warning in result.warnings}),
    "trials": result.trials.counts(), "seconds": result.seconds,
}))
"""


@contextmanager
def parts(data: Path) -> Iterator[tuple[Path, Path]]:
    """Return the examples to train on and the test examples, unpacked where they are in a tar file."""
    with tempfile.TemporaryDirectory() as folder:
        if data.is_file():
            with tarfile.open(data) as archive:
                archive.extraction_filter = getattr(tarfile, "data_filter", lambda member, path: member)
                archive.extractall(folder)
            inner = Path(folder, name_of(data))
            data = inner if inner.is_dir() else Path(folder)
        suffix = ".tsv" if (data / "train.tsv").is_file() else ""
        yield data / f"train{suffix}", data / f"test{suffix}"


def name_of(data: Path) -> str:
    """Return the name of a folder or a tar file."""
    return data.name.partition(".")[0]


def fit(data: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Run a fit in a fresh interpreter; return what it found."""
    zoos = json.dumps([str(zoo) for zoo in given.zoo])
    with parts(data) as (train, test), tempfile.TemporaryDirectory() as folder:
        groups = SPEAKERS.get(name_of(data), "")
        return common.in_own_process(_FIT, train, test, zoos, given.time_budget, given.seed, groups, folder)


def row(data: Path, found: dict[str, Any]) -> dict[str, Any]:
    """Return the row of a fit."""
    name, candidate = name_of(data), found["candidate"]
    bar = TO_REACH.get(name, float("nan"))
    sources = sorted(found["sources"].items(), key=lambda source: -(source[1] or 0))
    return {
        "data": name,
        "examples": found["train"],
        "test": found["test"],
        "to reach": bar,
        "reached": "" if bar != bar else "yes" if found["test"] >= bar else "no",
        "validation": found["validation"],
        "model": _model(found["model"]),
        "best candidate": candidate["backbone"],
        "head": candidate["head"],
        "freeze": f"{candidate['freeze']}, {found['depth']} stages frozen",
        "sources, frozen": " > ".join(f"{source} {score:.3f}" for source, score in sources if score is not None),
        "trials": found["trials"]["complete"] + found["trials"]["pruned"],
        "seconds": found["seconds"]["total"],
        "warnings": ", ".join(found["warnings"]),
    }


def _model(selected: dict[str, Any]) -> str:
    """Return the kind of model; for one of several networks, with what each of them has a share of."""
    members = [(member["weight"], member["candidate"]) for member in selected["members"]]
    if len(members) == 1:
        return selected["kind"]
    return f"{selected['kind']}: " + ", ".join(f"{weight:.2f} {one['backbone']}" for weight, one in members)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="what holds train and test")
    parser.add_argument("--zoo", type=Path, nargs="+", required=True, help="folders of checkpoints")
    parser.add_argument("--time-budget", type=float, default=300.0, help="seconds of each fit")
    parser.add_argument("--seed", type=int, default=0, help="seed of each fit")
    parser.add_argument("--out", type=Path, help="write the results here, as JSON")
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for data in given.data:
        common.note(rows, **row(data, fit(data, given)))
    common.finish(rows, given.out)


if __name__ == "__main__":
    main()
