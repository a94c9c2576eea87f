"""From examples to what is searched: backbones, decoded examples, folds, and the space of candidates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from autotransfer.backbones.loaded import LoadedBackbone
from autotransfer.contract.specs import BackboneSpec, FreezePolicySpec, HeadSpec
from autotransfer.data.examples import modality_of
from autotransfer.data.skipped import warnings_of
from autotransfer.errors import DataError
from autotransfer.evaluation.checkpoints import Checkpoints
from autotransfer.evaluation.evaluator import Evaluator
from autotransfer.evaluation.latency import LatencySample
from autotransfer.evaluation.setup import startable
from autotransfer.evaluation.subsample import draw
from autotransfer.model.inference_costs import InferenceCosts
from autotransfer.pipeline.choose_backbones import available_backbones
from autotransfer.pipeline.context import FitContext
from autotransfer.pipeline.prepare import (
    Prepared,
    load_first,
    offered_heads,
    prepare_data,
    refuse_unreadable,
    task_of,
)
from autotransfer.pipeline.resume import Choices, first_of, known_backbones, pick
from autotransfer.pipeline.within_limits import BackbonesWithinLimits
from autotransfer.runtime.device import Device, resolve_device
from autotransfer.search.space import SearchSpace, freezes_all
from autotransfer.search.variants import Variants, offer_variants
from autotransfer.tasks.preconditions import check_scored, positive_class_warning
from autotransfer.tasks.task import Task
from autotransfer.workers.pool import WorkerPool

__all__ = ["PreparedSearch", "prepare_search"]

# Last stages whose boundaries are cached while the examples pass in the screening: fine-tuning mostly trains these.
CACHED_BOUNDARIES = 3
# Numbers of fixed views over which predictions are averaged: an example and its mirror image, and more. On random
# halves of X-rays and of photographs, linear probes made 4 to 20% fewer errors with two, and 8 to 32% fewer with four.
VIEW_COUNTS = (1, 2, 4)
# Share of a time budget within which backbones are measured against limits on the model; the rest is measured before it
# is tried.
MEASURING_BUDGET_SHARE = 0.15


@dataclass(frozen=True, kw_only=True)
class PreparedSearch:
    """What a search works on.

    Attributes:
        data: The examples.
        evaluator: Trains and scores candidates.
        space: What may be combined.
        variants: The backbones in all their forms.
        choices: What the run chooses from, by name.
        costs: What candidates take to predict.
    """

    data: Prepared
    evaluator: Evaluator
    space: SearchSpace
    variants: Variants
    choices: Choices
    costs: InferenceCosts


def prepare_search(context: FitContext, worker_pool: WorkerPool) -> PreparedSearch:
    """Check the targets, choose the backbones, decode the examples, divide them into folds, and make the space.

    Raises:
        DataError: The examples cannot be used.
        BackboneError: No backbone can be loaded.
    """
    _check_targets(context)
    context.run.refuse_unwritable()
    context.progress.update("looking for the backbones")
    device, began = resolve_device(context.settings.compute.device), Choices.of(context.run, context.settings)
    limits = _within_limits(context, device, began)
    backbones = _backbones(context, device, began, limits)
    policies = _policies(context, began)
    context.progress.phase(f"reading {len(context.examples)} {modality_of(context.examples).noun}s")
    started = context.budget.spent
    variants = _kept(_variants(context, backbones), began, limits)
    first = load_first(_telling_near_duplicates(context, variants), device)
    data = _data(context, variants.backbones, policies, first, began)
    worker_pool.share_cores()
    _report_data(context, data)
    if context.test is not None:
        seconds = context.budget.spent - started
        context.budget.reserve("test", seconds * len(context.test) / len(context.examples))
    evaluator = Evaluator(
        context.registry,
        data.extractor,
        data.folds,
        device,
        seed=context.settings.seed,
        loaded=[*([] if first is None else [first]), *([] if limits is None else limits.loaded)],
        checkpoints=Checkpoints(context.run.checkpoints),
        sample=draw(data.folds, context.settings.seed) if len(backbones) > 1 else None,
    )
    costs = _costs(context, data, evaluator, limits, quiet=worker_pool.is_alone)
    space = _space(context, data, evaluator, variants, policies, began)
    choices = Choices(
        backbones=tuple(spec.name for spec in backbones),
        heads=tuple(spec.name for spec in space.heads),
        freeze=tuple(spec.name for spec in space.policies),
        forms=tuple(spec.name for spec in variants.backbones),
    )
    return PreparedSearch(data=data, evaluator=evaluator, space=space, variants=variants, choices=choices, costs=costs)


def _costs(
    context: FitContext, data: Prepared, evaluator: Evaluator, limits: BackbonesWithinLimits | None, *, quiet: bool
) -> InferenceCosts:
    """Return what knows the cost of candidates, from what was measured before and from a few of the examples."""
    asked, store = context.settings.selection.limits, data.store
    rows = store.kept.tolist()
    sample = LatencySample.of(store.modality, context.examples.items, rows, store.reading, asked.batch)
    return InferenceCosts(evaluator, sample, asked, known={} if limits is None else limits.passes, quiet=quiet)


def _check_targets(context: FitContext) -> None:
    """Refuse, before anything is decoded, targets that cannot be scored; say how the data were read.

    Raises:
        DataError: The test examples have no targets, or the metric is not defined on them.
    """
    examples, test, progress = context.examples, context.test, context.progress
    for given in (examples, test):
        if given is not None and given.described:
            progress.print(given.described)
    task = task_of(examples, context.settings, weighted=test is not None and test.weights is not None)
    for warning in examples.warnings:
        if warning.code == "target_format_assumed":
            progress.print(warning.message)
    if test is not None:
        if test.targets is None:
            raise DataError("The test examples have no labels: give a folder per class, or test_targets.")
        progress.warnings.add(*check_scored(task, task.encode(test.targets), "test"))
    if examples.held_out is not None and examples.targets is not None:
        held_out = [target for target, there in zip(examples.targets, examples.held_out, strict=True) if there]
        progress.warnings.add(*check_scored(task, task.encode(held_out), "validation"))


def _within_limits(context: FitContext, device: Device, began: Choices | None) -> BackbonesWithinLimits | None:
    """Return what measures backbones against the limits on the model; None without limits.

    A run that is resumed has measured them: it goes on with the backbones that it began with.
    """
    settings, budget, examples = context.settings, context.budget, context.examples
    if not settings.selection.limits.is_set or began is not None:
        return None
    share = math.inf if budget.limit.seconds is None else MEASURING_BUDGET_SHARE * budget.limit.seconds
    ends = budget.spent + share
    return BackbonesWithinLimits(
        limits=settings.selection.limits,
        examples=examples,
        device=device,
        options=modality_of(examples).read_options(settings.data_options.modality_options),
        forms=partial(_variants, context),
        expired=lambda: budget.spent > ends,
        report=context.progress.update,
    )


def _backbones(
    context: FitContext, device: Device, began: Choices | None, limits: BackbonesWithinLimits | None
) -> list[BackboneSpec]:
    """Return the backbones to search; a run that is resumed keeps those that it began with."""
    settings, progress = context.settings, context.progress
    if began is not None:
        settings = replace(settings, backbones=known_backbones(context.registry, context.run, began.backbones))
    examples, modality = context.examples, modality_of(context.examples)
    options = modality.read_options(settings.data_options.modality_options)
    found = available_backbones(
        context.registry,
        settings,
        device,
        len(examples),
        progress.print,
        progress.warnings,
        modality=modality,
        gmacs=partial(modality.typical_gmacs, items=examples.items, options=options),
        limits=limits,
    )
    if limits is not None:
        limits.warn(context.warnings)
    return found if began is None else pick(found, began.backbones)


def _variants(context: FitContext, backbones: Sequence[BackboneSpec]) -> Variants:
    modality, settings = modality_of(context.examples), context.settings
    return offer_variants(
        backbones,
        context.registry.named_in_full(settings.backbones, modality=modality.name),
        modality,
        context.examples.items,
        modality.read_options(settings.data_options.modality_options),
    )


def _kept(variants: Variants, began: Choices | None, limits: BackbonesWithinLimits | None) -> Variants:
    """Return the forms that keep the limits on the model; a run that is resumed keeps those that it began with."""
    if limits is not None:
        return limits.keep(variants)
    return variants if began is None else variants.keep(set(began.forms).__contains__)


def _telling_near_duplicates(context: FitContext, variants: Variants) -> Sequence[BackboneSpec]:
    """Return backbones that may tell near-duplicates; of a run that is resumed, that which did: the folds follow it."""
    name = first_of(context.run)
    return [spec for spec in variants.backbones if spec.name == name] or variants.first


def _policies(context: FitContext, began: Choices | None) -> list[FreezePolicySpec]:
    policies = list(context.registry.select_policies(context.settings.search.freeze))
    return policies if began is None else pick(policies, began.freeze) or policies


def _heads(
    context: FitContext, began: Choices | None, backbones: Sequence[BackboneSpec], task: Task, examples: int
) -> list[HeadSpec]:
    weighted = context.examples.weights is not None
    heads = offered_heads(context.registry, context.settings, task, examples, backbones, weighted)
    return heads if began is None else pick(heads, began.heads) or heads


def _data(
    context: FitContext,
    backbones: Sequence[BackboneSpec],
    policies: Sequence[FreezePolicySpec],
    first: LoadedBackbone | None,
    began: Choices | None,
) -> Prepared:
    """Decode the examples and divide them into folds."""
    return prepare_data(
        context.examples,
        backbones,
        context.settings,
        ahead=0 if all(map(freezes_all, policies)) else CACHED_BOUNDARIES,
        first=first,
        heads=lambda task, examples: _heads(context, began, backbones, task, examples),
        report=context.progress.update,
        warnings=context.warnings,
    )


def _report_data(context: FitContext, data: Prepared) -> None:
    """Say what was left out and kept together; refuse targets that cannot be scored once examples are left out.

    Raises:
        DataError: The metric is not defined on a fold, a class of the test examples is gone, or a test example cannot
            be read where ``strict`` asks for it.
    """
    examples, test, progress, fold = context.examples, context.test, context.progress, data.folds[0]
    progress.warnings.add(*data.store.warnings)
    used = list[Any]()
    if examples.targets is not None:
        used = [examples.targets[i] for i in data.store.kept]
    progress.warnings.add(
        *warnings_of(data.skipped, used, advice=examples.advice, ignored_files=examples.ignored_files)
    )
    if data.grouping is not None:
        progress.print(str(data.grouping))
    if test is not None and test.targets is not None:
        fold.task.encode(test.targets)  # a class may be gone with its examples
    check_scored(fold.task, fold.targets[fold.validation_rows], "validation")
    options = context.settings.data_options
    if (warning := positive_class_warning(fold.task, fold.targets, options.positive_class)) is not None:
        progress.warnings.add(warning)
        progress.print(warning.message)
    if test is not None and options.strict:
        refuse_unreadable(test, data.store.reading)


def _space(
    context: FitContext,
    data: Prepared,
    evaluator: Evaluator,
    variants: Variants,
    policies: Sequence[FreezePolicySpec],
    began: Choices | None,
) -> SearchSpace:
    task, options, modality = data.folds[0].task, context.settings.search, modality_of(context.examples)
    return SearchSpace.of(
        backbones=variants.backbones,
        heads=_heads(context, began, variants.backbones, task, len(data.store)),
        policies=policies,
        starts=startable(context.registry.select_heads((), task.kind), task.outputs),
        stages=evaluator.stages,
        epochs=options.epochs,
        examples=len(data.folds[0].train_rows),
        variants=variants.after,
        views=tuple(count for count in VIEW_COUNTS if count <= min(options.views, len(modality.views))),
        augmentations=modality.augmentations,
        adaptable=lambda name: bool(evaluator.load(name).linear_layers),
    )
