"""Frozen settings of a search."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal

from autotransfer.errors import ConfigError

__all__ = ["Budget", "Folders", "SearchConfig", "check_device", "parse_duration", "zoos_from"]

Folders = str | Path | Sequence[str | Path]

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_NUMBER, _UNIT = r"\s*\d+(?:\.\d+)?\s*", r"(?:min|[smhd])"


def check_device(name: str) -> None:
    """Refuse a name that is none of a device; whether it is there is not asked.

    Raises:
        ConfigError: It is none.
    """
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", name):
        raise ConfigError(f"The device is 'auto', 'cpu', 'cuda', 'cuda:N' or 'mps'; got {name!r}.")


def parse_duration(value: str | float) -> float:
    """Return seconds from a number of seconds or from text such as ``"90s"``, ``"5m"``, ``"1h30m"``.

    Raises:
        ConfigError: The text is no duration, or it is not positive.
    """
    if isinstance(value, str):
        text = value.strip().lower()
        if not re.fullmatch(rf"{_NUMBER}|({_NUMBER}{_UNIT})+", text):
            raise ConfigError(f"A time budget is a number with a unit, such as '90s', '5m' or '1h30m'; got {value!r}.")
        seconds = sum(float(number) * _UNITS[unit] for number, unit in re.findall(rf"({_NUMBER})({_UNIT}|)", text))
    else:
        seconds = _number(value)
    if not 0 < seconds < math.inf:
        raise ConfigError(f"A time budget must be positive; got {value!r}.")
    return seconds


def zoos_from(zoo: Folders | None) -> tuple[Path, ...]:
    """Return the zoo folders: those given, else those of the environment variable ``AUTOTRANSFER_ZOO``."""
    if zoo is None:
        return tuple(Path(folder) for folder in os.environ.get("AUTOTRANSFER_ZOO", "").split(os.pathsep) if folder)
    return tuple(Path(folder) for folder in ([zoo] if isinstance(zoo, (str, Path)) else zoo))


def _number(value: Any) -> float:
    """Return a number as it is, and NaN for what is none."""
    return float(value) if isinstance(value, Real) else math.nan


def _class_weight(given: Any) -> Any:
    """Return class weights with plain keys and values, so that they can be written down as JSON."""
    if given is None or (isinstance(given, str) and given == "balanced"):
        return given
    if not isinstance(given, Mapping) or not given:
        raise ConfigError(f"The class weight is 'balanced', a dictionary of weights by class, or None; got {given!r}.")
    for label, weight in given.items():
        if not 0 < _number(weight) < math.inf:
            raise ConfigError(f"The weight of a class is a positive number; got {weight!r} for {label!r}.")
    return {_plain(label): float(weight) for label, weight in given.items()}


def _plain(label: Any) -> Any:
    """Return a NumPy scalar as the Python value that JSON can hold."""
    return label.item() if hasattr(label, "item") else label


def _value_range(given: Any) -> tuple[float, float] | None:
    """Return the values that are black and white as two numbers."""
    if given is None:
        return None
    numbers = () if isinstance(given, str) or not isinstance(given, Iterable) else tuple(map(_number, given))
    if len(numbers) != 2 or not -math.inf < numbers[0] < numbers[1] < math.inf:
        raise ConfigError(f"The value range is two numbers, such as (0, 4095), the lower one first; got {given!r}.")
    return numbers[0], numbers[1]


def _is_whole(value: object, low: int, high: float = math.inf) -> bool:
    return isinstance(value, Integral) and low <= int(value) <= high


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a search may spend; it ends at whichever comes first.

    Attributes:
        seconds: Wall time of search and refit together.
        trials: Number of trials, whatever their end.
    """

    seconds: float | None = None
    trials: int | None = None

    def __post_init__(self) -> None:
        if self.seconds is not None and not 0 < self.seconds < float("inf"):
            raise ConfigError(f"A time budget must be positive; got {self.seconds}.")
        if self.trials is not None and not _is_whole(self.trials, 1):
            raise ConfigError(f"The number of trials must be at least 1; got {self.trials!r}.")


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """Everything that a search can be told.

    Attributes:
        budget: Time and trials.
        backbones: Names or glob patterns; empty means every default backbone.
        exclude: Names or glob patterns of backbones that are left out.
        zoos: Folders of checkpoints.
        heads: Names or glob patterns; empty means all.
        freeze: Names or glob patterns of freeze policies; empty means all.
        task: Kind of task; None infers it from the targets.
        metric: A scikit-learn scorer's name, or a scorer; None chooses by task.
        positive_class: Which of two classes is the positive one; None takes the rarer one where the metric asks.
        value_range: The values of images that are black and white; None decides by the training images.
        class_weight: ``"balanced"`` weights the loss by inverse class frequency; a dictionary gives the weight of each
            class, 1 for those that it leaves out.
        min_images: Classes with fewer images to train on are left out; None leaves none out.
        validation: Share of the examples that candidates are scored on, where they are not cross-validated.
        folds: Number of folds of the cross-validation; None means 5 below 3,000 examples and one split above.
        epochs: Most epochs of one trial.
        views: Most fixed views of an image that a model averages, 1, 2 or 4: each takes a pass through its backbone.
        seed: Seed of sampler, split and training.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        strict: Unreadable images are an error instead of being skipped.
        cache: Keep activations on disk between runs.
        cache_dir: Folder of that cache; None means the platform's user cache folder.
        ensemble: Whether to ensemble the best candidates where validation says that it pays.
        soup: Whether to average the weights of fine-tuned candidates where validation says that it pays.
        calibrate: Whether to scale probabilities by a temperature where validation says that it pays.
        storage: URL of the Optuna storage of the study; None keeps it in the run folder.
        study: Name of the study; None makes one up.
        workers: Number of processes that evaluate candidates on this machine, or most tasks on a cluster; None means
            the process of the search, and as many tasks as there is room for.
        executor: Where candidates are evaluated: on this machine, or on a Ray cluster.
        ray_address: Address of the Ray cluster.
        trial_timeout: Seconds without a sign of life, beside ten times what it was predicted to take, after which a
            trial is ended.
        memory_limit: Bytes that decoded images and activations may take in memory; None derives it from free memory.
        compare_scratch: Train the winner's architecture from random weights, too, to show what transfer gains.
    """

    budget: Budget = Budget(seconds=300.0)
    backbones: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    zoos: tuple[Path, ...] = ()
    heads: tuple[str, ...] = ()
    freeze: tuple[str, ...] = ()
    task: Literal["binary", "multiclass", "multilabel", "regression"] | None = None
    metric: str | Callable[..., Any] | None = None
    positive_class: Any = None
    value_range: tuple[float, float] | None = None
    class_weight: Literal["balanced"] | Mapping[Any, float] | None = None
    min_images: int | None = None
    validation: float = 0.25
    folds: int | None = None
    epochs: int = 12
    views: int = 4
    seed: int = 0
    device: str = "auto"
    strict: bool = False
    cache: bool = True
    cache_dir: Path | None = None
    ensemble: bool = True
    soup: bool = True
    calibrate: bool = True
    storage: str | None = None
    study: str | None = None
    workers: int | None = None
    executor: Literal["local", "ray"] = "local"
    ray_address: str | None = None
    trial_timeout: float = 60.0
    memory_limit: int | None = None
    compare_scratch: bool = True

    def __post_init__(self) -> None:
        if not 0 < _number(self.validation) < 1:
            raise ConfigError(f"The validation share lies between 0 and 1; got {self.validation!r}.")
        if self.folds is not None and not _is_whole(self.folds, 1):
            raise ConfigError(f"The number of folds must be at least 1; got {self.folds!r}.")
        if self.min_images is not None and not _is_whole(self.min_images, 1):
            raise ConfigError(f"The fewest images of a class are a number of at least 1; got {self.min_images!r}.")
        if not _is_whole(self.epochs, 1):
            raise ConfigError(f"The number of epochs must be at least 1; got {self.epochs!r}.")
        if not _is_whole(self.views, 1):
            raise ConfigError(f"The number of views must be at least 1; got {self.views!r}.")
        if not _is_whole(self.seed, 0, 2**32 - 1):
            raise ConfigError(f"A seed is a whole number from 0 to 2**32 - 1; got {self.seed!r}.")
        self._check_executor()
        object.__setattr__(self, "class_weight", _class_weight(self.class_weight))
        object.__setattr__(self, "positive_class", _plain(self.positive_class))
        object.__setattr__(self, "value_range", _value_range(self.value_range))
        if self.memory_limit is not None and self.memory_limit < 0:
            raise ConfigError(f"The memory limit is a number of bytes of 0 or more; got {self.memory_limit}.")
        check_device(self.device)

    def _check_executor(self) -> None:
        if self.workers is not None and not _is_whole(self.workers, 1):
            raise ConfigError(f"The number of workers is at least 1; got {self.workers!r}.")
        if self.executor not in ("local", "ray"):
            raise ConfigError(f"The executor is 'local' or 'ray'; got {self.executor!r}.")
        if self.ray_address is not None and self.executor != "ray":
            raise ConfigError("A Ray address is of use with the executor 'ray' only.")
