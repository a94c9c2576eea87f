"""Distillation of a model, or of several models, into one small model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from autotransfer.candidate import Candidate
from autotransfer.contract.backbone import Backbone
from autotransfer.contract.registry import Registry
from autotransfer.data.examples import Examples
from autotransfer.data.sources import find_examples
from autotransfer.errors import ConfigError, DataError
from autotransfer.model.ensemble_member import EnsembleMember
from autotransfer.model.scoring import labelled_examples, score_predictions
from autotransfer.model.transfer_model import TransferModel
from autotransfer.pretraining.dataset import PretrainingData, prepare_pretraining_data
from autotransfer.pretraining.losses import Objective, from_answers
from autotransfer.pretraining.teacher import explained_variance
from autotransfer.pretraining.trainer import PretrainingSettings, PretrainingTrainer, Student, training_length
from autotransfer.run.progress import Progress
from autotransfer.run.result import FitResult
from autotransfer.runtime.device import Device, resolve_device
from autotransfer.runtime.library_defaults import default_settings
from autotransfer.runtime.memory import keep_freed_memory
from autotransfer.settings import (
    Budget,
    Compute,
    DataOptions,
    DistillOptions,
    Folders,
    RunOptions,
    TrainingOptions,
    zoos_from,
)
from autotransfer.tasks.score import Score, format_score
from autotransfer.tasks.task import Task
from autotransfer.training.network import Network

__all__ = ["DistillResult", "distill", "train_student"]

# Defaults of learning rate and batch size; a student learns predictions in smaller steps than labels. Tuned on digits.
_LR, _BATCH_SIZE = 1e-3, 64
EPOCH_LINES = 30  # lines that a training prints: small students may take hundreds of epochs

Models = FitResult | TransferModel | Sequence[FitResult | TransferModel]


@dataclass(frozen=True, kw_only=True)
class DistillResult:
    """The student model, and its comparison with the teacher.

    Attributes:
        model: The student.
        agreement: Share of the validation examples on which the student predicts the teacher's class, of several labels
            the share of equal decisions; for a regression, the share of the variance of the teacher's values that the
            student predicts, NaN where these do not vary, as for one example.
        teacher: Score of the teacher on the test examples; None without test examples.
        student: Score of the student on the test examples; None without test examples.
        parameters: Number of parameters of the teacher, all models together, and of the student.
        epochs: Number of training epochs.
        seconds: Training time in seconds.
    """

    model: TransferModel
    agreement: float
    teacher: Score | None
    student: Score | None
    parameters: tuple[int, int]
    epochs: int
    seconds: float

    @property
    def lost(self) -> float | None:
        """Score of the teacher less the score of the student on the test examples; None without test examples."""
        return self.teacher.score - self.student.score if self.teacher and self.student else None

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON; NaN becomes null."""
        return {
            "agreement": None if math.isnan(self.agreement) else self.agreement,
            "teacher": self.teacher.to_json() if self.teacher else None,
            "student": self.student.to_json() if self.student else None,
            "lost": self.lost,
            "parameters": list(self.parameters),
            "epochs": self.epochs,
            "seconds": self.seconds,
        }

    def __str__(self) -> str:
        before, after = self.parameters
        lines = [f"model       {self.model.members[0].candidate.backbone}: {after:,} parameters of {before:,}"]
        if not math.isnan(self.agreement):
            lines.append(f"agreement   {self.agreement:.1%} with the teacher on validation examples")
        if self.teacher and self.student and self.lost is not None:
            teacher, lost = format_score(self.teacher.score), format_score(self.lost, self.teacher.score)
            lines.append(
                f"test        {self.student.metric} {format_score(self.student.score)}; the teacher's is {teacher}, "
                f"{lost} are lost ({self.student.examples} examples)"
            )
        return "\n".join(lines)


