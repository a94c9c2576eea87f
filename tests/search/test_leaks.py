"""A part that keeps memory is named; what was tried with it is not, where others show that it is not to blame."""

from __future__ import annotations

from autotransfer.candidate import Candidate
from autotransfer.search.leaks import Leaks

MB = 2**20


def _leaks(*trials: tuple[str, str, int], times: int = 6) -> dict[str, int]:
    leaks = Leaks()
    for _ in range(times):
        for backbone, head, grown in trials:
            leaks.note(Candidate(backbone=backbone, head=head), grown * MB)
    return leaks.suspects()


def test_the_part_that_keeps_memory_is_named() -> None:
    assert _leaks(("a", "greedy", 30), ("a", "linear", 0), ("b", "greedy", 30), ("b", "linear", 1)) == {
        "the head 'greedy'": 30 * MB
    }


def test_parts_that_were_only_tried_together_are_both_named() -> None:
    assert _leaks(("a", "greedy", 30), ("b", "linear", 0)) == {
        "the backbone 'a'": 30 * MB,
        "the head 'greedy'": 30 * MB,
    }


def test_a_few_trials_or_one_that_kept_nothing_are_no_evidence() -> None:
    assert not _leaks(("a", "greedy", 30), ("b", "linear", 0), times=5)
    assert not _leaks(("a", "greedy", 30), ("a", "greedy", 0), ("b", "linear", 0))


def test_where_all_trials_grow_nobody_is_to_blame() -> None:
    assert not _leaks(("a", "greedy", 30), ("b", "linear", 30))
