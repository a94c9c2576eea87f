"""Wall time and peak memory against the number of images, trials and backbones; each run in a process of its own.

    python scale.py --data dtd10/train --zoo zoo/timm

More images are made by repeating real ones with new bytes at their end, which decoders ignore and caches do not.
"""

from __future__ import annotations

import os
import random
import tempfile
from pathlib import Path

import common

_RUN = """
import json, os, resource, sys, threading, time
import psutil
import autotransfer
from autotransfer.contract.registry import Registry

trials, backbones, data, zoo, cache = int(sys.argv[1]), sys.argv[2].split(","), *sys.argv[3:6]
memory = {}

class Watch:
    from autotransfer import hookimpl

    @hookimpl
    def trial_finished(self, result):
        memory[result.number] = psutil.Process().memory_info().rss

load = Registry.load
Registry.load = staticmethod(lambda zoos=(): load(zoos, [Watch()]))
begin = time.perf_counter()
result = autotransfer.fit(data, zoo=zoo, backbones=backbones, heads=["logistic", "ridge", "ncm", "knn", "linear"],
    trials=trials, out=cache + "/run", search=autotransfer.SearchOptions(freeze="frozen", epochs=2),
    compute=autotransfer.Compute(cache_dir=cache + "/cache"), run=autotransfer.RunOptions(progress=False))
print(json.dumps({
    "seconds": time.perf_counter() - begin,
    "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    "growth": (memory[max(memory)] - memory[min(20, max(memory))]) / 2**20,
    "decoded": result.data.decoded,
}))
"""


def enlarge(data: Path, folder: Path, count: int) -> Path:
    """Copy ``count`` images, repeated as often as needed, each with bytes of its own."""
    files = sorted(file for file in data.rglob("*") if file.is_file())
    random.Random(0).shuffle(files)  # a few of them are of all classes
    for i in range(count):
        file = files[i % len(files)]
        target = folder / file.parent.name / f"{i:06d}{file.suffix}"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes() + os.urandom(16))
    return folder


def measure(data: Path, zoo: Path, trials: int, backbones: list[str]) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        return common.in_own_process(_RUN, trials, ",".join(backbones), data, zoo, folder)


def main() -> None:
    arguments = common.parser(__doc__.splitlines()[0])
    arguments.add_argument("--images", nargs="+", type=int, default=[1000, 4000, 16000])
    arguments.add_argument("--trials", nargs="+", type=int, default=[10, 100, 300])
    given = arguments.parse_args()
    names = sorted(folder.name for folder in given.zoo.iterdir() if folder.is_dir())
    runs = [(count, 10, names[:1]) for count in given.images]
    runs += [(given.images[0], trials, names[:1]) for trials in given.trials]
    runs += [(given.images[0], 10 * len(names), names[:k]) for k in range(1, len(names) + 1)]
    rows = []
    for images, trials, backbones in runs:
        with tempfile.TemporaryDirectory() as folder:
            data = enlarge(given.data, Path(folder), images)
            result = measure(data, given.zoo, trials, backbones)
        common.note(
            rows,
            **{
                "images": images,
                "trials": trials,
                "backbones": len(backbones),
                "seconds": result["seconds"],
                "peak MB": result["peak"],
                "growth from trial 20 on, MB": result["growth"],
            },
        )
    common.finish(rows, given.out)


if __name__ == "__main__":
    main()
