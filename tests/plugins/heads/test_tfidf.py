"""Linear heads on counts: weighted as TF-IDF says, solved, saved and loaded."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.linear_model import LogisticRegression

from autotransfer.errors import TrialError
from autotransfer.tasks.task import Task
from autotransfer.testing import check_head
from autotransfer_plugins.backbones import tfidf
from autotransfer_plugins.backbones._tfidf_model import load
from autotransfer_plugins.heads import TFIDF_LOGISTIC, TFIDF_RIDGE
from autotransfer_plugins.heads.tfidf import TfidfHead
from autotransfer_plugins.modalities.text.modality import TEXT
from autotransfer_plugins.modalities.text.ngrams import NGramFormat

TEXTS = [f"{word} {rest}" for word in ("good film", "bad plot") for rest in ("a b c", "d e", "f g h i", "the end")]
LABELS = np.array([0] * 4 + [1] * 4)
TASK = Task(kind="binary", classes=("good", "bad"))


def sparse_counts(texts: list[str]) -> torch.Tensor:
    store = TEXT.load(texts, [str(i) for i in range(len(texts))], [NGramFormat()], options={})
    return load()(store.inputs(slice(None), NGramFormat(), torch.device("cpu")))


def to_csr(features: torch.Tensor) -> csr_matrix:
    return csr_matrix((features.values().numpy(), features.indices().numpy()), shape=features.shape)


@pytest.mark.slow
@pytest.mark.parametrize("head", [TFIDF_LOGISTIC, TFIDF_RIDGE], ids=lambda head: head.name)
def test_heads_keep_the_contract(head: object) -> None:
    check_head(head)  # type: ignore[arg-type]


def test_outputs_are_those_of_scikit_learn() -> None:
    features = sparse_counts(TEXTS)
    module = TFIDF_LOGISTIC.build((features.shape[1],), 2, {})
    assert TFIDF_LOGISTIC.solve is not None
    TFIDF_LOGISTIC.solve(module, to_csr(features), LABELS, TASK, {"C": 3.0}, None)  # type: ignore[arg-type]
    counts, half = to_csr(features), features.shape[1] // 2
    parts = [TfidfTransformer(sublinear_tf=True).fit_transform(c) for c in (counts[:, :half], counts[:, half:])]
    x = hstack(parts).tocsr()
    expected = LogisticRegression(C=3.0, tol=1e-6, max_iter=1000).fit(x, LABELS).predict_proba(x)
    np.testing.assert_allclose(module(features).softmax(1).numpy(), expected, atol=2e-3)


def test_head_holds_the_used_columns_alone_and_loads() -> None:
    features = sparse_counts(TEXTS)
    module = TFIDF_LOGISTIC.build((features.shape[1],), 2, {})
    assert isinstance(module, TfidfHead)
    assert TFIDF_LOGISTIC.solve is not None
    TFIDF_LOGISTIC.solve(module, to_csr(features), LABELS, TASK, {}, None)  # type: ignore[arg-type]
    assert len(module.columns) == len(np.unique(to_csr(features).indices))
    again = TFIDF_LOGISTIC.build((features.shape[1],), 2, {})
    again.load_state_dict(module.state_dict())
    torch.testing.assert_close(again(features), module(features))
    unknown = sparse_counts(["zzzz qqqq"])
    torch.testing.assert_close(again(unknown), again.bias[None])


def test_texts_without_a_common_ngram_teach_nothing() -> None:
    apart = csr_matrix((np.ones(100, np.float32), (np.arange(100), np.arange(100))), shape=(100, 200))
    assert TFIDF_LOGISTIC.solve is not None
    module = TFIDF_LOGISTIC.build((200,), 2, {})
    with pytest.raises(TrialError, match="No n-gram"):
        TFIDF_LOGISTIC.solve(module, apart, np.arange(100) % 2, TASK, {}, None)  # type: ignore[arg-type]


def test_backbone_is_rebuilt_from_its_recipe() -> None:
    backbone = tfidf.rebuild_backbone(load().recipe)
    assert backbone is not None
    assert not list(backbone.parameters())
    assert tfidf.rebuild_backbone({"plugin": "timm"}) is None
