"""One candidate, trained and scored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from autotransfer.backbones.loaded import LoadedBackbone
from autotransfer.candidate import Candidate
from autotransfer.contract.registry import Registry
from autotransfer.evaluation.evaluator import Evaluator
from autotransfer.evaluation.setup import Setup
from autotransfer.model.transfer_model import TransferModel
from autotransfer.pipeline.finish import as_model
from autotransfer.pipeline.load_data import load_data
from autotransfer.pipeline.prepare import prepare_data, task_of
from autotransfer.runtime.device import resolve_device
from autotransfer.runtime.library_defaults import default_settings
from autotransfer.runtime.memory import keep_freed_memory
from autotransfer.settings import Compute, DataArguments, DataOptions, Folders, SearchOptions, Settings, refuse_unused
from autotransfer.tasks.score import Score

__all__ = ["EvaluationResult", "evaluate"]


# Options that have an effect: there are no test examples, and there is one split.
_DATA_OPTIONS = {each.name for each in fields(DataOptions)} - {"test_targets", "test_sample_weight", "folds"}


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
    zoo: Folders | None = None,
    metric: str | Callable[..., Any] | None = None,
    class_weight: Literal["balanced"] | Mapping[Any, float] | None = None,
    seed: int = 0,
    data_options: DataOptions = DataOptions(),
    compute: Compute = Compute(),
) -> EvaluationResult:
    """Train exactly one candidate and score it on one split; the arguments are those of ``fit``.

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
    refuse_unused(data_options, _DATA_OPTIONS)
    refuse_unused(compute, ("device", "cache", "cache_dir", "memory_limit"))
    on_one_split, search = replace(data_options, folds=1), SearchOptions(class_weight=class_weight)
    settings = Settings(zoo=zoo, metric=metric, seed=seed, data_options=on_one_split, search=search, compute=compute)
    registry = Registry.load(settings.zoos)
    spec = registry.backbone(candidate.backbone)
    registry.head(candidate.head), registry.policy(candidate.freeze)
    examples, _ = load_data(DataArguments(data=data, targets=targets), data_options)
    where, kind = resolve_device(compute.device), task_of(examples, settings)
    loaded = LoadedBackbone(spec, where)
    Setup.of(candidate, loaded, registry, kind).head_size(kind)  # builds all that it names: wrong settings show here
    prepared = prepare_data(examples, [spec], settings)
    evaluator = Evaluator(registry, prepared.extractor, prepared.folds, where, seed=seed, loaded=[loaded])
    fold = prepared.folds[0]
    with keep_freed_memory():
        network, predictions = evaluator.best_network(candidate)
    rows = fold.validation_rows
    return EvaluationResult(
        score=Score.of(fold.task, fold.targets[rows], predictions, fold.group_ids_of(rows), fold.weights_of(rows)),
        model=as_model(network, candidate, prepared, evaluator, predictions),
    )
