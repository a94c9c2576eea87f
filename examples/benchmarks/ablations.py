"""What each part of the search brings: the same fits without it.

    python ablations.py --data ants_bees dtd10 --zoo zoo/timm --seconds 60 --seeds 3

Each fit runs in a process of its own, with an empty cache. Differences are to the fit as it is of the same data set and
seed.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import common
import numpy as np
import optuna

import autotransfer.pipeline.prepare_search
import autotransfer.pipeline.resume
import autotransfer.pipeline.select
from autotransfer.contract.specs import HeadSpec
from autotransfer.evaluation.evaluator import Evaluator
from autotransfer.features.cache import ActivationCache
from autotransfer.search.belief import CurveModel
from autotransfer.search.prior import Prior
from autotransfer.search.proposal import Proposal
from autotransfer.search.sources.fine_tuning import FineTuning
from autotransfer.search.sources.frozen_heads import FrozenHeads
from autotransfer.search.sources.sampled_tuning import SampledTuning
from autotransfer.search.sources.variants import Variants
from autotransfer.search.space import SearchSpace
from autotransfer.search.strategy import Strategy

Switch = AbstractContextManager[Any]


def without_screening() -> Switch:
    """Offer no frozen candidate, neither variants nor other heads of one: trainings begin at once."""
    return patch.object(SearchSpace, "freezing", None)


def without_prior() -> Switch:
    """Take nothing from recorded curves: what an arm shows early says nothing of its end, nor of others."""
    known = Prior.load()
    rungs = len(known.curves.rungs)
    nothing = CurveModel(
        rungs=known.curves.rungs, own=np.eye(rungs), shared=np.zeros((rungs, rungs)), growth=(1.0,) * rungs
    )
    return patch.object(Prior, "load", lambda: replace(known, curves=nothing))


def without_stages() -> Switch:
    """Offer no head on what all stages of a backbone give."""
    offer = autotransfer.pipeline.prepare_search.offered_heads

    def pooled(*arguments: Any) -> list[HeadSpec]:
        return [head for head in offer(*arguments) if head.features != "stages"]

    return patch.object(autotransfer.pipeline.prepare_search, "offered_heads", pooled)


def without_sample() -> Switch:
    """Let all images pass through every backbone: none is judged by a sample first."""
    return patch.object(autotransfer.pipeline.prepare_search, "draw", lambda *arguments: None)


def without_cache() -> Switch:
    """Forget all activations before each trial: it computes its own, once."""

    def forgetting(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(evaluator: Evaluator, *arguments: Any, **named: Any) -> Any:
            empty = ActivationCache(None, memory_limit=evaluator.extractor.cache.memory_limit)
            evaluator.context.extractor = replace(evaluator.extractor, cache=empty)
            return method(evaluator, *arguments, **named)

        return call

    return patch.multiple(
        Evaluator,
        __call__=forgetting(Evaluator.__call__),
        predicted_seconds=forgetting(Evaluator.predicted_seconds),
    )


@contextmanager
def without_pauses() -> Iterator[None]:
    """Train every trial to its end: none is stopped for being poor, none is paused for another."""

    def to_the_end(strategy: Strategy, *arguments: Any) -> Proposal | None:
        proposal = following(strategy, *arguments)
        return None if proposal is None else replace(proposal, until=None)

    following = Strategy.next
    with ExitStack() as stack:
        stack.enter_context(patch.object(Strategy, "next", to_the_end))
        stack.enter_context(_study(lambda study, seed: setattr(study, "pruner", optuna.pruners.NopPruner())))
        yield


def random_sampler() -> Switch:
    """Sample what the schedule leaves open at random."""
    return _study(lambda study, seed: setattr(study, "sampler", optuna.samplers.RandomSampler(seed)))


def _study(change: Callable[[optuna.Study, int], None]) -> Switch:
    make = autotransfer.pipeline.resume.make_study

    def make_changed(*, seed: int, **settings: Any) -> optuna.Study:
        study = make(seed=seed, **settings)
        change(study, seed)
        return study

    return patch.object(autotransfer.pipeline.resume, "make_study", make_changed)


def without(source: type[Any]) -> Callable[[], Switch]:
    """Return what lets a source offer nothing."""
    return lambda: patch.object(source, "proposals", lambda source, state: ())


def without_ensembles() -> Switch:
    """Let the best candidate alone be the model."""
    return patch.object(autotransfer.pipeline.select, "choose_ensemble", lambda *arguments: None)


ABLATIONS: dict[str, Callable[[], Switch]] = {
    "as it is": nullcontext,
    "without screening": without_screening,
    "without variants": without(Variants),
    "without frozen heads": without(FrozenHeads),
    "without fine-tuning": without(FineTuning),
    "without sampled tuning": without(SampledTuning),
    "without sample": without_sample,
    "without stages": without_stages,
    "without prior of curves": without_prior,
    "without cache": without_cache,
    "without pauses": without_pauses,
    "random sampler": random_sampler,
    "without ensembles": without_ensembles,
}


# What is taken away of the sources of proposals.
SOURCES = {
    "without screening": "screening",
    "without variants": "variants",
    "without frozen heads": "frozen_heads",
    "without fine-tuning": "fine_tuning",
    "without sampled tuning": "sampled_tuning",
}


def fit(ablation: str, data: Path, zoo: Path, **settings: Any) -> dict[str, Any]:
    with ABLATIONS[ablation]():
        return common.fit(data, zoo, **settings)


def row(ablation: str, fits: list[dict[str, Any]], whole: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the means over fits; those of ``whole`` are of the same data sets and seeds, in order.

    Of a source of proposals, ``used`` and ``won`` are the shares of whole fits that have tried what it proposed, and
    whose best trial is one of these.
    """
    points = [100 * (one["test"] - other["test"]) for one, other in zip(fits, whole, strict=True)]
    means = {name: statistics.mean(one[name] for one in fits) for name in ("validation", "test", "seconds", "trials")}
    error = statistics.stdev(points) / math.sqrt(len(points)) if len(points) > 1 else math.nan
    source = SOURCES.get(ablation, "")
    return {
        "search": ablation,
        "used": statistics.mean(source in one["sources"] for one in whole) if source else math.nan,
        "won": statistics.mean(source == one["winner"] for one in whole) if source else math.nan,
        **means,
        "test difference (points)": statistics.mean(points),
        "its standard error": error,
        "fits": len(fits),
    }


def main() -> None:
    arguments = common.parser(__doc__.splitlines()[0], several=True)
    budget = arguments.add_mutually_exclusive_group(required=True)
    budget.add_argument("--seconds", type=float, help="time budget of each fit")
    budget.add_argument("--trials", type=int, help="trial budget of each fit")
    arguments.add_argument("--seeds", type=int, default=3, help="fits of each data set")
    arguments.add_argument("--only", nargs="+", choices=ABLATIONS, default=list(ABLATIONS))
    given = arguments.parse_args()
    settings = {"time_budget": given.seconds, "trials": given.trials}
    rows: list[dict[str, Any]] = []
    whole: list[dict[str, Any]] = []
    for ablation in dict.fromkeys(["as it is", *given.only]):
        fits = [
            common.call_in_own_process(fit, ablation, data, given.zoo, seed=seed, **settings)
            for data in given.data
            for seed in range(given.seeds)
        ]
        whole = whole or fits
        common.note(rows, **row(ablation, fits, whole))
    common.finish(rows, given.out)


if __name__ == "__main__":
    main()
