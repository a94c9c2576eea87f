"""Images a second of feature extraction, against the plain way; alternating runs, median ratio.

    python throughput.py --data ants_bees/train --zoo zoo/timm --models mobilenetv1_100_224 vit_tiny_patch16_224

The plain way is what a careful user writes: a timm model in eval and inference mode, float32, default memory format,
timm's own transform, a DataLoader. It runs in a process of its own, so that no setting of ours reaches it. Both read
the same files; a model that the zoo lacks gets random weights.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import common
import numpy as np
import timm
import torch
from PIL import Image
from timm.models import save_for_hf

from autotransfer.backbones.loaded import LoadedBackbone
from autotransfer.contract.registry import Registry
from autotransfer.data.sources import load_examples
from autotransfer.features.cache import ActivationCache
from autotransfer.features.extractor import FeatureExtractor
from autotransfer.runtime.device import resolve_device
from autotransfer.runtime.memory import keep_freed_memory
from autotransfer_plugins.modalities.image.decode import decode


class Files(torch.utils.data.Dataset):
    """Image files, decoded and transformed one by one."""

    def __init__(self, paths: list[Path], transform: object) -> None:
        self.paths, self.transform = paths, transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> torch.Tensor:
        return self.transform(Image.open(self.paths[i]).convert("RGB"))


def plain(folder: str, paths: list[Path], workers: int, connection: Connection) -> None:
    """Extract the features each time that it is asked to, and send the seconds and the features."""
    model = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    while connection.recv():
        begin = time.perf_counter()
        loader = torch.utils.data.DataLoader(Files(paths, transform), batch_size=32, num_workers=workers)
        with torch.inference_mode():
            features = torch.cat([model(batch) for batch in loader]).numpy()
        connection.send((time.perf_counter() - begin, features))


@contextmanager
def plain_process(*arguments: object) -> Iterator[Connection]:
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=plain, args=(*arguments, there))
    process.start()
    yield here
    here.send(False)
    process.join()


def ours(loaded: LoadedBackbone, data: Path) -> tuple[np.ndarray, float]:
    """Return the features, and the seconds that were not forward passes."""
    begin = time.perf_counter()
    how = loaded.backbone.preprocessing
    images = decode(load_examples(data), {how.crop_mode: how.resized})
    before = time.perf_counter() - begin
    extractor = FeatureExtractor(store=images, cache=ActivationCache(None, memory_limit=2**30))
    return extractor.pooled(loaded), before


def main() -> None:
    arguments = common.parser(__doc__.splitlines()[0])
    arguments.add_argument("--models", nargs="+", default=["mobilenetv1_100_224", "vit_tiny_patch16_224"])
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--workers", type=int, default=0, help="worker processes of the plain DataLoader")
    given = arguments.parse_args()
    paths, device, rows = list(load_examples(given.data).items), resolve_device("cpu"), []
    with tempfile.TemporaryDirectory() as folder:
        for name in given.models:
            if not (given.zoo / name).is_dir():
                save_for_hf(timm.create_model(name), f"{folder}/{name}", safe_serialization=True)
            zoo = given.zoo if (given.zoo / name).is_dir() else Path(folder)
            loaded = LoadedBackbone(Registry.load((zoo,)).backbone(name), device)
            seconds: dict[str, list[float]] = {"plain": [], "ours": [], "around": []}
            assert loaded.fast  # made once, as the plain model is
            with plain_process(str(zoo / name), paths, given.workers) as process, keep_freed_memory():
                for _ in range(given.rounds):
                    process.send(True)
                    taken, expected = process.recv()
                    seconds["plain"].append(taken)
                    begin = time.perf_counter()
                    features, before = ours(loaded, given.data)
                    seconds["ours"].append(time.perf_counter() - begin)
                    seconds["around"].append(before)
            ratios = [a / b for a, b in zip(seconds["plain"], seconds["ours"], strict=True)]
            shares = [1 - a / b for a, b in zip(seconds["around"], seconds["ours"], strict=True)]
            cosine = (
                np.sum(features * expected, 1) / np.linalg.norm(features, axis=1) / np.linalg.norm(expected, axis=1)
            )
            rows.append(
                {
                    "model": name,
                    "images": len(paths),
                    "plain images/s": len(paths) / common.median(seconds["plain"]),
                    "ours images/s": len(paths) / common.median(seconds["ours"]),
                    "median ratio": common.median(ratios),
                    "share of forward passes": common.median(shares),
                    "lowest cosine": float(cosine.min()),
                }
            )
    common.finish(rows, given.out)


if __name__ == "__main__":
    main()
