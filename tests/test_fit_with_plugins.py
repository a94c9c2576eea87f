"""A whole search among other people's plugins, which are really installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fixtures.fitting import fit_with
from torch import Tensor, nn

import autotransfer
from autotransfer.contract.backbone import SequentialBackbone
from autotransfer.contract.hookspecs import hookimpl
from autotransfer.contract.registry import Registry
from autotransfer.contract.specs import BackboneSpec, EpochRecord
from autotransfer.errors import DataError
from autotransfer.search.trials import TrialRecord
from autotransfer.settings import Compute, RunOptions, SearchOptions
from autotransfer_plugins.modalities.image.formats import Preprocessing

NOSY = """
from autotransfer import hookimpl

@hookimpl
def trial_finished(result):
    print("trial", result.number, result.state)
    raise RuntimeError("the tracker is down")

@hookimpl
def search_finished(result):
    print("search", result.best.backbone)
"""


SAD = "raise RuntimeError('built for another version')\n"

Install = Callable[..., Path]


@pytest.mark.slow
def test_a_search_among_other_peoples_plugins(install: Install, digit_folder: Path, tmp_path: Path) -> None:
    site = install(nosy=NOSY, sad=SAD)

    def autotransfer_cli(*arguments: object) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(site), "AUTOTRANSFER_CACHE": str(tmp_path / "cache")}
        command = [sys.executable, "-m", "autotransfer", *map(str, arguments)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120)

    names = ["--backbones", "bright_tiny", "--heads", "cosine", "--freeze", "last_two"]
    budget = ["--trials", 2, "--epochs", 2, "--out", tmp_path / "run", "--json"]
    done = autotransfer_cli("fit", digit_folder / "train", *names, *budget)
    result = json.loads(done.stdout)  # what plugins print does not end up here
    assert (result["best"]["backbone"], result["best"]["head"], result["best"]["freeze"]) == (
        "bright_tiny",
        "cosine",
        "last_two",
    )
    assert result["trials"] == {"complete": 2, "paused": 0, "pruned": 0, "failed": 0}
    assert done.stderr.count("The plugin 'sad' (sad-plugin 6.6, left out) is broken: RuntimeError: built for") == 1
    assert "trial 0 complete" in done.stderr  # the observer was told,
    assert "the tracker is down" in done.stderr  # what it raised was logged,
    assert "search bright_tiny" in done.stderr  # and the search went on

    images = sorted((digit_folder / "test").glob("*/*.png"))
    rows = json.loads(autotransfer_cli("predict", tmp_path / "run", *images, "--json").stdout)
    assert len(rows) == 30
    assert {row["prediction"] for row in rows} <= {"zero", "one", "two"}

    # Here the plugin is not installed.
    with pytest.raises(autotransfer.AutoTransferError, match="the plugin 'bright-backbone' made it: install it"):
        autotransfer.load(tmp_path / "run")


class Edited(SequentialBackbone):
    """A third party's backbone whose author edits its forward pass, and neither its weights nor its version."""

    def __init__(self, turned: bool) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            body = {"stem": nn.Conv2d(3, 16, 4, stride=4), "top": nn.Conv2d(16, 64, 8)}
        super().__init__(body, preprocessing=Preprocessing(size=(32, 32), crop_fraction=1.0), width=64)
        self.turned = turned

    def forward_map(self, images: Tensor) -> Tensor:
        return super().forward_map(images.rot90(2, (2, 3)) if self.turned else images).relu()


