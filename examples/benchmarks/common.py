"""What the benchmarks share: arguments, the machine, tables, results as JSON."""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psutil

from autotransfer.settings import Settings, grouped

# Before torch is imported: on shared cores, threads that spin while they wait make one step ten times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")


def parser(description: str, *, several: bool = False) -> argparse.ArgumentParser:
    """Return a parser with what every benchmark takes; ``several`` are folders that hold train/ and test/."""
    made = argparse.ArgumentParser(description=description)
    if several:
        made.add_argument("--data", type=Path, nargs="+", required=True, help="folders that hold train/ and test/")
    else:
        made.add_argument("--data", type=Path, required=True, help="a folder of images with a sub-folder per class")
    made.add_argument("--zoo", type=Path, required=True, help="a folder of checkpoints in timm's format")
    made.add_argument("--out", type=Path, help="write the results here, as JSON")
    return made


def machine() -> dict[str, Any]:
    """Describe the machine that the figures come from."""
    import timm
    import torch

    name = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()
    return {
        "processor": name,
        "cores": cores(),
        "bfloat16": bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "timm": timm.__version__,
    }


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def process_seconds(clock: str = "wall") -> float:
    """Return the seconds since this process started.

    On the clock ``cpu`` they are what it and its finished children used of the processor, divided by the number of
    cores: never more than wall time on a quiet machine, and waiting for others on a busy one does not count.
    """
    process = psutil.Process()
    if clock == "cpu":
        return sum(process.cpu_times()[:4]) / cores()
    return time.time() - process.create_time()


def in_own_process(code: str, *arguments: object) -> dict[str, Any]:
    """Run code in a fresh interpreter, as a user's is; return the JSON that it prints last."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def call_in_own_process(function: Callable[..., Any], *arguments: Any, **settings: Any) -> Any:
    """Call a function of a module in a fresh interpreter; return what it returns."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments, **settings).result()


def fit(data: Path, zoo: Path, *examples: Any, **settings: Any) -> dict[str, Any]:
    """Run a whole ``autotransfer.fit`` on accuracy, in folders that are removed; its cache is empty at first.

    Args:
        data: A folder that holds train/ and test/.
        zoo: A folder of checkpoints.
        examples: Images and targets to train on, in place of train/.
        settings: Further arguments of ``fit``.

    Returns:
        ``validation`` and ``test`` accuracy, wall ``seconds`` of this process, number of ``trials`` that did not fail,
        ``history``: after each of them, those seconds and the validation accuracy of the best one; ``sources``: which
        parts of the search have proposed a trial, and ``winner``: which of them has proposed the best one.
    """
    import autotransfer
    from autotransfer.contract.registry import Registry
    from autotransfer.search.trials import Trials

    trials, history = Trials(), list[tuple[float, float]]()

    class Observer:
        @autotransfer.hookimpl
        def trial_finished(self, result: Any) -> None:
            trials.add(result)
            if trials.best is not None:
                history.append((process_seconds(), trials.best.score))

    observed = staticmethod(partial(Registry.load, plugins=[Observer]))  # as if it were an installed plugin
    with tempfile.TemporaryDirectory() as folder, patch.object(Registry, "load", observed):
        places = {"out": f"{folder}/run", "cache_dir": f"{folder}/cache"}
        settings = {"metric": "accuracy", "progress": False, **places, **settings}
        result = autotransfer.fit(
            *(examples or [data / "train"]), **grouped(Settings, dict(test=data / "test", zoo=zoo, **settings))
        )
    return {
        "validation": result.validation.score,
        "test": result.test.score,
        "seconds": process_seconds(),
        "trials": len(trials) - trials.counts()["failed"],
        "history": history,
        "sources": sorted({record.source for record in trials}),
        "winner": trials.best.source if trials.best is not None else "",
    }


def note(rows: list[dict[str, Any]], **row: Any) -> None:
    """Add a row, and show it while the others are still to come."""
    rows.append(row)
    print(row, file=sys.stderr, flush=True)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return rows as a Markdown table."""
    columns = list(rows[0])
    lines = ["| " + " | ".join(columns) + " |", "| " + " | ".join("---" for _ in columns) + " |"]
    lines += ["| " + " | ".join(_cell(row[column]) for column in columns) + " |" for row in rows]
    return "\n".join(lines)


def finish(rows: Sequence[dict[str, Any]], out: Path | None) -> None:
    """Print the table, and write the results where they were asked for."""
    print(table(rows))
    if out:
        out.write_text(json.dumps({"machine": machine(), "rows": list(rows)}, indent=2))


def median(values: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(values)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.3g}"
    return str(value)
