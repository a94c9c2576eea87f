"""Who came in through the doors: every backbone, head and freeze policy by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from autotransfer.contract.lazy_import import LazyImport
from autotransfer.contract.loading import FAILURES, OWN, Plugins, PluginState, load_plugins, warn_once
from autotransfer.contract.specs import BackboneSpec, FreezePolicySpec, HeadSpec
from autotransfer.errors import (
    AutoTransferError,
    BackboneError,
    ConfigError,
    ModelFormatError,
    PluginError,
    UnknownNameError,
)

if TYPE_CHECKING:
    from torch import Tensor

    from autotransfer.contract.backbone import Backbone

__all__ = ["Registry"]

Spec = BackboneSpec | HeadSpec | FreezePolicySpec
S = TypeVar("S", BackboneSpec, HeadSpec, FreezePolicySpec)

_SIZED = re.compile(r"(?P<name>.+)@(?P<side>\d{1,4})px")

# kind -> (its hook, what goes through it)
_DOORS: dict[str, tuple[str, type[Spec]]] = {
    "backbones": ("register_backbones", BackboneSpec),
    "heads": ("register_heads", HeadSpec),
    "freeze policies": ("register_freeze_policies", FreezePolicySpec),
}


@dataclass(frozen=True, kw_only=True)
class Registry:
    """Everything that plugins registered, sorted by name. Make one with ``Registry.load()``.

    Attributes:
        backbones: Backbones by name.
        heads: Heads by name.
        policies: Freeze policies by name.
        owners: ``distribution:name`` of the plugin, by kind and name of what it registered.
        loaded: The plugins behind it.
    """

    backbones: Mapping[str, BackboneSpec]
    heads: Mapping[str, HeadSpec]
    policies: Mapping[str, FreezePolicySpec]
    owners: Mapping[tuple[str, str], str]
    loaded: Plugins

    @classmethod
    def load(cls, zoos: tuple[Path, ...] = (), plugins: Iterable[Any] = ()) -> Registry:
        """Load the installed plugins and let each register what it has.

        Args:
            zoos: Folders of checkpoints, handed to the backbone plugins.
            plugins: Further plugins that are not installed: modules or objects with hooks.

        Raises:
            PluginError: Two plugins own one name, or a plugin of our own is broken.
        """
        loaded = load_plugins(plugins)
        specs: dict[str, dict[str, Any]] = {kind: {} for kind in _DOORS}
        owners: dict[tuple[str, str], str] = {}
        for state in list(loaded.states.values()):
            for kind, spec in _collect(loaded, state, zoos):
                owner = owners.setdefault((kind, spec.name), state.key)
                if owner != state.key:
                    raise PluginError(
                        f"Two plugins register {spec.name!r} as one of the {kind}: {owner} and {state.key}. "
                        "Uninstall one, or rename it there."
                    )
                specs[kind][spec.name] = spec
        backbones, heads, policies = (dict(sorted(found.items())) for found in specs.values())
        return cls(backbones=backbones, heads=heads, policies=policies, owners=owners, loaded=loaded)

    @property
    def plugins(self) -> tuple[PluginState, ...]:
        """Every plugin that was found, broken ones included."""
        return tuple(self.loaded.states.values())

    def backbone(self, name: str) -> BackboneSpec:
        """Return the backbone of this name, asking plugins for names that cannot be listed.

        ``NAME@128px`` is the backbone NAME for images of 128 by 128 pixels.

        Raises:
            UnknownNameError: There is none.
            ConfigError: It does not take images of this size.
        """
        sized = None if name in self.backbones else _SIZED.fullmatch(name)
        # Asked for first: a plugin that resolves paths would take the size for a part of one.
        own = None if sized is None else self._known(sized["name"])
        spec = (own.at(int(sized["side"])) if own and sized else None) or self._known(name)
        if spec is None and own is not None:
            raise ConfigError(
                f"The backbone {own.name!r} does not take images of the size in {name!r}: give a multiple of 32, or "
                "leave the size out; not every architecture takes another size than its own."
            )
        if spec is None:
            raise UnknownNameError("backbone", name, self.backbones)
        return spec

    def _known(self, name: str) -> BackboneSpec | None:
        found: BackboneSpec | None = self.backbones.get(name)
        return found or self._first("resolve_backbone", BackboneSpec, name=name)

    def head(self, name: str) -> HeadSpec:
        """Return the head of this name.

        Raises:
            UnknownNameError: There is none.
        """
        return _exact("head", name, self.heads)

    def policy(self, name: str) -> FreezePolicySpec:
        """Return the freeze policy of this name.

        Raises:
            UnknownNameError: There is none.
        """
        return _exact("freeze policy", name, self.policies)

    def select_backbones(self, patterns: Sequence[str] = (), exclude: Sequence[str] = ()) -> list[BackboneSpec]:
        """Return the image backbones that names or glob patterns ask for; without any, all default ones.

        A pattern is matched among the default backbones, then among all, then plugins are asked to resolve it.

        Args:
            patterns: What is asked for.
            exclude: Names or glob patterns of those to leave out.

        Raises:
            UnknownNameError: A pattern matches none.
        """
        images = {name: spec for name, spec in self.backbones.items() if spec.modality == "image"}
        default = {name: spec for name, spec in images.items() if spec.default}
        chosen: dict[str, BackboneSpec] = {} if patterns else dict(default)
        for pattern in patterns:
            exact = [images[pattern]] if pattern in images else []
            for spec in exact or _match(pattern, default) or _match(pattern, images) or [self.backbone(pattern)]:
                chosen.setdefault(spec.name, spec)
        return _without(chosen, exclude, images)

    def named_in_full(self, patterns: Sequence[str]) -> frozenset[str]:
        """Return the names of the backbones that are asked for one by one, by a name that is no glob pattern.

        Raises:
            UnknownNameError: A pattern matches none.
        """
        alone = [p for p in patterns if p in self.backbones or not _match(p, self.backbones)]
        return frozenset(self.backbone(name).name for name in alone)

    def find_backbones(self, pattern: str | None = None, exclude: Sequence[str] = ()) -> list[BackboneSpec]:
        """Return every image backbone that a name or glob pattern matches; without one, all default ones.

        Args:
            pattern: What is asked for.
            exclude: Names or glob patterns of those to leave out.

        Raises:
            UnknownNameError: A pattern matches none.
        """
        if pattern is None:
            return self.select_backbones(exclude=exclude)
        images = {name: spec for name, spec in self.backbones.items() if spec.modality == "image"}
        found = _match(pattern, images) or [self.backbone(pattern)]
        return _without({spec.name: spec for spec in found}, exclude, images)

    def fallbacks(self, exclude: Sequence[str] = ()) -> list[BackboneSpec]:
        """Return the image backbones to search when none of the default ones can be had."""
        images = {name: spec for name, spec in self.backbones.items() if spec.modality == "image"}
        return _without({name: spec for name, spec in images.items() if spec.fallback}, exclude, images)

    def select_heads(self, patterns: Sequence[str], kind: str | None) -> list[HeadSpec]:
        """Return the heads that names or glob patterns ask for and that can do this kind of task; None means any.

        Raises:
            UnknownNameError: A pattern matches none.
        """
        able = {name: spec for name, spec in self.heads.items() if kind is None or kind in spec.tasks}
        return _select(f"head for a {kind} task" if kind else "head", patterns, able)

    def select_policies(self, patterns: Sequence[str] = ()) -> list[FreezePolicySpec]:
        """Return the freeze policies that names or glob patterns ask for.

        Raises:
            UnknownNameError: A pattern matches none.
        """
        return _select("freeze policy", patterns, self.policies)

    def rebuild(self, recipe: Mapping[str, Any]) -> Backbone:
        """Build, without weights, the backbone of a saved model.

        Raises:
            ModelFormatError: No plugin knows the recipe.
        """
        from autotransfer.contract.backbone import Backbone

        backbone: Backbone | None = self._first("rebuild_backbone", Backbone, recipe=recipe)
        if backbone is None:
            plugin = recipe.get("plugin", "unknown")
            raise ModelFormatError(
                f"No installed plugin can rebuild the backbone of this model; the plugin {plugin!r} made it: "
                "install it, and see 'autotransfer plugins'."
            )
        return backbone

    def outline(self, architecture: str, input_size: int | None = None, classes: int = 0) -> Mapping[str, Any]:
        """Return the recipe of an architecture; ``rebuild`` gives it random weights.

        Args:
            architecture: Its name, as a plugin knows it.
            input_size: Side of its images in pixels; None takes its own.
            classes: Outputs of the classifier that ``write`` will be given; 0 for none.

        Raises:
            ConfigError: No plugin knows the name, or the size does not suit it.
        """
        recipe: Mapping[str, Any] | None = self._first(
            "outline_backbone", Mapping, architecture=architecture, input_size=input_size, classes=classes
        )
        if recipe is None:
            raise ConfigError(f"No plugin knows the architecture {architecture!r}; give a name of timm's, no weights.")
        return recipe

    def write(
        self,
        backbone: Backbone,
        folder: Path,
        about: Mapping[str, Any],
        classifier: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        """Write a backbone into a folder, as a checkpoint of a zoo.

        Raises:
            BackboneError: No plugin can.
        """
        if not self._first(
            "write_backbone", bool, backbone=backbone, classifier=classifier, about=about, folder=folder
        ):
            raise BackboneError(f"No plugin can write a {type(backbone).__name__} as a checkpoint.")

    def warm(self) -> None:
        """Import what plugins have left for later, so that who measures what heads take measures their work alone."""
        specs = (*self.backbones.values(), *self.heads.values(), *self.policies.values())
        parts = (getattr(part, "func", part) for spec in specs for part in vars(spec).values())
        for late in {part for part in parts if isinstance(part, LazyImport)}:
            late.found()

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each plugin and kind: kind, name, distribution, version, state, reason and what it has."""
        return [
            {
                "kind": kind,
                "name": state.name,
                "distribution": state.distribution,
                "version": state.version,
                "state": state.state,
                "reason": state.reason,
                "provides": sorted(n for (k, n), owner in self.owners.items() if k == kind and owner == state.key),
            }
            for state in self.plugins
            for kind in state.kinds or ("",)
        ]

    def _first(self, hook: str, expected: type[Any], **arguments: Any) -> Any:
        """Return the first answer to a hook that is not None.

        What a plugin says on purpose (``AutoTransferError``) is passed on, names that it suggests only where no other
        plugin has an answer; any other error only loses its answer.
        """
        suggestion: UnknownNameError | None = None
        for state, call in self.loaded.each(hook):
            try:
                answer = call(**arguments)
                if answer is not None:
                    _check_type(state, hook, answer, expected)
                    return replace(answer, origin=state.origin) if isinstance(answer, BackboneSpec) else answer
            except UnknownNameError as error:
                suggestion = suggestion or error
            except FAILURES as error:
                if isinstance(error, AutoTransferError) and not isinstance(error, PluginError):
                    raise
                message = f"The plugin {state.key} failed in {hook}: {type(error).__name__}: {error}"
                if state.distribution == OWN:
                    raise PluginError(message) from error
                warn_once(message)
        if suggestion is not None:
            raise suggestion
        return None


