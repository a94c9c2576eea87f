"""A search on texts from end to end: with static embeddings that are made on the spot, and with TF-IDF."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fixtures.texts import WORDS, small_tokenizer
from safetensors.torch import save_file

import autotransfer
from autotransfer import AutoTransferClassifier
from autotransfer.errors import ModelFormatError
from autotransfer.run.result import FitResult
from autotransfer.settings import Compute, DataOptions, SearchOptions

Texts = tuple[list[str], list[str]]
_SHORT = SearchOptions(epochs=2, compare_scratch=False)


@pytest.fixture(scope="module")
def reviews() -> Texts:
    """160 texts of two classes, which differ in two words of ten."""
    rng = np.random.default_rng(0)
    others = [word for word in WORDS if word not in ("good", "bad")]
    labels = [("good", "bad")[i % 2] for i in range(160)]
    texts = [" ".join([*rng.choice(others, 8 + i % 5), label, others[i % 5]]) for i, label in enumerate(labels)]
    return [f"{text} {i}" for i, text in enumerate(texts)], labels


@pytest.fixture(scope="module")
def text_zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A zoo of one matrix of random word vectors."""
    zoo = tmp_path_factory.mktemp("zoo")
    folder = zoo / "words"
    folder.mkdir()
    matrix = torch.randn(len(WORDS) + 4, 16, generator=torch.Generator().manual_seed(0))
    save_file({"embeddings": matrix}, folder / "model.safetensors")
    (folder / "tokenizer.json").write_bytes(small_tokenizer().data)
    (folder / "config.json").write_text(json.dumps({"model_type": "static_mean", "hidden_size": 16, "max_length": 64}))
    return zoo


def fit(reviews: Texts, zoo: Path, out: Path, **settings: Any) -> FitResult:
    compute = settings.pop("compute", Compute(device="cpu"))
    return autotransfer.fit(*reviews, zoo=zoo, out=out, search=_SHORT, compute=compute, **settings)


@pytest.fixture(scope="module")
def result(reviews: Texts, text_zoo: Path, tmp_path_factory: pytest.TempPathFactory) -> FitResult:
    return fit(reviews, text_zoo, tmp_path_factory.mktemp("runs") / "run", trials=6)


def test_search_tries_word_vectors_and_counts(result: FitResult, reviews: Texts) -> None:
    tried = {record.candidate.backbone for record in result.trials if record.candidate and record.score is not None}
    assert tried == {"words", "tfidf"}
    heads = {r.candidate.head for r in result.trials if r.candidate and r.candidate.backbone == "tfidf"}
    assert heads == {"tfidf_logistic"}
    assert not {r.candidate.head for r in result.trials if r.candidate and r.candidate.backbone == "words"} & heads
    assert all(record.state != "failed" for record in result.trials)
    assert np.mean(result.model.predict(reviews[0]) == np.array(reviews[1])) > 0.9


def test_what_candidates_take_is_known_of_sparse_ones_too(result: FitResult) -> None:
    scored = [record for record in result.trials if record.score is not None and record.candidate is not None]
    assert all((record.latency_seconds or 0) > 0 for record in scored)
    cost, winner = result.selection.cost, next(r for r in scored if r.candidate == result.best)
    assert cost is not None
    if len(result.model.members) == 1:
        assert cost.size_bytes <= (winner.size_bytes or 0) <= cost.size_bytes + 40_000
    assert {point.candidate.backbone for point in result.pareto} <= {"words", "tfidf"}


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["words", "tfidf"])
def test_saved_model_predicts_elsewhere_without_the_zoo(
    reviews: Texts, text_zoo: Path, tmp_path: Path, backbone: str
) -> None:
    zoo = shutil.copytree(text_zoo, tmp_path / "zoo")
    model = fit(reviews, zoo, tmp_path / "run", trials=1, backbones=[backbone]).model
    shutil.rmtree(zoo)
    moved = shutil.move(tmp_path / "run" / "model", tmp_path / "moved")
    again = autotransfer.load(moved, device="cpu")
    np.testing.assert_array_equal(again.predict_proba(reviews[0]), model.predict_proba(reviews[0]))
    assert again.predict("a very good film").shape == (1,)