@default_settings()
def distill(
    result: Models,
    data: Any = None,
    *,
    architecture: str,
    test: Any = None,
    test_targets: Any = None,
    epochs: int | None = None,
    time_budget: str | float | None = None,
    zoo: Folders | None = None,
    seed: int = 0,
    training: TrainingOptions = TrainingOptions(),
    compute: Compute = Compute(),
    data_options: DataOptions = DataOptions(),
    run: RunOptions = RunOptions(),
) -> DistillResult:
    """Distil a model, or the mean of several models, into one small model (Hinton et al., 2015).

    Teacher and student share no parameters, so their architectures are independent. The student learns the teacher's
    predictions only, so examples need no labels.

    Args:
        result: Result of ``fit``, a model, or several of these, whose mean prediction is learned.
        data: Examples and folders to train on; None takes those of the search. Labels are ignored.
        architecture: Name of a backbone as a search takes it, also ``NAME@FORM`` or a path, which starts from its
            weights and is fitted to the examples as in a search; or of an architecture that a plugin knows, such as one
            of timm's, which starts from random weights or from what ``Backbone.start_from`` takes of the teacher.
        test: Labelled examples to compare teacher and student on; None takes the test examples of the search.
        test_targets: Targets of the test examples, where ``test`` does not hold them.
        epochs: Passes over the examples; 30 without ``time_budget``.
        time_budget: Training time in place of ``epochs``, as ``"5m"`` or in seconds.
        zoo: Folders of checkpoints that may hold the backbone; None takes ``AUTOTRANSFER_ZOO``.
        seed: Seed of the initial weights, the split and the training.
        training: Training settings, and the share of the examples that is held out for validation.
        data_options: ``input_column``, ``path_column`` and ``target_column`` of tables; no other option has an effect.
        compute: ``device``; no other option has an effect.
        run: ``progress``; the command line has ``overwrite``, too.

    Raises:
        ConfigError: A setting is wrong, or the tasks of the models differ.
        DataError: The examples cannot be used, or there are no examples.
        TrialError: The training diverged.
    """
    groups: dict[str, Any] = {"training": training, "data_options": data_options, "compute": compute, "run": run}
    DistillOptions(architecture=architecture, epochs=epochs, time_budget=time_budget, zoo=zoo, seed=seed, **groups)
    length = training_length(epochs, time_budget)
    settings = PretrainingSettings.of(training, **length, lr=_LR, batch_size=_BATCH_SIZE, seed=seed)
    results, models = _teachers(result)
    settings = settings.for_modality(models[0].modality)
    examples, test_examples = _examples(results, models[0], data, test, test_targets, data_options)
    registry, where = Registry.load(zoos_from(zoo)), resolve_device(compute.device)
    where.seed(seed)
    net, name = _student(registry, architecture, training.input_size, models[0], examples)
    with keep_freed_memory(), Progress(Budget(), shown=run.progress) as progress:
        done = _train(net, name, models, examples, training.validation, settings, registry, where, progress)
        if test_examples is not None:
            progress.phase(f"comparing on {len(test_examples)} test examples")
        return _compared(models, *done, test_examples)


def _teachers(result: Models) -> tuple[list[FitResult | TransferModel], list[TransferModel]]:
    """Return results as a list, and their models.

    Raises:
        ConfigError: Their tasks differ.
    """
    results = list(result) if isinstance(result, Sequence) else [result]
    models = [each.model if isinstance(each, FitResult) else each for each in results]
    _check_same_task(models)
    return results, models


