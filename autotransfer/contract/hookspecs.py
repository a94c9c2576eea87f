"""The doors. A plugin is a module, or an object, that implements any of these with ``hookimpl``.

It is found through an entry point in the group ``autotransfer``; our own plugins use the same one::

    [project.entry-points."autotransfer"]
    my_tracker = "my_package.plugin"

A hook takes any part of its arguments, by their names. A whole plugin, ``my_package/plugin.py``, that adds a backbone
and writes down how a search goes::

    from autotransfer import hookimpl
    from autotransfer.contract.lazy_import import LazyImport
    from autotransfer.contract.specs import BackboneSpec


    @hookimpl
    def register_backbones(register):
        # LazyImport("module:function") imports torch when the backbone is loaded, not whenever plugins are listed.
        register(BackboneSpec(name="mine", load=LazyImport("my_package.network:load_mine"), version="mine 2"))


    @hookimpl
    def search_started(settings):
        print("seed", settings["seed"], "budget", settings["budget"])


    @hookimpl
    def epoch_finished(epoch):
        print(epoch.candidate.backbone, epoch.epoch, epoch.score, epoch.loss, epoch.learning_rate)


    @hookimpl
    def trial_finished(result):
        print("trial", result.number, result.state, result.score)


    @hookimpl
    def search_finished(result):
        print("done:", result.best, result.run)


    @hookimpl
    def search_failed(error):
        print("not done:", type(error).__name__, error)

``search_started`` is followed by exactly one of ``search_finished`` and ``search_failed``. These five observe: what
goes wrong in them is logged, is in the result's warnings (``plugin_failed``), and never ends a search. An object with
methods of their names, with or without ``hookimpl``, observes one search where ``fit`` gets it as a callback::

    autotransfer.fit("photos", callbacks=[MyTracker()])
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

from autotransfer.contract.specs import BackboneSpec, EpochRecord, FreezePolicySpec, HeadSpec

if TYPE_CHECKING:
    from torch import Tensor

    from autotransfer.contract.backbone import Backbone

__all__ = [
    "hookimpl",
    "hookspec",
    "register_backbones",
    "resolve_backbone",
    "rebuild_backbone",
    "outline_backbone",
    "write_backbone",
    "register_heads",
    "register_freeze_policies",
    "search_started",
    "epoch_finished",
    "trial_finished",
    "search_finished",
    "search_failed",
]

hookspec = pluggy.HookspecMarker("autotransfer")
hookimpl = pluggy.HookimplMarker("autotransfer")


@hookspec
def register_backbones(register: Callable[[BackboneSpec], None], zoos: tuple[Path, ...]) -> None:
    """Call ``register(BackboneSpec(...))`` for each backbone; load no weights here. ``zoos`` are the user's folders."""


@hookspec(firstresult=True)
def resolve_backbone(name: str) -> BackboneSpec | None:
    """Return a spec for a name that cannot be listed beforehand (``hf-hub:...``), or None when it is not yours.

    Raise ``UnknownNameError`` to suggest other names: it is shown where no plugin knows this one.
    """


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
def search_started(settings: Mapping[str, Any]) -> None:
    """Observe the start of a search, before any data are read.

    ``settings`` is JSON: each setting of ``Settings`` by its name, and ``run``, the path of the run folder.
    """


@hookspec
def epoch_finished(epoch: EpochRecord) -> None:
    """Observe one epoch of a trial as soon as it is scored, also one of a worker process or of another machine."""


@hookspec
def trial_finished(result: Any) -> None:
    """Observe one ``TrialRecord`` when its trial ends, or pauses; a paused one that goes on comes again."""


@hookspec
def search_finished(result: Any) -> None:
    """Observe the ``FitResult`` of a search that came to its end; the run folder holds its model."""


@hookspec
def search_failed(error: BaseException) -> None:
    """Observe that a search ends without a result: by an error, or by a ``KeyboardInterrupt``.

    A first Ctrl-C ends the search only: the best so far is trained, and ``search_finished`` follows.
    """
