"""What a trial costs at each freeze depth: the first, the next, and the same without any cache; and the scores.

python trial_cost.py --data ants_bees/train --zoo zoo/timm --model mobilenetv2_100_224
"""

from __future__ import annotations

import math
import tempfile
import time
from pathlib import Path

import common

from autotransfer.candidate import Candidate
from autotransfer.contract.registry import Registry
from autotransfer.data.sources import load_examples
from autotransfer.evaluation.evaluator import Evaluator
from autotransfer.features.cache import ActivationCache
from autotransfer.features.extractor import FeatureExtractor
from autotransfer.pipeline.prepare import prepare_data
from autotransfer.runtime.device import resolve_device
from autotransfer.runtime.memory import memory_budget
from autotransfer.settings import Compute, DataOptions, Settings
from autotransfer.training.inputs import InputFeed


def never(*_: object) -> bool:
    return False


def uncached(evaluator: Evaluator, candidate: Candidate) -> tuple[float, float]:
    """Train a candidate with every image passing through the whole backbone in every epoch."""
    setup = evaluator.setup(candidate)
    begin = time.perf_counter()
    training = setup.training(evaluator.extractor, evaluator.folds[0], evaluator.device, 0)
    feed = InputFeed(evaluator.extractor.store, "none", evaluator.device.torch)
    training.feed = lambda depth: feed
    training.run(setup.settings.epochs, never, never)
    return time.perf_counter() - begin, training.best_score


def candidates(model: str, stages: int, epochs: int) -> dict[str, Candidate]:
    """Return what is compared: heads on a backbone that is frozen as a whole, then each depth from the head down."""
    training = {"epochs": epochs, "augmentation": "none"}
    made = {
        "all, logistic head": Candidate(backbone=model, freeze="frozen", head="logistic"),
        "all, linear head": Candidate(backbone=model, freeze="frozen", head="linear", training=training),
    }
    for depth in range(stages - 1, 0, -1):
        made[f"{depth} of {stages}, linear head"] = Candidate(
            backbone=model, freeze="depth", freeze_params={"depth": depth}, head="linear", training=training
        )
    return made


def main() -> None:
    arguments = common.parser(__doc__.splitlines()[0])
    arguments.add_argument("--model", default="mobilenetv2_100_224")
    arguments.add_argument("--epochs", type=int, default=5)
    given = arguments.parse_args()
    registry = Registry.load((given.zoo,))
    rows = []
    settings = Settings(data_options=DataOptions(folds=1), compute=Compute(cache=False))
    data = prepare_data(load_examples(given.data), [registry.backbone(given.model)], settings)
    evaluator = Evaluator(registry, data.extractor, data.folds, resolve_device("cpu"), seed=0)
    for name, candidate in candidates(given.model, len(evaluator.stages(given.model)), given.epochs).items():
        with tempfile.TemporaryDirectory() as folder:
            # A fresh cache: the first trial pays for its prefix from the images on.
            cache = ActivationCache(Path(folder), memory_limit=memory_budget(None))
            evaluator.context.extractor = FeatureExtractor(store=data.store, cache=cache)
            seconds, scores = [], []
            for _ in range(3):
                begin = time.perf_counter()
                scores.append(evaluator(candidate, never, never).score)
                seconds.append(time.perf_counter() - begin)
            following = common.median(seconds[1:])
            closed = not candidate.training  # nothing to compare it with: it is made for cached features
            plain, plain_score = (math.nan, math.nan) if closed else uncached(evaluator, candidate)
            common.note(
                rows,
                **{
                    "frozen stages": name,
                    "first (s)": seconds[0],
                    "following (s)": following,
                    "uncached (s)": plain,
                    "following / first": following / seconds[0],
                    "following / uncached": following / plain,
                    "score": scores[-1],
                    "uncached score": plain_score,
                },
            )
    common.finish(rows, given.out)


if __name__ == "__main__":
    main()