def _train(
    backbone: Backbone,
    name: str,
    teachers: Sequence[TransferModel],
    examples: Examples,
    share: float,
    settings: PretrainingSettings,
    registry: Registry,
    device: Device,
    progress: Progress,
) -> tuple[TransferModel, PretrainingTrainer, float]:
    """Train a student on the predictions of its teachers; return it, its trainer and its agreement with them."""
    task = teachers[0].task
    dataset = prepare_pretraining_data(
        Examples(items=examples.items, names=examples.names, modality=teachers[0].modality),
        [backbone.preprocessing],
        share=share,
        seed=settings.seed,
        progress=progress,
        reading=teachers[0].reading,
    )
    progress.phase(f"predicting {len(examples)} examples with the teacher")
    predictions = _mean_predictions(teachers, examples)
    objective, standardisation = _teacher_objective(task, predictions, dataset, device)
    model, trainer = train_student(
        backbone, name, task, objective, dataset, settings, registry, device, progress, standardisation
    )
    expected = predictions[dataset.validation_rows]
    return model, trainer, _agreement(task, model.predict_store(dataset.held_out), expected)


def _compared(
    teachers: Sequence[TransferModel],
    model: TransferModel,
    trainer: PretrainingTrainer,
    agreement: float,
    test: Examples | None,
) -> DistillResult:
    """Score student and teachers on the test examples, if there are any."""
    return DistillResult(
        model=model,
        agreement=agreement,
        teacher=None if test is None else _score(model.task, test, teachers),
        student=None if test is None else _score(model.task, test, [model]),
        parameters=(sum(map(_size, teachers)), _size(model)),
        epochs=trainer.epoch,
        seconds=round(trainer.seconds, 1),
    )


def train_student(
    backbone: Backbone,
    name: str,
    task: Task,
    objective: Objective,
    dataset: PretrainingData,
    settings: PretrainingSettings,
    registry: Registry,
    device: Device,
    progress: Progress,
    standardisation: tuple[Any, Any] = (0.0, 1.0),
) -> tuple[TransferModel, PretrainingTrainer]:
    """Train all stages of a backbone and a linear head on one objective.

    Args:
        backbone: The backbone.
        name: Name of the backbone in the model.
        task: The task.
        objective: The objective.
        dataset: The examples.
        settings: Training settings.
        registry: Registry that holds the linear head.
        device: Device of the training.
        progress: Shows each epoch.
        standardisation: Mean and standard deviation of the targets of a regression.

    Returns:
        The model and its trainer.
    """
    student = Student(backbone, {objective.head: registry.head("linear").build((backbone.width,), task.outputs, {})})
    progress.phase(f"training {name} on {len(dataset.train_rows)} examples")
    trainer = PretrainingTrainer(student, dataset.store, dataset.train_rows, [objective], settings, device)
    shown = 0

    def show(epoch: int, loss: float) -> None:
        nonlocal shown
        if int(trainer.done * EPOCH_LINES) > shown or epoch <= 1:
            shown = int(trainer.done * EPOCH_LINES)
            progress.print(f"epoch {epoch}: loss {loss:.4f}, {trainer.done:.0%} done")

    trainer.run(show)
    learned = trainer.learned
    network = Network(learned.backbone, learned.heads[objective.head], (backbone.width,), *standardisation)
    training = {"lr": settings.lr, "batch_size": settings.batch_size, "epochs": max(trainer.epoch, 1)}
    member = EnsembleMember(
        network=device.place(network.eval().requires_grad_(False)),
        candidate=Candidate(backbone=name, freeze="full", training=training),
        autocast=settings.half and device.half is not None,
    )
    model = TransferModel(
        members=(member,),
        task=task,
        modality=dataset.store.modality,
        reading=dataset.store.reading,
        device=device,
    )
    return model, trainer


def _teacher_objective(
    task: Task, predictions: np.ndarray, dataset: PretrainingData, device: Device
) -> tuple[Objective, tuple[Any, Any]]:
    """Return the objective that matches the teacher's predictions (N, outputs), and their mean and deviation."""
    if task.kind != "regression":
        return from_answers(task, predictions, device.torch), (0.0, 1.0)
    train = predictions[dataset.train_rows]
    shift, spread = train.mean(0), train.std(0)
    scale = np.where(spread > 0, spread, 1.0)
    learned = np.asarray((predictions - shift) / scale, dtype=np.float32)
    return from_answers(task, learned, device.torch), (shift, scale)


