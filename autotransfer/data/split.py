"""Stratified splits of grouped examples into training and validation sides, or into folds."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import connected_components

from autotransfer.errors import DataError
from autotransfer.tasks.task import Task

__all__ = ["split_folds", "group_keys", "possible_folds", "check_class_sizes", "split", "assign_group_ids"]

# Most quantiles of a regression target that are stratified.
_MAX_TARGET_BINS = 10
# Random assignments that are tried until every side has every class that it can have.
_ATTEMPTS = 10


def split(
    encoded: np.ndarray,
    task: Task,
    digests: Sequence[str],
    *,
    share: float,
    seed: int,
    groups: Sequence[Hashable] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Split examples into a training and a validation side, stratified, with groups on one side.

    Classes, labels, or quantiles of a regression target are stratified iteratively (Sechidis et al., 2011), over groups
    instead of examples. scikit-learn's stratified splitters do not fit: none of them takes several labels, and none
    guarantees that a small class is on both sides.

    Args:
        encoded: Targets (N, ...), as ``Task.encode`` returns them.
        task: The task.
        digests: Hash of the content of each example; examples with equal hashes stay on one side.
        share: Share of the validation side, 0..1. Classes with few examples can make the validation side larger.
        seed: Seed of the split.
        groups: Group of each example, such as the patient; a group stays on one side. An example whose group is None is
            a group by itself.

    Returns:
        Sorted indices of the training side and of the validation side. Every class is on both sides.

    Raises:
        DataError: There are too few examples, or a class cannot be on both sides.
    """
    side = _assign_sides(encoded, task, digests, groups, np.array([1 - share, share]), seed)
    return np.flatnonzero(side == 0), np.flatnonzero(side == 1)


