"""autotransfer: finds the best way to transfer a pretrained model to your task.

import autotransfer
result = autotransfer.fit("photos/train", time_budget="10m")
result.predict(["new.jpg"])
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from autotransfer.threads import settle_threads

if TYPE_CHECKING:
    from autotransfer._version import __version__
    from autotransfer.api import fit, load, resume
    from autotransfer.candidate import Candidate
    from autotransfer.contract.hookspecs import hookimpl
    from autotransfer.errors import AutoTransferError
    from autotransfer.estimator import AutoTransferClassifier, AutoTransferRegressor
    from autotransfer.evaluation import EvaluationResult, evaluate
    from autotransfer.model import TransferModel
    from autotransfer.result import FitResult
    from autotransfer.source.distill import DistillResult, distill
    from autotransfer.source.pretrain import PretrainResult, pretrain

__all__ = [
    "AutoTransferClassifier",
    "AutoTransferError",
    "AutoTransferRegressor",
    "Candidate",
    "DistillResult",
    "EvaluationResult",
    "FitResult",
    "PretrainResult",
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
    "DistillResult": "source.distill",
    "EvaluationResult": "evaluation",
    "FitResult": "result",
    "PretrainResult": "source.pretrain",
    "TransferModel": "model",
    "__version__": "_version",
    "distill": "source.distill",
    "evaluate": "evaluation",
    "fit": "api",
    "hookimpl": "contract.hookspecs",
    "load": "api",
    "pretrain": "source.pretrain",
    "resume": "api",
}
_HEAVY = ("api", "estimator", "evaluation", "model", "result", "source.distill", "source.pretrain")  # they load torch


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if _HOMES[name] in _HEAVY:
        settle_threads()
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
