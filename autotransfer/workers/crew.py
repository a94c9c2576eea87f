"""Who evaluates the candidates of a search: this process, workers beside it, or other machines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from autotransfer.config import SearchConfig
from autotransfer.run import RunFolder
from autotransfer.search.evaluate import Evaluator
from autotransfer.search.work import Executor
from autotransfer.workers.assignment import Assignment
from autotransfer.workers.local import LocalWorkers

__all__ = ["Crew", "engage"]


class Crew:
    """Those who evaluate candidates.

    Args:
        config: The settings.
        local: The workers on this machine; None where this process does all.
    """

    def __init__(self, config: SearchConfig, local: LocalWorkers | None) -> None:
        self._config, self._local = config, local

    def executor(self, evaluator: Evaluator, run: RunFolder, say: Callable[[str], None]) -> Executor | None:
        """Tell everybody what they work on; return who takes jobs, None for this process alone."""
        if self._local is None:
            return None
        cache = evaluator.extractor.cache
        assignment = Assignment(
            images=evaluator.extractor.images,
            lessons=tuple(evaluator.lessons),
            seed=evaluator.seed,
            zoos=self._config.zoos,
            ahead=evaluator.extractor.ahead,
            cache=cache.root,
            memory=cache.memory_limit // self._config.workers,
            checkpoints=run.checkpoints,
            device=str(evaluator.device.torch),
            threads=self._local.threads,
        )
        self._local.assign(assignment, judge=evaluator.judge)
        return self._local


@contextmanager
def engage(config: SearchConfig) -> Iterator[Crew]:
    """Start the workers, which takes as long as decoding the images; end them afterwards."""
    if config.workers == 1 and config.spread == "local":
        yield Crew(config, None)
        return
    threads = torch.get_num_threads()
    with LocalWorkers(config.workers, patience=config.trial_timeout) as local:
        torch.set_num_threads(local.threads)  # what this process measures is what a worker takes
        try:
            yield Crew(config, local)
        finally:
            torch.set_num_threads(threads)
