"""The notes of the demonstration."""

from __future__ import annotations

from autotransfer_plugins.modalities.text.demo import SUBJECTS, notes


def test_notes_differ_and_are_made_equally_each_time() -> None:
    data, again = notes(), notes()
    assert (len(data.train), len(data.test)) == (len(data.targets), len(data.test_targets)) == (320, 400)
    assert len({*data.train, *data.test}) == 720
    assert (data.train, data.test) == (again.train, again.test)
    assert set(data.test_targets[:40]) == set(data.targets) == set(SUBJECTS), "the order mixes the subjects"


def test_test_notes_hold_words_of_no_training_note() -> None:
    data = notes()
    known = {word for note in data.train for word in note.split()}
    unknown = [any(word not in known for word in note.split()) for note in data.test]
    assert 0.2 < sum(unknown) / len(unknown) < 0.9
