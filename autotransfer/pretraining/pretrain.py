"""From a source task, or from a teacher, to a backbone in a zoo."""

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
from autotransfer.contract.specs import BackboneSpec
from autotransfer.data.examples import Examples, modality_of
from autotransfer.data.sources import find_examples, load_examples
from autotransfer.errors import ConfigError, RunExistsError
from autotransfer.features.cache import content_key, default_cache_dir
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
from autotransfer.tasks.score import Score
from autotransfer.tasks.task import infer_task

__all__ = ["PretrainResult", "pretrain"]

_STATE = "state.pt"
# Settings that are not given; tuned on the checkpoints that come with the package.
_LR, _BATCH_SIZE = 2e-3, 128


@dataclass(frozen=True, kw_only=True)
class PretrainResult:
    """A backbone that was trained.

    Attributes:
        folder: Its checkpoint, in timm's own format; the folder above it is a zoo.
        architecture: Its architecture.
        parameters: Number of parameters, classifier left out.
        score: Score on the source images that were held out; None without labels.
        match: Share of the variance of the teacher's features that is predicted on held-out images; None where no
            features were learned.
        epochs: Epochs that were trained.
        seconds: Training time, without decoding, the teacher's pass and scoring.
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
        if self.score:
            lines.append(
                f"source      {self.score.metric} {self.score.score:.4f} on {self.score.examples} held-out images"
            )
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
    """Train an architecture on a source task, or on what a teacher sees, and write it as a backbone of a zoo.

    What is left is a moving average of the weights, rounded to 16 bit; it is scored as it is written. An interrupted
    training goes on when it is called again with the same arguments.

    Args:
        data: Labelled examples, as ``fit`` takes them; without ``labels``, images and folders of images.
        targets: One target for each example, where ``data`` does not hold them.
        architecture: One of timm's architectures, such as ``"resnet18"``; it starts from random weights.
        out: The folder to write; its name is the backbone's, and the folder above it is a zoo.
        epochs: Passes over the images; 30 without ``time_budget``.
        time_budget: Training time instead, as ``"5m"`` or seconds.
        teacher: Name of a registered backbone whose knowledge is carried over, without sharing any parameter.
        match: What the teacher gives: its features, or the answers of a linear probe on them, which needs labels.
        labels: Whether there are labels, and they are learned; without them, the teacher alone is.
        zoo: Folders of checkpoints that the teacher may be in; None takes ``AUTOTRANSFER_ZOO``.
        seed: Seed of the first weights, the split and the training.
        training: How the network trains, and which share of the images is held out and scored.
        data_options: ``path_column``, ``target_column`` and ``groups``, as for ``fit``; no other option has an effect.
        compute: ``device``, and ``cache`` and ``cache_dir`` for the teacher's features.
        run: ``overwrite`` replaces the folder, and begins an interrupted training anew; ``progress``.
        card: What the checkpoint says of itself.

    Raises:
        ConfigError: A setting is wrong, or the folder is there already.
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
    length = training_length(options.epochs, options.time_budget)
    settings = PretrainingSettings.of(training, **length, lr=_LR, batch_size=_BATCH_SIZE, seed=seed)
    registry = Registry.load(zoos_from(options.zoo))
    spec = None if teacher is None else registry.backbone(teacher)
    workshop = _workshop(Path(out), run.overwrite)
    examples = _load(data, targets, data_options) if labels else find_examples(data)
    classes = 0 if examples.targets is None else infer_task(examples.targets).outputs
    work = _Work(
        out=Path(out),
        workshop=workshop,
        architecture=architecture,
        recipe=registry.outline(architecture, training.input_size, classes),
        teacher=spec,
        match=match,
        settings=settings,
        validation=training.validation,
        source=card.source or _name_of(data),
        license=card.license,
        cache_dir=Path(compute.cache_dir or default_cache_dir()) if compute.cache else None,
        registry=registry,
        device=resolve_device(compute.device),
    )
    try:
        with keep_freed_memory(), Progress(Budget(), shown=run.progress) as show:
            return work.done(examples, show)
    finally:
        with contextlib.suppress(OSError):  # it is there no more, or holds what an interrupted training goes on with
            workshop.rmdir()


