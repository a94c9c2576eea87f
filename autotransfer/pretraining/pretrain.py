"""Pretraining of a backbone on a source task or from a teacher, as a checkpoint of a zoo."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from autotransfer._version import __version__
from autotransfer.backbones.loaded import LoadedBackbone
from autotransfer.contract.registry import Registry
from autotransfer.data.examples import Examples, modality_of
from autotransfer.data.recognition import modality_named
from autotransfer.data.sources import find_examples, load_examples
from autotransfer.errors import ConfigError, RunExistsError
from autotransfer.features.cache import content_key, default_cache_dir
from autotransfer.pipeline.checks import check_modality_settings
from autotransfer.pretraining.dataset import PretrainingData, prepare_pretraining_data
from autotransfer.pretraining.losses import Objective, from_labels
from autotransfer.pretraining.teacher import explained_variance, teacher_features, teacher_objective
from autotransfer.pretraining.trainer import PretrainingSettings, PretrainingTrainer, Student, training_length
from autotransfer.run.progress import Progress
from autotransfer.runtime.device import Device, resolve_device
from autotransfer.runtime.library_defaults import default_settings
from autotransfer.runtime.memory import keep_freed_memory
from autotransfer.settings import (
    Budget,
    Compute,
    DataOptions,
    Folders,
    Match,
    ModelCard,
    PretrainOptions,
    RunOptions,
    TrainingOptions,
    zoos_from,
)
from autotransfer.tasks.score import Score, format_score
from autotransfer.tasks.task import infer_task

__all__ = ["PretrainResult", "pretrain"]

_STATE, _FILES = "state.pt", frozenset({"config.json", "model.safetensors", "tokenizer.json"})
# Defaults of learning rate and batch size, tuned on the checkpoints that come with the package.
_LR, _BATCH_SIZE = 2e-3, 128


@dataclass(frozen=True, kw_only=True)
class PretrainResult:
    """A pretrained backbone.

    Attributes:
        folder: Folder of the checkpoint; the parent folder is a zoo.
        architecture: Name of the architecture.
        parameters: Number of parameters without the classifier.
        score: Score on the validation examples; None without labels.
        match: Share of the variance of the teacher's features that is predicted on the validation examples; None where
            no features were learned.
        epochs: Number of training epochs.
        seconds: Training time in seconds, without decoding, the teacher's forward passes and scoring.
    """

    folder: Path
    architecture: str
    parameters: int
    score: Score | None
    match: float | None
    epochs: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON."""
        return {**asdict(self), "folder": str(self.folder), "score": self.score.to_json() if self.score else None}

    def __str__(self) -> str:
        lines = [f"backbone    {self.folder.name}: {self.architecture}, {self.parameters:,} parameters"]
        if score := self.score:
            held_out = f"{score.examples} held-out examples"
            lines.append(f"source      {score.metric} {format_score(score.score)} on {held_out}")
        if self.match is not None:
            lines.append(f"teacher     {self.match:.1%} of the variance of its features is predicted")
        lines += [f"trained     {self.epochs} epochs, {self.seconds:.0f} s", f"checkpoint  {self.folder}"]
        return "\n".join(lines)


