"""autotransfer: finds the best way to transfer a pretrained model to your task.

import autotransfer
result = autotransfer.fit("photos/train", time_budget="10m")
result.predict(["new.jpg"])
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from autotransfer.runtime.threads import configure_threads

if TYPE_CHECKING:
    from autotransfer._version import __version__
    from autotransfer.api import fit, load, resume
    from autotransfer.candidate import Candidate
    from autotransfer.contract.hookspecs import hookimpl
    from autotransfer.errors import AutoTransferError
    from autotransfer.estimator import AutoTransferClassifier, AutoTransferRegressor
    from autotransfer.model.transfer_model import TransferModel
    from autotransfer.pipeline.evaluate import EvaluationResult, evaluate
    from autotransfer.pretraining.distill import DistillResult, distill
    from autotransfer.pretraining.pretrain import PretrainResult, pretrain
    from autotransfer.run.result import FitResult
    from autotransfer.settings import (
        Compute,
        DataOptions,
        Limits,
        ModelCard,
        RunOptions,
        SearchOptions,
        Selection,
        Settings,
        TrainingOptions,
    )

__all__ = [
    "AutoTransferClassifier",
    "AutoTransferError",
    "AutoTransferRegressor",
    "Candidate",
    "Compute",
    "DataOptions",
    "DistillResult",
    "EvaluationResult",
    "FitResult",
    "Limits",
    "ModelCard",
    "PretrainResult",
    "RunOptions",
    "SearchOptions",
    "Selection",
    "Settings",
    "TrainingOptions",
    "TransferModel",
    "__version__",
    "distill",
    "evaluate",
    "fit",
    "hookimpl",
    "load",
    "pretrain",
    "resume",
]

# Loaded when first used: importing the package must not import torch.
_HOMES = {
    "AutoTransferClassifier": "estimator",
    "AutoTransferError": "errors",
    "AutoTransferRegressor": "estimator",
    "Candidate": "candidate",
    "Compute": "settings",
    "DataOptions": "settings",
    "DistillResult": "pretraining.distill",
    "EvaluationResult": "pipeline.evaluate",
    "FitResult": "run.result",
    "Limits": "settings",
    "ModelCard": "settings",
    "PretrainResult": "pretraining.pretrain",
    "RunOptions": "settings",
    "SearchOptions": "settings",
    "Selection": "settings",
    "Settings": "settings",
    "TrainingOptions": "settings",
    "TransferModel": "model.transfer_model",
    "__version__": "_version",
    "distill": "pretraining.distill",
    "evaluate": "pipeline.evaluate",
    "fit": "api",
    "hookimpl": "contract.hookspecs",
    "load": "api",
    "pretrain": "pretraining.pretrain",
    "resume": "api",
}
_LIGHT = ("_version", "candidate", "contract.hookspecs", "errors", "settings")  # all others load torch


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if _HOMES[name] not in _LIGHT:
        configure_threads()
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