@dataclass(frozen=True, kw_only=True)
class _Work:
    """What was asked for, looked up and checked; the attributes are those of ``pretrain``."""

    out: Path
    workshop: Path
    architecture: str
    recipe: Mapping[str, Any]
    teacher: BackboneSpec | None
    match: Match
    settings: PretrainingSettings
    validation: float
    source: str
    license: str
    cache_dir: Path | None
    registry: Registry
    device: Device

    def done(self, examples: Examples, show: Progress) -> PretrainResult:
        """Do it."""
        self.settings.check_augmentation(modality_of(examples))
        _make(self.workshop)
        self.device.seed(self.settings.seed)
        backbone = self.registry.rebuild(self.recipe)
        teacher = None if self.teacher is None else LoadedBackbone(self.teacher, self.device)
        wanted = [backbone.preprocessing, *([teacher.backbone.preprocessing] if teacher else [])]
        material = prepare_pretraining_data(examples, wanted, share=self.validation, seed=self.settings.seed, show=show)
        features = None
        if teacher is not None:
            show.phase(f"{teacher.spec.name} looks at {len(material.store)} store")
            features = teacher_features(teacher, material, self.cache_dir)
        objectives = self._objectives(material, features)
        pupil = Student(backbone, {each.head: nn.Linear(backbone.width, each.outputs) for each in objectives})
        self._write(pupil, material, {})  # what cannot be written is refused before it is trained
        course = PretrainingTrainer(
            pupil,
            material.store,
            material.train,
            objectives,
            self.settings,
            self.device,
            saved=self.workshop / _STATE,
            key=self._key(material, teacher),
        )
        show.phase(f"training {self.architecture} on {len(material.train)} images")
        course.run(lambda epoch, loss: show.say(f"epoch {epoch}: loss {loss:.4f}, {course.done:.0%} done"))
        return self._finished(course, material, features, show)

    def _objectives(self, material: PretrainingData, features: np.ndarray | None) -> list[Objective]:
        objectives = []
        if (fold := material.fold) is not None:
            objectives.append(from_labels(fold.task, fold.standardised_targets(), self.device.torch))
        if features is not None:
            objectives.append(teacher_objective(features, self.match, material, self.registry, self.device))
        return objectives

    def _key(self, material: PretrainingData, teacher: LoadedBackbone | None) -> str:
        """Return a hash of everything that the training depends on."""
        return content_key(
            version=__version__,
            recipe=dict(self.recipe),
            settings=asdict(self.settings),
            teacher=[teacher.identity, self.match] if teacher else [],
            examples=material.store.key,
            targets=[] if material.fold is None else material.fold.targets.tolist(),
            validation=self.validation,
        )

    def _finished(
        self, course: PretrainingTrainer, material: PretrainingData, features: np.ndarray | None, show: Progress
    ) -> PretrainResult:
        """Score the network as it is written, and put it in its place."""
        show.phase(f"scoring {len(material.held)} held-out images")
        pupil = _rounded(course.learned)
        outputs = course.outputs(material.held, pupil)
        matched = None
        if features is not None and "features" in outputs:
            matched = explained_variance(outputs["features"], features[material.held])
        result = PretrainResult(
            folder=self.out,
            architecture=self.architecture,
            parameters=sum(parameter.numel() for parameter in pupil.backbone.parameters()),
            score=material.score(outputs["answers"]) if "answers" in outputs else None,
            match=matched,
            epochs=course.epoch,
            seconds=round(course.seconds, 1),
        )
        self._write(pupil, material, result.to_json())
        (self.workshop / _STATE).unlink()
        if self.out.exists():
            shutil.rmtree(self.out)
        self.workshop.rename(self.out)
        show.say(f"written to {self.out}")
        return result

    def _write(self, pupil: Student, material: PretrainingData, measured: Mapping[str, Any]) -> None:
        images, fold = len(material.train), material.fold
        teacher = None if self.teacher is None else f"{self.match} of {self.teacher.name} ({self.teacher.source})"
        what = f"{self.source}, {images} images"
        if fold is not None:
            what += f", {len(fold.task.classes)} classes" if fold.task.classes else f", {fold.task.width} targets"
        shown = {name: measured.get(name) for name in ("score", "match", "epochs", "seconds")}
        about = {
            "description": what if teacher is None else f"{teacher} on {what}",
            "license": self.license,
            "label_names": [str(label) for label in fold.task.classes] if fold else [],
            "source": {"data": self.source, "images": images, "teacher": teacher, **shown, "autotransfer": __version__},
        }
        classifier = None if fold is None else _classifier(pupil, fold.standardisation())
        self.registry.write(pupil.backbone, self.workshop, about, classifier)


def _classifier(pupil: Student, units: tuple[Any, Any]) -> tuple[Tensor, Tensor]:
    """Return weight and bias of the classifier; those of a regression give values in the units of its targets."""
    layer = pupil.heads["answers"]
    assert isinstance(layer, nn.Linear)
    shift, scale = (torch.as_tensor(value, dtype=torch.float32) for value in units)
    with torch.no_grad():
        weight, bias = layer.weight.cpu() * scale.reshape(-1, 1), layer.bias.cpu() * scale + shift
    return weight, bias


def _rounded(pupil: Student) -> Student:
    """Round the weights to those that 16 bit hold, in place."""
    with torch.no_grad():
        for tensor in pupil.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(tensor.half())
    return pupil


def _workshop(out: Path, overwrite: bool) -> Path:
    """Return the hidden folder beside ``out`` that is written until it is complete; a zoo does not show it.

    Raises:
        RunExistsError: ``out`` is there, and ``overwrite`` is not set.
        ConfigError: ``out`` is something else than a checkpoint.
    """
    workshop = out.absolute().with_name(f".{out.absolute().name}.training")
    if out.exists():
        if not (out / "config.json").is_file() and (not out.is_dir() or any(out.iterdir())):
            raise ConfigError(f"{out} is there and holds no checkpoint; give the name of a new folder.")
        if not overwrite:
            raise RunExistsError(f"{out} is there already. Choose another folder, or pass --overwrite.")
    if overwrite and workshop.exists():
        shutil.rmtree(workshop)
    return workshop


def _load(data: Any, targets: Any, options: DataOptions) -> Examples:
    """Return the labelled examples to train on; of data that are divided into parts, the part for that."""
    loaded = load_examples(
        data,
        targets,
        path_column=options.path_column,
        target_column=options.target_column,
        groups=options.groups,
    )
    return loaded.only("train")


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"The folder {folder} cannot be made: {error}.") from error


def _name_of(data: Any) -> str:
    """Return what to call the source where the user does not say."""
    if isinstance(data, (list, tuple)) and data and all(isinstance(each, (str, Path)) for each in data[:9]):
        return ", ".join(Path(each).name for each in data[:3]) + (", …" if len(data) > 3 else "")
    return Path(data).name if isinstance(data, (str, Path)) else f"a {type(data).__name__}"
