"""Splits of the examples into a training and a validation side, or into folds."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import connected_components

from autotransfer.errors import DataError
from autotransfer.tasks.task import Task

__all__ = ["split_folds", "group_keys", "possible_folds", "check_class_sizes", "split", "assign_group_ids"]

_BINS = 10
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
    """Split examples so that both sides look alike, and equal images or groups stay together.

    Classes, labels, or quantiles of a regression target are dealt in proportion by iterative stratification
    (Sechidis et al., 2011), carried over from examples to groups. scikit-learn's stratified splitters do not serve:
    none of them takes several labels, and none promises that a small class is on both sides.

    Args:
        encoded: Targets (N, ...), as ``Task.encode`` returns them.
        task: What is predicted.
        digests: Hash of each image's content; equal ones stay on one side.
        share: Share of the validation side, 0..1. Classes with few examples can make it larger.
        seed: Seed of the split.
        groups: Group of each example, such as the patient; a group stays on one side. None is a group of one.

    Returns:
        Indices of the training side and of the validation side, both sorted. Every class is on both.

    Raises:
        DataError: Too few examples, or a class that cannot be on both sides.
    """
    side = _deal_fairly(encoded, task, digests, groups, np.array([1 - share, share]), seed)
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
    """Resplit examples into ``count`` folds by the rules of ``split``.

    Returns:
        Training and validation indices for each fold. Every class is on every training side; it is on every
        validation side too where it has as many examples, or groups, as there are folds.

    Raises:
        DataError: Fewer examples or groups than folds, or a class that cannot be on both sides.
    """
    fold = _deal_fairly(encoded, task, digests, groups, np.full(count, 1 / count), seed)
    return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(count)]


def group_keys(groups: Sequence[Hashable]) -> list[Hashable]:
    """Return a key for each group; None is a group of one, so each has a key of its own."""
    return [("alone", i) if group is None else ("tied", group) for i, group in enumerate(groups)]


def possible_folds(count: int, encoded: np.ndarray, task: Task, groups: Sequence[Hashable] | None = None) -> int:
    """Return ``count``, or the fewer folds that the smallest class, or the number of examples, allows; at least 2.

    Of a group, one example counts.
    """
    group_ids = group_keys([None] * len(encoded) if groups is None else groups)
    if task.single_label:
        most = min(len({group_ids[i] for i in np.flatnonzero(encoded == label)}) for label in np.unique(encoded))
    else:
        most = len(set(group_ids)) // 2  # a regression is scored on two at least
    return max(2, min(count, most))


def check_class_sizes(encoded: np.ndarray, task: Task, group_ids: np.ndarray | None = None) -> None:
    """Refuse classes that cannot be both trained on and validated.

    Args:
        encoded: Targets, as ``Task.encode`` returns them.
        task: What is predicted; only single-label tasks have classes to refuse.
        group_ids: Number (N,) of the set that each example cannot leave; None means that each is its own.

    Raises:
        DataError: A class with fewer than two examples, or with all of them in one set.
    """
    if not task.single_label:
        return
    owners = np.arange(len(encoded)) if group_ids is None else group_ids
    tiny = [c for i, c in enumerate(task.classes) if len(np.unique(owners[encoded == i])) < 2]
    if not tiny:
        return
    one = len(tiny) == 1
    names = ", ".join(map(repr, tiny[:10])) + (", …" if len(tiny) > 10 else "")
    raise DataError(
        f"{'Class' if one else 'Classes'} {names} {'has' if one else 'have'} fewer than two images that differ"
        f"{'' if group_ids is None else ' (copies and groups count once)'}: one to train on and one to validate on are "
        "the least. Add images, or leave the class out: --min-images 2 (min_images=2) does."
    )


def _deal_fairly(
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
    # Two on each side are the least that a regression can be scored on.
    least = len(shares) * (2 if task.kind == "regression" else 1)
    count = int(group_ids.max(initial=-1)) + 1
    if count < least:
        raise DataError(
            f"{count} examples that differ are too few to deal into {len(shares)} parts: it takes {least} at least"
            f"{'' if groups is None else ' (a group counts once)'}."
        )
    strata = _strata(encoded, task, max(2, round(count * float(shares.min()))))
    members = csr_matrix(
        (np.ones(len(group_ids)), (group_ids, np.arange(len(group_ids)))), shape=(count, len(group_ids))
    )
    counts = csr_matrix(members @ strata)
    sides = _best_deal(counts, np.bincount(group_ids).astype(float), shares, seed)
    split_up = _sides_with(counts, sides, len(shares))
    alone = [c for c, spread in zip(task.classes, split_up, strict=False) if task.single_label and spread < 2]
    if alone or len(np.unique(sides)) < len(shares):
        raise DataError(
            f"The {len(encoded)} examples cannot be dealt into {len(shares)} parts, their groups are too few or too "
            f"large{f': all of {alone[:10]} fell on one side' if alone else ''}."
        )
    return np.asarray(sides[group_ids])


def assign_group_ids(digests: Sequence[str], groups: Sequence[Hashable] | None) -> np.ndarray:
    """Number the sets of examples (N,) that equal digests or groups hold together: the parts of a graph.

    Raises:
        DataError: There is not one group for each.
    """
    ties = [digests] if groups is None else [digests, groups]
    if any(len(tie) != len(digests) for tie in ties):
        raise DataError(f"There are {len(digests)} images but {len(ties[-1])} groups: give one for each.")
    rows: list[int] = []
    columns: list[int] = []
    total = len(digests)
    for tie in ties:
        numbers: dict[Hashable, int] = {}
        rows += range(len(digests))
        columns += [total + numbers.setdefault(key, len(numbers)) for key in group_keys(tie)]
        total += len(numbers)
    graph = coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(total, total))
    parts = connected_components(graph, directed=False)[1][: len(digests)]
    return np.asarray(np.unique(parts, return_inverse=True)[1])


def _strata(encoded: np.ndarray, task: Task, bins: int) -> csr_matrix:
    """Return indicators (N, strata) of what is to be dealt in proportion: classes, labels or quantiles."""
    if task.kind == "multilabel":
        unlabelled = ~encoded.any(1)
        return csr_matrix(np.column_stack([encoded, unlabelled]))
    if task.single_label:
        return _indicators(encoded, len(task.classes))
    spread = encoded.std(0)
    values = ((encoded - encoded.mean(0)) / np.where(spread > 0, spread, 1)).mean(1)
    bins = min(bins, _BINS)
    edges = np.unique(np.quantile(values, np.arange(1, bins) / bins))
    return _indicators(np.searchsorted(edges, values, side="right"), len(edges) + 1)


def _indicators(numbers: np.ndarray, count: int) -> csr_matrix:
    """Return a matrix (N, count) with a 1 in each row; sparse, since thousands of classes would not fit otherwise."""
    return csr_matrix((np.ones(len(numbers)), (np.arange(len(numbers)), numbers)), shape=(len(numbers), count))


def _best_deal(counts: csr_matrix, sizes: np.ndarray, shares: np.ndarray, seed: int) -> np.ndarray:
    """Resplit until every side has what it can have: an unlucky order may use a label up, and another may not."""
    rng = np.random.default_rng(seed)
    possible = np.minimum(counts.getnnz(axis=0), len(shares)).sum()
    best, most = np.empty(0, dtype=np.int64), -1
    for _ in range(_ATTEMPTS):
        sides = _split_once(counts, sizes, shares, rng)
        reached = int(_sides_with(counts, sides, len(shares)).sum())
        if reached > most:
            best, most = sides, reached
        if reached == possible:
            break
    return best


def _split_once(counts: csr_matrix, sizes: np.ndarray, shares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Resplit units to sides, rarest stratum first, each to the side that lacks most of it.

    Args:
        counts: Examples (units, strata) of each stratum.
        sizes: Examples (units,) of each unit.
        shares: Share (sides,) of each side.
        rng: Breaks ties.

    Returns:
        The side (units,) of each unit.
    """
    wanted = np.outer(shares, np.asarray(counts.sum(0)).ravel())
    room = shares * sizes.sum()
    held = np.zeros_like(wanted)
    sides = np.full(len(sizes), -1)
    # Large units first, while the small ones can still even out.
    rank = np.empty(len(sizes), dtype=np.int64)
    rank[np.lexsort((rng.random(len(sizes)), -sizes))] = np.arange(len(sizes))
    bearing, unused = counts.tocsc(), counts.getnnz(axis=0)
    while unused.any():
        stratum = int(np.where(unused > 0, unused, np.inf).argmin())
        bearers = bearing.indices[bearing.indptr[stratum] : bearing.indptr[stratum + 1]]
        bearers = bearers[sides[bearers] < 0]
        bearers = bearers[np.argsort(rank[bearers])]
        for n, unit in enumerate(bearers):
            has = held[:, stratum] > 0
            # As many units left as sides without any: each of these sides must get one.
            barred = has & (len(bearers) - n <= (~has).sum())
            side = np.lexsort((rng.random(len(shares)), -room, -wanted[:, stratum], barred))[0]
            sides[unit] = side
            row = slice(counts.indptr[unit], counts.indptr[unit + 1])
            own = counts.indices[row]
            held[side, own] += counts.data[row]
            wanted[side, own] -= counts.data[row]
            room[side] -= sizes[unit]
            unused[own] -= 1
    return sides


def _sides_with(counts: csr_matrix, sides: np.ndarray, parts: int) -> np.ndarray:
    """Count the sides (strata,) on which each stratum is."""
    return np.asarray(np.stack([counts[sides == k].getnnz(axis=0) > 0 for k in range(parts)]).sum(0))
