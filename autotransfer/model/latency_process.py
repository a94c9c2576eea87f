"""The latency of a saved model in a process of its own, where it is loaded and runs as it will for its users."""

from __future__ import annotations

import json
import logging
import os
import pickle
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from autotransfer.evaluation.latency import Clock, LatencySample
from autotransfer.model.latency import measure_model
from autotransfer.model.transfer_model import TransferModel
from autotransfer.runtime.library_defaults import default_settings
from autotransfer.search.jobs import describe

__all__ = ["LatencyRequest", "answer", "latency_in_new_process"]

log = logging.getLogger("autotransfer")

# The modules of the package are imported here, and not those of the user's program: it may have no guard.
_PROGRAM = "from autotransfer.model.latency_process import answer; answer()"
# Seconds after which a process that has not answered is ended.
TIMEOUT_SECONDS = 120.0


@dataclass(frozen=True, kw_only=True)
class LatencyRequest:
    """What a process has to measure.

    Attributes:
        folder: The folder of the saved model.
        device: Name of the device that the model runs on.
        sample: The examples.
        max_seconds: Seconds after which no further run begins.
        threads: Number of threads that compute.
        clock: Returns seconds; a function of a module, which the process finds by its name.
    """

    folder: Path
    device: str
    sample: LatencySample
    max_seconds: float
    threads: int
    clock: Clock

    def measured(self) -> float:
        """Load the model and return its median seconds in this process."""
        torch.set_num_threads(self.threads)
        model = TransferModel.load(self.folder, device=self.device)
        cost = measure_model(model, self.sample, self.folder, max_seconds=self.max_seconds, clock=self.clock)
        return cost.latency_seconds


def latency_in_new_process(request: LatencyRequest) -> float | None:
    """Return the median seconds of a saved model in a new process.

    None where a process cannot do that: examples or a clock of the user's own program are not found elsewhere.
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    try:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", _PROGRAM],
            input=pickle.dumps(request),
            capture_output=True,
            timeout=TIMEOUT_SECONDS,
            env=environment,
            check=True,
        )
        return float(json.loads(done.stdout.splitlines()[-1]))
    except subprocess.CalledProcessError as error:
        lines = error.stderr.decode(errors="replace").splitlines()
        log.info("another process could not measure the latency: %s", lines[-1] if lines else error)
    except Exception as error:  # anything may be among the examples, and refuse to be pickled in its own way
        log.info("the latency is not measured in another process: %s", describe(error))
    return None


@default_settings()
def answer() -> None:
    """Measure what standard input asks for; the last line of standard output is the answer."""
    request: LatencyRequest = pickle.load(sys.stdin.buffer)
    print(json.dumps(request.measured()), flush=True)