def _collect(loaded: Plugins, state: PluginState, zoos: tuple[Path, ...]) -> list[tuple[str, Spec]]:
    """Let one plugin register; when it fails, nothing of it is kept.

    Raises:
        AutoTransferError: The plugin is our own.
    """
    found: dict[tuple[str, str], Spec] = {}

    def door(kind: str, hook: str, expected: type[Spec]) -> Callable[[Any], None]:
        def register(spec: Any) -> None:
            _check_type(state, hook, spec, expected)
            if not isinstance(spec.name, str) or not spec.name or not spec.name.isprintable():
                raise PluginError(f"{state.key} gives {hook} a spec whose name is {spec.name!r}; it takes plain text")
            if (kind, spec.name) in found:
                raise PluginError(f"{state.key} registers {spec.name!r} twice among the {kind}")
            found[kind, spec.name] = replace(spec, origin=state.origin) if isinstance(spec, BackboneSpec) else spec

        return register

    try:
        for kind, (hook, expected) in _DOORS.items():
            extra = {"zoos": zoos} if kind == "backbones" else {}
            for owner, call in loaded.each(hook):
                if owner.key == state.key:
                    call(register=door(kind, hook, expected), **extra)
    except FAILURES as error:
        if state.distribution == OWN and isinstance(error, AutoTransferError):
            raise  # said on purpose, for example that a zoo does not exist
        loaded.refuse(state, error)
        return []
    return [(kind, spec) for (kind, _), spec in found.items()]


