"""A real search, small, and what MLflow's own client reads back of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow_observer.plugin as plugin
import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow_observer.observer import MlflowObserver

import autotransfer
from autotransfer.contract.registry import Registry
from autotransfer.errors import DataError
from autotransfer.run.result import FitResult
from autotransfer.settings import Compute, RunOptions, SearchOptions


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A store of files, which MLflow reads on when it is asked to."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        yield (tmp_path_factory.mktemp("mlflow") / "store").as_uri()


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    """Dark and light images, uint8 (40, 32, 32, 3), and their labels."""
    images = np.random.default_rng(0).integers(0, 156, (40, 32, 32, 3), dtype=np.uint8)
    images[::2] += 100
    return images, np.array(["light", "dark"] * 20)


@pytest.fixture(scope="module")
def result(uri: str, data: tuple[np.ndarray, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> FitResult:
    """A search whose first trial trains for two epochs."""
    place = tmp_path_factory.mktemp("fit")
    return autotransfer.fit(
        *data,
        backbones="mini_byobnet*",
        heads="linear",
        trials=2,
        seed=7,
        out=place / "run",
        search=SearchOptions(epochs=2, compare_scratch=False),
        compute=Compute(cache_dir=place / "cache", device="cpu"),
        run=RunOptions(progress=False, callbacks=[MlflowObserver(uri, "tests")]),
    )


@pytest.fixture(scope="module")
def client(uri: str, result: FitResult) -> MlflowClient:
    return MlflowClient(tracking_uri=uri)


def runs(client: MlflowClient, experiment: str = "tests") -> tuple[list[Run], list[Run]]:
    """Return the runs of searches, and those of trials."""
    known = client.get_experiment_by_name(experiment)
    assert known is not None
    found = list(client.search_runs([known.experiment_id]))
    parents = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
    return parents, [run for run in found if run not in parents]


def test_a_search_is_a_run_with_its_settings(client: MlflowClient, result: FitResult) -> None:
    (parent,), _ = runs(client)
    assert parent.info.status == "FINISHED"
    assert parent.info.run_name == "run"
    assert (parent.data.params["seed"], parent.data.params["trials"]) == ("7", "2")
    assert parent.data.params["best"] == str(result.best)
    assert parent.data.metrics["validation_score"] == result.validation.score
    assert parent.data.metrics["total"] == result.seconds["total"]


def test_each_trial_is_a_run_within_it(client: MlflowClient, result: FitResult) -> None:
    (parent,), children = runs(client)
    assert {child.data.tags["mlflow.parentRunId"] for child in children} == {parent.info.run_id}
    by_name = {child.info.run_name: child for child in children}
    assert set(by_name) == {f"trial {record.number}" for record in result.trials}
    for record in result.trials:
        child = by_name[f"trial {record.number}"]
        assert record.candidate is not None
        assert child.data.params["backbone"] == record.candidate.backbone
        assert child.data.tags["state"] == record.state
        assert child.data.metrics["best_score"] == record.score
        assert child.info.status != "RUNNING"


def test_score_and_loss_are_there_for_each_epoch(client: MlflowClient, result: FitResult) -> None:
    _, children = runs(client)
    trained = next(record for record in result.trials if record.epochs)
    child = next(child for child in children if child.info.run_name == f"trial {trained.number}")
    history: dict[str, Any] = {name: client.get_metric_history(child.info.run_id, name) for name in ("score", "loss")}
    assert [point.value for point in history["score"]] == list(trained.curve)
    assert [point.step for point in history["loss"]] == list(range(1, trained.epochs + 1))
    assert all(point.value > 0 for point in history["loss"])


def test_the_model_comes_back_from_the_artifacts(
    client: MlflowClient, result: FitResult, data: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    (parent,), _ = runs(client)
    names = {entry.path for entry in client.list_artifacts(parent.info.run_id)}
    expected = {name for name in ("report.html", "result.json", "trials.csv") if (result.run / name).is_file()}
    assert {"model", "result.json", "trials.csv"} | expected <= names
    folder = client.download_artifacts(parent.info.run_id, "model", str(tmp_path))
    model = autotransfer.load(folder, device="cpu")
    assert model.predict(data[0]).tolist() == result.model.predict(data[0]).tolist()
    assert (Path(folder) / "README.md").is_file()


def test_a_search_that_fails_ends_its_run(uri: str, client: MlflowClient, tmp_path: Path) -> None:
    observer = MlflowObserver(uri, "failures")
    options = RunOptions(progress=False, callbacks=[observer])
    with pytest.raises(DataError):
        autotransfer.fit(tmp_path / "missing", trials=1, out=tmp_path / "run", run=options)
    run = client.get_run(observer.run_id)
    assert run.info.status == "FAILED"
    assert "missing" in run.data.tags["error"]


def test_the_installed_plugin_waits_for_an_address(
    uri: str, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    plugin.search_started({"run": "x"})
    assert plugin._observer is None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "installed")
    plugin.search_started({"run": "runs/mine", "seed": 3})
    plugin.search_failed(KeyboardInterrupt())
    (parent,), _ = runs(client, "installed")
    assert (parent.info.run_name, parent.info.status, parent.data.params["seed"]) == ("mine", "KILLED", "3")


def test_the_plugin_is_registered_where_it_is_installed() -> None:
    rows = [row for row in Registry.load().rows() if row["distribution"] == "mlflow-observer"]
    if not rows:
        pytest.skip("the distribution is not installed")
    assert rows[0]["state"] == "loaded"
