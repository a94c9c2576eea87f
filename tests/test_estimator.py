"""The scikit-learn estimators: scikit-learn's own checks, and real fits inside its tools."""

from __future__ import annotations

import pickle
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import coo_matrix, csc_array, csr_matrix
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import estimator_checks_generator
from sklearn.utils.validation import check_is_fitted, validate_data

import autotransfer
from autotransfer import (
    AutoTransferClassifier,
    AutoTransferRegressor,
    Compute,
    DataOptions,
    RunOptions,
    SearchOptions,
    Selection,
)
from autotransfer.errors import ConfigError, DataError
from autotransfer.estimator import _claimed
from autotransfer_plugins.modalities.image.decoding import Decoding

# Most checks fit a table of numbers. X are images here, and a table is refused with a message that says so.
_TABLES = "X are images; the check fits a table (n_samples, n_features)"
_MESSAGES = "X are images: a table is refused as such, before the fault that the check plants in it"
EXPECTED = {
    **dict.fromkeys(
        (
            "check_classifier_data_not_an_array",
            "check_classifiers_classes",
            "check_classifiers_multilabel_output_format_decision_function",
            "check_classifiers_multilabel_output_format_predict",
            "check_classifiers_multilabel_output_format_predict_proba",
            "check_classifiers_multilabel_representation_invariance",
            "check_classifiers_train",
            "check_dict_unchanged",
            "check_dont_overwrite_parameters",
            "check_dtype_object",
            "check_estimators_dtypes",
            "check_estimators_fit_returns_self",
            "check_estimators_overwrite_params",
            "check_estimators_pickle",
            "check_f_contiguous_array_estimator",
            "check_fit2d_predict1d",
            "check_fit_check_is_fitted",
            "check_fit_idempotent",
            "check_fit_score_takes_y",
            "check_n_features_in",
            "check_n_features_in_after_fitting",
            "check_positive_only_tag_during_fit",
            "check_readonly_memmap_input",
            "check_all_zero_sample_weights_error",
            "check_classifiers_one_label_sample_weights",
            "check_sample_weight_equivalence_on_dense_data",
            "check_sample_weights_list",
            "check_sample_weights_not_an_array",
            "check_sample_weights_not_overwritten",
            "check_sample_weights_pandas_series",
            "check_sample_weights_shape",
            "check_regressor_data_not_an_array",
            "check_regressor_multioutput",
            "check_regressors_int",
            "check_regressors_no_decision_function",
            "check_regressors_train",
            "check_supervised_y_2d",
        ),
        _TABLES,
    ),
    **dict.fromkeys(
        (
            "check_classifiers_one_label",
            "check_estimators_empty_data_messages",
            "check_estimators_nan_inf",
            "check_fit2d_1feature",
            "check_fit2d_1sample",
        ),
        _MESSAGES,
    ),
    "check_class_weight_classifiers": _TABLES,
    "check_requires_y_none": "a folder or a table of images holds its labels, so y may be left out",
}


class _AsIfForTables:
    """Says that it takes tables: by the true tags, scikit-learn would skip every check."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.input_tags.two_d_array = True
        return tags


class _CheckedClassifier(_AsIfForTables, AutoTransferClassifier):
    __init__ = AutoTransferClassifier.__init__


class _CheckedRegressor(_AsIfForTables, AutoTransferRegressor):
    __init__ = AutoTransferRegressor.__init__


def _expected(estimator: BaseEstimator) -> dict[str, str]:
    # A classifier refuses the complex targets first, and in the words that scikit-learn asks for.
    return EXPECTED if isinstance(estimator, _CheckedClassifier) else {**EXPECTED, "check_complex_data": _MESSAGES}


def _name(value: Any) -> str:
    return type(value).__name__ if isinstance(value, BaseEstimator) else getattr(value, "func", value).__name__


# scikit-learn's own parametrize_with_checks passes a generator, which pytest 9 refuses, up to scikit-learn 1.7.
@pytest.mark.filterwarnings("ignore:invalid value encountered in cast:RuntimeWarning")  # scikit-learn's, on infinities
@pytest.mark.parametrize(
    ("estimator", "check"),
    [
        pair
        for estimator in (_CheckedClassifier(), _CheckedRegressor())
        for pair in estimator_checks_generator(estimator, expected_failed_checks=_expected(estimator), mark="xfail")
    ],
    ids=_name,
)
def test_scikit_learn_checks(estimator: BaseEstimator, check: Any) -> None:
    check(estimator)


class _OnTables(_AsIfForTables):
    """Draws each row of a table as an image, so that scikit-learn's checks can make real fits."""

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Any:
        X, y = validate_data(self, X, y, multi_output=True)  # type: ignore[call-overload]
        return super().fit(self._draw(X), y, sample_weight=sample_weight)  # type: ignore[misc]

    def predict(self, X: Any, *, unknown: Any = None) -> Any:
        check_is_fitted(self)
        drawn = np.ndim(X) == 4  # predict_proba of a multilabel task is asked by predict
        X = X if drawn else self._draw(validate_data(self, X, reset=False))  # type: ignore[call-overload]
        return super().predict(X, unknown=unknown)  # type: ignore[misc]

    @staticmethod
    def _draw(table: np.ndarray) -> np.ndarray:
        values = 255 / (1 + np.exp(-np.asarray(table, dtype=float)))
        return np.repeat(values.astype(np.uint8)[:, None, :, None], 4, axis=1)


