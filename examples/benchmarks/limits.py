"""Fits within limits on the latency: what the saved models take, and what the best feasible setup of the grid scores.

    python limits.py --data ants_bees --zoo zoo/timm --time-budget 25s

Limits lie evenly, on a scale of factors, between the fastest and the slowest form of a backbone. Each fit runs in a
process of its own. The model that it leaves is measured in another one: the median of warm runs, from a test image in
memory to its probabilities. A limit that no backbone keeps, with a margin for noise, is refused before the search.
The grid is ``oracle.jsonl``: of its setups whose backbone keeps the limit, the one with the highest validation score.
``--clock cpu`` measures seconds of the processor, on a machine that others use, too.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import common
import numpy as np

from autotransfer.errors import ConfigError, SearchError

# What a row says of a limit that no backbone keeps.
REFUSED = {"model": "", "validation": math.nan, "test": math.nan, "said (ms)": math.nan, "exceeded": False}
GRID = Path(__file__).with_name("oracle.jsonl")


def use_clock(clock: str) -> None:
    """Let this process measure latency by a clock; call it before anything of the package is imported.

    Seconds of the processor do not count waiting for others: on a busy machine, wall time says little.
    """
    if clock == "cpu":
        time.perf_counter = time.process_time


def backbones(data: Path, zoo: Path, clock: str) -> dict[str, float]:
    """Return the milliseconds that each form of each backbone takes for an image.

    Framings of one size take the same. Their median stands for all: the least of many medians is noise.
    """
    use_clock(clock)
    from autotransfer.backbones.loaded import LoadedBackbone
    from autotransfer.contract.registry import Registry
    from autotransfer.data.sources import find_examples
    from autotransfer.evaluation.latency import LatencySample
    from autotransfer.model.latency import measure_pass
    from autotransfer.runtime.device import resolve_device
    from autotransfer_plugins.modalities.image.modality import IMAGE

    registry, device, found = Registry.load((zoo,)), resolve_device(), dict[str, float]()
    examples = find_examples(data / "test")
    for forms in IMAGE.variants(registry.select_backbones((), (), modality="image"), examples.items):
        for spec in _flat(forms):
            loaded = LoadedBackbone(spec, device)
            how = [loaded.backbone.preprocessing]
            store = IMAGE.load(examples.items[:8], examples.names[:8], how, options={})
            sample = LatencySample.of(IMAGE, examples.items, range(len(examples)), store.reading, 1)
            found[spec.name] = 1e3 * measure_pass(loaded, sample, device, max_seconds=1.0).seconds
    sizes = {name: name.replace("@squash", "").replace("@letterbox", "") for name in found}
    return {name: median([found[one] for one in found if sizes[one] == sizes[name]]) for name in found}


def _flat(forms: Any) -> list[Any]:
    return [one for form in forms for one in (_flat(form) if isinstance(form, tuple) else [form])]


def fit(
    data: Path, zoo: Path, folder: Path, milliseconds: float, budget: dict[str, Any], seed: int, clock: str
) -> dict[str, Any]:
    """Fit within a limit; return the scores, and what the fit itself says that its model takes."""
    use_clock(clock)
    import autotransfer

    result = autotransfer.fit(
        data / "train",
        test=data / "test",
        zoo=zoo,
        metric="accuracy",
        **budget,
        seed=seed,
        out=folder / "run",
        selection=autotransfer.Selection(limits=autotransfer.Limits(latency=milliseconds / 1e3)),
        compute=autotransfer.Compute(cache_dir=folder / "cache"),
        run=autotransfer.RunOptions(progress=False),
    )
    members = " | ".join(dict.fromkeys(member.candidate.backbone for member in result.model.members))
    warnings = [warning.code for warning in result.warnings if warning.code == "limits_exceeded"]
    assert result.test is not None
    views = max(member.views for member in result.model.members)
    return {
        "model": f"{members}, members: {len(result.model.members)}, views: {views}",
        "validation": result.validation.score,
        "test": result.test.score,
        "said (ms)": 1e3 * result.selection.cost.latency_seconds,
        "exceeded": bool(warnings),
    }


def measure(folder: Path, data: Path, clock: str) -> float:
    """Return the milliseconds that a saved model takes for an image of the test set."""
    use_clock(clock)
    import autotransfer
    from autotransfer.evaluation.latency import LatencySample
    from autotransfer.model.latency import measure_model

    model = autotransfer.load(folder)
    items = model.find_examples(data / "test").items
    sample = LatencySample.of(model.modality, items, range(len(items)), model.reading, 1)
    return 1e3 * measure_model(model, sample, folder, max_seconds=2.0).latency_seconds


def best_of_grid(data: str, latencies: dict[str, float], milliseconds: float) -> dict[str, Any] | None:
    """Return the setup of the grid that validated best among those that keep the limit; each view takes a pass."""

    def takes(setup: str) -> float:
        views = re.search(r"(\d) views", setup)
        return latencies.get(setup.partition(" + ")[0], math.inf) * (1 if views is None else int(views[1]))

    rows = [json.loads(line) for line in GRID.read_text(encoding="utf-8").splitlines()]
    able = [row for row in rows if row["data"] == data and takes(row["setup"]) <= milliseconds]
    return max(able, key=lambda row: row["validation"], default=None)


def limits_between(latencies: dict[str, float], count: int) -> list[float]:
    """Return limits from four times the slowest down to a little more than the fastest, in milliseconds."""
    found: list[float] = np.geomspace(4.0 * max(latencies.values()), 1.25 * min(latencies.values()), count).tolist()
    return found


def _row(given: argparse.Namespace, limit: float, budget: dict[str, Any], seed: int) -> dict[str, Any]:
    """Fit within a limit in milliseconds, and measure the saved model, each in its own process."""
    with tempfile.TemporaryDirectory() as folder:
        place, measured = Path(folder), math.nan
        try:
            fitted = common.call_in_own_process(fit, given.data, given.zoo, place, limit, budget, seed, given.clock)
            measured = common.call_in_own_process(measure, place / "run" / "model", given.data, given.clock)
        except (ConfigError, SearchError) as error:  # no backbone, or no candidate, keeps the limit
            print(error, file=sys.stderr)
            fitted = REFUSED
    refused = {"within": measured <= limit, "refused": fitted is REFUSED}
    return {"limit (ms)": limit, "saved model (ms)": measured, **refused, **fitted}


def main() -> None:
    arguments = common.parser(__doc__.splitlines()[0])
    arguments.add_argument("--time-budget", default="25s")
    arguments.add_argument("--trials", type=int, help="number of trials, in place of time: as many on a busy machine")
    arguments.add_argument("--clock", choices=["wall", "cpu"], default="wall", help="what latency is measured by")
    arguments.add_argument("--fits", type=int, default=10, help="number of limits")
    arguments.add_argument("--seed", type=int, default=0)
    given, rows = arguments.parse_args(), list[dict[str, Any]]()
    budget = {"time_budget": given.time_budget} if given.trials is None else {"trials": given.trials}
    latencies = common.call_in_own_process(backbones, given.data, given.zoo, given.clock)
    for number, limit in enumerate(limits_between(latencies, given.fits)):
        row = _row(given, limit, budget, given.seed + number)
        grid = best_of_grid(given.data.name, latencies, limit)
        test = math.nan if grid is None else grid["test"]
        common.note(
            rows,
            **{
                **row,
                "grid": "" if grid is None else grid["setup"],
                "grid test": test,
                "difference (points)": 100 * (row["test"] - test),
            },
        )
    within, refused = (sum(row[column] for row in rows) for column in ("within", "refused"))
    saved = len(rows) - refused
    print(f"{within} of {saved} saved models are within their limit, {refused} limits are refused", file=sys.stderr)
    common.finish(rows, given.out)


if __name__ == "__main__":
    main()
