"""The heads of this package. ``DEFAULTS`` of each module holds the default settings of its heads.

This module holds the specs only. The module of a head, which imports torch, is imported when the head is used.
"""

from __future__ import annotations

from collections.abc import Callable

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from autotransfer.contract.hookspecs import hookimpl
from autotransfer.contract.lazy_import import LazyImport
from autotransfer.contract.specs import HeadSpec

__all__ = [
    "KNN",
    "LINEAR",
    "LOGISTIC",
    "MLP",
    "NCM",
    "RIDGE",
    "STAGE_RIDGE",
    "TFIDF_LOGISTIC",
    "TFIDF_RIDGE",
    "register_heads",
]

_PACKAGE = "autotransfer_plugins.heads"
_SINGLE_LABEL = frozenset({"binary", "multiclass"})

KNN = HeadSpec(
    name="knn",
    build=LazyImport(f"{_PACKAGE}.knn:build"),
    solve=LazyImport(f"{_PACKAGE}.knn:solve"),
    takes_sample_weight=True,
    parameters={"k": IntDistribution(1, 30, log=True)},
)
LINEAR = HeadSpec(
    name="linear", build=LazyImport(f"{_PACKAGE}.linear:build"), parameters={"dropout": FloatDistribution(0.0, 0.5)}
)
LOGISTIC = HeadSpec(
    name="logistic",
    build=LazyImport(f"{_PACKAGE}.closed_form:build"),
    solve=LazyImport(f"{_PACKAGE}.closed_form:solve_logistic"),
    takes_sample_weight=True,
    parameters={"C": FloatDistribution(1e-4, 1e2, log=True)},
    tasks=_SINGLE_LABEL | {"multilabel"},
)
MLP = HeadSpec(
    name="mlp",
    build=LazyImport(f"{_PACKAGE}.mlp:build"),
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
    build=LazyImport(f"{_PACKAGE}.closed_form:build"),
    solve=LazyImport(f"{_PACKAGE}.closed_form:solve_ncm"),
    takes_sample_weight=True,
    tasks=_SINGLE_LABEL,
)
RIDGE = HeadSpec(
    name="ridge",
    build=LazyImport(f"{_PACKAGE}.closed_form:build"),
    solve=LazyImport(f"{_PACKAGE}.closed_form:solve_ridge"),
    takes_sample_weight=True,
    parameters={"alpha": FloatDistribution(1.0, 1e5, log=True)},
)
STAGE_RIDGE = HeadSpec(
    name="stage_ridge",
    build=LazyImport(f"{_PACKAGE}.stages:build"),
    solve=LazyImport(f"{_PACKAGE}.stages:solve"),
    takes_sample_weight=True,
    features="stages",
    parameters={"alpha": FloatDistribution(1.0, 1e5, log=True), "early": FloatDistribution(0.01, 10.0, log=True)},
)
TFIDF_LOGISTIC = HeadSpec(
    name="tfidf_logistic",
    build=LazyImport(f"{_PACKAGE}.tfidf:build"),
    solve=LazyImport(f"{_PACKAGE}.tfidf:solve_logistic"),
    takes_sample_weight=True,
    parameters={"C": FloatDistribution(0.3, 100.0, log=True)},
    tasks=_SINGLE_LABEL | {"multilabel"},
)
TFIDF_RIDGE = HeadSpec(
    name="tfidf_ridge",
    build=LazyImport(f"{_PACKAGE}.tfidf:build"),
    solve=LazyImport(f"{_PACKAGE}.tfidf:solve_ridge"),
    takes_sample_weight=True,
    parameters={"alpha": FloatDistribution(0.03, 30.0, log=True)},
    tasks=frozenset({"regression"}),
)


@hookimpl
def register_heads(register: Callable[[HeadSpec], None]) -> None:
    """Register the heads."""
    for head in (KNN, LINEAR, LOGISTIC, MLP, NCM, RIDGE, STAGE_RIDGE, TFIDF_LOGISTIC, TFIDF_RIDGE):
        register(head)
