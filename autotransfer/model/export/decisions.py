"""How a program that is given probabilities decides as the model does.

No format decides by itself: what is exported ends in probabilities, or in what becomes them. Where a model has
thresholds, whoever takes the most probable class, or what is above one half, gets other labels than the model gives. So
an export names the thresholds wherever its user looks.
"""

from __future__ import annotations

from collections.abc import Mapping

from autotransfer.tasks.task import Task

__all__ = ["advice", "in_words", "thresholds_of"]

# Most labels that are named with their thresholds.
_MAX_NAMED = 10


def thresholds_of(task: Task) -> dict[str, float]:
    """Return the probability above which each label is predicted; empty where one half, or the highest, decides."""
    return {str(label): value for label, value in zip(task.classes, task.thresholds, strict=False)}


def in_words(thresholds: Mapping[str, float]) -> str:
    """Return thresholds as they are printed; not all of many."""
    if len(thresholds) > 1 and len(set(thresholds.values())) == 1:
        return f"{next(iter(thresholds.values())):.3f} for every label"
    named = [f"{value:.3f} for {label!r}" for label, value in thresholds.items()]
    more = f", and {len(named) - _MAX_NAMED} more" if len(named) > _MAX_NAMED else ""
    return ", ".join(named[:_MAX_NAMED]) + more


def advice(task: Task, where: str) -> str:
    """Return what a model card says of thresholds, in Markdown; empty where there are none.

    Args:
        task: The task.
        where: Where a program finds the thresholds.
    """
    if not (thresholds := thresholds_of(task)):
        return ""
    usual = "the most probable class may be another" if task.single_label else "the labels above one half may be others"
    return (
        f"This model decides by thresholds: a label is predicted where its probability is above {in_words(thresholds)} "
        f"({where}). It was scored by such decisions; {usual}."
    )
