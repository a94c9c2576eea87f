"""Linear probes on the features of backbones, against the same architectures with random weights.

python versus_random.py --data data/bccd_cells data/sign_digits data/dtd10 --zoo plugins/backbones/weights

Each folder holds train/ and test/ with a sub-folder per class; scikit-learn's digits come on top.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import common
import numpy as np

from autotransfer.backbones.loaded import LoadedBackbone
from autotransfer.contract.backbone import Backbone
from autotransfer.contract.registry import Registry
from autotransfer.contract.specs import BackboneSpec
from autotransfer.data.examples import Examples
from autotransfer.data.sources import load_examples
from autotransfer.pipeline.prepare import Prepared, prepare_data
from autotransfer.runtime.device import resolve_device
from autotransfer.settings import Compute, Settings


def digits() -> tuple[Examples, Examples]:
    """Return scikit-learn's digits: 1,297 to train on, 500 to test on, as ``autotransfer demo`` has them."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data = load_digits()
    images = np.rint(data.images * (255 / 16)).astype(np.uint8)
    x, x_test, y, y_test = train_test_split(images, data.target, test_size=500, random_state=0, stratify=data.target)
    return load_examples(x, y), load_examples(x_test, y_test)


def accuracy(loaded: LoadedBackbone, train: Prepared, test: Prepared) -> float:
    """Return the test accuracy, in percent, of a ridge probe on the features, its strength chosen by leave-one-out."""
    from sklearn.linear_model import RidgeClassifierCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features, features_test = (data.extractor.pooled(loaded) for data in (train, test))
    probe = make_pipeline(StandardScaler(), RidgeClassifierCV(np.logspace(-1, 4, 11)))
    probe.fit(features, train.folds[0].targets)
    return float(100 * probe.score(features_test, test.folds[0].targets))


def untrained(registry: Registry, spec: BackboneSpec, seed: int) -> BackboneSpec:
    """Return the same architecture with random weights."""
    import torch

    def load(recipe: dict[str, object]) -> Backbone:
        torch.manual_seed(seed)
        return registry.rebuild(recipe)

    return replace(spec, name=f"{spec.name} (random {seed})", load=partial(load, dict(spec.load().recipe)), check=None)


def main() -> None:
    parser = common.parser(__doc__.splitlines()[0], several=True)
    parser.add_argument("--seeds", type=int, default=3, help="random networks of each backbone (default: 3)")
    given = parser.parse_args()
    registry, device = Registry.load((given.zoo,)), resolve_device("auto")
    specs = [registry.backbone(folder.name) for folder in sorted(given.zoo.iterdir()) if folder.is_dir()]
    settings = Settings(compute=Compute(cache=False))
    sets = {folder.name: tuple(load_examples(folder / part) for part in ("train", "test")) for folder in given.data}
    rows: list[dict[str, object]] = []
    for name, parts in {**sets, "digits": digits()}.items():
        train, test = (prepare_data(part, specs, settings) for part in parts)
        for spec in specs:
            trained = accuracy(LoadedBackbone(spec, device), train, test)
            networks = [untrained(registry, spec, seed) for seed in range(given.seeds)]
            random = [accuracy(LoadedBackbone(each, device), train, test) for each in networks]
            common.note(
                rows,
                **{
                    "data": name,
                    "backbone": spec.name,
                    "trained, %": trained,
                    "random, mean %": float(np.mean(random)),
                    "random, best %": float(np.max(random)),
                    "gain, points": trained - float(np.mean(random)),
                },
            )
    common.finish(rows, given.out)


if __name__ == "__main__":
    main()
