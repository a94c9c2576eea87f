"""Every head of ours: its contract, and what it must get right on real tasks."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes, load_digits, load_iris
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

import autotransfer_plugins.heads as heads
from autotransfer.contract.specs import HeadSpec
from autotransfer.errors import ConfigError, TrialError
from autotransfer.tasks.task import Task
from autotransfer.testing import check_head
from autotransfer_plugins.heads import KNN, LINEAR, LOGISTIC, MLP, NCM, RIDGE, STAGE_RIDGE

SOLVED = [KNN, LOGISTIC, NCM, RIDGE]


def _registered() -> list[HeadSpec]:
    found: list[HeadSpec] = []
    heads.register_heads(found.append)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("spec", _registered(), ids=lambda spec: spec.name)
def test_keeps_the_contract(spec: HeadSpec) -> None:
    check_head(spec)


@pytest.fixture(scope="module")
def digits() -> SimpleNamespace:
    """1,797 real scans of ten digits; several of the 64 pixels are constant."""
    x, y = load_digits(return_X_y=True)
    x, xt, y, yt = train_test_split(x.astype(np.float32), y, random_state=0, stratify=y)
    return SimpleNamespace(x=x, y=y, xt=xt, yt=yt, task=Task(kind="multiclass", classes=tuple(range(10))))


def _fit(
    spec: HeadSpec, x: np.ndarray, y: np.ndarray, task: Task, weights: np.ndarray | None = None, **params: float
) -> Callable[[np.ndarray], Tensor]:
    module = spec.build((x.shape[1],), task.outputs, params)
    spec.solve(module, x, y, task, params, weights)
    return lambda features: module.eval()(torch.from_numpy(features)).detach()


@pytest.mark.parametrize(("spec", "floor"), [(KNN, 0.95), (LOGISTIC, 0.94), (NCM, 0.85), (RIDGE, 0.90)])
def test_classifies_real_digits_with_sensible_probabilities(
    digits: SimpleNamespace, spec: HeadSpec, floor: float
) -> None:
    # Outputs are logits: a softmax of them must be right, and not much surer than it is right.
    logits = _fit(spec, digits.x, digits.y, digits.task)(digits.xt)
    truth = torch.from_numpy(digits.yt)
    assert (logits.argmax(1) == truth).float().mean() > floor
    assert nn.functional.cross_entropy(logits, truth) < 0.75


@pytest.mark.parametrize("spec", SOLVED, ids=lambda spec: spec.name)
def test_a_class_without_examples_is_never_predicted(digits: SimpleNamespace, spec: HeadSpec) -> None:
    # Balanced weights are largest for the class that is not there.
    seen = digits.y != 3
    for weights in (None, digits.task.class_weights(digits.y[seen])):
        logits = _fit(spec, digits.x[seen], digits.y[seen], digits.task, weights)(digits.xt)
        assert logits.isfinite().all()
        assert not (logits.argmax(1) == 3).any()


@pytest.mark.parametrize("spec", [LOGISTIC, NCM, RIDGE], ids=lambda spec: spec.name)
def test_columns_that_were_constant_in_training_have_no_say(digits: SimpleNamespace, spec: HeadSpec) -> None:
    # A tiny spread that is divided by itself would let one odd pixel of a new image decide.
    x = np.concatenate([digits.x, np.full((len(digits.x), 1), 0.3, np.float32)], axis=1)
    predict = _fit(spec, x, digits.y, digits.task)
    new = np.concatenate([digits.xt, np.full((len(digits.xt), 1), 0.3, np.float32)], axis=1)
    odd = new.copy()
    odd[:, -1] = 100.0
    torch.testing.assert_close(predict(odd), predict(new))


@pytest.mark.parametrize("spec", [KNN, LOGISTIC, RIDGE], ids=lambda spec: spec.name)
def test_class_weights_favour_the_rare_class(spec: HeadSpec) -> None:
    x, y = load_iris(return_X_y=True)
    keep = np.r_[50:100, 100:110]  # versicolor, and a few virginica
    x, y = x[keep].astype(np.float32), (y[keep] == 2).astype(np.int64)
    task = Task(kind="binary", classes=(0, 1))
    plain = _fit(spec, x, y, task)(x)
    weighted = _fit(spec, x, y, task, task.class_weights(y))(x)
    assert (weighted[:, 1] - weighted[:, 0]).mean() > (plain[:, 1] - plain[:, 0]).mean()


@pytest.mark.parametrize("spec", [KNN, LOGISTIC, RIDGE], ids=lambda spec: spec.name)
def test_multilabel_outputs_are_one_logit_for_each_label(digits: SimpleNamespace, spec: HeadSpec) -> None:
    # Labels: even, at least 5, and one that every example has.
    def label(y: np.ndarray) -> np.ndarray:
        return np.stack([y % 2 == 0, y >= 5, y >= 0], axis=1).astype(np.float32)

    task = Task(kind="multilabel", classes=("even", "large", "digit"))
    outputs = _fit(spec, digits.x, label(digits.y), task)(digits.xt)
    assert outputs.isfinite().all()
    assert ((outputs > 0).numpy() == label(digits.yt)).mean() > 0.85
    assert (outputs[:, 2] > 0).all()


@pytest.mark.parametrize("spec", [KNN, RIDGE], ids=lambda spec: spec.name)
def test_regression_explains_real_values(spec: HeadSpec) -> None:
    x, y = load_diabetes(return_X_y=True)
    y = ((y - y.mean()) / y.std()).astype(np.float32)[:, None]
    outputs = _fit(spec, x.astype(np.float32), y, Task(kind="regression"), alpha=100.0)(x.astype(np.float32))
    assert ((outputs.numpy() - y) ** 2).mean() < 0.7


def test_ridge_equals_scikit_learn(digits: SimpleNamespace) -> None:
    # The solution is folded into a layer on raw features: nothing may be lost in folding, for both shapes of matrix.
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    for rows in (40, 1000):
        x, y = digits.x[:rows], digits.y[:rows].astype(np.float32)[:, None]
        outputs = _fit(RIDGE, x, y, Task(kind="regression"), alpha=30.0)(digits.xt[:50])
        keep = x.std(0) > 0
        reference = make_pipeline(StandardScaler(), Ridge(alpha=30.0)).fit(x[:, keep].astype(np.float64), y)
        np.testing.assert_allclose(outputs.numpy()[:, 0], reference.predict(digits.xt[:50, keep]), atol=2e-3)


@pytest.mark.parametrize("each", [np.ones(20), np.linspace(0.2, 1.8, 20)], ids=["equal", "weighted"])
def test_ridge_left_out_predictions_are_those_of_refitting(each: np.ndarray) -> None:
    # The calibration rests on this shortcut.
    from autotransfer_plugins.heads.closed_form import _ridge

    for width in (5, 60):
        rng = np.random.default_rng(0)
        x, y = rng.normal(size=(20, width)), rng.normal(size=(20, 2))
        x, middle = x - np.average(x, axis=0, weights=each), np.average(y, axis=0, weights=each)
        _, left_out = _ridge(x, y - middle, 3.0, each)
        rest = np.arange(20) != 4
        centre, mean = (np.average(values[rest], axis=0, weights=each[rest]) for values in (x, y))
        weight, _ = _ridge(x[rest] - centre, y[rest] - mean, 3.0, each[rest])
        np.testing.assert_allclose(left_out[4] + middle, (x[4] - centre) @ weight.T + mean)
        if each.std() == 0:
            np.testing.assert_allclose(left_out, _ridge(x, y - middle, 3.0)[1])


def _staged(digits: SimpleNamespace, useful: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return scans as what an early stage gives, beside last features that hold the digit only if they are useful."""
    rng = np.random.default_rng(0)

    def features(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        last = np.eye(10)[y] if useful else rng.normal(size=(len(y), 10))
        return np.concatenate([x, last + 0.3 * rng.normal(size=last.shape)], axis=1).astype(np.float32)

    return features(digits.x, digits.y), features(digits.xt, digits.yt)


@pytest.mark.parametrize(("useful", "floor"), [(True, 0.97), (False, 0.88)])
def test_stage_ridge_finds_what_the_last_features_do_not_hold(
    digits: SimpleNamespace, useful: bool, floor: float
) -> None:
    x, xt = _staged(digits, useful)
    module = STAGE_RIDGE.build((64, 10), 10, {})
    STAGE_RIDGE.solve(module, x, digits.y, digits.task, {}, None)  # type: ignore[misc]
    logits = module(torch.from_numpy(xt)).detach()
    truth = torch.from_numpy(digits.yt)
    assert (logits.argmax(1) == truth).float().mean() > floor
    assert nn.functional.cross_entropy(logits, truth) < 0.75


def test_stage_ridge_without_early_stages_equals_ridge(digits: SimpleNamespace) -> None:
    # Strengths mean the same: relative to the variance of all features, of which a ridge's have one each.
    x, xt = _staged(digits, useful=True)
    params = {"alpha": 1000.0, "early": 1e-9}
    module = STAGE_RIDGE.build((64, 10), 10, params)
    STAGE_RIDGE.solve(module, x, digits.y, digits.task, params, None)  # type: ignore[misc]
    expected = _fit(RIDGE, x[:, 64:], digits.y, digits.task, alpha=10.0)(xt[:, 64:])
    torch.testing.assert_close(module(torch.from_numpy(xt)).detach(), expected, rtol=1e-2, atol=1e-2)


def test_every_early_stage_has_the_same_say_however_wide_it_is(digits: SimpleNamespace) -> None:
    # The same numbers three times over tell nothing more.
    params = {"alpha": 300.0, "early": 1.0}
    found = []
    for times in (1, 3):
        x, xt = (np.concatenate([np.tile(a, times), a[:, :20]], 1) for a in (digits.x, digits.xt))
        module = STAGE_RIDGE.build((64 * times, 20), 10, params)
        STAGE_RIDGE.solve(module, x, digits.y, digits.task, params, None)  # type: ignore[misc]
        found.append(module(torch.from_numpy(xt)).detach())
    torch.testing.assert_close(*found, rtol=1e-2, atol=1e-2)


def test_stage_ridge_fills_only_what_it_has_built(digits: SimpleNamespace) -> None:
    with pytest.raises(TypeError, match="stage_ridge fills what it has built; got Linear"):
        STAGE_RIDGE.solve(nn.Linear(64, 10), digits.x, digits.y, digits.task, {}, None)  # type: ignore[misc]


def test_nearest_neighbours_vote_as_scikit_learn(digits: SimpleNamespace) -> None:
    from sklearn.neighbors import KNeighborsClassifier

    middle = digits.x.mean(0)
    reference = KNeighborsClassifier(1, metric="cosine").fit(digits.x - middle, digits.y)
    found = _fit(KNN, digits.x, digits.y, digits.task, k=1)(digits.xt).argmax(1).numpy()
    assert (found == reference.predict(digits.xt - middle)).mean() > 0.99  # keys are kept in 16 bit


def test_knn_refuses_a_state_of_another_width(digits: SimpleNamespace) -> None:
    # The number of examples may differ on loading, the width may not.
    saved = KNN.build((64,), 10, {})
    with pytest.raises(RuntimeError, match="size mismatch"):
        KNN.build((32,), 10, {}).load_state_dict(saved.state_dict())


@pytest.mark.parametrize("spec", SOLVED, ids=lambda spec: spec.name)
def test_features_that_overflowed_fail_the_trial_by_name(digits: SimpleNamespace, spec: HeadSpec) -> None:
    x = digits.x.copy()
    x[5, 5] = np.inf
    with pytest.raises(TrialError, match="not finite"):
        _fit(spec, x, digits.y, digits.task)


def test_classic_recipe_builds_what_it_says() -> None:
    classic = MLP.build((512, 7, 7), 10, {"pooling": "flatten", "width": 1024, "layers": 1, "dropout": 0.0})
    sizes = [(m.in_features, m.out_features) for m in classic.modules() if isinstance(m, nn.Linear)]
    assert sizes == [(512 * 7 * 7, 1024), (1024, 10)]


@pytest.mark.parametrize("pooling", ["avg", "max", "avgmax"])
def test_pooling_sees_the_whole_map(pooling: str) -> None:
    features = torch.randn(2, 4, 3, 3)
    expected = {"avg": [features.mean((2, 3))], "max": [features.amax((2, 3))]}
    expected["avgmax"] = expected["avg"] + expected["max"]
    head = MLP.build((4, 3, 3), 2, {"pooling": pooling})
    torch.testing.assert_close(head[0](features), torch.cat(expected[pooling], dim=1))


def test_unknown_pooling_is_a_setting_error() -> None:
    with pytest.raises(ConfigError, match="one of avg, max, avgmax, flatten; got 'mean'"):
        MLP.build((4, 3, 3), 2, {"pooling": "mean"})


def test_linear_starts_without_an_opinion() -> None:
    # Large outputs at the start would send random gradients into a pretrained backbone.
    outputs = LINEAR.build((512,), 10, {}).eval()(torch.randn(8, 512))
    assert outputs.abs().max() < 1.5
