"""The model card: what a model was trained on, how good it is, and what it is not for, as ``README.md`` of the hub."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from autotransfer._version import __version__
from autotransfer.analysis.class_scores import ClassScore, score_classes
from autotransfer.contract.specs import BackboneSpec
from autotransfer.report.card_header import header, licenses_of
from autotransfer.report.card_usage import USAGE_HEADING
from autotransfer.report.markdown import plain, table
from autotransfer.run.summary import describe_analysis
from autotransfer.runtime.text import one_line
from autotransfer.search.trials import Trials
from autotransfer.settings.settings import Budget
from autotransfer.tasks.score import Score, format_score

if TYPE_CHECKING:
    from autotransfer.model.transfer_model import TransferModel
    from autotransfer.run.result import FitResult

__all__ = ["CardSources", "model_card"]

# Classes that a table lists at most; of more, those with the lowest F1 are listed.
MAX_LISTED_CLASSES = 50
# Names of backbones and heads that are listed at most.
MAX_LISTED_NAMES = 12
# Folders of an absolute path: a card may be published, and the folders of a machine are nobody's business.
_FOLDERS = re.compile(r"(?<![\w/.])/(?:[^\s/]+/)+|\b[A-Za-z]:\\(?:[^\s\\]+\\)+")


@dataclass(frozen=True, kw_only=True)
class CardSources:
    """What a model card says beside the result.

    Attributes:
        dataset: Name of the data, without the path of a machine.
        targets: Encoded targets (N, ...) of all examples that the model was trained on.
        backbones: Specs of the model's backbones by name.
        budget: What the search could spend.
    """

    dataset: str
    targets: np.ndarray
    backbones: Mapping[str, BackboneSpec]
    budget: Budget


def model_card(result: FitResult, sources: CardSources) -> str:
    """Return the card of a fit's model."""
    task, modality = result.model.task, result.model.modality
    kind = f"{len(task.classes)} classes" if task.classes else f"{task.width} value{'s' if task.width > 1 else ''}"
    parts = [
        header(result, sources.dataset, sources.backbones),
        f"# {plain(sources.dataset)}: {modality.noun}s, {task.kind}",
        f"This model maps {modality.noun}s to {kind}. autotransfer {__version__} found it by a search over pretrained "
        "models, heads and freeze depths.",
        "## Data\n\n" + _data(result, sources.targets),
        "## Search\n\n" + _search(result.trials, sources.budget, result.seconds["total"]),
        "## Model\n\n" + _model(result.model),
        "## Scores\n\n" + _scores(result),
        _classes(result),
        _calibration(result),
        "## Limits of use\n\n" + _limits(result),
        "## Licence\n\n" + _licence(sources.backbones),
        f"{USAGE_HEADING}\n\n" + _usage(result.model),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _data(result: FitResult, targets: np.ndarray) -> str:
    """Say what the model was trained and tested on."""
    data, task, noun = result.data, result.model.task, result.model.modality.noun
    lines = [
        f"{data.decoded} {noun}s to train and validate on",
        f"{len(data.test)} {noun}s to test on" if data.test is not None else "",
        f"{len(data.skipped)} left out, since they cannot be used" if data.skipped else "",
        str(data.grouping) if data.grouping else "",
    ]
    text = _items(lines)
    if not task.classes:
        return text
    sizes = np.bincount(targets, minlength=task.outputs) if task.single_label else targets.sum(0).astype(int)
    shown = [f"{plain(label)} ({size})" for label, size in zip(task.classes, sizes, strict=True)]
    shown, more = shown[:MAX_LISTED_CLASSES], len(shown) - MAX_LISTED_CLASSES
    return f"{text}\n- classes, with their {noun}s: {', '.join(shown)}{f' and {more} more' * (more > 0)}"


def _search(trials: Trials, budget: Budget, seconds: float) -> str:
    """Say what was tried in which budget."""
    tried = [record.candidate for record in trials if record.candidate is not None]
    limits = [
        f"{budget.seconds:.0f} s" if budget.seconds is not None else "",
        f"{budget.trials} trials" if budget.trials is not None else "",
    ]
    counts = ", ".join(f"{count} {state}" for state, count in trials.counts().items() if count)
    return _items(
        [
            f"budget: {' or '.join(filter(None, limits))}; the whole fit took {seconds:.0f} s",
            f"trials: {counts}",
            _named("backbones", (candidate.backbone for candidate in tried)),
            _named("heads", (candidate.head for candidate in tried)),
            _named("freeze policies", (candidate.freeze for candidate in tried)),
        ]
    )


def _model(model: TransferModel) -> str:
    """Say what the model is made of."""
    several = len(model.members) > 1
    lines = [
        f"{f'weight {member.weight:.2f}, ' if several else ''}{_shown(member.candidate)}" for member in model.members
    ]
    text = _items(lines)
    return f"An ensemble of {len(model.members)} networks:\n\n{text}" if several else text


def _scores(result: FitResult) -> str:
    """Return a table of the scores with their intervals, and what transfer brings."""
    rows = [_score_row("validation, out of fold", result.validation)]
    bias = result.analysis.selection_bias
    if bias is not None:
        about = f"validation, without the bias of choosing among {bias.tried} candidates"
        rows.append([about, result.validation.metric_label, format_score(bias.unbiased_estimate), "", ""])
    if result.test is not None:
        rows.append(_score_row("test", result.test))
    gain = dict(describe_analysis(result.analysis)).get("transfer gain", "")
    text = table(("", "metric", "score", "95 % interval", "examples"), rows, right=("score",))
    return f"{text}\n\nTransfer gain: {_shown(gain)}." if gain else text


def _score_row(about: str, score: Score) -> list[Any]:
    low, high = score.ci95
    interval = "" if math.isnan(low) else f"{format_score(low, score.score)} to {format_score(high, score.score)}"
    return [about, score.metric_label, format_score(score.score), interval, score.examples]


def _classes(result: FitResult) -> str:
    """Return a table of precision, recall and F1 of each class; empty for a regression."""
    held_out = result.selection.out_of_fold
    decided, weights = result.selection.decided_predictions, held_out.weights
    found = score_classes(held_out.task, held_out.targets, decided, weights=weights)
    if not found:
        return ""
    shown: Iterable[ClassScore] = found
    about = "On examples that were held out while the networks that predict them trained."
    about += "" if weights is None else " All but the last column count them by their weights."
    if len(found) > MAX_LISTED_CLASSES:
        shown = sorted(found, key=lambda row: row.f1.value or 0.0)[:MAX_LISTED_CLASSES]
        about += f" Of {len(found)} classes, those {MAX_LISTED_CLASSES} with the lowest F1."
    shares = [(row.label, row.precision.value, row.recall.value, row.f1.value, row.examples) for row in shown]
    rows = [tuple(0.0 if value is None else value for value in row) for row in shares]
    titles = ("class", "precision", "recall", "F1", "examples")
    return f"## Scores by class\n\n{about}\n\n{table(titles, [(str(row[0]), *row[1:]) for row in rows])}"


def _calibration(result: FitResult) -> str:
    """Say how far probabilities can be trusted; empty where that was not measured."""
    found = result.selection.calibration
    if found is None:
        return ""
    titles = ("", "before", "after")
    rows = [
        ("expected calibration error", found.ece_before, found.ece_after),
        ("log loss", found.log_loss_before, found.log_loss_after),
    ]
    about = f"Logits are divided by a temperature of {found.temperature:.3f}, measured by cross-fitting."
    return f"## Calibration\n\n{about}\n\n{table(titles, rows)}"


def _limits(result: FitResult) -> str:
    """Say what the model cannot be trusted with: what holds for any, and the warnings of the fit."""
    task, noun = result.model.task, result.model.modality.noun
    lines = [
        f"Every {noun} gets one of the classes above, also one that shows none of them." if task.single_label else "",
        f"The scores hold for {noun}s like those of the training data. On others, score the model first.",
        "" if result.test is not None else "No test examples were given: the scores are those of validation.",
    ]
    lines += [f"`{warning.code}`: {_shown(one_line(warning.message))}" for warning in result.warnings]
    return _items(lines)


def _licence(backbones: Mapping[str, BackboneSpec]) -> str:
    """Return the licence of the weights of each backbone."""
    known = licenses_of(backbones)
    if not known:
        return "The model holds no pretrained weights."
    rows = [
        (_FOLDERS.sub("", name), license or "unknown", backbones[name].source or "unknown")
        for name, license in known.items()
    ]
    return "The model holds pretrained weights, whose licences bind it:\n\n" + table(
        ("backbone", "licence of the weights", "trained on"), rows
    )


def _usage(model: TransferModel) -> str:
    """Say how to predict."""
    return (
        "```python\nimport autotransfer\n\n"
        'model = autotransfer.load("FOLDER")  # of this file; loading runs no code from it\n'
        f"model.predict(DATA)  # {model.modality.accepted}\n```"
    )


def _named(what: str, names: Iterable[str]) -> str:
    different = list(dict.fromkeys(names))
    shown = ", ".join(map(_shown, different[:MAX_LISTED_NAMES]))
    more = len(different) - MAX_LISTED_NAMES
    return f"{what}: {shown}{f' and {more} more' if more > 0 else ''}"


def _shown(text: object) -> str:
    """Return text that Markdown shows as it is, without the folders of paths."""
    return plain(_FOLDERS.sub("", str(text)))


def _items(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines if line)
