"""Groups that a split must not separate: those of the user, near-duplicates, or clusters of dependent examples."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from autotransfer.data.dependence import MIN_ERROR_RATIO, Dependence, compare_folds
from autotransfer.data.near_duplicates import NearDuplicates, find_near_duplicates
from autotransfer.data.split import group_keys
from autotransfer.tasks.score import format_score
from autotransfer.tasks.task import Task
from autotransfer.warnings import WarningList

__all__ = ["Grouping", "GroupingOption", "find_grouping_options", "describe_given_groups"]

# Share of the examples that lie in a set of two or more, from which a finer partition than clusters of about four is
# tried. Tuned on exposures, frames and slices of real image sets.
_MIN_COVERED_SHARE = 0.85


@dataclass(frozen=True, kw_only=True)
class Grouping:
    """Groups of examples that a split does not separate.

    Attributes:
        source: Where the groups are from: ``"given"`` by the user, ``"found"`` as near-duplicates, or ``"clustered"``
            since the examples depend on each other.
        groups: Number of groups of two or more examples.
        examples: Number of examples in these groups.
        grouped_score: Cross-validated score of a linear probe on folds that keep the groups; NaN where not measured,
            or where the difference from random folds is within two standard errors.
        random_score: Score of the same probe on random folds, which is too high where groups matter; NaN likewise.
    """

    source: Literal["given", "found", "clustered"]
    groups: int
    examples: int
    grouped_score: float = math.nan
    random_score: float = math.nan

    @classmethod
    def of(cls, groups: Sequence[Hashable], source: Literal["given", "found", "clustered"]) -> Grouping:
        """Count the groups; an example whose group (N,) is None has no group."""
        sizes = [size for group, size in Counter(groups).items() if group is not None and size > 1]
        return cls(source=source, groups=len(sizes), examples=sum(sizes))

    def compared(self, dependence: Dependence | None) -> Grouping:
        """Return the grouping with the scores of a probe on grouped and random folds, where these differ for sure."""
        if dependence is None or not dependence.random_is_higher:
            return self
        return replace(self, grouped_score=dependence.clustered, random_score=dependence.random)

    def __str__(self) -> str:
        kinds = {"given": "groups", "found": "groups of near-duplicates", "clustered": "clusters of dependent examples"}
        comparison = (
            ""
            if math.isnan(self.random_score)
            else f"; on random folds a probe scores {format_score(self.random_score, places=3)} instead of "
            f"{format_score(self.grouped_score, places=3)}"
        )
        return (
            f"{self.groups} {kinds[self.source]} of {self.examples} examples stay on one side of the split{comparison}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the grouping as JSON."""
        scores = {
            name: None if math.isnan(v) else v
            for name, v in (("grouped_score", self.grouped_score), ("random_score", self.random_score))
        }
        return {"source": self.source, "groups": self.groups, "examples": self.examples, **scores}


@dataclass(frozen=True, kw_only=True)
class GroupingOption:
    """One way to group the examples for a split.

    Attributes:
        groups: Group of each example; None groups copies only.
        grouping: Number and scores of the groups; None without groups.
        objects: Number (N,) of the object that each example shows; None where objects are unknown.
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
    """Return the groups of the user, with the scores of a probe on grouped and random folds."""
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
    report: Callable[[str], None] = lambda text: None,
) -> list[GroupingOption]:
    """Find groups of dependent examples.

    Near-duplicates are always groups. Clusters are groups where a probe scores far lower on folds that keep them.

    Args:
        features: Features (N, width) of any pretrained backbone.
        encoded: Targets (N, ...), as ``Task.encode`` returns them.
        task: The task.
        digests: Hash of the content of each example.
        names: Name of each example.
        warnings: Collects warnings.
        report: Called with a line of text when a step begins.

    Returns:
        The options, best first. The last option groups copies only, so that a split is always possible.
    """
    near_duplicates = find_near_duplicates(features, names, encoded if task.single_label else None, report=report)
    if near_duplicates is None:
        return [GroupingOption()]
    if near_duplicates.divided:
        _warn_of_divided_groups(near_duplicates, warnings)
    options = [GroupingOption(objects=near_duplicates.objects)]
    if np.bincount(near_duplicates.groups).max() > 1:
        report("comparing random folds with folds of near-duplicates")
        compared = compare_folds(features, encoded, task, near_duplicates.groups, digests)
        grouping = Grouping.of(near_duplicates.groups.tolist(), source="found").compared(compared)
        options.insert(
            0,
            GroupingOption(groups=near_duplicates.groups.tolist(), grouping=grouping, objects=near_duplicates.objects),
        )
    report("comparing random folds with folds of whole clusters")
    sets, dependence = _dependent_sets(near_duplicates, features, encoded, task, digests)
    if dependence is not None and (sets is not near_duplicates.clusters or dependence.falls_far):
        grouping = Grouping.of(sets.tolist(), source="clustered").compared(dependence)
        _warn_of_dependence(grouping, dependence, task, warnings)
        options.insert(0, GroupingOption(groups=sets.tolist(), grouping=grouping, objects=near_duplicates.objects))
    return options


def _dependent_sets(
    near_duplicates: NearDuplicates, features: np.ndarray, encoded: np.ndarray, task: Task, digests: Sequence[str]
) -> tuple[np.ndarray, Dependence | None]:
    """Return the finest sets that remove the dependence, or whole clusters, and their comparison with random folds."""
    clustered = compare_folds(features, encoded, task, near_duplicates.clusters, digests)
    if clustered is None or not clustered.falls_far:
        return near_duplicates.clusters, clustered
    for finer in (near_duplicates.groups, near_duplicates.objects):
        if np.mean(np.bincount(finer)[finer] > 1) >= _MIN_COVERED_SHARE:
            further = compare_folds(features, encoded, task, near_duplicates.clusters, digests, base=finer)
            if further is not None and further.error_ratio < MIN_ERROR_RATIO:
                return finer, compare_folds(features, encoded, task, finer, digests)
    return near_duplicates.clusters, clustered


def _warn_of_dependence(grouping: Grouping, dependence: Dependence, task: Task, warnings: WarningList) -> None:
    warnings.warn(
        "dependent_data",
        f"The examples depend on each other, as several pictures of one object do: a linear probe scores "
        f"{format_score(dependence.random, places=3)} ({task.metric}) on random folds, and "
        f"{format_score(dependence.clustered, places=3)} where clusters of "
        f"similar examples stay on one side. All splits keep {grouping.groups} clusters of {grouping.examples} "
        "examples on one side. If you know which examples show one object, patient or scene, give groups: they "
        "are better than clusters.",
        random=dependence.random,
        clustered=dependence.clustered,
        metric=task.metric,
        error_ratio=dependence.error_ratio,
        clusters=grouping.groups,
    )


def _warn_of_divided_groups(near_duplicates: NearDuplicates, warnings: WarningList) -> None:
    warnings.warn(
        "grouping_failed",
        f"{near_duplicates.divided} groups of near-duplicates are too large to stay on one side of a split (the "
        f"largest has {near_duplicates.largest_divided} of {len(near_duplicates.groups)} examples): each is divided "
        "into runs of examples with neighbouring names, and the validation score may be too high. Give groups, or "
        "validation examples of other scenes.",
        groups=near_duplicates.divided,
        largest=near_duplicates.largest_divided,
        examples=len(near_duplicates.groups),
    )