def split_folds(
    encoded: np.ndarray,
    task: Task,
    digests: Sequence[str],
    *,
    count: int,
    seed: int,
    groups: Sequence[Hashable] | None = None,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Divide examples into ``count`` folds by the rules of ``split``.

    Returns:
        Training and validation indices of each fold. Every class is on every training side. A class with as many
        groups as folds is on every validation side, too.

    Raises:
        DataError: There are fewer groups than folds, or a class cannot be on both sides.
    """
    fold = _assign_sides(encoded, task, digests, groups, np.full(count, 1 / count), seed)
    return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(count)]


def group_keys(groups: Sequence[Hashable]) -> list[Hashable]:
    """Return a key for each group; every None has a key of its own."""
    return [("single", i) if group is None else ("group", group) for i, group in enumerate(groups)]


def possible_folds(count: int, encoded: np.ndarray, task: Task, groups: Sequence[Hashable] | None = None) -> int:
    """Return the number of folds: ``count``, limited by the number of groups of the smallest class, and at least 2."""
    keys = group_keys([None] * len(encoded) if groups is None else groups)
    if task.single_label:
        limit = min(len({keys[i] for i in np.flatnonzero(encoded == label)}) for label in np.unique(encoded))
    else:
        limit = len(set(keys)) // 2  # a regression needs two groups to score on
    return max(2, min(count, limit))


def check_class_sizes(encoded: np.ndarray, task: Task, group_ids: np.ndarray | None = None) -> None:
    """Check that every class has at least two groups, one to train on and one to validate on.

    Args:
        encoded: Targets, as ``Task.encode`` returns them.
        task: The task; the check concerns tasks with one label for each example only.
        group_ids: Group (N,) of each example; None makes each example a group.

    Raises:
        DataError: A class has fewer than two groups.
    """
    if not task.single_label:
        return
    owners = np.arange(len(encoded)) if group_ids is None else group_ids
    small = [c for i, c in enumerate(task.classes) if len(np.unique(owners[encoded == i])) < 2]
    if not small:
        return
    one = len(small) == 1
    names = ", ".join(map(repr, small[:10])) + (", …" if len(small) > 10 else "")
    raise DataError(
        f"{'Class' if one else 'Classes'} {names} {'has' if one else 'have'} fewer than two examples that differ"
        f"{'' if group_ids is None else ' (copies and groups count once)'}: one to train on and one to validate on are "
        "the least. Add examples, or leave the class out: --min-examples 2 (min_examples=2) does."
    )


def _assign_sides(
    encoded: np.ndarray,
    task: Task,
    digests: Sequence[str],
    groups: Sequence[Hashable] | None,
    shares: np.ndarray,
    seed: int,
) -> np.ndarray:
    """Return the side (N,) of each example."""
    check_class_sizes(encoded, task)
    group_ids = assign_group_ids(digests, groups)
    check_class_sizes(encoded, task, group_ids)
    # R2 needs two examples on each side.
    needed = len(shares) * (2 if task.kind == "regression" else 1)
    count = int(group_ids.max(initial=-1)) + 1
    if count < needed:
        raise DataError(
            f"{count} examples that differ are too few for {len(shares)} parts: {needed} are needed"
            f"{'' if groups is None else ' (a group counts once)'}."
        )
    strata = _strata(encoded, task, max(2, round(count * float(shares.min()))))
    members = csr_matrix(
        (np.ones(len(group_ids)), (group_ids, np.arange(len(group_ids)))), shape=(count, len(group_ids))
    )
    counts = csr_matrix(members @ strata)
    sides = _best_assignment(counts, np.bincount(group_ids).astype(float), shares, seed)
    spread = _count_sides(counts, sides, len(shares))
    one_sided = [c for c, n in zip(task.classes, spread, strict=False) if task.single_label and n < 2]
    if one_sided or len(np.unique(sides)) < len(shares):
        raise DataError(
            f"The {len(encoded)} examples cannot be divided into {len(shares)} parts: their groups are too few or "
            f"too large{f', and all of {one_sided[:10]} are on one side' if one_sided else ''}."
        )
    return np.asarray(sides[group_ids])


def assign_group_ids(digests: Sequence[str], groups: Sequence[Hashable] | None) -> np.ndarray:
    """Number the sets of examples (N,) that share a digest or a group, directly or through other examples.

    Args:
        digests: Hash of the content of each example.
        groups: Group of each example; None as a group is a group of one example. None takes digests only.

    Raises:
        DataError: The number of groups is not the number of examples.
    """
    keyed = [digests] if groups is None else [digests, groups]
    if any(len(keys) != len(digests) for keys in keyed):
        raise DataError(f"There are {len(digests)} examples but {len(keyed[-1])} groups: give one for each.")
    rows: list[int] = []
    columns: list[int] = []
    total = len(digests)
    for keys in keyed:
        numbers: dict[Hashable, int] = {}
        rows += range(len(digests))
        columns += [total + numbers.setdefault(key, len(numbers)) for key in group_keys(keys)]
        total += len(numbers)
    graph = coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(total, total))
    parts = connected_components(graph, directed=False)[1][: len(digests)]
    return np.asarray(np.unique(parts, return_inverse=True)[1])


def _strata(encoded: np.ndarray, task: Task, bins: int) -> csr_matrix:
    """Return indicators (N, strata) of classes, labels or quantiles, to be stratified."""
    if task.kind == "multilabel":
        unlabelled = ~encoded.any(1)
        return csr_matrix(np.column_stack([encoded, unlabelled]))
    if task.single_label:
        return _indicators(encoded, len(task.classes))
    spread = encoded.std(0)
    values = ((encoded - encoded.mean(0)) / np.where(spread > 0, spread, 1)).mean(1)
    bins = min(bins, _MAX_TARGET_BINS)
    edges = np.unique(np.quantile(values, np.arange(1, bins) / bins))
    return _indicators(np.searchsorted(edges, values, side="right"), len(edges) + 1)


def _indicators(numbers: np.ndarray, count: int) -> csr_matrix:
    """Return a sparse matrix (N, count) with a 1 in each row; a dense one would not fit with thousands of classes."""
    return csr_matrix((np.ones(len(numbers)), (np.arange(len(numbers)), numbers)), shape=(len(numbers), count))


def _best_assignment(counts: csr_matrix, sizes: np.ndarray, shares: np.ndarray, seed: int) -> np.ndarray:
    """Try up to ten random assignments until every stratum is on as many sides as possible; return the best."""
    rng = np.random.default_rng(seed)
    possible = np.minimum(counts.getnnz(axis=0), len(shares)).sum()
    best, highest = np.empty(0, dtype=np.int64), -1
    for _ in range(_ATTEMPTS):
        sides = _assign_groups(counts, sizes, shares, rng)
        reached = int(_count_sides(counts, sides, len(shares)).sum())
        if reached > highest:
            best, highest = sides, reached
        if reached == possible:
            break
    return best


def _assign_groups(counts: csr_matrix, sizes: np.ndarray, shares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Assign groups to sides: the rarest stratum first, each group to the side that lacks most examples of it.

    Args:
        counts: Number of examples of each stratum in each group (groups, strata).
        sizes: Number of examples (groups,) of each group.
        shares: Share (sides,) of each side.
        rng: Breaks ties.

    Returns:
        The side (groups,) of each group.
    """
    missing = np.outer(shares, np.asarray(counts.sum(0)).ravel())
    room = shares * sizes.sum()
    held = np.zeros_like(missing)
    sides = np.full(len(sizes), -1)
    # Large groups first, since small groups can balance the sides later.
    rank = np.empty(len(sizes), dtype=np.int64)
    rank[np.lexsort((rng.random(len(sizes)), -sizes))] = np.arange(len(sizes))
    columns, unused = counts.tocsc(), counts.getnnz(axis=0)
    while unused.any():
        stratum = int(np.where(unused > 0, unused, np.inf).argmin())
        members = columns.indices[columns.indptr[stratum] : columns.indptr[stratum + 1]]
        members = members[sides[members] < 0]
        members = members[np.argsort(rank[members])]
        for n, group in enumerate(members):
            has = held[:, stratum] > 0
            # With as many groups left as sides without the stratum, each of these sides gets one.
            barred = has & (len(members) - n <= (~has).sum())
            side = np.lexsort((rng.random(len(shares)), -room, -missing[:, stratum], barred))[0]
            sides[group] = side
            row = slice(counts.indptr[group], counts.indptr[group + 1])
            own = counts.indices[row]
            held[side, own] += counts.data[row]
            missing[side, own] -= counts.data[row]
            room[side] -= sizes[group]
            unused[own] -= 1
    return sides


def _count_sides(counts: csr_matrix, sides: np.ndarray, parts: int) -> np.ndarray:
    """Count the sides (strata,) that hold each stratum."""
    return np.asarray(np.stack([counts[sides == k].getnnz(axis=0) > 0 for k in range(parts)]).sum(0))
