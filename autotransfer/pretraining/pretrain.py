"""From a source task, or from a teacher, to a backbone in a zoo."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping, Sequence
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
from autotransfer.pretraining.dataset import PretrainingData, prepare_material
from autotransfer.pretraining.losses import Objective, from_labels
from autotransfer.pretraining.teacher import Match, features_of, taught, variance_matched
from autotransfer.pretraining.trainer import Course, CourseSettings, Pupil, length_of
from autotransfer.run.progress import Progress
from autotransfer.runtime.device import Device, resolve_device
from autotransfer.runtime.library_defaults import default_settings
from autotransfer.runtime.memory import pages_kept
from autotransfer.settings import Budget, Folders, zoos_from
from autotransfer.tasks.score import Score
from autotransfer.tasks.task import infer_task

__all__ = ["PretrainResult", "pretrain"]

_STATE = "state.pt"


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
    input_size: int | None = None,
    teacher: str | None = None,
    match: Match = "features",
    labels: bool = True,
    path_column: str | None = None,
    target_column: str | Sequence[str] | None = None,
    groups: Any = None,
    zoo: Folders | None = None,
    augmentation: str = "medium",
    batch_size: int = 128,
    lr: float = 2e-3,
    half: bool = True,
    validation: float = 0.1,
    source: str = "",
    license: str = "",
    seed: int = 0,
    device: str = "auto",
    overwrite: bool = False,
    cache: bool = True,
    cache_dir: str | Path | None = None,
    progress: bool = True,
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
        input_size: Side in pixels of the images that the backbone takes; None takes the architecture's own.
        teacher: Name of a registered backbone whose knowledge is carried over, without sharing any parameter.
        match: What the teacher gives: its features, or the answers of a linear probe on them, which needs labels.
        labels: Whether there are labels, and they are learned; without them, the teacher alone is.
        path_column: Column of image paths in a table.
        target_column: Column of targets in a table, or several.
        groups: What the held-out images may not share with the others; see ``fit``.
        zoo: Folders of checkpoints that the teacher may be in; None takes ``AUTOTRANSFER_ZOO``.
        augmentation: ``"none"``, ``"light"``, ``"medium"`` or ``"strong"``.
        batch_size: Images in one step.
        lr: Highest learning rate.
        half: Whether 16 bit is used where the hardware has it; the smallest networks are faster without.
        validation: Share of the images that is held out and scored.
        source: What the images are, in words; the name of the folder when not given.
        license: Licence of the weights, which what they were trained on may restrict.
        seed: Seed of the first weights, the split and the training.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        overwrite: Replace the folder, and begin an interrupted training anew.
        cache: Keep the teacher's features on disk between runs.
        cache_dir: Folder of that cache.
        progress: Show progress on standard error.

    Raises:
        ConfigError: A setting is wrong, or the folder is there already.
        DataError: The data cannot be used.
        BackboneError: The teacher cannot be loaded, or the architecture cannot be written as a checkpoint.
        TrialError: The training diverged.
    """
    settings = CourseSettings(
        **length_of(epochs, time_budget), lr=lr, batch_size=batch_size, augmentation=augmentation, half=half, seed=seed
    )
    _check(teacher, match, labels, validation)
    registry = Registry.load(zoos_from(zoo))
    spec = None if teacher is None else registry.backbone(teacher)
    workshop = _workshop(Path(out), overwrite)
    columns = {"path_column": path_column, "target_column": target_column, "groups": groups}
    examples = load_examples(data, targets, **columns).only("train") if labels else find_examples(data)
    classes = 0 if examples.targets is None else infer_task(examples.targets).outputs
    work = _Work(
        out=Path(out),
        workshop=workshop,
        architecture=architecture,
        recipe=registry.outline(architecture, input_size, classes),
        teacher=spec,
        match=match,
        settings=settings,
        validation=validation,
        source=source or _name_of(data),
        license=license,
        cache_dir=(Path(cache_dir) if cache_dir else default_cache_dir()) if cache else None,
        registry=registry,
        device=resolve_device(device),
    )
    try:
        with pages_kept(), Progress(Budget(), shown=progress) as show:
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
    settings: CourseSettings
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
        material = prepare_material(examples, wanted, share=self.validation, seed=self.settings.seed, show=show)
        features = None
        if teacher is not None:
            show.phase(f"{teacher.spec.name} looks at {len(material.store)} images")
            features = features_of(teacher, material, self.cache_dir)
        objectives = self._objectives(material, features)
        pupil = Pupil(backbone, {each.head: nn.Linear(backbone.width, each.outputs) for each in objectives})
        self._write(pupil, material, {})  # what cannot be written is refused before it is trained
        course = Course(
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
            objectives.append(taught(features, self.match, material, self.registry, self.device))
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
        self, course: Course, material: PretrainingData, features: np.ndarray | None, show: Progress
    ) -> PretrainResult:
        """Score the network as it is written, and put it in its place."""
        show.phase(f"scoring {len(material.held)} held-out images")
        pupil = _rounded(course.learned)
        outputs = course.outputs(material.held, pupil)
        matched = None
        if features is not None and "features" in outputs:
            matched = variance_matched(outputs["features"], features[material.held])
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

    def _write(self, pupil: Pupil, material: PretrainingData, measured: Mapping[str, Any]) -> None:
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


def _classifier(pupil: Pupil, units: tuple[Any, Any]) -> tuple[Tensor, Tensor]:
    """Return weight and bias of the classifier; those of a regression give values in the units of its targets."""
    layer = pupil.heads["answers"]
    assert isinstance(layer, nn.Linear)
    shift, scale = (torch.as_tensor(value, dtype=torch.float32) for value in units)
    with torch.no_grad():
        weight, bias = layer.weight.cpu() * scale.reshape(-1, 1), layer.bias.cpu() * scale + shift
    return weight, bias


def _rounded(pupil: Pupil) -> Pupil:
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


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"The folder {folder} cannot be made: {error}.") from error


def _check(teacher: str | None, match: str, labels: bool, validation: float) -> None:
    if match not in ("features", "answers"):
        raise ConfigError(f"What a teacher gives is 'features' or 'answers'; got {match!r}.")
    if not labels and (teacher is None or match == "answers"):
        raise ConfigError("Without labels there is nothing to learn but a teacher's features: give a teacher.")
    if not 0 < validation < 1:
        raise ConfigError(f"The share that is held out lies between 0 and 1; got {validation!r}.")


def _name_of(data: Any) -> str:
    """Return what to call the source where the user does not say."""
    if isinstance(data, (list, tuple)) and data and all(isinstance(each, (str, Path)) for each in data[:9]):
        return ", ".join(Path(each).name for each in data[:3]) + (", …" if len(data) > 3 else "")
    return Path(data).name if isinstance(data, (str, Path)) else f"a {type(data).__name__}"