@default_settings()
def pretrain(
    data: Any,
    targets: Any = None,
    *,
    architecture: str,
    out: str | Path,
    epochs: int | None = None,
    time_budget: str | float | None = None,
    teacher: str | None = None,
    match: Match = "features",
    labels: bool = True,
    zoo: Folders | None = None,
    seed: int = 0,
    training: TrainingOptions = TrainingOptions(),
    data_options: DataOptions = DataOptions(),
    compute: Compute = Compute(),
    run: RunOptions = RunOptions(),
    card: ModelCard = ModelCard(),
) -> PretrainResult:
    """Pretrain an architecture on a source task or from a teacher, and write a checkpoint of a zoo.

    The checkpoint holds the moving average of the weights in 16 bit, and is scored as written. A call with the same
    arguments resumes an interrupted training.

    Args:
        data: Labelled examples, as ``fit`` takes them; without ``labels``, examples and folders of examples.
        targets: One target for each example, where ``data`` does not hold them.
        architecture: An architecture that a plugin knows, such as timm's ``"resnet18"``; its initial weights are
            random, or what ``Backbone.start_from`` takes of the teacher.
        out: Folder of the checkpoint; its name is the name of the backbone, and its parent folder is a zoo.
        epochs: Passes over the examples; 30 without ``time_budget``.
        time_budget: Training time in place of ``epochs``, as ``"5m"`` or in seconds.
        teacher: Name of a registered backbone to distil; teacher and student share no parameters.
        match: What is learned from the teacher: its features, or the predictions (``"answers"``) of a linear probe on
            them, which needs labels.
        labels: Whether there are labels to learn; without labels, only the teacher is learned.
        zoo: Folders of checkpoints that may hold the teacher; None takes ``AUTOTRANSFER_ZOO``.
        seed: Seed of the initial weights, the split and the training.
        training: Training settings, and the share of the examples that is held out for validation.
        data_options: ``modality``, ``modality_options``, ``input_column``, ``path_column``, ``target_column`` and
            ``groups``, as for ``fit``; no other option has an effect.
        compute: ``device``, and ``cache`` and ``cache_dir`` for the teacher's features.
        run: ``overwrite``, which replaces the folder and restarts an interrupted training, and ``progress``.
        card: Description of the checkpoint.

    Raises:
        ConfigError: A setting is wrong, or the folder exists already.
        DataError: The data cannot be used.
        BackboneError: The teacher cannot be loaded, or the architecture cannot be written as a checkpoint.
        TrialError: The training diverged.
    """
    options = PretrainOptions(
        architecture=architecture,
        out=out,
        epochs=epochs,
        time_budget=time_budget,
        teacher=teacher,
        match=match,
        labels=labels,
        zoo=zoo,
        seed=seed,
        training=training,
        data_options=data_options,
        compute=compute,
        run=run,
        card=card,
    )
    return _pretrain(data, targets, options)


def _pretrain(data: Any, targets: Any, options: PretrainOptions) -> PretrainResult:
    """Pretrain with options that were checked one by one."""
    training, compute, run, card = options.training, options.compute, options.run, options.card
    length = training_length(options.epochs, options.time_budget)
    settings = PretrainingSettings.of(training, **length, lr=_LR, batch_size=_BATCH_SIZE, seed=options.seed)
    registry, staging = Registry.load(zoos_from(options.zoo)), _staging_folder(Path(options.out), run.overwrite)
    check_modality_settings(options.data_options, registry)
    spec = None if options.teacher is None else registry.backbone(options.teacher)  # refused before data are read
    examples = _load(data, targets, options) if options.labels else _find(data, options)
    where, kind = resolve_device(compute.device), modality_of(examples)
    teacher = None if spec is None else LoadedBackbone(registry.backbone(spec.name, modality=kind.name), where)
    classes = 0 if examples.targets is None else infer_task(examples.targets).outputs
    job = _PretrainingJob(
        out=Path(options.out),
        staging=staging,
        architecture=options.architecture,
        recipe=registry.outline(
            options.architecture, training.input_size, classes, None if teacher is None else teacher.backbone
        ),
        teacher=teacher,
        match=options.match,
        settings=settings.for_modality(kind),
        validation=training.validation,
        modality_options=options.data_options.modality_options,
        source=card.source or _name_of(data),
        license=card.license,
        cache_dir=Path(compute.cache_dir or default_cache_dir()) if compute.cache else None,
        registry=registry,
        device=where,
    )
    try:
        with keep_freed_memory(), Progress(Budget(), shown=run.progress) as progress:
            return job.run(examples, progress)
    finally:
        with contextlib.suppress(OSError):  # the folder is gone, or holds the state of an interrupted training
            staging.rmdir()


