"""The hooks. A plugin is a module or an object that implements some of them with ``hookimpl``.

Plugins are found through entry points in the group ``autotransfer``; the plugins of this package use the same group::

    [project.entry-points."autotransfer"]
    my_tracker = "my_package.plugin"

An implementation takes the arguments that it needs, by name. This complete plugin, ``my_package/plugin.py``, adds a
backbone and prints the progress of a search::

    from autotransfer import hookimpl
    from autotransfer.contract.lazy_import import LazyImport
    from autotransfer.contract.specs import BackboneSpec


    @hookimpl
    def register_backbones(register):
        # LazyImport("module:function") imports torch when the backbone is loaded, not when plugins are listed.
        load = LazyImport("my_package.network:load_mine")
        register(BackboneSpec(name="mine", modality="image", load=load, version="mine 2"))


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

``search_started`` is followed by ``search_finished`` or ``search_failed``, never by both. These five hooks observe a
search: their errors are logged and added to the result's warnings (``plugin_failed``), and never end the search. An
object with methods of these names, with or without ``hookimpl``, can also observe one search as a callback of ``fit``::

    autotransfer.fit("photos", callbacks=[MyTracker()])
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

from autotransfer.contract.modality import Modality
from autotransfer.contract.specs import BackboneSpec, EpochRecord, FreezePolicySpec, HeadSpec

if TYPE_CHECKING:
    from torch import Tensor

    from autotransfer.contract.backbone import Backbone
    from autotransfer.contract.checkpoints import Checkpoint

__all__ = [
    "hookimpl",
    "hookspec",
    "register_modalities",
    "register_backbones",
    "resolve_backbone",
    "rebuild_backbone",
    "outline_backbone",
    "write_backbone",
    "export_checkpoint",
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
def register_modalities(register: Callable[[Modality], None]) -> None:
    """Call ``register(MyModality())`` for each kind of example."""


@hookspec
def register_backbones(register: Callable[[BackboneSpec], None], zoos: tuple[Path, ...]) -> None:
    """Call ``register(BackboneSpec(...))`` for each backbone, without loading it. ``zoos`` are the user's folders."""


@hookspec(firstresult=True)
def resolve_backbone(name: str) -> BackboneSpec | None:
    """Return a spec for a name that cannot be listed (``hf-hub:...``), or None for the name of another plugin.

    Raise ``UnknownNameError`` to suggest names; the suggestion is shown if no plugin knows the name.
    """


@hookspec(firstresult=True)
def rebuild_backbone(recipe: Mapping[str, Any], rebuild: Callable[[Mapping[str, Any]], Backbone]) -> Backbone | None:
    """Build the backbone of a saved model from ``Backbone.recipe``, without weights; None for other recipes.

    ``rebuild(recipe)`` builds a backbone that is a part of this one, whatever plugin has made it.
    """


@hookspec(firstresult=True)
def outline_backbone(
    architecture: str, input_size: int | None, classes: int, teacher: Backbone | None
) -> Mapping[str, Any] | None:
    """Return the recipe from which ``rebuild_backbone`` builds an architecture, or None for an unknown architecture.

    ``input_size`` is the size of an input in the unit of its modality; None takes the architecture's own. ``classes``
    is the number of outputs of the classifier that ``write_backbone`` gets later; 0 for no classifier. ``teacher`` is
    the trained backbone that the architecture is to learn from, whose input format it may share; None without one.
    """


@hookspec(firstresult=True)
def write_backbone(
    backbone: Backbone, classifier: tuple[Tensor, Tensor] | None, about: Mapping[str, Any], folder: Path
) -> bool | None:
    """Write a backbone as a checkpoint that ``register_backbones`` finds in a zoo, and return True.

    Return None for a backbone of another plugin. ``classifier`` is the weight (classes, width) and the bias (classes,)
    of a linear layer on the pooled features. ``about`` is JSON with the keys ``description``, ``license``,
    ``label_names`` and ``source``.
    """


@hookspec(firstresult=True)
def export_checkpoint(
    backbone: Backbone, library: str, classifier: tuple[Tensor, Tensor], about: Mapping[str, Any], folder: Path
) -> Checkpoint | None:
    """Write a backbone with a linear classifier, in float32, as a checkpoint that a library loads on its own.

    Return None for a backbone of another plugin, and for another library. ``library`` is ``"timm"`` or
    ``"transformers"``. ``classifier`` is the weight (outputs, width) and the bias (outputs,) of a linear layer on the
    pooled features. ``about`` is JSON with the keys ``kind`` (of the task) and ``labels``, and ``thresholds``
    (probabilities by label) where a decision has some. Raise ``ExportError``, which says what to do, where the library
    has no place for the classifier, or for how the backbone pools.
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
    """Observe an epoch of a trial when it is scored; epochs of workers are observed in the main process."""


@hookspec
def trial_finished(result: Any) -> None:
    """Observe the ``TrialRecord`` of a trial that ended or paused; a resumed trial is observed again."""


@hookspec
def search_finished(result: Any) -> None:
    """Observe the ``FitResult`` of a search that succeeded; the run folder holds the model."""


@hookspec
def search_failed(error: BaseException) -> None:
    """Observe the error or the ``KeyboardInterrupt`` that ended a search without a result.

    The first Ctrl-C ends the search only: the best candidate is trained, and ``search_finished`` follows.
    """