class _ClassifierOnTables(_OnTables, AutoTransferClassifier):
    __init__ = AutoTransferClassifier.__init__

    def predict_proba(self, X: Any) -> Any:
        check_is_fitted(self)
        drawn = np.ndim(X) == 4
        return super().predict_proba(X if drawn else self._draw(validate_data(self, X, reset=False)))


class _RegressorOnTables(_OnTables, AutoTransferRegressor):
    __init__ = AutoTransferRegressor.__init__


@pytest.fixture
def quick(tiny_zoo: Path, tmp_path: Path) -> dict[str, Any]:
    """Settings of a fit that takes a fraction of a second."""
    return {
        "zoo": tiny_zoo,
        "backbones": "test_vit",
        "trials": 1,
        "search": SearchOptions(freeze="frozen", compare_scratch=False),
        "compute": Compute(cache_dir=tmp_path / "cache", device="cpu"),
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "check_classifiers_classes",  # text labels come back as they were
        "check_classifiers_multilabel_output_format_predict",
        "check_classifiers_multilabel_output_format_predict_proba",
        "check_dict_unchanged",  # predicting changes nothing
        "check_dont_overwrite_parameters",  # fit sets nothing but names with a trailing underscore
        "check_estimators_fit_returns_self",
        "check_estimators_overwrite_params",
        "check_estimators_pickle",  # a loaded copy predicts the same
        "check_fit_score_takes_y",
        "check_supervised_y_2d",  # a column of labels warns
        "check_all_zero_sample_weights_error",  # scikit-learn 1.8 and later
        "check_classifiers_one_label_sample_weights",  # the labels of the weight 0 are no class
        "check_sample_weights_list",
        "check_sample_weights_not_an_array",
        "check_sample_weights_not_overwritten",
        "check_sample_weights_pandas_series",
        "check_sample_weights_shape",  # a matrix of weights is refused
    ],
)
def test_scikit_learn_checks_with_real_fits(name: str, quick: dict[str, Any]) -> None:
    if not hasattr(estimator_checks, name):
        pytest.skip("this scikit-learn does not have the check")
    estimator = _ClassifierOnTables(heads="logistic", **quick)
    getattr(estimator_checks, name)("_ClassifierOnTables", estimator)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["check_estimators_pickle", "check_dont_overwrite_parameters", "check_regressors_int"])
def test_scikit_learn_checks_with_real_regressions(name: str, quick: dict[str, Any]) -> None:
    estimator = _RegressorOnTables(heads="ridge", **quick)
    getattr(estimator_checks, name)("_RegressorOnTables", estimator)


@pytest.mark.slow
def test_cross_validation_on_real_digits(quick: dict[str, Any], digits: tuple[np.ndarray, np.ndarray]) -> None:
    scores = cross_val_score(AutoTransferClassifier(heads="logistic", **quick), *digits, cv=3)
    assert scores.shape == (3,)
    assert scores.min() > 0.8  # chance is a third


