"""Our heads. Each file's ``DEFAULTS`` holds the settings that are used where none are given.

What a head is stands here, what it does in its file: that is imported, and torch with it, when the head is used.
"""

from __future__ import annotations

from collections.abc import Callable

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from autotransfer.contract.hookspecs import hookimpl
from autotransfer.contract.lazy_import import LazyImport
from autotransfer.contract.specs import HeadSpec

__all__ = ["KNN", "LINEAR", "LOGISTIC", "MLP", "NCM", "RIDGE", "STAGE_RIDGE", "register_heads"]

_HERE = "autotransfer_plugins.heads"
_CLASSES = frozenset({"binary", "multiclass"})

KNN = HeadSpec(
    name="knn",
    build=LazyImport(f"{_HERE}.knn:build"),
    solve=LazyImport(f"{_HERE}.knn:solve"),
    parameters={"k": IntDistribution(1, 30, log=True)},
)
LINEAR = HeadSpec(
    name="linear", build=LazyImport(f"{_HERE}.linear:build"), parameters={"dropout": FloatDistribution(0.0, 0.5)}
)
LOGISTIC = HeadSpec(
    name="logistic",
    build=LazyImport(f"{_HERE}.closed_form:build"),
    solve=LazyImport(f"{_HERE}.closed_form:solve_logistic"),
    parameters={"C": FloatDistribution(1e-4, 1e2, log=True)},
    tasks=_CLASSES | {"multilabel"},
)
MLP = HeadSpec(
    name="mlp",
    build=LazyImport(f"{_HERE}.mlp:build"),
    features="map",
    parameters={
        "pooling": CategoricalDistribution(("avg", "max", "avgmax", "flatten")),
        "width": IntDistribution(64, 2048, log=True),
        "layers": IntDistribution(1, 3),
        "dropout": FloatDistribution(0.0, 0.5),
    },
)
NCM = HeadSpec(
    name="ncm",
    build=LazyImport(f"{_HERE}.closed_form:build"),
    solve=LazyImport(f"{_HERE}.closed_form:solve_ncm"),
    tasks=_CLASSES,
)
RIDGE = HeadSpec(
    name="ridge",
    build=LazyImport(f"{_HERE}.closed_form:build"),
    solve=LazyImport(f"{_HERE}.closed_form:solve_ridge"),
    parameters={"alpha": FloatDistribution(1.0, 1e5, log=True)},
)
STAGE_RIDGE = HeadSpec(
    name="stage_ridge",
    build=LazyImport(f"{_HERE}.stages:build"),
    solve=LazyImport(f"{_HERE}.stages:solve"),
    features="stages",
    parameters={"alpha": FloatDistribution(1.0, 1e5, log=True), "early": FloatDistribution(0.01, 10.0, log=True)},
)


@hookimpl
def register_heads(register: Callable[[HeadSpec], None]) -> None:
    """Register all of them."""
    for head in (KNN, LINEAR, LOGISTIC, MLP, NCM, RIDGE, STAGE_RIDGE):
        register(head)
