"""Settings that belong together: of the data, the search, the selection, the machine, and the run folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from autotransfer.errors import ConfigError
from autotransfer.settings.checks import (
    Patterns,
    bytes_or_none,
    class_weights,
    device_name,
    one_of,
    options_of_modality,
    parse_duration,
    parse_options_of_modality,
    parse_share_or_data,
    path_or_none,
    patterns,
    plain_label,
    share_or_data,
    whole_number,
)
from autotransfer.settings.fields import SettingsGroup, documented, group, setting
from autotransfer.settings.limits import Limits

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Compute", "DataOptions", "Kind", "RunOptions", "SearchOptions", "Selection"]

# What has taken the place of arguments of an earlier version.
_MOVED = {"min_images": "min_examples=", "value_range": "modality_options={'value_range': ...}"}

Kind = Literal["binary", "multiclass", "multilabel", "regression"]


@documented
@dataclass(frozen=True, kw_only=True)
class DataOptions(SettingsGroup):
    """How the data are read, and divided into examples to train on and examples to score on."""

    test_targets: Any = setting(
        None, help="Targets of the test examples.", none="the test data hold them", on_command_line=False
    )
    validation: Any = setting(
        0.25,
        help="What candidates are scored on: a share of the examples, or examples of your own.",
        more="A share has no effect where the examples are cross-validated, as those below 3,000 are. The winner is "
        "trained on all examples in the end.",
        check=share_or_data,
        metavar="SHARE|DATA",
        parse=parse_share_or_data,
        holds_data=True,
    )
    validation_targets: Any = setting(
        None, help="Targets of the validation examples.", none="the validation data hold them", on_command_line=False
    )
    folds: int | None = setting(
        None,
        help="Number of folds of the cross-validation; 1 splits once.",
        none="5 below 3,000 examples, 1 from there on",
        check=whole_number("number of folds", 1, optional=True),
        metavar="N",
    )
    modality: str | None = setting(
        None,
        help="What kind of examples the data are, such as image; 'autotransfer plugins' lists all.",
        none="found out from the data",
        metavar="NAME",
    )
    modality_options: Mapping[str, Any] | None = setting(
        None,
        help="Options of the modality by name, as JSON.",
        more="On the command line, each has an option of its own.",
        none="each has the default that its modality says",
        check=options_of_modality,
        metavar="JSON",
        parse=parse_options_of_modality,
        hidden=True,
    )
    input_column: str | Sequence[str] | None = setting(
        None,
        help="Column of a table whose cells are the examples themselves; repeatable.",
        more="Several columns make one example, where the modality can join them.",
        none="guessed by what the columns hold",
        metavar="C",
    )
    path_column: str | None = setting(
        None, help="Column of paths in a table.", none="guessed by what the columns hold", metavar="C"
    )
    target_column: str | Sequence[str] | None = setting(
        None,
        help="Column of targets in a table; repeatable.",
        more="Several columns of 0 and 1 are the classes of a multilabel task, several columns of other numbers are "
        "the targets of a regression.",
        none="guessed by what the columns hold",
        metavar="C",
    )
    label_separator: str | None = setting(
        None,
        help="What stands between several labels of one example, such as |.",
        more="With a separator, the task is multilabel.",
        none="a text is one label",
        metavar="TEXT",
    )
    groups: Any = setting(
        None,
        help="What stays on one side of every split: a column, or a regular expression that finds the group in a path.",
        more="In Python, a sequence with the group of each example, too. Photographs of one object are such a group.",
        none="near-duplicates",
        metavar="G",
        parse=str,
    )
    sample_weight: Any = setting(
        None,
        help="Weight of each example of an array, list, table or data set: how much it counts in training and scores.",
        more="Weights count in relation to each other. An example of the weight 0 is left out. Weights of classes "
        "multiply them. Splits do not depend on them.",
        none="all examples weigh the same",
        on_command_line=False,
    )
    weight_column: str | None = setting(
        None,
        help="Column of a table with the weight of each example, in training and scores.",
        more="It takes the place of ``sample_weight``. A test or validation table may lack it.",
        none="all examples weigh the same",
        metavar="C",
    )
    validation_sample_weight: Any = setting(
        None,
        help="Weights of the validation examples.",
        none="each has the mean weight, unless their table has weights",
        on_command_line=False,
    )
    test_sample_weight: Any = setting(
        None,
        help="Weights of the test examples.",
        none="all weigh the same, unless their table has weights",
        on_command_line=False,
    )
    root: str | Path | None = setting(
        None,
        help="Folder where the relative paths of a table or list start.",
        more="The folder of the table comes after it; for a list or DataFrame, the current folder.",
        check=path_or_none,
        metavar="DIR",
    )
    suffix: str | None = setting(
        None, help="What the paths of a table or list lack at the end, such as .png.", metavar="S"
    )
    follow_links: bool = setting(
        False, help="Follow links that lead out of a folder, and links to folders.", more="Loops end."
    )
    min_examples: int | None = setting(
        None,
        help="Leave out classes with fewer training examples.",
        none="a class with a single example is refused",
        check=whole_number("fewest examples of a class", 1, optional=True),
        metavar="N",
        aliases=("min_images",),
    )
    task: Kind | None = setting(
        None,
        help="Kind of task: binary, multiclass, multilabel or regression.",
        none="inferred from the targets",
        check=one_of("kind of task", get_args(Kind), optional=True),
        metavar="KIND",
    )
    positive_class: Any = setting(
        None,
        help="Which of two classes recall, precision and the like are of.",
        none="the rarer class; of two that are as frequent, the one that is sorted last",
        check=plain_label,
        metavar="LABEL",
        parse=str,
    )
    strict: bool = setting(
        False,
        help="Refuse data, or test data, with an unreadable example.",
        more="Otherwise unreadable examples are left out and listed.",
    )

    def __new__(cls, **given: Any) -> Self:
        """Refuse arguments of an earlier version, each with what has taken its place.

        Raises:
            ConfigError: There is one.
        """
        for name in given.keys() & _MOVED.keys():
            raise ConfigError(f"DataOptions has no {name}: give {_MOVED[name]} instead; got {given[name]!r:.80}.")
        return super().__new__(cls)

    @property
    def validation_share(self) -> float:
        """Share of the examples to split off: of no use where validation examples are given."""
        return self.validation if isinstance(self.validation, float) else float(type(self).validation)


@documented
@dataclass(frozen=True, kw_only=True)
class SearchOptions(SettingsGroup):
    """What is searched beside backbones and heads, and how candidates train."""

    exclude: Patterns = setting(
        (),
        help="Backbones to leave out, by name or pattern; repeatable.",
        more="A broken checkpoint of a zoo is such a backbone.",
        check=patterns,
        metavar="PATTERN",
    )
    freeze: Patterns = setting(
        (), help="Freeze policies to search, by name or pattern; repeatable.", check=patterns, metavar="PATTERN"
    )
    epochs: int = setting(
        12, help="Epochs of a candidate that trains stages.", check=whole_number("number of epochs", 1), metavar="N"
    )
    views: int = setting(
        4,
        help="Most views of an example that the model averages: 1, 2 or 4; 1 is fastest.",
        more="The modality says what the views of an example are. Each view is a pass through the backbone, in "
        "prediction, too. They are averaged where validation says that it pays.",
        check=whole_number("number of views", 1),
        metavar="N",
    )
    class_weight: Literal["balanced"] | Mapping[Any, float] | None = setting(
        None,
        help="Weight the loss by inverse class frequency.",
        more='"balanced" does so; a dictionary gives the weight of each class, 1 for the classes that it leaves out.',
        none="all classes weigh the same",
        check=class_weights,
        metavar="balanced",
        parse=str,
    )
    compare_scratch: bool = setting(
        True,
        help="Train the winner's architecture from random weights, too, to show what transfer gains.",
        more="This takes about a twentieth of a time budget, or as many epochs as one candidate.",
        off="Do not train the winner's architecture from random weights.",
    )


@documented
@dataclass(frozen=True, kw_only=True)
class Selection(SettingsGroup):
    """What may become the model beside the best candidate."""

    ensemble: bool = setting(
        True,
        help="Ensemble the best candidates where validation says that it pays.",
        more="The model then runs all of them.",
        off="Refit one candidate, never several.",
    )
    calibrate: bool = setting(
        True,
        help="Scale probabilities by a temperature where validation says that it makes them more honest.",
        more="With class weights, which are meant to shift probabilities, nothing is scaled.",
        off="Leave probabilities as they are.",
    )
    thresholds: bool = setting(
        True,
        help="Choose thresholds for F1, Jaccard's index and their like where validation says that it pays.",
        more="Of two classes, or for each of several labels; the threshold is one half otherwise.",
        off="Decide at a probability of one half.",
    )
    limits: Limits = group(Limits(), "What the model may take")


@documented
@dataclass(frozen=True, kw_only=True)
class Compute(SettingsGroup):
    """Where candidates are evaluated, and what they may take of the machine."""

    device: str = setting("auto", help="The device: auto, cpu, cuda, cuda:N or mps.", check=device_name, metavar="NAME")
    workers: int | None = setting(
        None,
        help="Processes that evaluate candidates, or most tasks at a time on a cluster; 1 guards against what hangs.",
        more="With 1, a single process beside the search evaluates candidates: it can be ended where a plugin hangs.",
        none="this process alone; on a cluster, as many tasks as there is room for",
        check=whole_number("number of workers", 1, optional=True),
        metavar="N",
    )
    executor: Literal["local", "ray"] = setting(
        "local",
        help="Where candidates are evaluated: local or ray.",
        check=one_of("executor", ("local", "ray")),
        metavar="WHERE",
    )
    ray_address: str | None = setting(
        None,
        help="Address of the Ray cluster, auto for one that runs here.",
        none="a new cluster on this machine",
        environment="RAY_ADDRESS",
        metavar="ADDR",
    )
    trial_timeout: str | float = setting(
        "60s",
        help="End a trial that gives no sign of life for so long, as 60s or in seconds.",
        more="A trial has ten times the time that it was predicted to take in any case. It is recorded as failed. A "
        "worker process is ended; without workers, a trial ends between two batches, and a plugin that hangs within "
        "one hangs the search: use workers=1 to guard against it.",
        check=parse_duration,
        metavar="TIME",
    )
    cache: bool = setting(
        True, help="Keep activations on disk between runs.", off="Keep no activations on disk between runs."
    )
    cache_dir: str | Path | None = setting(
        None,
        help="Folder of the activation cache.",
        none="the cache folder of the user",
        environment="AUTOTRANSFER_CACHE",
        check=path_or_none,
        metavar="DIR",
    )
    memory_limit: int | None = setting(
        None,
        help="Bytes that decoded examples and activations may take in memory.",
        more="Beyond it they are files that the system's cache holds.",
        none="a third of the free memory, 1 GB at most",
        check=bytes_or_none,
        metavar="BYTES",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ray_address is not None and self.executor != "ray":
            raise ConfigError("A Ray address is of use with the executor 'ray' only.")


@documented
@dataclass(frozen=True, kw_only=True)
class RunOptions(SettingsGroup):
    """What the run folder keeps, and who looks on."""

    overwrite: bool = setting(False, help="Replace a run that is there.", saved=False)
    resume: bool = setting(
        False,
        help="Go on with a run that is there, on the same data.",
        more="No finished trial is lost or repeated. The same budget means what is left of it, another one is a new "
        "one. Where there is no run, one begins.",
        saved=False,
    )
    storage: str | None = setting(
        None,
        help="Optuna storage of the study, such as sqlite:///studies.db.",
        none="a file in the run folder",
        metavar="URL",
    )
    study: str | None = setting(
        None, help="Name of the study, which no other run may have.", none="made up", metavar="NAME"
    )
    callbacks: Sequence[object] = setting(
        (),
        help="Objects that observe the search.",
        more="They have any of the methods search_started, epoch_finished, trial_finished, search_finished and "
        "search_failed; autotransfer.contract.hookspecs says what each receives. An error in them is a warning. A run "
        "that is resumed needs them again.",
        on_command_line=False,
        saved=False,
    )
    previews: bool = setting(
        True,
        help="Show thumbnails, words and clips of training examples on the page and in report.json.",
        off="Keep training examples out of the page and of report.json: only their names are there.",
    )
    progress: bool = setting(
        True, help="Show progress on standard error.", off="Show no progress on standard error.", saved=False
    )
