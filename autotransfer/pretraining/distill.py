"""From the winner of a search, or several models together, to one small model that answers like them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from autotransfer.candidate import Candidate
from autotransfer.contract.backbone import Backbone
from autotransfer.contract.registry import Registry
from autotransfer.data.examples import Examples
from autotransfer.data.sources import find_examples, load_examples
from autotransfer.data.split_parts import select_split
from autotransfer.errors import ConfigError, DataError
from autotransfer.model.ensemble_member import EnsembleMember
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
from autotransfer.settings import Budget, Compute, Folders, RunOptions, TrainingOptions, refuse_unused, zoos_from
from autotransfer.tasks.score import Score
from autotransfer.tasks.task import Task
from autotransfer.training.network import Network

__all__ = ["DistillResult", "distill", "train_student"]

# Settings that are not given: a student follows its teacher in smaller steps than labels ask for.
_LR, _BATCH_SIZE = 1e-3, 64

Models = FitResult | TransferModel | Sequence[FitResult | TransferModel]


@dataclass(frozen=True, kw_only=True)
class DistillResult:
    """A small model, and what was lost on the way to it.

    Attributes:
        model: The small model.
        agreement: On images that it did not learn from, the share of its answers that are the teacher's; of a
            regression, the share of the variance of the teacher's values that it predicts.
        teacher: Score of the teacher on the test examples; None without any.
        student: Score of the small model on them.
        parameters: Number of parameters of the teacher, all models together, and of the small model.
        epochs: Epochs that were trained.
        seconds: Training time.
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
        """What the small model scores less than the teacher on the test examples; None without any."""
        return self.teacher.score - self.student.score if self.teacher and self.student else None

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON."""
        return {
            "agreement": self.agreement,
            "teacher": self.teacher.to_json() if self.teacher else None,
            "student": self.student.to_json() if self.student else None,
            "lost": self.lost,
            "parameters": list(self.parameters),
            "epochs": self.epochs,
            "seconds": self.seconds,
        }

    def __str__(self) -> str:
        before, after = self.parameters
        lines = [
            f"model       {self.model.members[0].candidate.backbone}: {after:,} parameters of {before:,}",
            f"agreement   {self.agreement:.1%} with the teacher, on images that it did not learn from",
        ]
        if self.teacher and self.student:
            lines.append(
                f"test        {self.student.metric} {self.student.score:.4f}; the teacher's is "
                f"{self.teacher.score:.4f}, {self.lost:.4f} are lost ({self.student.examples} examples)"
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
    run: RunOptions = RunOptions(),
) -> DistillResult:
    """Turn a model, or several together, into one small model that learns their answers (Hinton et al., 2015).

    No parameter is shared, so any architecture can learn from any other. Only the teacher's answers are learned:
    images need no labels, and more of them than were labelled can be given.

    Args:
        result: What ``fit`` returned, a model, or several of them, whose mean answer is learned.
        data: Images and folders to learn on; None takes those of the search. Labels are not looked at.
        architecture: A registered backbone, which starts from its weights, or one of timm's architectures, which
            starts from random ones.
        test: Labelled examples on which teacher and small model are compared; None takes those of the search.
        test_targets: Their targets, where ``test`` does not hold them.
        epochs: Passes over the images; 30 without ``time_budget``.
        time_budget: Training time instead, as ``"5m"`` or seconds.
        zoo: Folders of checkpoints that the backbone may be in; None takes ``AUTOTRANSFER_ZOO``.
        seed: Seed of first weights, split and training.
        training: How the small model trains, and which share of the images is held out to compare answers on.
        compute: ``device``; no other option has an effect.
        run: ``progress``; no other option has an effect.

    Raises:
        ConfigError: A setting is wrong, or the models do not predict the same.
        DataError: The images cannot be used, or a model comes without any.
        TrialError: The training diverged.
    """
    refuse_unused(compute, ("device",))
    refuse_unused(run, ("progress",))
    length = training_length(epochs, time_budget)
    settings = PretrainingSettings.of(training, **length, lr=_LR, batch_size=_BATCH_SIZE, seed=seed)
    results = list(result) if isinstance(result, Sequence) else [result]
    models = [each.model if isinstance(each, FitResult) else each for each in results]
    task = _common_task(models)
    examples, tested = _examples(results, data, test, test_targets)
    settings.check_augmentation(models[0].modality)
    registry, where = Registry.load(zoos_from(zoo)), resolve_device(compute.device)
    where.seed(seed)
    backbone = _student(registry, architecture, training.input_size)
    with keep_freed_memory(), Progress(Budget(), shown=run.progress) as show:
        plain = Examples(items=examples.items, names=examples.names, modality=models[0].modality)
        material = prepare_pretraining_data(
            plain,
            [backbone.preprocessing],
            share=training.validation,
            seed=seed,
            show=show,
            reading=models[0].reading,
        )
        show.phase(f"the teacher answers {len(examples)} images")
        answers = _answers(models, plain)
        objective, units = _to_learn(task, answers, material, where)
        model, course = train_student(
            backbone, architecture, task, objective, material, settings, registry, where, show, units
        )
        if tested is not None:
            show.phase(f"comparing on {len(tested)} test images")
        return DistillResult(
            model=model,
            agreement=_agreement(task, model.predict_store(material.held_out), answers[material.held]),
            teacher=None if tested is None else _score(task, tested, models),
            student=None if tested is None else _score(task, tested, [model]),
            parameters=(sum(map(_size, models)), _size(model)),
            epochs=course.epoch,
            seconds=round(course.seconds, 1),
        )


def train_student(
    backbone: Backbone,
    name: str,
    task: Task,
    objective: Objective,
    material: PretrainingData,
    settings: PretrainingSettings,
    registry: Registry,
    device: Device,
    show: Progress,
    units: tuple[Any, Any] = (0.0, 1.0),
) -> tuple[TransferModel, PretrainingTrainer]:
    """Train a backbone and a linear head on one objective, into a model that predicts.

    Args:
        backbone: What trains, whole.
        name: What the model says that its backbone was.
        task: What it predicts.
        objective: What it learns.
        material: From which images.
        settings: How.
        registry: Knows the head.
        device: Where.
        show: Is told of each epoch.
        units: Shift and scale from the standardised outputs of a regression to values.
    """
    pupil = Student(backbone, {objective.head: registry.head("linear").build((backbone.width,), task.outputs, {})})
    show.phase(f"training {name} on {len(material.train)} images")
    course = PretrainingTrainer(pupil, material.store, material.train, [objective], settings, device)
    course.run(lambda epoch, loss: show.say(f"epoch {epoch}: loss {loss:.4f}, {course.done:.0%} done"))
    learned = course.learned
    network = Network(learned.backbone, learned.heads[objective.head], (backbone.width,), *units)
    training = {"lr": settings.lr, "batch_size": settings.batch_size, "epochs": max(course.epoch, 1)}
    member = EnsembleMember(
        network=device.place(network.eval().requires_grad_(False)),
        candidate=Candidate(backbone=name, freeze="full", training=training),
        autocast=settings.half and device.half is not None,
    )
    model = TransferModel(
        members=(member,),
        task=task,
        modality=material.store.modality,
        reading=material.store.reading,
        device=device,
    )
    return model, course


def _to_learn(
    task: Task, answers: np.ndarray, material: PretrainingData, device: Device
) -> tuple[Objective, tuple[Any, Any]]:
    """Return the teacher's answers (N, outputs) as an objective, and the units of what is learned."""
    if task.kind != "regression":
        return from_answers(task, answers, device.torch), (0.0, 1.0)
    known = answers[material.train]
    shift, spread = known.mean(0), known.std(0)
    scale = np.where(spread > 0, spread, 1.0)
    learned = np.asarray((answers - shift) / scale, dtype=np.float32)
    return from_answers(task, learned, device.torch), (shift, scale)