@dataclass(frozen=True, kw_only=True)
class _PretrainingJob:
    """A pretraining with checked arguments; see ``pretrain`` for the attributes."""

    out: Path
    staging: Path
    architecture: str
    recipe: Mapping[str, Any]
    teacher: LoadedBackbone | None
    match: Match
    settings: PretrainingSettings
    validation: float
    modality_options: Mapping[str, Any] | None
    source: str
    license: str
    cache_dir: Path | None
    registry: Registry
    device: Device

    def run(self, examples: Examples, progress: Progress) -> PretrainResult:
        """Decode, train, score and write."""
        _make(self.staging)
        self.device.seed(self.settings.seed)
        backbone, teacher = self.registry.rebuild(self.recipe), self.teacher
        wanted = [backbone.preprocessing, *([teacher.backbone.preprocessing] if teacher else [])]
        if teacher is not None:
            backbone.start_from(teacher.backbone)
        dataset = prepare_pretraining_data(
            examples,
            wanted,
            share=self.validation,
            seed=self.settings.seed,
            progress=progress,
            modality_options=self.modality_options,
        )
        features = None
        if teacher is not None:
            progress.phase(f"{teacher.spec.name} looks at {len(dataset.store)} {dataset.store.modality.noun}s")
            features = teacher_features(teacher, dataset, self.cache_dir)
        objectives = self._objectives(dataset, features)
        student = Student(backbone, {each.head: nn.Linear(backbone.width, each.outputs) for each in objectives})
        self._write(student, dataset, {})  # fails before the training if the architecture cannot be written
        trainer = PretrainingTrainer(
            student,
            dataset.store,
            dataset.train_rows,
            objectives,
            self.settings,
            self.device,
            saved=self.staging / _STATE,
            key=self._key(dataset),
        )
        progress.phase(f"training {self.architecture} on {len(dataset.train_rows)} examples")
        trainer.run(lambda epoch, loss: progress.print(f"epoch {epoch}: loss {loss:.4f}, {trainer.done:.0%} done"))
        return self._finish(trainer, dataset, features, progress)

    def _objectives(self, dataset: PretrainingData, features: np.ndarray | None) -> list[Objective]:
        objectives = []
        if (fold := dataset.fold) is not None:
            objectives.append(from_labels(fold.task, fold.standardised_targets(), self.device.torch))
        if features is not None:
            objectives.append(teacher_objective(features, self.match, dataset, self.registry, self.device))
        return objectives

    def _key(self, dataset: PretrainingData) -> str:
        """Return a hash of everything that the training depends on."""
        return content_key(
            version=__version__,
            recipe=dict(self.recipe),
            settings=asdict(self.settings),
            teacher=[self.teacher.identity, self.match] if self.teacher else [],
            examples=dataset.store.key,
            targets=[] if dataset.fold is None else dataset.fold.targets.tolist(),
            validation=self.validation,
        )

    def _finish(
        self, trainer: PretrainingTrainer, dataset: PretrainingData, features: np.ndarray | None, progress: Progress
    ) -> PretrainResult:
        """Score the network as it is written, and move its checkpoint to its folder."""
        progress.phase(f"scoring {len(dataset.validation_rows)} validation examples")
        student = _round_to_half(trainer.learned)
        outputs = trainer.outputs(dataset.validation_rows, student)
        matched = float("nan")
        if features is not None and "features" in outputs:
            matched = explained_variance(outputs["features"], features[dataset.validation_rows])
        result = PretrainResult(
            folder=self.out,
            architecture=self.architecture,
            parameters=sum(parameter.numel() for parameter in student.backbone.parameters()),
            score=dataset.score(outputs["answers"]) if "answers" in outputs else None,
            match=None if np.isnan(matched) else matched,
            epochs=trainer.epoch,
            seconds=round(trainer.seconds, 1),
        )
        self._write(student, dataset, result.to_json())
        (self.staging / _STATE).unlink()
        if self.out.exists():
            shutil.rmtree(self.out)
        self.staging.rename(self.out)
        progress.print(f"written to {self.out}")
        return result

    def _write(self, student: Student, dataset: PretrainingData, measured: Mapping[str, Any]) -> None:
        examples, fold = len(dataset.train_rows), dataset.fold
        spec = None if self.teacher is None else self.teacher.spec
        teacher = (
            None if spec is None else f"{self.match} of {spec.name}" + (f" ({spec.source})" if spec.source else "")
        )
        what = f"{self.source}, {examples} {dataset.store.modality.noun}s"
        if fold is not None:
            what += f", {len(fold.task.classes)} classes" if fold.task.classes else f", {fold.task.width} targets"
        shown = {name: measured.get(name) for name in ("score", "match", "epochs", "seconds")}
        about = {
            "description": what if teacher is None else f"{teacher} on {what}",
            "license": self.license,
            "label_names": [str(label) for label in fold.task.classes] if fold else [],
            "source": {
                "data": self.source,
                "examples": examples,
                "teacher": teacher,
                **shown,
                "autotransfer": __version__,
            },
        }
        classifier = None if fold is None else _classifier(student, fold.standardisation())
        self.registry.write(student.backbone, self.staging, about, classifier)


