"""Settings of ``pretrain`` and ``distill``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from autotransfer.errors import ConfigError
from autotransfer.settings.checks import Folders, optional_duration, path_or_none, share, whole_number, zoos_from
from autotransfer.settings.fields import SettingsGroup, documented, group, setting
from autotransfer.settings.groups import Compute, DataOptions, RunOptions

__all__ = ["DistillOptions", "Match", "ModelCard", "PretrainOptions", "TrainingOptions"]

Match = Literal["features", "answers"]


@documented
@dataclass(frozen=True, kw_only=True)
class TrainingOptions(SettingsGroup):
    """How ``pretrain`` and ``distill`` train."""

    input_size: int | None = setting(
        None,
        help="Size of an input in the unit of its modality, such as the side of an image in pixels.",
        none="the architecture's own",
        check=whole_number("input size", 1, optional=True),
        metavar="N",
    )
    augmentation: str | None = setting(
        None,
        help="Augmentation: none, light, medium or strong, as far as the modality has it.",
        none="medium, or the strongest milder one",
        metavar="STRENGTH",
    )
    batch_size: int | None = setting(
        None,
        help="Examples in one step.",
        none="128; 64 to distill",
        check=whole_number("batch size", 2, optional=True),
        metavar="N",
    )
    lr: float | None = setting(None, help="Highest learning rate.", none="0.002; 0.001 to distill", metavar="RATE")
    half: bool = setting(
        True,
        help="Use 16 bit where the hardware has it; the smallest networks are faster without.",
        off="Use 32 bit everywhere.",
    )
    validation: float = setting(
        0.1,
        help="Share of the examples that is held out and scored.",
        check=share("share that is held out"),
        metavar="SHARE",
    )


@documented
@dataclass(frozen=True, kw_only=True)
class ModelCard(SettingsGroup):
    """What a checkpoint says of itself."""

    source: str = setting("", help="What the examples are, in words.", none="the name of the folder", metavar="TEXT")
    license: str = setting(
        "",
        help="Licence of the weights.",
        more="The licence of the examples may restrict it.",
        none="not said",
        metavar="TEXT",
    )


@documented
@dataclass(frozen=True, kw_only=True)
class PretrainOptions(SettingsGroup):
    """All settings of ``pretrain``: its arguments without the data."""

    architecture: str = setting(
        ...,
        help="Architecture that a plugin knows, such as one of timm's; it starts from random weights.",
        metavar="NAME",
    )
    out: str | Path = setting(
        ...,
        help="The folder to write: its name becomes a backbone, the folder above it is a zoo.",
        check=path_or_none,
        metavar="ZOO/NAME",
    )
    epochs: int | None = setting(
        None,
        help="Passes over the examples.",
        none="30 without a time budget",
        check=whole_number("number of epochs", 1, optional=True),
        metavar="N",
    )
    time_budget: str | float | None = setting(
        None, help="Training time instead, such as 90s, 5m, 1h30m.", check=optional_duration, metavar="TIME"
    )
    teacher: str | None = setting(
        None, help="A backbone whose knowledge is carried over, without sharing any parameter.", metavar="BACKBONE"
    )
    match: Match = setting(
        "features",
        help="What the teacher gives: features, or answers of a probe on them.",
        more="The probe needs labels.",
        metavar="WHAT",
    )
    labels: bool = setting(
        True, help="Learn the labels of the examples.", off="There are no labels: learn from the teacher alone."
    )
    zoo: Folders | None = setting(
        None,
        help="Folder of checkpoints that the teacher may be in; repeatable.",
        environment="AUTOTRANSFER_ZOO",
        check=zoos_from,
        metavar="DIR",
    )
    seed: int = setting(
        0,
        help="Seed of the first weights, the split and the training.",
        check=whole_number("seed", 0, 2**32 - 1),
        metavar="N",
    )
    training: TrainingOptions = group(TrainingOptions(), "How the network trains")
    data_options: DataOptions = group(
        DataOptions(),
        "How the data are read",
        used=("modality", "modality_options", "input_column", "path_column", "target_column", "groups"),
    )
    compute: Compute = group(Compute(), "Where the network trains", used=("device", "cache", "cache_dir"))
    run: RunOptions = group(RunOptions(), "The folder", used=("overwrite", "progress"))
    card: ModelCard = group(ModelCard(), "What the checkpoint says of itself")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.match not in get_args(Match):
            raise ConfigError(f"What a teacher gives is 'features' or 'answers'; got {self.match!r}.")
        if not self.labels and (self.teacher is None or self.match == "answers"):
            raise ConfigError("Without labels there is nothing to learn but a teacher's features: give a teacher.")


@documented
@dataclass(frozen=True, kw_only=True)
class DistillOptions(SettingsGroup):
    """All settings of ``distill``: its arguments without the models and the data."""

    architecture: str = setting(
        ...,
        help="The student: a registered backbone, or an architecture that a plugin knows.",
        more="A backbone starts from its weights.",
        metavar="NAME",
    )
    epochs: int | None = setting(
        None,
        help="Passes over the examples.",
        none="30 without a time budget",
        check=whole_number("number of epochs", 1, optional=True),
        metavar="N",
    )
    time_budget: str | float | None = setting(
        None, help="Training time instead, such as 90s, 5m, 1h30m.", check=optional_duration, metavar="TIME"
    )
    zoo: Folders | None = setting(
        None,
        help="Folder of checkpoints that the student may be in; repeatable.",
        environment="AUTOTRANSFER_ZOO",
        check=zoos_from,
        metavar="DIR",
    )
    seed: int = setting(
        0,
        help="Seed of the first weights, the split and the training.",
        check=whole_number("seed", 0, 2**32 - 1),
        metavar="N",
    )
    training: TrainingOptions = group(TrainingOptions(), "How the student trains")
    data_options: DataOptions = group(
        DataOptions(), "How the data are read", used=("input_column", "path_column", "target_column")
    )
    compute: Compute = group(Compute(), "Where the student trains", used=("device",))
    run: RunOptions = group(RunOptions(), "The folder", used=("overwrite", "progress"))