@pytest.mark.slow
def test_grid_search_and_pipeline(quick: dict[str, Any], digits: tuple[np.ndarray, np.ndarray]) -> None:
    class Invert(TransformerMixin, BaseEstimator):  # type: ignore[misc]
        def fit(self, X: Any, y: Any = None) -> Invert:
            self.fitted_ = True
            return self

        def transform(self, X: np.ndarray) -> np.ndarray:
            return 255 - X

    pipeline = make_pipeline(Invert(), AutoTransferClassifier(**quick))
    grid = GridSearchCV(pipeline, {"autotransferclassifier__heads": ["ncm", "logistic"]}, cv=2)
    grid.fit(*digits)
    assert grid.best_params_ == {"autotransferclassifier__heads": "logistic"}
    assert grid.score(*digits) > 0.9


def test_settings_of_groups_are_parameters() -> None:
    estimator = AutoTransferClassifier(compute=Compute(workers=2))
    params = estimator.get_params()
    assert (params["compute__workers"], params["selection__ensemble"], params["search__compare_scratch"]) == (
        2,
        True,
        False,
    )
    assert not any("__" in name for name in estimator.get_params(deep=False))
    estimator.set_params(selection__ensemble=False, compute__device="cpu", heads="ncm")
    assert estimator.selection == Selection(ensemble=False)
    assert estimator.compute == Compute(workers=2, device="cpu")
    assert clone(estimator).get_params() == estimator.get_params()
    with pytest.raises(ValueError, match="Invalid parameter 'compute__worker' for estimator"):
        estimator.set_params(compute__worker=1)
    with pytest.raises(ConfigError, match="number of workers"):
        estimator.set_params(compute__workers=0)


@pytest.mark.slow
def test_grid_search_varies_settings_of_groups(quick: dict[str, Any], digits: tuple[np.ndarray, np.ndarray]) -> None:
    estimator = AutoTransferClassifier(heads="logistic", **quick)
    grid = GridSearchCV(estimator, {"selection__calibrate": [True, False], "search__views": [1]}, cv=2)
    grid.fit(*digits, data_options=DataOptions(modality_options={"value_range": (0, 255)}))
    assert set(grid.best_params_) == {"selection__calibrate", "search__views"}
    assert Decoding.from_json(grid.best_estimator_.model_.reading).value_range == (0, 255)


