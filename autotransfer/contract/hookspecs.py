"""The doors. A plugin is a module that implements any of these with ``autotransfer.contract.hookspecs.hookimpl``.

It is found through an entry point in the group ``autotransfer``; our own plugins use the same one::

    [project.entry-points."autotransfer"]
    my_backbones = "my_package.plugin"
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

from autotransfer.contract.specs import BackboneSpec, FreezePolicySpec, HeadSpec

if TYPE_CHECKING:
    from torch import Tensor

    from autotransfer.contract.backbone import Backbone

__all__ = ["hookimpl", "hookspec"]

hookspec = pluggy.HookspecMarker("autotransfer")
hookimpl = pluggy.HookimplMarker("autotransfer")


@hookspec
def register_backbones(register: Callable[[BackboneSpec], None], zoos: tuple[Path, ...]) -> None:
    """Call ``register(BackboneSpec(...))`` for each backbone; load no weights here. ``zoos`` are the user's folders."""


@hookspec(firstresult=True)
def resolve_backbone(name: str) -> BackboneSpec | None:
    """Return a spec for a name that cannot be listed beforehand (``hf-hub:...``), or None when it is not yours."""


@hookspec(firstresult=True)
def rebuild_backbone(recipe: Mapping[str, Any]) -> Backbone | None:
    """Build, without weights, the backbone of a saved model from its ``Backbone.recipe``, or None when not yours."""


@hookspec(firstresult=True)
def outline_backbone(architecture: str, input_size: int | None, classes: int) -> Mapping[str, Any] | None:
    """Return the recipe from which ``rebuild_backbone`` builds an architecture, or None when not yours.

    ``input_size`` is a side in pixels, None for the architecture's own; ``classes`` is the number of outputs that
    ``write_backbone`` will be given a classifier for, 0 for none.
    """


@hookspec(firstresult=True)
def write_backbone(
    backbone: Backbone, classifier: tuple[Tensor, Tensor] | None, about: Mapping[str, Any], folder: Path
) -> bool | None:
    """Write a backbone as a checkpoint that ``register_backbones`` finds in a zoo, or return None when not yours.

    ``classifier`` is the weight (classes, width) and bias (classes,) of a linear layer on the pooled features;
    ``about`` is JSON: ``description``, ``license``, ``label_names``, and ``source``, which holds everything else.
    """


@hookspec
def register_heads(register: Callable[[HeadSpec], None]) -> None:
    """Call ``register(HeadSpec(...))`` for each head."""


@hookspec
def register_freeze_policies(register: Callable[[FreezePolicySpec], None]) -> None:
    """Call ``register(FreezePolicySpec(...))`` for each freeze policy."""


@hookspec
def trial_finished(result: Any) -> None:
    """Observe one finished ``TrialRecord``. Errors are logged, never fatal."""


@hookspec
def search_finished(result: Any) -> None:
    """Observe the ``FitResult``. Errors are logged, never fatal."""