@pytest.mark.slow
def test_edited_forward_pass_is_not_served_old_features(
    digits: tuple[np.ndarray, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, labels = digits

    def fit(turned: bool) -> float:
        class Plugin:
            @hookimpl
            def register_backbones(self, register: Callable[[BackboneSpec], None]) -> None:
                register(BackboneSpec(name="edited", modality="image", load=lambda: Edited(turned)))

        registry = Registry.load(plugins=[Plugin()])
        monkeypatch.setattr(Registry, "load", lambda *arguments: registry)
        result = autotransfer.fit(
            images,
            labels,
            backbones="edited",
            heads="ridge",
            trials=1,
            search=SearchOptions(compare_scratch=False),
            run=RunOptions(progress=False),
            compute=Compute(cache_dir=tmp_path / "cache"),
            out=tmp_path / f"run-{turned}",
        )
        monkeypatch.undo()
        return float((result.predict(list(images)) == labels).mean())

    assert fit(turned=False) > 0.95
    assert fit(turned=True) > 0.95, "it was 0.69 with the features of the other one"


class Diary:
    """Writes down all that it is told."""

    def __init__(self) -> None:
        self.settings: dict[str, Any] = {}
        self.epochs: list[EpochRecord] = []
        self.trials: list[TrialRecord] = []
        self.ends: list[Any] = []

    def search_started(self, settings: dict[str, Any]) -> None:
        assert not self.trials
        self.settings = json.loads(json.dumps(settings))

    def epoch_finished(self, epoch: EpochRecord) -> None:
        self.epochs.append(epoch)

    def trial_finished(self, result: TrialRecord) -> None:
        self.trials.append(result)

    def search_finished(self, result: Any) -> None:
        self.ends.append(result)

    def search_failed(self, error: BaseException) -> None:
        self.ends.append(error)


class Failing:
    """A callback that fails whenever it is called."""

    def epoch_finished(self) -> None:
        raise ConnectionError("the tracker is down")

    def search_finished(self) -> None:
        raise ConnectionError("it still is")


@pytest.mark.slow
def test_callbacks_are_told_of_start_epochs_trials_and_end(
    digits: tuple[np.ndarray, np.ndarray], tiny_zoo: Path, tmp_path: Path
) -> None:
    diary, run = Diary(), tmp_path / "run"
    result = autotransfer.fit(
        *digits,
        zoo=tiny_zoo,
        backbones="test_resnet",
        heads="linear",
        trials=3,
        search=SearchOptions(epochs=3, compare_scratch=False),
        seed=5,
        compute=Compute(cache=False),
        run=RunOptions(progress=False, callbacks=[Failing(), diary]),
        out=run,
    )
    assert (diary.settings["seed"], diary.settings["run"], diary.settings["heads"]) == (5, str(run), ["linear"])
    assert (diary.settings["time_budget"], diary.settings["trials"]) == (None, 3)
    assert {record.number: record for record in diary.trials} == {r.number: r for r in result.trials}
    assert diary.ends[0].best == result.best
    for record in result.trials:
        own = [epoch for epoch in diary.epochs if epoch.trial == record.number]
        assert [epoch.epoch for epoch in own] == list(range(1, record.epochs + 1))
        assert {epoch.candidate for epoch in own} == {record.candidate}
        assert all(0 < epoch.loss < 5 for epoch in own)
        assert own[-1].loss < own[0].loss, "it learns"
        assert record.candidate is not None
        assert 0 <= own[-1].learning_rate < own[0].learning_rate <= record.candidate.training["lr"], "a cosine"
    told = {warning.details["hook"]: warning for warning in result.warnings if warning.code == "plugin_failed"}
    assert set(told) == {"epoch_finished", "search_finished"}
    assert "The callback Failing failed in epoch_finished: ConnectionError: the tracker is down" in str(
        told["epoch_finished"]
    )
    written = json.loads((run / "result.json").read_text())["warnings"]
    assert [w["hook"] for w in written if w["code"] == "plugin_failed"] == ["epoch_finished", "search_finished"]


@pytest.mark.slow
def test_run_with_callbacks_goes_on_without_or_with_others(digit_folder: Path, tiny_zoo: Path, tmp_path: Path) -> None:
    options = {"zoo": tiny_zoo, "backbones": "test_vit", "heads": "ridge", "cache": False, "compare_scratch": False}
    run = tmp_path / "run"
    fit_with(digit_folder / "train", trials=1, out=run, progress=False, callbacks=[Diary()], **options)
    assert "callbacks" not in json.loads((run / "run.json").read_text())["call"]
    diary = Diary()
    result = autotransfer.resume(run, trials=2, callbacks=[diary], progress=False)
    assert len(result.trials) == 2
    assert [record.number for record in diary.trials] == [1]
    assert len(autotransfer.resume(run, trials=3, progress=False).trials) == 3


def test_a_search_that_ends_in_an_error_is_told_as_one(tmp_path: Path) -> None:
    diary = Diary()
    with pytest.raises(DataError) as caught:
        autotransfer.fit(tmp_path / "nowhere", run=RunOptions(callbacks=diary, progress=False), out=tmp_path / "run")  # type: ignore[arg-type]
    assert diary.settings["run"] == str(tmp_path / "run")
    assert diary.ends == [caught.value]
