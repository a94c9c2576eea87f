"""Settings: frozen dataclasses, a field for each setting."""

from autotransfer.settings.checks import Folders, Patterns, device_name, parse_duration, zoos_from
from autotransfer.settings.fields import grouped, refuse_unused
from autotransfer.settings.groups import Compute, DataOptions, Kind, RunOptions, SearchOptions, Selection
from autotransfer.settings.limits import Limits
from autotransfer.settings.pretraining import DistillOptions, Match, ModelCard, PretrainOptions, TrainingOptions
from autotransfer.settings.settings import Budget, DataArguments, Settings

__all__ = [
    "Budget",
    "Compute",
    "DataArguments",
    "DataOptions",
    "DistillOptions",
    "Folders",
    "Kind",
    "Limits",
    "Match",
    "ModelCard",
    "Patterns",
    "PretrainOptions",
    "RunOptions",
    "SearchOptions",
    "Selection",
    "Settings",
    "TrainingOptions",
    "device_name",
    "grouped",
    "parse_duration",
    "refuse_unused",
    "zoos_from",
]
