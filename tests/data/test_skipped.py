"""What was left out: counts by reason and class, without a line for each file."""

from __future__ import annotations

from autotransfer.contract.modality import Skipped
from autotransfer.data.examples import Examples
from autotransfer.data.skipped import TOO_SMALL, warnings_of, with_labels


def test_counts_by_reason_and_class() -> None:
    skipped = [
        *(Skipped(name=f"a/{i}", reason="no image that Pillow can read", label="a") for i in range(3)),
        Skipped(name="b/1", reason="image file is truncated (12 bytes not processed)", label="b"),
        Skipped(name="b/2", reason="image file is truncated (7 bytes not processed)", label="b"),
    ]
    (warning,) = warnings_of(skipped, ["b"] * 6 + ["c"] * 4, advice=["Do this."], ignored_files={".txt": 2})
    assert warning.code == "examples_skipped"
    assert warning.details["count"] == 5
    assert warning.details["used"] == 10
    truncated = "image file is truncated (N bytes not processed)"
    assert warning.details["reasons"] == {"no image that Pillow can read": 3, truncated: 2}
    assert warning.details["classes"]["b"] == {"skipped": 2, "used": 6, "reasons": {truncated: 2}}
    assert warning.details["ignored_files"] == {".txt": 2}
    assert warning.message == (
        "5 of 15 files, folders or rows of the data are not used: no image that Pillow can read (3); image file is "
        "truncated (N bytes not processed) (2). By class: a 3 of 3, b 2 of 8. Nothing can be used of 'a'. The first is "
        "a/0. Do this."
    )


def test_numbers_that_all_files_share_are_shown() -> None:
    (warning,) = warnings_of([Skipped(name="x", reason="its sampling rate is 1 Hz")], ["a"])
    assert warning.details["reasons"] == {"its sampling rate is 1 Hz": 1}


def test_ignored_files_alone_are_no_reason_for_a_warning() -> None:
    assert warnings_of([], ["a"], ignored_files={".txt": 2}) == ()


def test_small_classes_and_conflicts_have_codes_of_their_own() -> None:
    skipped = [
        Skipped(name="x", reason=TOO_SMALL, label="z"),
        Skipped(name="y", reason="listed under two labels: a, b"),
        Skipped(name="w", reason="labelled 'a', but its copy v 'b'"),
    ]
    small, conflicts = warnings_of(skipped, ["a", "b"])
    assert (small.code, small.details["classes"]) == ("small_classes", {"z": 1})
    assert (conflicts.code, conflicts.details["names"]) == ("label_conflicts", ["y", "w"])


def test_what_decoding_leaves_out_gets_its_class() -> None:
    examples = Examples(items=["1", "2"], names=("1", "2"), targets=["a", 0.5])  # type: ignore[list-item]
    skipped = with_labels([Skipped(name="1", reason="?"), Skipped(name="2", reason="?")], examples)
    assert [one.label for one in skipped] == ["a", None]