@pytest.mark.slow
def test_the_estimator_finds_what_fit_finds(
    quick: dict[str, Any], digits: tuple[np.ndarray, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without `out` no run is left behind, with it the run is there; the answers are the model's.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    images, labels = digits
    names = np.array(["zero", "one", "two"])[labels]
    first = AutoTransferClassifier(**{**quick, "trials": 4}).fit(images, names)
    assert not list(tmp_path.glob("autotransfer-*"))
    assert not (tmp_path / "runs").exists()
    second = AutoTransferClassifier(**{**quick, "trials": 4}).fit(list(images), list(names), out=tmp_path / "run")
    assert (tmp_path / "run" / "result.json").is_file()
    assert first.result_.best == second.result_.best
    assert first.classes_.tolist() == ["one", "two", "zero"]
    np.testing.assert_array_equal(first.predict_proba(images), second.predict_proba(images))
    np.testing.assert_array_equal(first.predict(images), first.classes_[first.predict_proba(images).argmax(1)])
    assert first.score(images, names) == (first.predict(images) == names).mean()
    held, sets = first.predict_set(images, 0.9), first.result_.predict_set(images, 0.9)
    assert (held.shape, held.dtype) == ((len(images), 3), bool)
    assert [set(first.classes_[row]) for row in held] == list(map(set, sets))
    loaded = pickle.loads(pickle.dumps(first))
    np.testing.assert_array_equal(loaded.predict_proba(images), first.predict_proba(images))


@pytest.mark.slow
def test_a_folder_holds_its_labels(quick: dict[str, Any], digit_folder: Path) -> None:
    fitted = AutoTransferClassifier(heads="logistic", **quick).fit(digit_folder / "train")
    files = sorted((digit_folder / "test").rglob("*.png"))
    assert fitted.score(files, [file.parent.name for file in files]) > 0.8


@pytest.mark.slow
def test_multilabel_indicators_go_in_and_come_out(quick: dict[str, Any], digits: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = digits
    indicators = np.stack([labels == 0, labels > 0], axis=1).astype(int)
    fitted = AutoTransferClassifier(heads="logistic", **quick).fit(images, indicators)
    predicted = fitted.predict(images)
    assert predicted.shape == indicators.shape
    assert set(np.unique(predicted)) <= {0, 1}
    assert fitted.score(images, indicators) > 0.8


@pytest.mark.slow
@pytest.mark.parametrize("form", [csr_matrix, csc_array, coo_matrix])
def test_sparse_indicators_are_taken_as_dense_ones(
    form: type[Any], quick: dict[str, Any], digits: tuple[np.ndarray, np.ndarray]
) -> None:
    images, labels = digits
    indicators = np.stack([labels == 0, labels > 0], axis=1).astype(int)
    dense, sparse = (
        AutoTransferClassifier(heads="ridge", **quick).fit(images, y) for y in (indicators, form(indicators))
    )
    np.testing.assert_array_equal(sparse.predict_proba(images), dense.predict_proba(images))
    assert sparse.classes_.tolist() == dense.classes_.tolist()
    assert sparse.score(images, form(indicators)) == dense.score(images, indicators) > 0.8


def test_sparse_values_of_a_regression_are_refused(digits: tuple[np.ndarray, np.ndarray]) -> None:
    with pytest.raises(DataError, match=r"got a sparse csr_matrix: give y\.toarray\(\)"):
        AutoTransferRegressor().fit(digits[0], csr_matrix(digits[1][:, None] / 3))


@pytest.mark.slow
def test_regression_of_one_and_two_values(quick: dict[str, Any], digits: tuple[np.ndarray, np.ndarray]) -> None:
    images, _ = digits
    ink = images.mean(axis=(1, 2)) / 255
    one = AutoTransferRegressor(heads="ridge", **quick).fit(images, ink)
    assert one.predict(images).shape == (len(images),)
    assert one.score(images, ink) > 0.5
    two = AutoTransferRegressor(heads="ridge", **quick).fit(images, np.stack([ink, -ink], axis=1))
    assert two.predict(images).shape == (len(images), 2)


@pytest.mark.parametrize("kind", [AutoTransferClassifier, AutoTransferRegressor])
def test_predict_passes_the_label_for_unknown_on(kind: type[Any]) -> None:
    estimator, given = kind(), list[object]()
    task = SimpleNamespace(kind="multiclass")
    estimator.model_ = SimpleNamespace(task=task, predict=lambda X, unknown: given.append(unknown))
    estimator.predict([0])
    estimator.predict([0], unknown="?")
    assert given == [None, "?"]


def test_indicators_hold_no_label_for_unknown() -> None:
    estimator = AutoTransferClassifier()
    estimator.model_ = SimpleNamespace(task=SimpleNamespace(kind="multilabel"))
    with pytest.raises(ConfigError, match="Indicators hold no label"):
        estimator.predict([0], unknown="?")


def test_random_state_takes_what_scikit_learn_takes(
    quick: dict[str, Any], digits: tuple[np.ndarray, np.ndarray]
) -> None:
    state = np.random.RandomState(3)
    estimator = AutoTransferClassifier(heads="ncm", **quick, random_state=state)
    assert clone(estimator).get_params()["random_state"] is not None
    estimator.fit(*digits)
    assert estimator.random_state is state


def test_wrong_use_is_said_plainly(
    quick: dict[str, Any], digits: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    images, labels = digits
    with pytest.raises(NotFittedError):
        AutoTransferClassifier().predict_proba(images)
    with pytest.raises(DataError, match="N images have the shape"):
        AutoTransferClassifier(**quick).fit(images.reshape(len(images), -1), labels)
    with pytest.raises(ValueError, match="Unknown label type: continuous"):
        AutoTransferClassifier(**quick).fit(images, labels + 0.5)
    with pytest.raises(DataError, match="X holds 120 examples, but y holds 60 targets"):
        AutoTransferRegressor(**quick).fit(images, labels[:60])
    with pytest.raises(DataError, match="X holds 120 examples and no labels: give y"):
        AutoTransferClassifier(**quick).fit(images)
    with pytest.raises(DataError, match="leave y out"):
        AutoTransferRegressor(**quick).fit(tmp_path, labels)
    with pytest.raises(DataError, match="y holds one target for each example in X; got float"):
        AutoTransferRegressor(**quick).fit(images, 1.0)
    with pytest.raises(DataError, match=r"X holds examples: .*; got dict"):
        AutoTransferClassifier(**quick).fit({"a": 1}, [1])
    with pytest.raises(ConfigError, match="validation share"):
        AutoTransferClassifier(**quick).fit(images, labels, data_options=DataOptions(validation=2.0))
    with pytest.raises(ConfigError, match="overwrite of RunOptions has no effect"):
        AutoTransferClassifier(**quick).fit(images, labels, run=RunOptions(overwrite=True))


@pytest.mark.slow
def test_every_fit_with_an_output_folder_keeps_its_own(
    quick: dict[str, Any], digits: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    estimator, out = AutoTransferClassifier(heads="ncm", **quick), tmp_path / "run"
    first = estimator.fit(*digits, out=out).result_.run
    (first / "notes.txt").write_text("mine")
    second = estimator.fit(*digits, out=out).result_.run
    assert [first, second] == [tmp_path / "run", tmp_path / "run-2"]
    assert (first / "notes.txt").read_text() == "mine"
    for run in (first, second):
        assert autotransfer.load(run).predict(digits[0][:2]).shape == (2,)
    copy = pickle.loads(pickle.dumps(clone(estimator))).fit(*digits, out=out)
    assert copy.result_.run == tmp_path / "run-3"


@pytest.mark.slow
def test_an_output_folder_that_is_none_is_refused_and_left_alone(
    quick: dict[str, Any], digits: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.txt").write_text("mine")
    (tmp_path / "empty").mkdir()
    for out in ("photos", "photos/a.txt"):
        with pytest.raises(ConfigError):
            AutoTransferClassifier(**quick).fit(*digits, out=tmp_path / out)
    for out in ("empty", "new"):  # refused before it began: nothing is left, and nothing is taken away
        with pytest.raises(ConfigError, match="Did you mean linear"):
            AutoTransferClassifier(heads="lineer", **quick).fit(*digits, out=tmp_path / out)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == [
        "empty",
        "photos",
        "photos/a.txt",
    ]
    fitted = AutoTransferClassifier(heads="ncm", **quick).fit(*digits, out=tmp_path / "empty")
    assert fitted.result_.run.name == "empty"


@pytest.mark.slow
def test_cross_validation_in_two_processes_keeps_every_run(
    quick: dict[str, Any], digits: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    estimator = AutoTransferClassifier(heads="logistic", **quick)
    scores = cross_val_score(estimator, *digits, cv=2, n_jobs=2, params={"out": tmp_path / "run"})
    assert scores.min() > 0.6  # chance is a third
    assert sorted(path.name for path in tmp_path.glob("run*")) == ["run", "run-2"]
    assert all((tmp_path / run / "result.json").is_file() for run in ("run", "run-2"))


def test_no_two_fits_side_by_side_have_one_output_folder(tmp_path: Path) -> None:
    barrier = Barrier(8)

    def claim(number: int) -> str:
        barrier.wait()
        with _claimed(tmp_path / "run") as folder:
            (folder / "run.json").write_text(str(number))
            return folder.name

    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(claim, range(8)))
    assert sorted(names) == ["run", *(f"run-{number}" for number in range(2, 9))]
    assert {(tmp_path / name / "run.json").read_text() for name in names} == set("01234567")


@pytest.mark.slow
def test_positive_class_is_the_one_sorted_last_by_default(
    quick: dict[str, Any], digits: tuple[np.ndarray, np.ndarray]
) -> None:
    # `fit` would take "a", the rarer one; GridSearchCV(scoring="recall") means the label that is sorted last.
    images, names = digits[0], np.where(digits[1] == 0, "a", "b")
    plain = AutoTransferClassifier(heads="ncm", metric="recall", **quick).fit(images, names)
    assert plain.result_.validation.positive_class == "b"
    assert "positive_class" not in [warning.code for warning in plain.result_.warnings]
    given = AutoTransferClassifier(heads="ncm", metric="recall", **quick).fit(
        images, names, data_options=DataOptions(positive_class="a")
    )
    assert given.result_.validation.positive_class == "a"


@pytest.mark.slow
def test_columns_of_a_data_frame_name_the_classes(quick: dict[str, Any], digits: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = digits
    tags = pd.DataFrame({"zero": labels == 0, "big": labels > 0}).astype(int)
    fitted = AutoTransferClassifier(heads="ridge", **quick).fit(images, tags)
    assert fitted.classes_.tolist() == ["zero", "big"]
    assert fitted.score(images, tags) > 0.8
