"""After the selection: the test score, selection bias, transfer gain, importance; then the result and its files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from autotransfer.analysis.backbone_ranking import BackboneScore, pretraining_warning, rank_backbones
from autotransfer.analysis.depths import best_by_depth
from autotransfer.analysis.importance import measure_importance
from autotransfer.analysis.result import Analysis
from autotransfer.analysis.selection_bias import estimate_selection_bias
from autotransfer.analysis.transfer_gain import TransferGain, measure_transfer_gain
from autotransfer.pipeline.context import FitContext
from autotransfer.pipeline.explain import explain_examples
from autotransfer.pipeline.score_test import score_test
from autotransfer.pipeline.search import SearchResult
from autotransfer.pipeline.write_report import write_report
from autotransfer.report.card_usage import CARD
from autotransfer.report.model_card import CardSources, model_card
from autotransfer.report.pareto_chart import pareto_svg
from autotransfer.run.result import FitData, FitResult
from autotransfer.runtime.files import write_atomically
from autotransfer.runtime.storage import close_storage, translate_storage_errors
from autotransfer.search.studied_trials import mark_winner
from autotransfer.selection.result import SelectionResult
from autotransfer.settings.serialization import name_of_data
from autotransfer.warnings import WarningList

__all__ = ["analyse"]


def analyse(context: FitContext, found: SearchResult, selection: SelectionResult) -> FitResult:
    """Score the model on the test examples, analyse the search, and write the result into the run folder."""
    budget, data, run = context.budget, found.data, context.run
    started = budget.spent
    test_score = score_test(context, found, selection)
    scored = budget.spent
    analysis = _analyse_search(context, found, selection)
    analysis = explain_examples(context, found, selection, analysis)
    steps = {"test": scored - started, "analysis": budget.spent - scored, "total": budget.spent}
    seconds = {**found.seconds, **selection.seconds, **steps}
    result = FitResult(
        selection=selection,
        test=test_score,
        analysis=analysis,
        trials=found.trials,
        data=FitData(
            train=context.examples,
            test=context.test,
            decoded=data.store.decoded,
            skipped=data.skipped,
            grouping=data.grouping,
        ),
        seconds={name: round(value, 3) for name, value in seconds.items()},
        warnings=tuple(context.warnings),
        run=run.path,
        settings=replace(context.settings, run=replace(context.settings.run, callbacks=())),  # results are pickled
    )
    result = write_report(context, found, result)
    with run.writing():
        if len(front := result.pareto) > 1:
            write_atomically(run.path / "pareto.svg", pareto_svg(front, selection.validation.metric))
        write_atomically(run.model / CARD, _card(context, found, result))
        run.write_result(result.to_json())
    with translate_storage_errors(f"The result is kept in {run.path}; the study does not say which trial has won."):
        mark_winner(found.study, selection.selected.trials)
        close_storage(found.study._storage)
    return result


def _card(context: FitContext, found: SearchResult, result: FitResult) -> str:
    """Return the model card."""
    registry, names = context.registry, {member.candidate.backbone for member in result.model.members}
    sources = CardSources(
        dataset=name_of_data(context.call["data"]) or f"{result.model.modality.noun}s",
        targets=found.evaluator.targets,
        backbones={name: registry.backbone(name) for name in sorted(names)},
        budget=context.settings.budget,
    )
    return model_card(result, sources)


def _analyse_search(context: FitContext, found: SearchResult, selection: SelectionResult) -> Analysis:
    """Estimate how far the score can be trusted, and compare the model with random weights in the time left."""
    context.progress.phase("estimating selection bias and transfer gain")
    settings, budget = context.settings, context.budget
    trials, evaluator = found.trials, found.evaluator
    _warn_of_model(context, found, selection)
    fold = evaluator.folds[0]
    names = dict.fromkeys(r.candidate.backbone for r in trials if r.candidate and r.depth is not None)
    stages = {name: len(found.stages(name)) for name in names}
    bias = estimate_selection_bias(selection.selected, selection.records, fold, seed=settings.seed)
    if bias is not None:  # thresholds were not part of the choice
        bias = replace(bias, unbiased_estimate=selection.validation.score - bias.bias)
    importance = measure_importance(trials, stages, seed=settings.seed)
    gain = None
    if settings.search.compare_scratch:
        gain = measure_transfer_gain(
            selection.best, selection.selected, trials, evaluator, budget, settings.search.epochs
        )
    trained_on = {name: evaluator.registry.backbone(name).source for name in names}
    baseline = None if gain is None else gain.baseline_predictions
    backbones = rank_backbones(trials, stages, trained_on, fold, baseline)
    if gain is not None:
        _warn_of_transfer(gain, backbones, context.warnings)
    winner = selection.best.candidate
    baselines = {name for name in names if evaluator.registry.backbone(name).heads is not None}
    if winner and (warning := pretraining_warning(winner.backbone, backbones, baselines, fold.task.metric)):
        context.warnings.add(warning)
    depths = best_by_depth(trials, stages)
    return Analysis(selection_bias=bias, transfer_gain=gain, backbones=backbones, importance=importance, depths=depths)


def _warn_of_model(context: FitContext, found: SearchResult, selection: SelectionResult) -> None:
    """Add what the modality says of the model, such as parts of the examples that it does not see."""
    registry = found.evaluator.registry
    names = dict.fromkeys(record.candidate.backbone for record in found.trials if record.candidate)
    tried = [how for name in names if (how := registry.backbone(name).preprocessing) is not None]
    chosen = [member.network.backbone.preprocessing for member in selection.model.members]
    context.warnings.add(*found.data.store.warnings_on(chosen, tried))


def _warn_of_transfer(gain: TransferGain, backbones: Sequence[BackboneScore], warnings: WarningList) -> None:
    """Warn of backbones that do harm, and where random weights were trained too little to say anything."""
    harmful, details = [row.backbone for row in backbones if row.negative_transfer], gain.to_json()
    if harmful or gain.verdict == "negative_transfer":
        names = ", ".join(harmful) or "the model"
        warnings.warn(
            "negative_transfer",
            f"Worse than random weights of the winner's architecture, by a paired test on {gain.examples} examples: "
            f"{names}. Try other backbones, or pretrain one on your data.",
            backbones=harmful,
            transfer_gain=details,
        )
    elif gain.verdict == "undertrained_baseline" and gain.from_scratch is not None:
        warnings.warn(
            "undertrained_baseline",
            f"The transfer gain is not known: random weights were trained for {gain.epochs} epoch"
            f"{'' if gain.epochs == 1 else 's'}, {gain.steps} steps, which is too little. A larger budget trains them "
            "for longer; compare_scratch=False (--no-compare-scratch) leaves the comparison out.",
            transfer_gain=details,
        )
