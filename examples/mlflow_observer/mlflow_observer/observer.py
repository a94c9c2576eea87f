"""An observer that writes a search into MLflow while it runs: as a run, with a run within it for each trial."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from time import time
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunStatus
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME

from autotransfer.candidate import Candidate
from autotransfer.contract.specs import EpochRecord

__all__ = ["MlflowObserver"]

# What MLflow takes: characters of a value of a parameter, and parameters in one call.
_MAX_CHARACTERS, _MAX_PARAMETERS = 6000, 100
# What of a run folder is kept with the run of the search, besides the model.
_FILES = ("result.json", "trials.csv", "trials.svg", "report.html", "label_errors.csv")
_STATUS = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}


class MlflowObserver:
    """Writes a search into MLflow; give it to ``RunOptions(callbacks=[...])``.

    Args:
        tracking_uri: Where the records are; None takes ``MLFLOW_TRACKING_URI``, or MLflow's own default.
        experiment: Name of the experiment, which is made where it is new.

    Attributes:
        run_id: The run of the search; empty before it starts.
    """

    def __init__(self, tracking_uri: str | None = None, experiment: str = "autotransfer") -> None:
        self.experiment, self.run_id = experiment, ""
        self._uri = tracking_uri
        self._trials: dict[Candidate, str] = {}

    def search_started(self, settings: Mapping[str, Any]) -> None:
        """Start the run, with every setting as a parameter."""
        self._client, self._trials = MlflowClient(tracking_uri=self._uri), {}
        known = self._client.get_experiment_by_name(self.experiment)
        self._experiment_id = known.experiment_id if known else self._client.create_experiment(self.experiment)
        name = Path(str(settings.get("run", "search"))).name
        self.run_id = self._client.create_run(self._experiment_id, run_name=name).info.run_id
        self._log_parameters(self.run_id, settings)

    def epoch_finished(self, epoch: EpochRecord) -> None:
        """Log the score, the loss and the learning rate of an epoch in the run of its trial."""
        found = {"score": epoch.score, "loss": epoch.loss, "learning_rate": epoch.learning_rate}
        self._log_metrics(self._run_of(epoch.candidate), found, step=epoch.epoch)

    def trial_finished(self, result: Any) -> None:
        """Log the outcome of a trial and end its run; that of a paused trial stays open."""
        if result.candidate is None:
            return
        run_id = self._run_of(result.candidate)
        tags = {MLFLOW_RUN_NAME: f"trial {result.number}", "state": result.state, "reason": result.reason}
        for key, value in tags.items():
            self._client.set_tag(run_id, key, value)
        found = {"best_score": result.score, "objective": result.objective, "seconds": result.seconds}
        self._log_metrics(run_id, found, step=result.epochs)
        if result.state in _STATUS:
            self._client.set_terminated(run_id, _STATUS[result.state])

    def search_finished(self, result: Any) -> None:
        """Log the scores of the model, the model itself and the files of the run folder, and end the run."""
        found = {"validation_score": result.validation.score, "trials": len(result.trials), **result.seconds}
        found["validation_low"], found["validation_high"] = result.validation.ci95
        if result.test is not None:
            found["test_score"] = result.test.score
        self._log_metrics(self.run_id, found)
        self._log_parameters(self.run_id, {"best": str(result.best)})
        for name in _FILES:
            if (result.run / name).is_file():
                self._client.log_artifact(self.run_id, str(result.run / name))
        self._client.log_artifacts(self.run_id, str(result.run / "model"), "model")
        self._end("FINISHED")

    def search_failed(self, error: BaseException) -> None:
        """End the run, with the error as a tag."""
        if self.run_id:
            self._client.set_tag(self.run_id, "error", f"{type(error).__name__}: {error}"[:_MAX_CHARACTERS])
            self._end("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")

    def _run_of(self, candidate: Candidate) -> str:
        """Return the run of a trial; it is made, with the settings of the candidate, when it is first asked for.

        A trial has no number yet while several are evaluated at a time. Its candidate, whose number of epochs may grow,
        tells it from others.
        """
        key = candidate.without_epochs
        if key not in self._trials:
            tags = {MLFLOW_PARENT_RUN_ID: self.run_id}
            run = self._client.create_run(self._experiment_id, tags=tags, run_name=str(candidate)[:250])
            self._trials[key] = run.info.run_id
            parts = {"backbone": candidate.backbone, "head": candidate.head, "freeze": candidate.freeze}
            settings = {
                "head": candidate.head_params,
                "freeze": candidate.freeze_params,
                "training": candidate.training,
            }
            parts |= {f"{part}.{name}": value for part, values in settings.items() for name, value in values.items()}
            self._log_parameters(run.info.run_id, parts)
        return self._trials[key]

    def _log_parameters(self, run_id: str, values: Mapping[str, Any]) -> None:
        given = [Param(name, str(value)[:_MAX_CHARACTERS]) for name, value in values.items() if value is not None]
        for start in range(0, len(given), _MAX_PARAMETERS):
            self._client.log_batch(run_id, params=given[start : start + _MAX_PARAMETERS])

    def _log_metrics(self, run_id: str, values: Mapping[str, Any], step: int = 0) -> None:
        now = int(time() * 1000)
        numbers = {name: float(value) for name, value in values.items() if value is not None}
        kept = [Metric(name, value, now, step) for name, value in numbers.items() if math.isfinite(value)]
        self._client.log_batch(run_id, metrics=kept)

    def _end(self, status: str) -> None:
        """End the run of the search, and those of paused trials, which have not ended."""
        for run_id in self._trials.values():
            if self._client.get_run(run_id).info.status == RunStatus.to_string(RunStatus.RUNNING):
                self._client.set_terminated(run_id, "KILLED")
        self._client.set_terminated(self.run_id, status)