def _student(
    registry: Registry, name: str, input_size: int | None, teacher: TransferModel, examples: Examples
) -> tuple[Backbone, str]:
    """Return a backbone with its weights, or an architecture with initial weights, and its name.

    Raises:
        ConfigError: The name is unknown, or an input size is given for a backbone with weights.
    """
    learned, modality = teacher.members[0].network.backbone, teacher.modality
    # Before a name is resolved: timm resolves the name of an architecture to weights that it would fetch.
    about = {"architecture": name, "input_size": input_size, "classes": 0, "teacher": learned}
    if name not in registry.backbones and (recipe := registry.first("outline_backbone", Mapping, **about)) is not None:
        student = registry.rebuild(recipe)
        student.start_from(learned)
        return student, name
    spec = registry.backbone(name, modality=modality.name)
    if input_size is not None:
        raise ConfigError(f"The backbone {name!r} has an input size of its own: leave input_size out.")
    options = {key: value for key, value in teacher.reading.items() if key in modality.options and value is not None}
    (spec,) = modality.fitted([spec], examples.items, options)
    return spec.load(), spec.name


def _check_same_task(models: Sequence[TransferModel]) -> None:
    """Refuse models that cannot teach together.

    Raises:
        ConfigError: There is no model, or the tasks differ.
    """
    if not models:
        raise ConfigError("There is no model to learn from.")
    task = models[0].task
    for other in (model.task for model in models[1:]):
        if (other.kind, other.classes, other.width) != (task.kind, task.classes, task.width):
            raise ConfigError(f"The models predict different things: {task.kind} {task.classes} and {other}.")
        if other.target_names and task.target_names and other.target_names != task.target_names:
            names = [list(one.target_names) for one in (task, other)]
            raise ConfigError(f"The models predict other targets, or in another order: {names[0]} and {names[1]}.")


def _examples(
    results: Sequence[FitResult | TransferModel],
    model: TransferModel,
    data: Any,
    test: Any,
    test_targets: Any,
    options: DataOptions,
) -> tuple[Examples, Examples | None]:
    """Return the examples to train on and the test examples; by default those of the search."""
    searched = next((each for each in results if isinstance(each, FitResult)), None)
    if data is None and searched is None:
        raise DataError("A model alone holds no examples to learn on: give some.")
    modalities = [model.modality]
    if data is None and searched is not None:
        examples = searched.data.train
    else:
        examples = find_examples(
            data,
            input_column=options.input_column,
            path_column=options.path_column,
            columns=model.columns,
            modalities=modalities,
            reading=model.reading,
        )
    if test is not None:
        columns = {name: getattr(options, name) for name in ("input_column", "path_column", "target_column")}
        return examples, labelled_examples(model, test, test_targets, **columns)
    return examples, searched.data.test if searched is not None else None


def _mean_predictions(models: Sequence[TransferModel], examples: Examples) -> np.ndarray:
    """Return the mean predictions (N, outputs) of the models."""
    answers = [model.predict_store(model.decode(examples)) for model in models]
    return np.asarray(np.mean(answers, axis=0))


def _score(task: Task, test: Examples, models: Sequence[TransferModel]) -> Score:
    return score_predictions(task, test, models[0].decode(test), _mean_predictions(models, test))


def _agreement(task: Task, student: np.ndarray, teacher: np.ndarray) -> float:
    """Compare predictions (N, outputs) as they are decided: a student has the thresholds of its teacher."""
    if task.kind == "regression":
        return explained_variance(student, teacher)
    return float((task.decide(student) == task.decide(teacher)).mean())


def _size(model: TransferModel) -> int:
    """Return the number of parameters of all members; shared parameters count once."""
    parameters = (parameter for member in model.members for parameter in member.network.parameters())
    found = {parameter.data_ptr(): parameter.numel() for parameter in parameters}
    return sum(found.values())
