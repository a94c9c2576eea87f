"""Accuracy of linear probes on features of the fast path against those of a plain float32 pass, on the same pixels.

python probe_accuracy.py --data data/ants_bees data/dtd10 --zoo zoo/timm

Each folder holds train/ and test/ with a sub-folder per class.
"""

from __future__ import annotations

import common
import numpy as np

from autotransfer.backbones.loaded import LoadedBackbone
from autotransfer.contract.registry import Registry
from autotransfer.data.sources import load_examples
from autotransfer.pipeline.prepare import Prepared, prepare_data
from autotransfer.runtime.device import resolve_device
from autotransfer.settings import Compute, Settings
from autotransfer_plugins.modalities.image.batches import prepare


def plain(data: Prepared, loaded: LoadedBackbone) -> np.ndarray:
    """Return pooled features (N, width) of a float32 pass."""
    import torch

    how, parts = loaded.backbone.preprocessing, []
    pixels = data.store.pixels[how.crop_mode]
    with torch.inference_mode():
        for start in range(0, len(pixels), 32):
            parts.append(loaded.backbone(prepare(pixels[start : start + 32], how, loaded.device.torch)).cpu().numpy())
    return np.concatenate(parts)


def main() -> None:
    import torch
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    arguments = common.parser(__doc__.splitlines()[0], several=True)
    given = arguments.parse_args()
    registry, device = Registry.load((given.zoo,)), resolve_device("auto")
    specs = [registry.backbone(folder.name) for folder in sorted(given.zoo.iterdir()) if folder.is_dir()]
    settings = Settings(compute=Compute(cache=False))
    rows = []
    for folder in given.data:
        train, test = (prepare_data(load_examples(folder / part), specs, settings) for part in ("train", "test"))
        found: dict[str, list[float]] = {"fast": [], "float32": [], "cosine": []}
        for spec in specs:
            loaded = LoadedBackbone(spec, device)
            fast = [data.extractor.pooled(loaded) for data in (train, test)]
            exact = [plain(data, loaded) for data in (train, test)]
            for name, (x, x_test) in (("fast", fast), ("float32", exact)):
                probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
                probe.fit(x, train.folds[0].targets)
                found[name].append(100 * probe.score(x_test, test.folds[0].targets))
            alike = torch.nn.functional.cosine_similarity(torch.from_numpy(fast[1]), torch.from_numpy(exact[1]))
            found["cosine"].append(float(alike.min()))
        difference = np.array(found["fast"]) - np.array(found["float32"])
        common.note(
            rows,
            **{
                "data": folder.name,
                "test images": len(test.store),
                "backbones": len(specs),
                "fast, mean %": float(np.mean(found["fast"])),
                "float32, mean %": float(np.mean(found["float32"])),
                "mean difference": float(difference.mean()),
                "largest difference": float(np.abs(difference).max()),
                "lowest cosine": min(found["cosine"]),
            },
        )
    common.finish(rows, given.out)


if __name__ == "__main__":
    main()
