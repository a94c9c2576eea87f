"""From a candidate's description to networks: everything that it names is looked up, built and, if need be, trained."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from autotransfer.backbones.loaded import LoadedBackbone
from autotransfer.candidate import Candidate
from autotransfer.contract.modality import Modality
from autotransfer.contract.plugin_call import plugin_call
from autotransfer.contract.registry import Registry
from autotransfer.contract.specs import FreezePlan, HeadSpec, Takes
from autotransfer.data.folds import Fold
from autotransfer.errors import ConfigError, PluginError, TrialError
from autotransfer.features.extractor import FeatureExtractor
from autotransfer.features.ragged import Arrays, by_length
from autotransfer.features.sparse import as_tensor
from autotransfer.runtime.device import Device
from autotransfer.tasks.task import Task
from autotransfer.training.adapters import adapted_layers, add_adapters
from autotransfer.training.freezing import check_plan
from autotransfer.training.inputs import BoundaryFeed, FeatureFeed, Feed, InputFeed
from autotransfer.training.network import Network, to_predictions
from autotransfer.training.settings import TrainingSettings
from autotransfer.training.trainer import Training

__all__ = ["Setup", "startable"]

# Examples that pass through a trained network at once.
_BATCH = 64


class Known(Protocol):
    """Knows the features of the examples of a fold."""

    def taken(self, loaded: LoadedBackbone, takes: Takes = "pooled", view: str | None = None) -> np.ndarray:
        """Return float32 features (N, width) of the examples in one view, None for the plain one."""
        ...


@dataclass(frozen=True, kw_only=True)
class Setup:
    """A candidate with everything that it names looked up and checked.

    Attributes:
        candidate: The candidate.
        loaded: Its backbone.
        head: Its head.
        plan: What its freeze policy plans for this backbone.
        start: The closed-form head whose solution its own head starts from; None starts from the head's own values.
        settings: How it is trained; the defaults for closed forms.
        views: The fixed views in which examples are seen.
    """

    candidate: Candidate
    loaded: LoadedBackbone
    head: HeadSpec
    plan: FreezePlan
    start: HeadSpec | None
    settings: TrainingSettings
    views: tuple[str, ...]

    @classmethod
    def of(cls, candidate: Candidate, loaded: LoadedBackbone, registry: Registry, task: Task) -> Setup:
        """Look up and check what a candidate names.

        Raises:
            ConfigError: A name or setting is unknown, or they do not go together.
            PluginError: The freeze policy's plan is none.
        """
        head, policy = registry.head(candidate.head), registry.policy(candidate.freeze)
        stages = loaded.backbone.stages
        _refuse_unknown(candidate.head_params, head.parameters, f"the head {head.name!r}")
        with plugin_call(f"The freeze policy {policy.name!r}"):
            known = policy.parameters(stages)
            _refuse_unknown(candidate.freeze_params, known, f"the freeze policy {policy.name!r}")
            plan = check_plan(policy.plan(stages, candidate.freeze_params), len(stages), policy.name)
        if plan.adapters is not None and plan.depth < len(stages):
            adapted_layers(loaded.backbone, plan, loaded.linear_layers)  # refuses a backbone that has none
        modality = registry.modality(loaded.spec.modality)
        settings = settings_for(candidate, modality)
        start = registry.head(settings.start) if settings.start else None
        for spec in filter(None, (head, start)):
            if task.kind not in spec.tasks:
                raise ConfigError(f"The head {spec.name!r} does not do {task.kind} tasks.")
        if start is not None and start.solve is None:
            raise ConfigError(f"A head starts from a closed form's solution; {start.name!r} is trained by gradient.")
        reason = "is solved in closed form" if head.solve is not None else "takes what all stages give"
        if (head.solve is not None or head.features == "stages") and plan.depth < len(stages):
            raise ConfigError(
                f"The head {head.name!r} {reason} and needs a backbone that is frozen as a whole; "
                f"the freeze policy {policy.name!r} trains from stage {plan.depth} of {len(stages)} on."
            )
        _check_head_suits(loaded, head, registry)
        views = modality.views[: settings.views]
        return cls(
            candidate=candidate, loaded=loaded, head=head, plan=plan, start=start, settings=settings, views=views
        )

    @property
    def closed_form(self) -> bool:
        """Whether nothing is trained by gradient."""
        return self.head.solve is not None

    @property
    def frozen(self) -> bool:
        """Whether no stage ever trains."""
        return self.plan.depth == self.loaded.depths

    @property
    def cacheable(self) -> bool:
        """Whether the frozen prefix can be computed apart from the rest."""
        return self.frozen or (self.plan.depth > 0 and self.loaded.cut(self.plan.depth).exact)

    def head_size(self, task: Task) -> int:
        """Return the number of parameters of the head; no memory is taken for them, where it can be built without.

        Raises:
            PluginError: The head cannot be built.
        """
        try:
            with torch.device("meta"):
                head = self.untrained_head(task)
        except PluginError:  # it reads its own values
            head = self.untrained_head(task)
        return sum(parameter.numel() for parameter in head.parameters())

    def untrained_head(self, task: Task) -> nn.Module:
        """Return a new head, as it is before it is trained or solved."""
        return _build(self.head, self.head_shape, task.outputs, self.candidate.head_params)

    @property
    def head_width(self) -> int:
        """Number of features that a closed form takes of each example."""
        return sum(self.head_shape)

    @property
    def head_shape(self) -> tuple[int, ...]:
        """Shape of the features of an example that the head takes, as in ``HeadSpec.build``."""
        width, takes = self.loaded.backbone.width, self.head.features
        if takes == "stages":
            return (*self.loaded.stages.widths, width)
        return (width,) if takes == "pooled" else self.loaded.map_shape

    def solve(self, extractor: Known, fold: Fold, device: Device, seed: int) -> Network:
        """Return the network with its head solved in closed form on the training rows, on the mean over their views.

        Raises:
            ConfigError: The examples have weights, which the head does not take.
        """
        if fold.weights is not None and not self.head.takes_sample_weight:
            raise ConfigError(f"The head {self.head.name!r} takes no weights of examples.")
        network = self._network(fold, device, seed)
        network.head = self._solved(self.head, self.candidate.head_params, extractor, fold).to(device.torch)
        return network.eval()

    def training(
        self,
        extractor: FeatureExtractor,
        fold: Fold,
        device: Device,
        seed: int,
        paused: Mapping[str, Any] | None = None,
    ) -> Training:
        """Return the network about to be trained on the training rows, or to go on from where it was paused."""
        network = self._network(fold, device, seed)
        self._try_head(network, device, fold.task.outputs)
        if self.plan.adapters is not None and not self.frozen:
            layers = adapted_layers(network.backbone, self.plan, self.loaded.linear_layers)
            add_adapters(network.backbone, self.plan.adapters.rank, layers)
        if self.start is not None and paused is None:
            _take_over(network.head, self._solved(self.start, {}, extractor, fold))
        training = Training(
            network,
            self.plan,
            self.settings,
            fold,
            self._feeds(extractor, device),
            device,
            autocast=not self.frozen and not self.loaded.precise,
            seed=seed,
        )
        if paused is not None:
            training.go_on_from(paused)
        return training

    def predict_from_features(self, network: Network, extractor: Known, task: Task, rows: np.ndarray) -> np.ndarray:
        """Return probabilities or values (N, outputs) of a head on the frozen backbone's cached features.

        Outputs are the mean over all views.

        Raises:
            PluginError: The head's outputs have a wrong shape.
            TrialError: They are not finite.
        """
        found = list[Tensor]()
        for view in self.views:
            features = as_tensor(extractor.taken(self.loaded, self.head.features, view)[rows])
            with plugin_call(f"The head {self.head.name!r}"), torch.inference_mode():
                found.append(network.head_outputs(features.to(_device_of(network.head))))
            self._check_outputs(found[-1], (len(rows), task.outputs))
        outputs = torch.stack(found).mean(0)
        if not bool(outputs.isfinite().all()):
            raise TrialError("the outputs are not finite")
        return to_predictions(task, network.to_target_units(outputs))

    def predict(
        self, network: Network, extractor: FeatureExtractor, task: Task, rows: np.ndarray, device: Device
    ) -> np.ndarray:
        """Return probabilities or values (N, outputs) of a trained network, which goes on from the cached boundary."""
        feed, parts = self._feeds(extractor, device)(self.plan.depth), []
        order = np.arange(len(rows)) if feed.lengths is None else by_length(feed.lengths, rows)
        with torch.inference_mode(), device.autocast(not self.frozen and not self.loaded.precise):
            for start in range(0, len(rows), _BATCH):
                outputs = feed.outputs(network, rows[order[start : start + _BATCH]], None)
                parts.append(outputs.float())
        outputs = torch.cat(parts)[torch.from_numpy(np.argsort(order)).to(device.torch)]
        return to_predictions(task, network.to_target_units(outputs))

    def _network(self, fold: Fold, device: Device, seed: int) -> Network:
        """Build the network, its head untrained; a backbone that is frozen as a whole is shared, not copied."""
        loaded, shape = self.loaded, self.head_shape
        device.seed(seed)
        head = _build(self.head, shape, fold.task.outputs, self.candidate.head_params)
        backbone = loaded.backbone if self.frozen else loaded.copy()
        shift, scale = fold.standardisation()
        takes = self.head.features
        stages = self.loaded.stages if takes == "stages" else None
        return Network(backbone, head.to(device.torch), shape, shift, scale, head_takes=takes, stages=stages)

    def _try_head(self, network: Network, device: Device, outputs: int) -> None:
        """Pass two examples through the head: a wrong shape would fail far from its cause, or not at all.

        Raises:
            PluginError: The head raises, or its outputs have a wrong shape.
        """
        shape = self.head_shape
        examples = torch.zeros((2, sum(shape)) if self.head.features == "stages" else (2, *shape), device=device.torch)
        with plugin_call(f"The head {self.head.name!r}"), torch.inference_mode():
            found = network.head.eval()(examples)
        self._check_outputs(found, (2, outputs))

    def _check_outputs(self, found: Any, expected: tuple[int, int]) -> None:
        if not isinstance(found, Tensor) or found.shape != expected:
            given = f"of shape {tuple(found.shape)}" if isinstance(found, Tensor) else f"in a {type(found).__name__}"
            raise PluginError(f"The head {self.head.name!r} gives outputs {given}; expected {expected}.")

    def _solved(self, spec: HeadSpec, params: Mapping[str, Any], extractor: Known, fold: Fold) -> nn.Module:
        """Return a closed-form head, solved on the training rows, on the CPU."""
        assert spec.solve is not None  # only closed forms come here
        shape = self.head_shape if spec is self.head else (self.loaded.backbone.width,)
        head = _build(spec, shape, fold.task.outputs, params)
        targets = fold.standardised_targets()[fold.train_rows]
        seen = [extractor.taken(self.loaded, spec.features, view)[fold.train_rows] for view in self.views]
        features = seen[0] if len(seen) == 1 else sum(seen) / len(seen) if self.loaded.sparse else np.mean(seen, axis=0)
        with plugin_call(f"The head {spec.name!r}"):
            each = (
                {"sample_weight": fold.train_weights} if spec.takes_sample_weight and fold.weights is not None else {}
            )
            spec.solve(head, features, targets, fold.task, params, fold.class_weights, **each)
        return head

    def _feeds(self, extractor: FeatureExtractor, device: Device) -> Callable[[int], Feed]:
        """Return the way into the network for a phase: as near to the head as the cache allows."""
        loaded, feeds = self.loaded, dict[int, Feed]()
        lengths = extractor.store.lengths(loaded.backbone.preprocessing)

        def views(depth: int) -> list[Arrays]:
            return [extractor.at(loaded, depth, view, head_takes=self.head.features) for view in self.views]

        def feed(depth: int) -> Feed:
            entry = depth if depth == loaded.depths else self.plan.depth
            if entry not in feeds:
                if entry == loaded.depths:
                    feeds[entry] = FeatureFeed(views(entry), device.torch)
                elif self.cacheable:
                    cut = loaded.cut(entry)
                    feeds[entry] = BoundaryFeed(views(entry), cut, device.torch, extractor.store, lengths)
                else:
                    how = self.settings
                    feeds[entry] = InputFeed(extractor.store, how.augmentation, device.torch, how.views, lengths)
            return feeds[entry]

        return feed


def settings_for(candidate: Candidate, modality: Modality) -> TrainingSettings:
    """Return the training settings of a candidate on examples of a modality.

    A modality without the default augmentation has the mildest that it has.

    Raises:
        ConfigError: A setting is unknown, or the modality does not have it.
    """
    settings = TrainingSettings.from_candidate(candidate.training)
    if settings.views > len(modality.views):
        raise ConfigError(
            f"The training setting 'views' is a whole number from 1 to {len(modality.views)}; got {settings.views!r}."
        )
    strengths = modality.augmentations
    if "augmentation" not in candidate.training and settings.augmentation not in strengths:
        return replace(settings, augmentation=strengths[min(1, len(strengths) - 1)])
    if settings.augmentation not in strengths:
        raise ConfigError(
            f"The training setting 'augmentation' is one of {list(strengths)}; got {settings.augmentation!r}."
        )
    return settings


def startable(heads: Iterable[HeadSpec], outputs: int) -> dict[str, tuple[str, ...]]:
    """Return, for each head that can start from a closed form's solution, the names of those closed forms.

    A solution fits a head when both hold tensors of the same shapes.
    """
    pooled = [spec for spec in heads if spec.features == "pooled"]
    solved = [spec for spec in pooled if spec.solve is not None]

    def shapes(spec: HeadSpec) -> list[torch.Size] | None:
        try:
            return [tensor.shape for tensor in _build(spec, (5,), outputs, {}).state_dict().values()]
        except Exception:  # made for certain widths only; where it is chosen for others, it costs that trial
            return None

    found = {
        head.name: tuple(spec.name for spec in solved if shapes(spec) == own)
        for head in pooled
        if head.solve is None and (own := shapes(head)) is not None
    }
    return {name: starts for name, starts in found.items() if starts}


def _device_of(head: nn.Module) -> torch.device:
    """Return where a head is; one without tensors runs anywhere."""
    tensor = next(itertools.chain(head.parameters(), head.buffers()), None)
    return torch.device("cpu") if tensor is None else tensor.device


def _build(spec: HeadSpec, shape: tuple[int, ...], outputs: int, params: Mapping[str, Any]) -> nn.Module:
    """Build a head.

    Raises:
        PluginError: It raises, or builds something else.
    """
    with plugin_call(f"The head {spec.name!r}"):
        head = spec.build(shape, outputs, params)
    if not isinstance(head, nn.Module):
        raise PluginError(f"The head {spec.name!r} builds a {type(head).__name__}; expected an nn.Module.")
    return head


def _take_over(head: nn.Module, solved: nn.Module) -> None:
    """Copy a solution into a head of another structure but equal tensors."""
    tensors = list(solved.state_dict().values())
    names = list(head.state_dict())
    if [t.shape for t in head.state_dict().values()] != [t.shape for t in tensors]:
        raise ConfigError("The head cannot start from this closed form: their tensors have other shapes.")
    head.load_state_dict(dict(zip(names, tensors, strict=True)))


def _check_head_suits(loaded: LoadedBackbone, head: HeadSpec, registry: Registry) -> None:
    """Refuse a head of other backbones, and another head for a backbone that has heads of its own.

    Raises:
        ConfigError: The head and the backbone do not go together.
        PluginError: The features of a backbone without heads of its own are sparse.
    """
    name, own = loaded.spec.name, loaded.spec.heads
    if own is not None and (head.name not in own or head.solve is None):
        raise ConfigError(
            f"The backbone {name!r} takes the heads {list(own)}, solved in closed form; got {head.name!r}."
        )
    if own is None and head.name in registry.own_heads:
        raise ConfigError(f"The head {head.name!r} suits other backbones alone; the backbone {name!r} is none of them.")
    if own is None and loaded.sparse:
        raise PluginError(f"The backbone {name!r} pools to sparse features, and names no heads that take them.")


def _refuse_unknown(given: Mapping[str, Any], known: Mapping[str, Any], owner: str) -> None:
    if unknown := set(given) - set(known):
        raise ConfigError(f"Unknown setting(s) {sorted(unknown)} of {owner}; known: {sorted(known)}.")