def _classifier(student: Student, standardisation: tuple[Any, Any]) -> tuple[Tensor, Tensor]:
    """Return the weight and the bias of the classifier, scaled to the units of the targets for a regression."""
    layer = student.heads["answers"]
    assert isinstance(layer, nn.Linear)
    shift, scale = (torch.as_tensor(value, dtype=torch.float32) for value in standardisation)
    with torch.no_grad():
        weight, bias = layer.weight.cpu() * scale.reshape(-1, 1), layer.bias.cpu() * scale + shift
    return weight, bias


def _round_to_half(student: Student) -> Student:
    """Round the weights to 16 bit in place."""
    with torch.no_grad():
        for tensor in student.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(tensor.half())
    return student


def _staging_folder(out: Path, overwrite: bool) -> Path:
    """Return the hidden folder beside ``out`` in which the checkpoint is prepared; zoos ignore hidden folders.

    Raises:
        RunExistsError: ``out`` exists, and ``overwrite`` is not set.
        ConfigError: ``out`` exists and holds what is of no checkpoint.
    """
    staging = out.absolute().with_name(f".{out.absolute().name}.training")
    if out.exists():
        others = sorted({file.name for file in out.iterdir()} - _FILES) if out.is_dir() else [f"a file {out.name}"]
        if others:
            raise ConfigError(f"{out} holds {', '.join(others[:3])}, which is of no checkpoint; name a new folder.")
        if not overwrite:
            raise RunExistsError(f"{out} is there already. Choose another folder, or pass --overwrite.")
    if overwrite and staging.exists():
        shutil.rmtree(staging)
    return staging


def _find(data: Any, settings: PretrainOptions) -> Examples:
    """Return examples without labels."""
    return find_examples(data, **_where(settings.data_options))


def _where(options: DataOptions) -> dict[str, Any]:
    """Return where the examples are, and what kind of examples they are, as arguments of whatever reads them."""
    modalities = modality_named(options.modality, options.modality_options)
    return {"input_column": options.input_column, "path_column": options.path_column, "modalities": modalities}


def _load(data: Any, targets: Any, settings: PretrainOptions) -> Examples:
    """Return the labelled examples to train on; of data that are divided into parts, the part for that."""
    options = settings.data_options
    return load_examples(
        data, targets, target_column=options.target_column, groups=options.groups, **_where(options)
    ).only("train")


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"The folder {folder} cannot be made: {error}.") from error


def _name_of(data: Any) -> str:
    """Return the default name of the source data."""
    if isinstance(data, (list, tuple)) and data and all(isinstance(each, (str, Path)) for each in data[:9]):
        return ", ".join(Path(each).name for each in data[:3]) + (", …" if len(data) > 3 else "")
    return Path(data).name if isinstance(data, (str, Path)) else f"a {type(data).__name__}"
