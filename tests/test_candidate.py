"""A candidate: one transfer setup as a value that is equal, hashed, printed and stored as what it means."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotransfer.candidate import Candidate
from autotransfer.errors import ConfigError

values = st.one_of(st.booleans(), st.integers(-2, 2), st.floats(-2, 2), st.sampled_from(["a", "b"]))
settings = st.dictionaries(st.sampled_from(["depth", "lr", "pooling"]), values, max_size=2)
candidates = st.builds(
    Candidate, backbone=st.sampled_from(["a", "b"]), head_params=settings, freeze_params=settings, training=settings
)

FULL = Candidate(
    backbone="vgg16.tv_in1k",
    head="mlp",
    freeze="depth",
    head_params={"width": 1024, "dropout": 0.123456},
    freeze_params={"depth": 3},
    training={"optimizer": "adam", "lr": 1e-3},
)


@given(candidates)
def test_a_candidate_survives_json_pickle_and_copies(candidate: Candidate) -> None:
    for twin in (
        Candidate.from_json(json.loads(json.dumps(candidate.to_json()))),
        pickle.loads(pickle.dumps(candidate)),
        copy.deepcopy(candidate),
    ):
        assert twin == candidate
        assert hash(twin) == hash(candidate)


@given(candidates, candidates)
def test_equal_candidates_have_equal_hashes(one: Candidate, other: Candidate) -> None:
    if one == other:
        assert hash(one) == hash(other)


def test_one_is_one_however_it_is_written() -> None:
    # A search that suggests 1 and one that reads 1.0 from a file mean the same.
    one, other = (Candidate(backbone="a", training={"lr": lr}) for lr in (1, 1.0))
    assert len({one, other}) == 1
    assert Candidate(backbone="a", training={"lr": 2.0}) not in {one}


def test_how_long_it_trains_can_be_left_aside() -> None:
    short, long = (Candidate(backbone="a", training={"epochs": epochs, "lr": 0.1}) for epochs in (3, 10))
    assert short != long
    assert short.without_epochs == long.without_epochs == Candidate(backbone="a", training={"lr": 0.1})


def test_the_order_of_settings_means_nothing() -> None:
    one = Candidate(backbone="a", training={"lr": 0.1, "epochs": 3})
    assert {one} == {Candidate(backbone="a", training={"epochs": 3, "lr": 0.1})}


def test_candidate_copies_its_dictionaries() -> None:
    training = {"lr": 0.1}
    candidate = Candidate(backbone="a", training=training)
    before = hash(candidate)
    training["lr"] = 0.2
    assert candidate.training == {"lr": 0.1}
    assert hash(candidate) == before


def test_what_is_not_given_has_a_default() -> None:
    assert Candidate.from_json({"backbone": "a"}) == Candidate(backbone="a", head="linear", freeze="frozen")


def test_it_says_in_how_many_views_it_sees_images() -> None:
    seen = {given: Candidate(backbone="a", training={"views": given}).views for given in (1, 4, "many")}
    assert seen == {1: 1, 4: 4, "many": 1}, "a stranger may have written it"
    assert Candidate(backbone="a").views == 1
    assert str(Candidate(backbone="a", training={"views": 2})) == "a + linear + frozen + 2 views"
    assert str(Candidate(backbone="a", training={"views": 1})) == "a + linear + frozen"


def test_it_prints_on_one_line_with_short_numbers() -> None:
    assert str(FULL) == "vgg16.tv_in1k + mlp(width=1024, dropout=0.123) + depth(depth=3)"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, r"has the keys \['backbone', .*; got \[\]"),
        ({"head": "mlp"}, r"got \['head'\]"),
        ({"backbone": "a", "heads": "mlp"}, r"got \['backbone', 'heads'\]"),
        ({"backbone": "a", 3: "mlp"}, r"got \['3', 'backbone'\]"),
        (["backbone"], "got a list"),
        ("backbone", "got a str"),
        ({"backbone": 3}, "The backbone of a candidate is a name; got 3"),
        ({"backbone": "a", "head": None}, "The head of a candidate is a name; got None"),
        ({"backbone": "a", "training": "fast"}, "The training of a candidate map names to text or numbers"),
        ({"backbone": "a", "training": None}, "got None"),
        ({"backbone": "a", "training": {"lr": [1]}}, r"got \{'lr': \[1\]\}"),
        ({"backbone": "a", "head_params": {3: 1}}, "head_params"),
    ],
)
def test_what_is_no_candidate_is_refused(data: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Candidate.from_json(data)
