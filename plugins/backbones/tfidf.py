"""TF-IDF: a candidate of every search on texts that knows no pretrained model, and that the others have to beat."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotransfer.contract.hookspecs import hookimpl
from autotransfer.contract.lazy_import import LazyImport
from autotransfer.contract.specs import BackboneSpec

if TYPE_CHECKING:
    from autotransfer.contract.backbone import Backbone

__all__ = ["rebuild_backbone", "register_backbones"]

_LOAD = LazyImport("autotransfer_plugins.backbones._tfidf_model:load")


@hookimpl
def register_backbones(register: Callable[[BackboneSpec], None], zoos: tuple[Path, ...]) -> None:
    """Register the counts of n-grams."""
    register(
        BackboneSpec(
            name="tfidf",
            modality="text",
            load=_LOAD,
            source="no pretraining: n-grams of words and characters",
            weights="none",
            parameters=0,
            gmacs=0.0,
            heads=("tfidf_logistic", "tfidf_ridge"),
            version="1",
        )
    )


@hookimpl
def rebuild_backbone(recipe: Mapping[str, Any]) -> Backbone | None:
    """Build the backbone of a saved model; None for a recipe of another plugin."""
    return _LOAD() if recipe.get("plugin") == "tfidf" else None