def _check_type(state: PluginState, hook: str, value: Any, expected: type[Any]) -> None:
    if not isinstance(value, expected):
        raise PluginError(f"{state.key} gives {hook} a {type(value).__name__}; it takes a {expected.__name__}")


def _match(pattern: str, specs: Mapping[str, S]) -> list[S]:
    return [spec for name, spec in specs.items() if fnmatchcase(name, pattern)]


def _without(
    chosen: Mapping[str, BackboneSpec], exclude: Iterable[str], known: Mapping[str, BackboneSpec]
) -> list[BackboneSpec]:
    """Return what was chosen but for what is to be left out.

    Raises:
        UnknownNameError: A pattern of what is to be left out matches nothing that there is.
    """
    left = dict(chosen)
    for pattern in exclude:
        if not _match(pattern, {**known, **chosen}):
            raise UnknownNameError("backbone to leave out", pattern, {**known, **chosen})
        for spec in _match(pattern, left):
            del left[spec.name]
    return list(left.values())


def _exact(kind: str, name: str, specs: Mapping[str, S]) -> S:
    if name not in specs:
        raise UnknownNameError(kind, name, specs)
    return specs[name]


def _select(kind: str, patterns: Sequence[str], specs: Mapping[str, S]) -> list[S]:
    if not patterns:
        return list(specs.values())
    chosen: dict[str, S] = {}
    for pattern in patterns:
        found = [specs[pattern]] if pattern in specs else _match(pattern, specs)
        if not found:
            raise UnknownNameError(kind, pattern, specs)
        chosen.update({spec.name: spec for spec in found})
    return list(chosen.values())