@pytest.mark.slow
def test_changed_tokenizer_of_a_saved_model_is_refused(reviews: Texts, text_zoo: Path, tmp_path: Path) -> None:
    fit(reviews, text_zoo, tmp_path / "run", trials=1, backbones=["words"])
    (tokenizer,) = (tmp_path / "run" / "model").glob("tokenizer-*.json")
    tokenizer.write_bytes(tokenizer.read_bytes().replace(b"film", b"milf"))
    with pytest.raises(ModelFormatError, match="was changed since the model was saved"):
        autotransfer.load(tmp_path / "run", device="cpu")


@pytest.mark.slow
def test_winner_without_pretraining_is_said(reviews: Texts, text_zoo: Path, tmp_path: Path) -> None:
    found = fit(reviews, text_zoo, tmp_path / "run", trials=1, backbones=["tfidf"])
    assert "transfer_does_not_pay" in {warning.code for warning in found.warnings}


@pytest.mark.slow
def test_two_workers_score_as_one_process_does(reviews: Texts, text_zoo: Path, tmp_path: Path) -> None:
    alone = fit(reviews, text_zoo, tmp_path / "alone", trials=4)
    shared = fit(reviews, text_zoo, tmp_path / "shared", trials=4, compute=Compute(device="cpu", workers=2))
    scores = [{str(r.candidate): r.score for r in found.trials} for found in (alone, shared)]
    both = scores[0].keys() & scores[1].keys()
    assert len(both) >= 2
    for name in both:
        assert scores[0][name] == pytest.approx(scores[1][name], abs=1e-6)


@pytest.mark.slow
def test_texts_in_memory_are_searched_on(reviews: Texts, text_zoo: Path, tmp_path: Path) -> None:
    fit(reviews, text_zoo, tmp_path / "run", trials=2)
    result = autotransfer.resume(tmp_path / "run", trials=3, progress=False)
    assert len(result.trials) == 3


@pytest.mark.slow
def test_estimator_takes_lists_of_texts(reviews: Texts, text_zoo: Path) -> None:
    model = AutoTransferClassifier(trials=2, zoo=text_zoo, search=_SHORT).fit(*reviews)
    assert model.score(*reviews) > 0.8


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "head"), [("multilabel", "tfidf_logistic"), ("regression", "tfidf_ridge")])
def test_counts_take_part_whatever_the_targets_are(
    reviews: Texts, text_zoo: Path, tmp_path: Path, kind: str, head: str
) -> None:
    texts = reviews[0]
    marks = [[word for word in ("good", "bad", "film") if word in text.split()] for text in texts]
    values = [1.5 * ("good" in words) - 0.5 * ("film" in words) + 0.25 for words in marks]
    weights = np.where(np.arange(len(texts)) % 5, 1.0, 0.0)  # a fifth does not count
    targets = marks if kind == "multilabel" else values
    found = autotransfer.fit(
        texts,
        targets,
        zoo=text_zoo,
        out=tmp_path / "run",
        trials=5,
        search=_SHORT,
        compute=Compute(device="cpu"),
        data_options=DataOptions(sample_weight=weights),
    )
    assert found.model.task.kind == kind
    heads = {r.candidate.head for r in found.trials if r.candidate and r.candidate.backbone == "tfidf"}
    assert heads == {head}
    assert all(record.state != "failed" for record in found.trials), [record.reason for record in found.trials]
    assert found.validation.examples == 128
    assert found.validation.score > 0.6
    model = autotransfer.load(tmp_path / "run", device="cpu")
    np.testing.assert_array_equal(model.predict_proba(texts[:8]), found.model.predict_proba(texts[:8]))
    assert found.model.score(texts, targets).score > 0.6
