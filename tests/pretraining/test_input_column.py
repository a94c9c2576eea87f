"""The column of examples that is named is the one that is read, with labels and without, by teacher and student."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fixtures.fitting import distill_with, fit_with, pretrain_with
from fixtures.texts import WORDS

from autotransfer.contract.registry import Registry
from autotransfer.data.unlabelled import find_examples
from autotransfer.pretraining import distill, pretrain


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """A table of 40 texts, with other texts beside them that are longer and could be meant as well."""
    rng = np.random.default_rng(0)
    texts = [f"{' '.join(rng.choice(WORDS, 5))} number {i}" for i in range(40)]
    others = [f"this is no example, and {' '.join(rng.choice(WORDS, 9))} {i}" for i in range(40)]
    labels = [("good", "bad")[i % 2] for i in range(40)]
    texts = [f"{text} {label}" for text, label in zip(texts, labels, strict=True)]
    pd.DataFrame({"other": others, "note": texts, "label": labels}).to_csv(tmp_path / "notes.csv", index=False)
    return tmp_path / "notes.csv"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The texts of each reading of examples without labels."""
    found: list[list[str]] = []

    def watched(*arguments: object, **how: object) -> object:
        examples = find_examples(*arguments, **how)  # type: ignore[arg-type]
        found.append([str(item) for item in examples.items])
        return examples

    for module in (distill, pretrain):
        monkeypatch.setattr(module, "find_examples", watched)
    return found


_STUDENT = {"architecture": "static_16_8k", "epochs": 1, "device": "cpu", "progress": False}


@pytest.mark.slow
def test_pretraining_without_labels_reads_the_named_column(notes: Path, tmp_path: Path, read: list[list[str]]) -> None:
    out = tmp_path / "zoo" / "words"
    options = {"teacher": "mini_static.wordnet", "labels": False, "input_column": "note", "out": out}
    pretrain_with(str(notes), **_STUDENT, **options, cache_dir=tmp_path / "cache")
    assert read == [pd.read_csv(notes)["note"].tolist()]
    assert Registry.load((tmp_path / "zoo",)).backbone("words").load().width == 16


@pytest.mark.slow
def test_distillation_reads_the_column_of_the_search_or_another(
    notes: Path, tmp_path: Path, read: list[list[str]]
) -> None:
    quick = {"backbones": "mini_static.wordnet", "heads": "ncm", "trials": 1, "compare_scratch": False}
    places = {"out": tmp_path / "run", "cache_dir": tmp_path / "cache", "progress": False, "device": "cpu"}
    result = fit_with(str(notes), input_column="note", target_column="label", **quick, **places)
    table = pd.read_csv(notes)
    for named, expected in ({}, "note"), ({"input_column": "other"}, "other"):
        found = distill_with(result.model, str(notes), test=str(notes), target_column="label", **_STUDENT, **named)
        assert read.pop() == table[expected].tolist()
        assert found.student is not None
        assert found.student.examples == 40
