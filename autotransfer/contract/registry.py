"""The registry of backbones, heads and freeze policies, by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotransfer.contract.collecting import REGISTERING_HOOKS, check_type, collect_specs
from autotransfer.contract.lazy_import import LazyImport
from autotransfer.contract.loading import (
    OWN_DISTRIBUTION,
    PLUGIN_ERRORS,
    Plugins,
    PluginState,
    load_plugins,
    warn_once,
)
from autotransfer.contract.modality import Modality
from autotransfer.contract.patterns import match_names, named_spec, select_names, without_excluded
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

__all__ = ["Registry", "installed_modalities"]


@dataclass(frozen=True, kw_only=True)
class Registry:
    """Everything that plugins registered, sorted by name; ``Registry.load()`` makes a registry.

    Attributes:
        modalities: Modalities by name.
        backbones: Backbones by name.
        heads: Heads by name.
        policies: Freeze policies by name.
        owners: ``distribution:name`` of the plugin that registered a spec, by kind and name of the spec.
        loaded: The loaded plugins.
    """

    modalities: Mapping[str, Modality]
    backbones: Mapping[str, BackboneSpec]
    heads: Mapping[str, HeadSpec]
    policies: Mapping[str, FreezePolicySpec]
    owners: Mapping[tuple[str, str], str]
    loaded: Plugins

    @classmethod
    def load(cls, zoos: tuple[Path, ...] = (), plugins: Iterable[Any] = ()) -> Registry:
        """Load the installed plugins and collect their specs.

        Args:
            zoos: Folders of checkpoints for the backbone plugins.
            plugins: Further plugins that are not installed: modules or objects with hooks.

        Raises:
            PluginError: Two plugins register one name, or a plugin of this distribution is broken.
        """
        loaded = load_plugins(plugins)
        specs: dict[str, dict[str, Any]] = {kind: {} for kind in REGISTERING_HOOKS}
        owners: dict[tuple[str, str], str] = {}
        for state in list(loaded.states.values()):
            for kind, spec in collect_specs(loaded, state, zoos):
                owner = owners.setdefault((kind, spec.name), state.key)
                if owner != state.key:
                    raise PluginError(
                        f"Two plugins register {spec.name!r} as one of the {kind}: {owner} and {state.key}. "
                        "Uninstall one, or rename it there."
                    )
                specs[kind][spec.name] = spec
        modalities, backbones, heads, policies = (dict(sorted(found.items())) for found in specs.values())
        return cls(
            modalities=modalities, backbones=backbones, heads=heads, policies=policies, owners=owners, loaded=loaded
        )

    @property
    def plugins(self) -> tuple[PluginState, ...]:
        """Every plugin that was found, including broken ones."""
        return tuple(self.loaded.states.values())

    def backbone(self, name: str, *, modality: str | None = None) -> BackboneSpec:
        """Return a backbone by name; plugins resolve names that cannot be listed.

        ``NAME@FORM`` is the backbone NAME in a form that its modality knows, such as ``NAME@128px`` for images, or in
        which another modality adopts it. A backbone of another modality than that of the examples is returned in the
        form in which it is adopted; None stands for any modality.

        Raises:
            UnknownNameError: There is no such backbone.
            ConfigError: The backbone has no such form, or none for the modality.
        """
        # Forms are read first, since a plugin that resolves paths would take the form for a part of a path.
        if (spec := self._variant(name) or self._known(name)) is None:
            raise self._unknown(name)
        return self._taking(spec, modality)

    def _unknown(self, name: str) -> UnknownNameError | ConfigError:
        """Return the error for a name: there is no such backbone, or no such form of it."""
        own, _, form = name.rpartition("@")
        spec = (self._variant(own) or self._known(own)) if own else None
        if spec is None or not (forms := self.modality(spec.modality).forms):
            return UnknownNameError("backbone", name, self.backbones)
        return ConfigError(f"The backbone {spec.name!r} has no form {form!r}; the forms are {forms}.")

    def _variant(self, name: str) -> BackboneSpec | None:
        own, _, form = name.rpartition("@")
        if not own or name in self.backbones:
            return None
        spec = self._variant(own) or self._known(own)
        if spec is None or (found := self.modality(spec.modality).variant(spec, form)) is not None:
            return None if spec is None else found
        others = [each for each in self.modalities.values() if each.name != spec.modality]
        return next((adopted for each in others for adopted in each.adopt([spec]) if adopted.name == name), None)

    def _known(self, name: str) -> BackboneSpec | None:
        found: BackboneSpec | None = self.backbones.get(name)
        return found or self.first("resolve_backbone", BackboneSpec, name=name)

    def modality(self, name: str) -> Modality:
        """Return the modality of this name.

        Raises:
            UnknownNameError: There is no such name.
        """
        return named_spec("modality", name, self.modalities)

    def head(self, name: str) -> HeadSpec:
        """Return a head by name.

        Raises:
            UnknownNameError: There is no such name.
        """
        return named_spec("head", name, self.heads)

    def policy(self, name: str) -> FreezePolicySpec:
        """Return a freeze policy by name.

        Raises:
            UnknownNameError: There is no such name.
        """
        return named_spec("freeze policy", name, self.policies)

    def select_backbones(
        self, patterns: Sequence[str] = (), exclude: Sequence[str] = (), *, modality: str | None = None
    ) -> list[BackboneSpec]:
        """Return the backbones that match names or glob patterns; without patterns, the default backbones.

        A pattern is matched against the default backbones, then against all backbones, then plugins resolve it.

        Args:
            patterns: Names or glob patterns.
            exclude: Names or glob patterns of backbones to leave out.
            modality: Modality of the examples; None for any.

        Raises:
            UnknownNameError: A pattern matches nothing.
        """
        offered = self._of_modality(modality)
        default = {name: spec for name, spec in offered.items() if spec.default}
        chosen: dict[str, BackboneSpec] = {} if patterns else dict(default)
        for pattern in patterns:
            exact = [offered[pattern]] if pattern in offered else []
            found = exact or match_names(pattern, default) or match_names(pattern, offered)
            found = found or match_names(pattern, {} if modality else self._named)
            for spec in found or [self.backbone(pattern, modality=modality)]:
                chosen.setdefault(spec.name, spec)
        return without_excluded(chosen, exclude, self._named)

    def _of_modality(self, modality: str | None) -> dict[str, BackboneSpec]:
        """Return the backbones for a modality, those that it adopts included; None returns each in its own form."""
        if modality is None:
            return dict(self.backbones)
        return {name: spec for name, spec in self._named.items() if spec.modality == modality}

    @cached_property
    def _named(self) -> Mapping[str, BackboneSpec]:
        """All backbones by name, and those that a modality adopts from the others."""
        found = dict(self.backbones)
        for modality in self.modalities.values():
            others = [spec for spec in self.backbones.values() if spec.modality != modality.name]
            found = {**{spec.name: spec for spec in modality.adopt(others)}, **found}
        return found

    def _taking(self, spec: BackboneSpec, modality: str | None) -> BackboneSpec:
        """Return a backbone, or the form of it that a modality adopts.

        Raises:
            ConfigError: It takes no examples of the modality.
        """
        if modality in (None, spec.modality):
            return spec
        assert modality is not None
        if not (adopted := self.modality(modality).adopt([spec])):
            noun = self.modality(spec.modality).noun
            raise ConfigError(
                f"The backbone {spec.name!r} takes a {noun}, and the data are of the modality {modality!r}."
            )
        return adopted[0]

    def named_in_full(self, patterns: Sequence[str], *, modality: str | None = None) -> frozenset[str]:
        """Return the names of the backbones that patterns name in full, without a wildcard.

        Args:
            patterns: Names or glob patterns.
            modality: Modality of the examples; None for any.

        Raises:
            UnknownNameError: A pattern matches nothing.
        """
        names = [p for p in patterns if p in self._named or not match_names(p, self._named)]
        return frozenset(self.backbone(name, modality=modality).name for name in names)

    def find_backbones(
        self, pattern: str | None = None, exclude: Sequence[str] = (), *, modality: str | None = None
    ) -> list[BackboneSpec]:
        """Return the backbones that match a name or glob pattern; without a pattern, the default backbones.

        Args:
            pattern: Name or glob pattern; None takes the default backbones.
            exclude: Names or glob patterns of backbones to leave out.
            modality: Modality of the examples; None for any.

        Raises:
            UnknownNameError: A pattern matches nothing.
        """
        if pattern is None:
            return self.select_backbones(exclude=exclude, modality=modality)
        found = match_names(pattern, self._of_modality(modality))
        found = found or match_names(pattern, {} if modality else self._named)
        found = found or [self.backbone(pattern, modality=modality)]
        return without_excluded({spec.name: spec for spec in found}, exclude, self._named)

    def fallbacks(self, exclude: Sequence[str] = (), *, modality: str | None = None) -> list[BackboneSpec]:
        """Return the backbones of a modality to search when no default backbone is available."""
        offered = self._of_modality(modality)
        return without_excluded({name: spec for name, spec in offered.items() if spec.fallback}, exclude, self._named)

    def select_heads(self, patterns: Sequence[str], kind: str | None) -> list[HeadSpec]:
        """Return the heads that match names or glob patterns and support a kind of task; None supports any kind.

        Raises:
            UnknownNameError: A pattern matches nothing.
        """
        supported = {name: spec for name, spec in self.heads.items() if kind is None or kind in spec.tasks}
        return select_names(f"head for a {kind} task" if kind else "head", patterns, supported)

    @property
    def own_heads(self) -> frozenset[str]:
        """Names of the heads that suit certain backbones alone."""
        return frozenset(name for spec in self.backbones.values() for name in spec.heads or ())

    def select_policies(self, patterns: Sequence[str] = ()) -> list[FreezePolicySpec]:
        """Return the freeze policies that match names or glob patterns; without patterns, the default ones.

        Raises:
            UnknownNameError: A pattern matches nothing.
        """
        offered = self.policies if patterns else {name: spec for name, spec in self.policies.items() if spec.default}
        return select_names("freeze policy", patterns, offered)

    def rebuild(self, recipe: Mapping[str, Any]) -> Backbone:
        """Build the backbone of a saved model, without weights.

        Raises:
            ModelFormatError: No plugin knows the recipe.
        """
        from autotransfer.contract.backbone import Backbone

        backbone: Backbone | None = self.first("rebuild_backbone", Backbone, recipe=recipe, rebuild=self.rebuild)
        if backbone is None:
            plugin = recipe.get("plugin", "unknown")
            raise ModelFormatError(
                f"No installed plugin can rebuild the backbone of this model; the plugin {plugin!r} made it: "
                "install it, and see 'autotransfer plugins'."
            )
        return backbone

    def outline(
        self,
        architecture: str,
        input_size: int | None = None,
        classes: int = 0,
        teacher: Backbone | None = None,
    ) -> Mapping[str, Any]:
        """Return the recipe of an architecture, which ``rebuild`` builds with random weights.

        Args:
            architecture: Name of the architecture.
            input_size: Size of an input in the unit of its modality; None takes the size of the architecture.
            classes: Number of outputs of the classifier that ``write`` gets later; 0 for no classifier.
            teacher: Backbone that the architecture is to learn from, whose input format it may share.

        Raises:
            ConfigError: No plugin knows the architecture, or the architecture does not take this size.
        """
        recipe: Mapping[str, Any] | None = self.first(
            "outline_backbone",
            Mapping,
            architecture=architecture,
            input_size=input_size,
            classes=classes,
            teacher=teacher,
        )
        if recipe is None:
            raise ConfigError(
                f"No plugin knows the architecture {architecture!r}; give the name of an architecture, such as one of "
                "timm's, not that of pretrained weights."
            )
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
            BackboneError: No plugin can write the backbone.
        """
        if not self.first("write_backbone", bool, backbone=backbone, classifier=classifier, about=about, folder=folder):
            raise BackboneError(f"No plugin can write a {type(backbone).__name__} as a checkpoint.")

    def import_all(self) -> None:
        """Import all lazily imported functions, so that measured times of heads contain no import."""
        specs = (*self.backbones.values(), *self.heads.values(), *self.policies.values())
        parts = (getattr(part, "func", part) for spec in specs for part in vars(spec).values())
        for function in {part for part in parts if isinstance(part, LazyImport)}:
            function.load()

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each plugin and kind: kind, name, distribution, version, state, reason and names."""
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

    def first(self, hook: str, expected: type[Any], **arguments: Any) -> Any:
        """Return the first result of a hook that is not None.

        An ``AutoTransferError`` of a plugin is raised; its ``UnknownNameError`` is raised only if no plugin returns a
        result. Any other error is a warning, and the next plugin is called.
        """
        suggestion: UnknownNameError | None = None
        for state, call in self.loaded.each(hook):
            try:
                found = call(**arguments)
                if found is not None:
                    check_type(state, hook, found, expected)
                    return replace(found, origin=state.origin) if isinstance(found, BackboneSpec) else found
            except UnknownNameError as error:
                suggestion = suggestion or error
            except PLUGIN_ERRORS as error:
                if isinstance(error, AutoTransferError) and not isinstance(error, PluginError):
                    raise
                message = f"The plugin {state.key} failed in {hook}: {type(error).__name__}: {error}"
                if state.distribution == OWN_DISTRIBUTION:
                    raise PluginError(message) from error
                warn_once(message)
        if suggestion is not None:
            raise suggestion
        return None


@cache
def installed_modalities() -> tuple[Modality, ...]:
    """Return the modalities of all installed plugins, sorted by name; found once in a process."""
    loaded = load_plugins(())
    found = {
        spec.name: spec
        for state in list(loaded.states.values())
        for _, spec in collect_specs(loaded, state, (), ("modalities",))
    }
    return tuple(spec for _, spec in sorted(found.items()) if isinstance(spec, Modality))
