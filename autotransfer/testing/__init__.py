"""Conformance checks: third parties call these in the tests of their plugins.

Example:
    >>> from autotransfer.contract.registry import Registry
    >>> from autotransfer.testing import check_freeze_policy, check_head
    >>> registry = Registry.load()
    >>> check_head(registry.head("linear"))
    >>> check_freeze_policy(registry.policy("gradual"))
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, cast

import numpy as np
import optuna
import torch
from optuna.distributions import BaseDistribution
from torch import Tensor, nn

from autotransfer.backbones.frozen import PROBES
from autotransfer.backbones.inputs import each, pooled
from autotransfer.contract.backbone import Backbone
from autotransfer.contract.modality import Inputs
from autotransfer.contract.registry import installed_modalities
from autotransfer.contract.specs import BackboneSpec, FreezePlan, FreezePolicySpec, HeadSpec, Takes
from autotransfer.tasks.task import Kind, Task
from autotransfer.testing.lengths import check_padding
from autotransfer.testing.memory import check_memory
from autotransfer.testing.modality import check_modality
from autotransfer.testing.rules import close, naming, require, shape

__all__ = ["check_backbone", "check_freeze_policy", "check_head", "check_memory", "check_modality"]

Rebuild = Callable[[Mapping[str, Any]], Backbone | None]

_SAMPLED_SETTINGS = 4  # random settings of a head or policy that are checked, beside the defaults
_EXAMPLES = 48  # of the data on which closed-form heads are solved
_SHAPES: Mapping[Takes, tuple[int, ...]] = {"pooled": (12,), "map": (12, 3, 2), "stages": (3, 5, 4)}
_WIDTH = 12  # features of the data on which closed-form heads are solved
# Examples that a head gets where its memory is watched: enough that what it keeps of them exceeds the bytes below.
_EXAMPLES_FOR_MEMORY = 1000


def check_backbone(backbone: BackboneSpec | Backbone, rebuild: Rebuild | None = None) -> None:
    """Check the stages, shapes, determinism, copies and state of a backbone, in every form that it has.

    Args:
        backbone: A registered spec, or the backbone that its ``load`` returns.
        rebuild: The plugin's ``rebuild_backbone``; with it, the check covers loading of saved models.

    Raises:
        PluginError: The contract is broken; the message says how.
    """
    name = f"the backbone {backbone.name!r}" if isinstance(backbone, BackboneSpec) else type(backbone).__name__
    with naming(name):
        if isinstance(backbone, BackboneSpec):
            if backbone.check is not None:
                backbone.check()
            spec, backbone = backbone, backbone.load()
            if spec.load_at is not None and isinstance(backbone, Backbone):
                _check_variants(spec, backbone, rebuild)
        require(isinstance(backbone, Backbone), name, f"load() returns a Backbone; got {type(backbone).__name__}")
        model = backbone.eval()
        _check_stages(name, model)
        inputs = model.preprocessing.probe(PROBES)
        with torch.inference_mode():
            _check_outputs(name, model, inputs)
            check_padding(name, model, inputs)
            _check_copies(name, model, inputs, rebuild)
            check_memory(lambda: model(model.preprocessing.probe(PROBES)), name)


def _check_variants(spec: BackboneSpec, own: Backbone, rebuild: Rebuild | None) -> None:
    """Check the other forms of a backbone that its modality knows; each is the same but for its inputs."""
    modality = next((each for each in installed_modalities() if each.name == spec.modality), None)
    for variant in () if modality is None else modality.check_variants(spec, own.preprocessing):
        name, form = f"the backbone {variant.name!r}", variant.load()
        require(isinstance(form, Backbone), name, f"load_at() returns a Backbone; got {type(form).__name__}")
        expected = variant.preprocessing
        require(form.preprocessing == expected, name, f"its preprocessing is {expected}; got {form.preprocessing}")
        require((form.stages, form.width) == (own.stages, own.width), name, "its stages and its width are the same")
        state, other = own.state_dict(), form.state_dict()
        equal = state.keys() == other.keys() and all(torch.equal(state[key], other[key]) for key in state)
        require(equal, name, "its weights are the same")
        check_backbone(form, rebuild)


def check_head(head: HeadSpec) -> None:
    """Check a head for every kind of task that it supports, with its defaults and with four random settings.

    Raises:
        PluginError: The contract is broken; the message says how.
    """
    require(bool(head.name), "a head", "it needs a name")
    for kind in sorted(head.tasks):
        task = Task(kind=cast(Kind, kind), classes=_classes(kind), width=2)
        for params in _settings_of(head.parameters):
            name = f"the head {head.name!r} with {params} on a {kind} task"
            with naming(name):
                if head.solve is None:
                    shape = _SHAPES[head.features]
                    _check_gradient(name, head, shape, task, params)
                    continue
                _check_solution(name, head, task, params, None)
                if kind != "regression":
                    _check_solution(name, head, task, params, np.linspace(0.5, 1.5, task.outputs, dtype=np.float32))
                if head.takes_sample_weight:
                    _check_sample_weight(name, head, task, params)
    name = f"the head {head.name!r} on a {task.kind} task"
    with naming(name):
        check_memory(partial(_use, head, task), name)


def check_freeze_policy(policy: FreezePolicySpec) -> None:
    """Check a freeze policy for backbones of 1 to 12 stages, with its defaults and with four random settings.

    Raises:
        PluginError: The contract is broken; the message says how.
    """
    require(bool(policy.name), "a freeze policy", "it needs a name")
    for count in range(1, 13):
        stages = tuple(f"stage{i}" for i in range(count))
        for params in _settings_of(policy.parameters(stages)):
            name = f"the freeze policy {policy.name!r} with {params} for {count} stages"
            with naming(name):
                _check_plan(name, policy.plan(stages, params), count)


def _use(head: HeadSpec, task: Task) -> None:
    """Build a head; solve it, or pass features through it and their gradients back."""
    shape = _SHAPES[head.features]
    module = head.build(shape, task.outputs, {})
    if head.solve is not None:
        features, targets = _training_data(task, np.random.default_rng(0), _EXAMPLES_FOR_MEMORY)
        head.solve(module, features, targets, task, {}, None)
        return
    given = (_WIDTH,) if head.features == "stages" else shape
    module.train()(torch.randn(_EXAMPLES_FOR_MEMORY, *given)).square().sum().backward()


def _check_plan(name: str, plan: FreezePlan, count: int) -> None:
    require(isinstance(plan, FreezePlan), name, f"plan() returns a FreezePlan; got {type(plan).__name__}")
    starts, depths = [p.start for p in plan.phases], [p.depth for p in plan.phases]
    require(bool(starts) and starts[0] == 0, name, f"the first phase starts at 0; got {starts}")
    require(all(0 <= s < 1 for s in starts), name, f"phases start at 0 <= start < 1; got {starts}")
    require(starts == sorted(set(starts)), name, f"phases come in order of their start; got {starts}")
    require(all(0 <= d <= count for d in depths), name, f"depths lie in 0..{count}; got {depths}")
    rates = plan.learning_rates
    require(len(rates) in (0, count), name, f"learning_rates has one factor for each stage; got {rates}")
    require(all(0 <= r < float("inf") for r in rates), name, f"factors are finite and >= 0; got {rates}")


def _classes(kind: str) -> tuple[int, ...]:
    return {"binary": (0, 1), "multiclass": (0, 1, 2), "multilabel": (0, 1, 2)}.get(kind, ())


def _settings_of(parameters: Mapping[str, BaseDistribution]) -> Iterator[Mapping[str, Any]]:
    """Yield empty settings, which mean the defaults, then four random settings."""
    yield {}
    if parameters:
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        for _ in range(_SAMPLED_SETTINGS):
            yield study.ask(fixed_distributions=dict(parameters)).params


def _check_stages(name: str, model: Backbone) -> None:
    count = len(model.stages)
    require(count > 0 and len(set(model.stages)) == count, name, f"stages need unique names; got {model.stages}")
    for key in model.state_dict():
        stage = model.stage_of(key)
        require(
            isinstance(stage, int) and 0 <= stage < count, name, f"{key} has a stage in 0..{count - 1}; got {stage!r}"
        )


def _check_outputs(name: str, model: Backbone, inputs: Inputs) -> None:
    features = model(inputs)
    require(tuple(features.shape) == (3, model.width), name, f"forward gives (N, {model.width}); got {shape(features)}")
    require(bool(features.isfinite().all()), name, "features are finite")
    require(torch.equal(features, model(inputs)), name, "the same inputs give the same features in eval mode")
    one = model(each(lambda tensor: tensor[:1], inputs))
    require(close(one, features[:1]), name, "features of an example do not depend on the others in its batch")
    last = model.forward_map(inputs)
    require(close(pooled(model, last, inputs), features), name, "pool(forward_map(x)) equals forward(x)")
    laid_out = model.as_map(last)
    require(laid_out.ndim == 4 and len(laid_out) == 3, name, f"as_map gives (N, C, h, w); got {shape(laid_out)}")


def _check_copies(name: str, model: Backbone, inputs: Inputs, rebuild: Rebuild | None) -> None:
    features, state = model(inputs), model.state_dict()
    copied = copy.deepcopy(model)
    require(close(copied(inputs), features), name, "a deep copy gives the same features")
    for value in copied.state_dict().values():
        value.zero_()
    require(close(model(inputs), features), name, "a deep copy shares no parameters with the original")
    copied.load_state_dict(state, strict=True)
    require(close(copied(inputs), features), name, "a copy that loads the state_dict gives the same features")
    require(
        json.loads(json.dumps(dict(model.recipe), default=str)) == dict(model.recipe), name, "the recipe is plain JSON"
    )
    if rebuild is not None:
        rebuilt = rebuild(model.recipe)
        require(isinstance(rebuilt, Backbone), name, f"rebuild_backbone knows its own recipe {dict(model.recipe)}")
        rebuilt = cast(Backbone, rebuilt).eval()
        rebuilt.load_state_dict(state, strict=True)
        require(close(rebuilt(inputs), features), name, "a rebuilt backbone with the weights gives the same features")
        # A saved model holds what the recipe leaves out; then the core sets the preprocessing that was saved.
        same = rebuilt.preprocessing is None or rebuilt.preprocessing == model.preprocessing
        require(same, name, "a rebuilt backbone has the same preprocessing, or None")


def _check_gradient(name: str, head: HeadSpec, shape: tuple[int, ...], task: Task, params: Mapping[str, Any]) -> None:
    module = head.build(shape, task.outputs, params)
    feature_shape = (_WIDTH,) if head.features == "stages" else shape
    features = torch.randn(5, *feature_shape, generator=torch.Generator().manual_seed(0))
    _check_module(name, module, features, task)
    module.train()(features).square().sum().backward()
    trained = [p.grad is not None and bool(p.grad.isfinite().all()) for p in module.parameters() if p.requires_grad]
    require(bool(trained) and all(trained), name, "every parameter gets a finite gradient")
    _check_saved(name, head, module, shape, features, task, params)


def _check_solution(
    name: str, head: HeadSpec, task: Task, params: Mapping[str, Any], weights: np.ndarray | None
) -> None:
    if head.solve is None:
        return
    rng = np.random.default_rng(0)
    features, targets = _training_data(task, rng)
    module = head.build(_SHAPES[head.features], task.outputs, params)
    head.solve(module, features, targets, task, params, weights)
    batch = torch.from_numpy(features)
    _check_module(name, module, batch, task)
    _check_saved(name, head, module, _SHAPES[head.features], batch, task, params)
    if not params and weights is None:
        with torch.inference_mode():
            outputs = module(batch).numpy()
        require(_beats_chance(task, targets, outputs), name, "it does better than chance on the training data")


def _check_sample_weight(name: str, head: HeadSpec, task: Task, params: Mapping[str, Any]) -> None:
    """Check that equal weights of examples change nothing, and that a solution with others can be saved."""
    if head.solve is None:
        return
    rng, shape, solved = np.random.default_rng(0), _SHAPES[head.features], list[Tensor]()
    features, targets = _training_data(task, rng)
    batch = torch.from_numpy(features)
    for sample_weight in (None, np.ones(len(features)), rng.uniform(0.1, 1.9, len(features))):
        module = head.build(shape, task.outputs, params)
        head.solve(module, features, targets, task, params, None, sample_weight=sample_weight)
        _check_module(name, module, batch, task)
        _check_saved(name, head, module, shape, batch, task, params)
        with torch.inference_mode():
            solved.append(module(batch))
    require(close(*solved[:2]), name, "examples of the weight 1 give the same outputs as no weights")


def _training_data(task: Task, rng: np.random.Generator, count: int = _EXAMPLES) -> tuple[np.ndarray, np.ndarray]:
    """Return features (N, width), the last column constant, and targets that depend on them."""
    latent = rng.normal(size=(count, task.outputs))
    labels = np.arange(count) % task.outputs
    if task.single_label:
        latent = 4 * np.eye(task.outputs)[labels] + 0.5 * latent
    targets = {"regression": latent, "multilabel": latent > 0}.get(task.kind, labels)
    features = np.concatenate([latent, rng.normal(size=(count, _WIDTH - task.outputs))], axis=1)
    features[:, -1] = 1.0
    return features.astype(np.float32), targets.astype(np.int64 if task.single_label else np.float32)


def _beats_chance(task: Task, targets: np.ndarray, outputs: np.ndarray) -> bool:
    if task.kind == "regression":
        return bool(((outputs - targets) ** 2).mean() < 0.9 * targets.var())
    if task.kind == "multilabel":
        return bool(((outputs > 0) == (targets > 0.5)).mean() > 0.6)
    return bool((outputs.argmax(1) == targets).mean() > 1.2 / task.outputs)


def _check_module(name: str, module: nn.Module, features: Tensor, task: Task) -> None:
    require(isinstance(module, nn.Module), name, f"build() returns a module; got {type(module).__name__}")
    module.eval()
    with torch.inference_mode():
        for batch in (features, features[:1]):
            outputs, expected = module(batch), (len(batch), task.outputs)
            require(tuple(outputs.shape) == expected, name, f"it gives {expected}; got {shape(outputs)}")
            require(bool(outputs.isfinite().all()), name, "outputs are finite")


def _check_saved(
    name: str,
    head: HeadSpec,
    module: nn.Module,
    shape: tuple[int, ...],
    features: Tensor,
    task: Task,
    params: Mapping[str, Any],
) -> None:
    """Check that a head that is built again and loads the state gives the same outputs."""
    loaded = head.build(shape, task.outputs, params).eval()
    loaded.load_state_dict(module.state_dict(), strict=True)
    with torch.inference_mode():
        outputs = module.eval()(features)
        require(close(loaded(features), outputs), name, "build() and load_state_dict() give the same outputs again")
        require(close(copy.deepcopy(module)(features), outputs), name, "a deep copy gives the same outputs")
