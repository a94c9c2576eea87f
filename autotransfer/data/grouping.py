"""What the split keeps together: groups of the user, near-duplicates, or clusters of examples that depend on others."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from autotransfer.data.dependence import GROWTH, Dependence, compare_folds
from autotransfer.data.near_duplicates import NearDuplicates, find_near_duplicates
from autotransfer.data.split import group_keys
from autotransfer.tasks.task import Task
from autotransfer.warnings import WarningList

__all__ = ["Grouping", "GroupingOption", "find_grouping_options", "describe_given_groups"]

# Finer sets than clusters of about four are kept together where such a share of the examples is in one of several.
_COVERED = 0.85


@dataclass(frozen=True, kw_only=True)
class Grouping:
    """Examples that no split tears apart.

    Attributes:
        source: Whether the user gave the groups, they were found as near-duplicates, or they are clusters of examples
            that depend on each other.
        groups: Number of groups of two and more.
        examples: Number of examples in them.
        grouped_score: Score of a probe of the first backbone that is split by these groups; NaN where it was not asked.
        random_score: Its score where the split does not heed them: what a random split would have flattered.
    """

    source: Literal["given", "found", "clustered"]
    groups: int
    examples: int
    grouped_score: float = math.nan
    random_score: float = math.nan

    @classmethod
    def of(cls, groups: Sequence[Hashable], source: Literal["given", "found", "clustered"]) -> Grouping:
        """Count the groups (N,); None in them is an example by itself."""
        sizes = [size for group, size in Counter(groups).items() if group is not None and size > 1]
        return cls(source=source, groups=len(sizes), examples=sum(sizes))

    def compared(self, dependence: Dependence | None) -> Grouping:
        """Return the same with the scores of a probe, split in either way."""
        return (
            self
            if dependence is None
            else replace(self, grouped_score=dependence.clustered, random_score=dependence.random)
        )

    def __str__(self) -> str:
        kinds = {"given": "groups", "found": "groups of near-duplicates", "clustered": "clusters of dependent examples"}
        flattery = (
            ""
            if math.isnan(self.random_score)
            else f"; torn apart, they score {self.random_score:.3f} instead of {self.grouped_score:.3f}"
        )
        return f"{self.groups} {kinds[self.source]} of {self.examples} examples stay on one side of the split{flattery}"

    def to_json(self) -> dict[str, Any]:
        """Return the grouping as JSON."""
        scores = {
            name: None if math.isnan(v) else v
            for name, v in (("grouped_score", self.grouped_score), ("random_score", self.random_score))
        }
        return {"source": self.source, "groups": self.groups, "examples": self.examples, **scores}


@dataclass(frozen=True, kw_only=True)
class GroupingOption:
    """What a split may keep together.

    Attributes:
        groups: Group of each example; None keeps nothing together but copies.
        grouping: The same in figures; None for nothing.
        objects: Number (N,) of the object that each example shows, as far as that is known; None where it is not.
    """

    groups: Sequence[Hashable] | None = None
    grouping: Grouping | None = None
    objects: np.ndarray | None = None


def describe_given_groups(
    groups: Sequence[Hashable],
    encoded: np.ndarray,
    task: Task,
    digests: Sequence[str],
    features: Callable[[], np.ndarray] | None,
) -> GroupingOption:
    """Return what the user said belongs together, and what a split that tears it would flatter."""
    numbers: dict[Hashable, int] = {}
    sets = np.array([numbers.setdefault(key, len(numbers)) for key in group_keys(groups)], dtype=np.int64)
    grouping = Grouping.of(groups, source="given")
    if features is not None and len(sets) == len(encoded):
        grouping = grouping.compared(compare_folds(features(), encoded, task, sets, digests))
    return GroupingOption(groups=groups, grouping=grouping, objects=sets)


def find_grouping_options(
    features: np.ndarray,
    encoded: np.ndarray,
    task: Task,
    digests: Sequence[str],
    names: Sequence[str],
    *,
    warnings: WarningList,
    step: Callable[[str], None] = lambda text: None,
) -> list[GroupingOption]:
    """Find out what a split should keep together.

    Near-duplicates are kept in any case; clusters are where the score falls far without them.

    Args:
        features: Features (N, width) of any pretrained backbone.
        encoded: Targets (N, ...), as ``Task.encode`` returns them.
        task: What is predicted.
        digests: Hash of each image's content.
        names: What each image is called.
        warnings: Takes up what the user should know.
        step: Is told what is looked at.

    Returns:
        What to try, the best first; the last one keeps nothing together and can always be dealt.
    """
    alike = find_near_duplicates(features, names, encoded if task.single_label else None, step=step)
    if alike is None:
        return [GroupingOption()]
    if alike.cut:
        _warn_of_cut_groups(alike, warnings)
    choices = [GroupingOption(objects=alike.objects)]
    if np.bincount(alike.groups).max() > 1:
        step("asking what near-duplicates would flatter")
        compared = compare_folds(features, encoded, task, alike.groups, digests)
        grouping = Grouping.of(alike.groups.tolist(), source="found").compared(compared)
        choices.insert(0, GroupingOption(groups=alike.groups.tolist(), grouping=grouping, objects=alike.objects))
    step("comparing folds at random with folds of whole clusters")
    sets, dependence = _dependent_sets(alike, features, encoded, task, digests)
    if dependence is not None and (sets is not alike.whole or dependence.falls_far):
        grouping = Grouping.of(sets.tolist(), source="clustered").compared(dependence)
        _warn_of_dependence(grouping, dependence, task, warnings)
        choices.insert(0, GroupingOption(groups=sets.tolist(), grouping=grouping, objects=alike.objects))
    return choices


def _dependent_sets(
    alike: NearDuplicates, features: np.ndarray, encoded: np.ndarray, task: Task, digests: Sequence[str]
) -> tuple[np.ndarray, Dependence | None]:
    """Return the finest sets that leave no dependence, or whole clusters, and how they compare to folds at random."""
    whole = compare_folds(features, encoded, task, alike.whole, digests)
    if whole is None or not whole.falls_far:
        return alike.whole, whole
    for finer in (alike.groups, alike.objects):
        if np.mean(np.bincount(finer)[finer] > 1) >= _COVERED:
            further = compare_folds(features, encoded, task, alike.whole, digests, base=finer)
            if further is not None and further.growth < GROWTH:
                return finer, compare_folds(features, encoded, task, finer, digests)
    return alike.whole, whole


def _warn_of_dependence(grouping: Grouping, dependence: Dependence, task: Task, warnings: WarningList) -> None:
    warnings.warn(
        "dependent_data",
        f"The examples depend on each other, as several pictures of one object do: a probe scores "
        f"{dependence.random:.3f} ({task.metric}) on folds at random, and {dependence.clustered:.3f} where clusters of "
        f"alike examples stay on one side. {grouping.groups} clusters of {grouping.examples} examples are kept "
        "together from here on. If you know which examples show one object, patient or scene, give groups: that is "
        "better than a guess.",
        random=dependence.random,
        clustered=dependence.clustered,
        metric=task.metric,
        growth=dependence.growth,
        clusters=grouping.groups,
    )


def _warn_of_cut_groups(alike: NearDuplicates, warnings: WarningList) -> None:
    warnings.warn(
        "grouping_given_up",
        f"{alike.cut} groups of near-duplicates are too large to stay on one side of a split (the largest has "
        f"{alike.largest} of {len(alike.groups)} examples): each is cut into runs of examples that follow each other "
        "by name, and the validation score may flatter. Give groups, or validation examples of other scenes.",
        groups=alike.cut,
        largest=alike.largest,
        examples=len(alike.groups),
    )
