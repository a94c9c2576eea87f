"""One candidate, trained and scored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from autotransfer.backbones.loaded import LoadedBackbone
from autotransfer.candidate import Candidate
from autotransfer.contract.registry import Registry
from autotransfer.evaluation.evaluator import Evaluator
from autotransfer.evaluation.setup import Setup
from autotransfer.model.transfer_model import TransferModel
from autotransfer.pipeline.calls import examples_of, share_of
from autotransfer.pipeline.prepare import prepare_data, task_of
from autotransfer.pipeline.select import as_model
from autotransfer.runtime.device import resolve_device
from autotransfer.runtime.library_defaults import default_settings
from autotransfer.runtime.memory import keep_freed_memory
from autotransfer.settings import Budget, Folders, SearchConfig, zoos_from
from autotransfer.tasks.score import Score
from autotransfer.tasks.task import Kind

__all__ = ["EvaluationResult", "evaluate"]


@dataclass(frozen=True, kw_only=True)
class EvaluationResult:
    """One candidate, trained.

    Attributes:
        score: Score on the validation examples, of the best epoch.
        model: The network of that epoch, as a model.
    """

    score: Score
    model: TransferModel


@default_settings()
def evaluate(
    candidate: Candidate,
    data: Any,
    targets: Any = None,
    *,
    groups: Any = None,
    value_range: tuple[float, float] | None = None,
    zoo: Folders | None = None,
    task: Kind | None = None,
    metric: str | Callable[..., Any] | None = None,
    positive_class: Any = None,
    class_weight: Literal["balanced"] | Mapping[Any, float] | None = None,
    validation: Any = 0.25,
    validation_targets: Any = None,
    seed: int = 0,
    device: str = "auto",
    cache: bool = True,
    cache_dir: str | Path | None = None,
) -> EvaluationResult:
    """Train exactly one candidate and score it; the arguments are those of ``fit``.

    Example:
        The classic recipe, a frozen VGG16 under a new top::

            candidate = Candidate(
                backbone="vgg16.tv_in1k",
                freeze="frozen",
                head="mlp",
                head_params={"pooling": "flatten", "layers": 1, "width": 1024, "dropout": 0.0},
                training={"optimizer": "adam", "lr": 1e-3, "schedule": "constant", "epochs": 10, "batch_size": 32},
            )
            autotransfer.evaluate(candidate, "photos/train").score
    """
    arguments = dict(locals())
    config = SearchConfig(
        budget=Budget(),
        zoos=zoos_from(zoo),
        task=task,
        metric=metric,
        positive_class=positive_class,
        value_range=value_range,
        class_weight=class_weight,
        validation=share_of(validation),
        folds=1,
        seed=seed,
        device=device,
        cache=cache,
        cache_dir=Path(cache_dir) if cache_dir is not None else None,
    )
    registry = Registry.load(config.zoos)
    spec = registry.backbone(candidate.backbone)
    registry.head(candidate.head), registry.policy(candidate.freeze)
    examples, where = examples_of(arguments), resolve_device(device)
    kind = task_of(examples, config)
    loaded = LoadedBackbone(spec, where)
    Setup.of(candidate, loaded, registry, kind).head_size(kind)  # builds all that it names: wrong settings show here
    prepared = prepare_data(examples, [spec], config)
    evaluator = Evaluator(registry, prepared.extractor, prepared.folds, where, seed=seed, loaded=[loaded])
    fold = prepared.folds[0]
    with keep_freed_memory():
        network, predictions = evaluator.best_network(candidate)
    return EvaluationResult(
        score=Score.of(
            fold.task, fold.targets[fold.validation_rows], predictions, fold.group_ids_of(fold.validation_rows)
        ),
        model=as_model(network, candidate, prepared, evaluator),
    )
