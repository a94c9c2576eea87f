"""``autotransfer worker``: joins a search that runs elsewhere, through the storage of its study."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from optuna.storages import BaseStorage

from autotransfer.contract.registry import Registry
from autotransfer.errors import ConfigError, DataError
from autotransfer.pipeline.calls import arguments_of, configure, examples_of
from autotransfer.pipeline.prepare import Prepared, fingerprint, folds_of, prepare_data
from autotransfer.runtime.storage import translate_storage_errors
from autotransfer.search.jobs import Job
from autotransfer.workers.assignment import Assignment
from autotransfer.workers.post import Post, latest_mailbox
from autotransfer.workers.processes import LocalWorkers

__all__ = ["about_search", "join"]

# Arguments that say where candidates are evaluated; a storage's URL may hold a password.
_WHERE = ("storage", "study", "workers", "executor", "ray_address")
# Seconds between two looks for a search that has not begun yet.
_LOOK = 1.0


def about_search(data: Prepared, names: Sequence[str], call: Mapping[str, Any]) -> dict[str, Any]:
    """Return, as JSON, what workers elsewhere need to know of a search.

    Args:
        data: The examples.
        names: The backbones.
        call: The arguments of ``fit``.
    """
    return {
        "call": {name: value for name, value in call.items() if name not in _WHERE},
        "backbones": list(names),
        "data": fingerprint(data),
        "validation": [fold.validation_rows.tolist() for fold in data.folds],
        "units": None if data.folds[0].group_ids is None else data.folds[0].group_ids.tolist(),
        "ahead": data.extractor.ahead,
        "staged": data.extractor.staged,
    }


def join(
    storage: BaseStorage,
    study: str,
    *,
    workers: int = 1,
    data: Path | None = None,
    validation: Path | None = None,
    zoo: Sequence[Path] | None = None,
    device: str = "auto",
    cache_dir: Path | None = None,
    wait: float = 60.0,
    say: Callable[[str], None] = lambda text: None,
) -> int:
    """Evaluate candidates of a search until it ends.

    Args:
        storage: The storage of its study.
        study: The study's name.
        workers: Number of processes here.
        data: Where the data are on this machine; None means where the search has them.
        validation: The same for the examples that candidates are scored on, if the search was given any.
        zoo: Folders of checkpoints on this machine; None means those of the search.
        device: Where to compute.
        cache_dir: Folder of the activation cache.
        wait: Seconds to wait for the search to begin.
        say: Is told what happens.

    Returns:
        The number of jobs that were done.

    Raises:
        ConfigError: No search of that name takes workers.
        DataError: The data on this machine are others.
    """
    post = _wait_for(storage, study, wait)
    about = post.about()
    call = {**arguments_of(about["call"]), "device": device}
    call |= {} if data is None else {"data": str(data)}
    call |= {} if validation is None else {"validation": str(validation)}
    call |= {} if zoo is None else {"zoo": [str(folder) for folder in zoo]}
    call |= {} if cache_dir is None else {"cache_dir": str(cache_dir)}
    local = LocalWorkers(workers, patience=configure(call).trial_timeout)
    try:
        say(f"joining the search {study}: decoding the images")
        local.assign(_assignment(call, about, workers, local.threads))
        say("evaluating candidates")
        with translate_storage_errors(
            "The search does again what was not finished here; join again when the storage is back."
        ):
            return _serve(post, local, workers, say)
    finally:
        local.close()
        with contextlib.suppress(Exception):  # where the storage is gone, nobody asks
            post.leave()


def _wait_for(storage: BaseStorage, study: str, seconds: float) -> Post:
    until = time.monotonic() + seconds
    while True:
        name = latest_mailbox(storage, study)
        if name is not None:
            post = Post(storage, name, f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:6]}")
            if post.is_open(0):
                return post
        if time.monotonic() > until:
            raise ConfigError(
                f"No search named {study!r} takes workers in this storage. Start one with the same --storage and "
                "--study, and see that it is still running."
            )
        time.sleep(_LOOK)


def _assignment(call: Mapping[str, Any], about: Mapping[str, Any], workers: int, threads: int) -> Assignment:
    """Decode the images of the search here."""
    config = configure(call)
    registry = Registry.load(config.zoos)
    backbones = [registry.backbone(name) for name in about["backbones"]]
    found = prepare_data(examples_of(call), backbones, config)
    if fingerprint(found) != about["data"]:
        raise DataError(
            f"The data of the search are not those in {call['data']}: {len(found.images)} examples are here, and some "
            "are others. Name the folder that has them with --data."
        )
    group_ids = None if about["units"] is None else np.array(about["units"], dtype=np.int64)
    folds = folds_of(found, [np.array(rows, dtype=np.int64) for rows in about["validation"]], group_ids)
    extractor = replace(found.extractor, ahead=about["ahead"], staged=about["staged"])
    return Assignment.of(config, extractor, folds, threads=threads, share=workers)


def _serve(post: Post, local: LocalWorkers, workers: int, say: Callable[[str], None]) -> int:
    """Do jobs until the search is over; return how many."""
    numbers: dict[Job, int] = {}
    done = 0
    while post.is_open(workers):
        while local.free() > 0 and (taken := post.take()) is not None:
            job = _job(post, *taken)
            numbers[job] = taken[0]
            local.submit(job)
        for job, result in local.poll():
            post.tell(numbers.pop(job), result)
            done += 1
    say(f"the search is over; {done} jobs were done here")
    return done


def _job(post: Post, number: int, candidate: Any, until: int | None, expected: float) -> Job:
    return Job(
        candidate=candidate,
        until=until,
        report=lambda epoch, score: post.report(number, epoch, score),
        expired=lambda: post.stopped(number),
        expected=expected,
    )
