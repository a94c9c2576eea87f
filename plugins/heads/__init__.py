"""Our heads. Each file's ``DEFAULTS`` holds the settings that are used where none are given."""

from __future__ import annotations

from collections.abc import Callable

from autotransfer.contract.hookspecs import hookimpl
from autotransfer.contract.specs import HeadSpec
from autotransfer_plugins.heads.closed_form import LOGISTIC, NCM, RIDGE
from autotransfer_plugins.heads.knn import KNN
from autotransfer_plugins.heads.linear import LINEAR
from autotransfer_plugins.heads.mlp import MLP
from autotransfer_plugins.heads.stages import STAGE_RIDGE


@hookimpl
def register_heads(register: Callable[[HeadSpec], None]) -> None:
    """Register all of them."""
    for head in (KNN, LINEAR, LOGISTIC, MLP, NCM, RIDGE, STAGE_RIDGE):
        register(head)
