"""A whole fit, as a user runs it: a process of its own, first with an empty cache, then with the one that it left.

python whole_fit.py --data ants_bees --zoo zoo/timm --cold 55 --warm 22

The folder holds train/ and test/. Wall time is that of the process, from its start to its end: imports, search, refit
and the test score included.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import common

_RUN = """
import json, resource, sys
import autotransfer
from autotransfer import Compute, RunOptions

data, zoo, seconds, folder = sys.argv[1:]
result = autotransfer.fit(data + "/train", test=data + "/test", zoo=zoo, time_budget=float(seconds),
    out=folder + "/run", compute=Compute(cache_dir=folder + "/cache"), run=RunOptions(overwrite=True, progress=False))
print(json.dumps({
    "trials": sum(result.trials.counts()[state] for state in ("complete", "pruned")),
    "test": result.test.score,
    "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    "decoded": result.data.decoded,
}))
"""


def main() -> None:
    arguments = common.parser(__doc__.splitlines()[0], several=True)
    arguments.add_argument("--cold", type=float, default=55.0, help="time budget in seconds, with an empty cache")
    arguments.add_argument("--warm", type=float, default=22.0, help="time budget in seconds, with a full one")
    arguments.add_argument("--repeats", type=int, default=3, help="runs with the full one")
    given = arguments.parse_args()
    rows = []
    for data in given.data:
        with tempfile.TemporaryDirectory() as folder:
            runs = [("cold", given.cold)] + [("warm", given.warm)] * given.repeats
            for cache, seconds in runs:
                begin = time.perf_counter()
                result = common.in_own_process(_RUN, data, given.zoo, seconds, folder)
                wall = time.perf_counter() - begin
                common.note(
                    rows,
                    **{
                        "data": Path(data).name,
                        "cache": cache,
                        "time budget (s)": seconds,
                        "wall (s)": wall,
                        "finished or pruned trials": result["trials"],
                        "test score": result["test"],
                        "peak MB": result["peak"],
                        "decoded images": result["decoded"],
                    },
                )
    common.finish(rows, given.out)


if __name__ == "__main__":
    main()
