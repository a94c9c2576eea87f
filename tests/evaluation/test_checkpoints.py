"""Paused trainings on disk: kept, bounded, and never a way in for code."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from autotransfer.candidate import Candidate
from autotransfer.evaluation.checkpoints import Checkpoints

A, B, C = (Candidate(backbone=name) for name in "abc")


def _state(size: int = 10) -> dict[str, object]:
    return {"epoch": 3, "network": {"w": torch.arange(size, dtype=torch.float32)}}


def test_what_is_kept_comes_back(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path / "new")
    assert kept.load(A) is None
    kept.save(A, _state())
    state = kept.load(A)
    assert state is not None
    assert state["epoch"] == 3
    assert torch.equal(state["network"]["w"], torch.arange(10.0))
    assert kept.load(B) is None


def test_a_training_that_was_planned_anew_is_found(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path)
    kept.save(Candidate(backbone="a", training={"epochs": 10, "lr": 0.1}), _state())
    assert kept.load(Candidate(backbone="a", training={"epochs": 4, "lr": 0.1})) is not None
    assert kept.load(Candidate(backbone="a", training={"epochs": 10, "lr": 0.2})) is None


def test_the_longest_untouched_go_first_when_the_folder_grows(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path, limit=2 * 4000 + 4000)
    for age, candidate in enumerate((A, B)):
        kept.save(candidate, _state(1000))
        os.utime(max(tmp_path.glob("*.pt"), key=lambda file: file.stat().st_mtime_ns), (age + 1, age + 1))
    kept.load(A)  # touched
    kept.save(C, _state(1000))
    assert [kept.load(candidate) is not None for candidate in (A, B, C)] == [True, False, True]


def test_a_file_that_goes_while_others_are_counted_is_left_out(tmp_path: Path) -> None:
    # Another worker removes it between the listing and the look at its size: to both, it is as a link to nowhere.
    (tmp_path / "gone.pt").symlink_to(tmp_path / "nowhere")
    kept = Checkpoints(tmp_path, limit=1)
    kept.save(A, _state())
    kept.save(B, _state())
    assert [kept.load(candidate) is not None for candidate in (A, B)] == [False, True], "the limit holds"


def test_a_file_that_goes_while_it_is_read_is_not_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, read = Checkpoints(tmp_path), torch.load
    kept.save(A, _state())

    def read_and_remove(file: Path, **options: Any) -> Any:
        state = read(file, **options)
        file.unlink()
        return state

    monkeypatch.setattr(torch, "load", read_and_remove)
    state = kept.load(A)
    assert state is not None
    assert state["epoch"] == 3
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"", b"junk", b"cos\nsystem\n(S'touch pwned'\ntR."])
def test_a_damaged_or_forged_file_is_no_state_and_runs_nothing(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    kept = Checkpoints(tmp_path / "kept")
    kept.save(A, _state())
    (file,) = (tmp_path / "kept").glob("*.pt")
    file.write_bytes(content)
    assert kept.load(A) is None
    assert not (tmp_path / "pwned").exists()
    assert not file.exists(), "the training starts anew"


def test_an_unwritable_folder_only_prevents_resuming(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    kept = Checkpoints(tmp_path / "file" / "kept")
    kept.save(A, _state())
    assert kept.load(A) is None


def test_without_a_folder_it_is_temporary() -> None:
    kept = Checkpoints()
    kept.save(A, _state())
    folder = kept.folder
    assert kept.load(A) is not None
    del kept
    assert not folder.exists()