def _student(registry: Registry, name: str, input_size: int | None) -> Backbone:
    """Return a registered backbone with its weights, or an architecture with random ones.

    Raises:
        ConfigError: There is neither, or a backbone with weights is to have another input size.
    """
    if name not in registry.backbones:
        return registry.rebuild(registry.outline(name, input_size))
    if input_size is not None:
        raise ConfigError(f"The backbone {name!r} has an input size of its own: leave input_size out.")
    return registry.backbone(name).load()


def _common_task(models: Sequence[TransferModel]) -> Task:
    """Return what all models predict.

    Raises:
        ConfigError: There is no model, or they predict different things.
    """
    if not models:
        raise ConfigError("There is no model to learn from.")
    task = models[0].task
    for model in models[1:]:
        if (model.task.kind, model.task.classes, model.task.width) != (task.kind, task.classes, task.width):
            raise ConfigError(f"The models predict different things: {task.kind} {task.classes} and {model.task}.")
    return task


def _examples(
    results: Sequence[FitResult | TransferModel], data: Any, test: Any, test_targets: Any
) -> tuple[Examples, Examples | None]:
    """Return the images to learn on, and the test examples; those of the search where none are given."""
    searched = next((each for each in results if isinstance(each, FitResult)), None)
    if data is None and searched is None:
        raise DataError("A model alone holds no images to learn on: give some.")
    examples = searched.data.train if data is None and searched is not None else find_examples(data)
    if test is not None:
        return examples, select_split(load_examples(test, test_targets), "test")
    return examples, searched.data.test if searched is not None else None


def _answers(models: Sequence[TransferModel], examples: Examples) -> np.ndarray:
    """Return the mean probabilities, or values, of the models (N, outputs)."""
    answers = [model.predict_store(model.decode(examples)) for model in models]
    return np.asarray(np.mean(answers, axis=0))


def _score(task: Task, test: Examples, models: Sequence[TransferModel]) -> Score:
    kept = models[0].decode(test).kept
    assert test.targets is not None  # load_examples sees to it
    return Score.of(task, task.encode([test.targets[i] for i in kept]), _answers(models, test))


def _agreement(task: Task, said: np.ndarray, teacher_objective: np.ndarray) -> float:
    if task.single_label:
        return float((said.argmax(1) == teacher_objective.argmax(1)).mean())
    if task.kind == "multilabel":
        return float(((said > 0.5) == (teacher_objective > 0.5)).mean())
    return explained_variance(said, teacher_objective)


def _size(model: TransferModel) -> int:
    """Return the number of parameters of all its networks; what they share counts once."""
    parameters = (parameter for member in model.members for parameter in member.network.parameters())
    found = {parameter.data_ptr(): parameter.numel() for parameter in parameters}
    return sum(found.values())
