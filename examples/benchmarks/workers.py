"""What a second worker brings: the same number of trials in one process, and in two that share the cores.

    python workers.py --data ants_bees bccd_cells covid_xray dtd10 sign_digits --zoo zoo/timm

Every fit has an empty cache and a process of its own; the kinds take turns. ``probes`` are searches of frozen backbones
whose trials compute with one thread, by one worker and by two; ``all`` are searches as a user starts them, where one
worker has all cores; ``alone`` compares them with a search without workers, whose one process has all cores, too.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import common

from autotransfer.settings import Settings, grouped

# kind -> how it is searched, with one process and with two
KINDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "probes": ({"freeze": "frozen", "workers": 1}, {"freeze": "frozen", "workers": 2}),
    "all": ({"workers": 1}, {"workers": 2}),
    "alone": ({"workers": None}, {"workers": 2}),
}


def seconds_of(data: Path, zoo: Path, trials: int, settings: dict[str, Any], single: bool) -> dict[str, float]:
    """Return the seconds of a fit, the whole and the search alone."""
    import autotransfer

    if single:  # what a single worker has when there are two
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    with tempfile.TemporaryDirectory() as folder:
        result = autotransfer.fit(
            data / "train",
            **grouped(
                Settings,
                dict(
                    zoo=zoo,
                    trials=trials,
                    epochs=2,
                    compare_scratch=False,
                    progress=False,
                    out=f"{folder}/run",
                    cache_dir=f"{folder}/cache",
                    **settings,
                ),
            ),
        )
    return {"search": result.seconds["search"], "total": common.process_seconds()}


def main() -> None:
    arguments = common.parser(__doc__.splitlines()[0], several=True)
    arguments.add_argument("--trials", type=int, nargs=3, default=[60, 16, 16], help="trials of each kind")
    arguments.add_argument("--only", nargs="+", choices=KINDS, default=list(KINDS))
    arguments.add_argument("--repeats", type=int, default=1, help="alternating runs of each")
    given = arguments.parse_args()
    rows: list[dict[str, Any]] = []
    for data in given.data:
        for (kind, pair), trials in zip(KINDS.items(), given.trials, strict=True):
            if kind not in given.only:
                continue
            runs: list[tuple[dict[str, float], ...]] = []
            for _ in range(given.repeats):
                runs.append(
                    tuple(
                        common.call_in_own_process(seconds_of, data, given.zoo, trials, settings, single)
                        for settings, single in zip(pair, (kind == "probes", False), strict=True)
                    )
                )
            common.note(rows, data=data.name, kind=kind, trials=trials, **_row(runs))
    common.finish(rows, given.out)


def _row(runs: list[tuple[dict[str, float], ...]]) -> dict[str, float]:
    one, two = ([run[i] for run in runs] for i in range(2))
    row: dict[str, float] = {}
    for part in ("search", "total"):
        row[f"one, {part} s"] = common.median([run[part] for run in one])
        row[f"two, {part} s"] = common.median([run[part] for run in two])
        row[f"{part} ratio"] = common.median([a[part] / b[part] for a, b in zip(one, two, strict=True)])
    return row


if __name__ == "__main__":
    main()
