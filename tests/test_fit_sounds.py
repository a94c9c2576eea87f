"""Searches on sounds, from data of every form to a model that predicts elsewhere: small and real."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from fixtures.fitting import fit_with
from fixtures.sounds import RATE, tone, write_tones

import autotransfer
from autotransfer.errors import ConfigError, DataError
from autotransfer.run.folder import RunFolder
from autotransfer.run.result import FitResult
from autotransfer.search.trials import TrialRecord

Fit = Callable[..., FitResult]


@pytest.fixture
def fit(tiny_zoo: Path, tmp_path: Path) -> Fit:
    """``fit`` on the smaller image backbone of the tiny zoo, which is named as for images."""

    def fit(*data: Any, **settings: Any) -> FitResult:
        ours = {"zoo": tiny_zoo, "out": tmp_path / "run", "cache_dir": tmp_path / "cache", "progress": False}
        return fit_with(*data, **{**ours, "backbones": "test_resnet", "trials": 2, "epochs": 1, **settings})

    return fit


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 tones in two folders."""
    return write_tones(tmp_path_factory.mktemp("sounds") / "tones")


@pytest.fixture(scope="module")
def result(tiny_zoo: Path, tones: Path, tmp_path_factory: pytest.TempPathFactory) -> FitResult:
    """One search that fine-tunes, too, with groups by speaker."""
    place = tmp_path_factory.mktemp("fit")
    ours = {"zoo": tiny_zoo, "out": place / "run", "cache_dir": place / "cache", "progress": False}
    return fit_with(tones, **ours, backbones="test_resnet", trials=4, epochs=1, groups=r"(s\d)_")


def test_a_named_image_backbone_works_on_sounds(result: FitResult) -> None:
    assert result.best.backbone == "test_resnet@mel@0.5s"
    assert result.validation.score > 0.8
    assert result.model.modality.name == "audio"


def test_model_predicts_files_folders_and_arrays_alike(result: FitResult, tones: Path) -> None:
    file = sorted((tones / "low").glob("*.wav"))[0]
    by_file = result.predict_proba([file])
    assert np.allclose(result.predict_proba([soundfile.read(file, dtype="float32")]), by_file, atol=1e-4)
    files = sorted(tones.glob("*/*.wav"))
    in_folder = result.predict_proba(tones)
    assert in_folder.shape == (24, 2)
    assert np.allclose(in_folder[files.index(file)], by_file[0], atol=1e-4)


def test_saved_model_holds_its_spectrogram_settings(result: FitResult, tones: Path, tmp_path: Path) -> None:
    result.model.save(tmp_path / "model")
    about = (tmp_path / "model" / "model.json").read_text()
    assert json.loads(about)["modality"] == "audio"
    assert '"range_db"' in about
    again = autotransfer.load(tmp_path / "model").predict_proba(tones)
    assert np.array_equal(again, result.predict_proba(tones))


@pytest.mark.slow
def test_broken_off_run_on_sounds_goes_on(
    fit: Fit, tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"trials": 6, "compare_scratch": False, "groups": r"(s\d)_"}
    whole = fit(str(tones), **settings, out=tmp_path / "whole")
    write = RunFolder.write_trials

    def break_off(run: RunFolder, records: Sequence[TrialRecord]) -> None:
        write(run, records)
        if len(records) == 3:
            raise KeyError("the machine is gone")

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "write_trials", break_off)
        with pytest.raises(KeyError, match="the machine is gone"):
            fit(str(tones), **settings)
    assert not (tmp_path / "run" / "model").exists()
    again = autotransfer.resume(tmp_path / "run", progress=False)
    assert [record.candidate for record in again.trials] == [record.candidate for record in whole.trials]
    scores = [[record.score for record in found.trials] for found in (whole, again)]
    assert scores[0] == pytest.approx(scores[1], nan_ok=True)
    assert np.allclose(again.predict_proba(tones), whole.predict_proba(tones), atol=1e-5)


@pytest.mark.slow
def test_arrays_need_their_sampling_rate(fit: Fit) -> None:
    sounds = [tone(hertz, 0.2) for hertz in (300, 2000) for _ in range(8)]
    sounds = [wave + 0.01 * np.random.default_rng(i).standard_normal(len(wave)) for i, wave in enumerate(sounds)]
    labels = ["low"] * 8 + ["high"] * 8
    with pytest.raises(DataError, match="name the modality: 'audio'"):
        fit(np.stack(sounds), labels)
    with pytest.raises(DataError, match="do not say their sampling rate"):
        fit(np.stack(sounds), labels, modality="audio")
    with pytest.raises(ConfigError, match="sampling rate"):
        fit(np.stack(sounds), labels, modality_options={"sampling_rate": 1})
    found = fit(np.stack(sounds), labels, modality_options={"sampling_rate": RATE}, trials=1)
    assert found.model.reading == {"full_scale": 1.0, "sampling_rate": RATE}
    assert found.predict(sounds[0]).tolist() == ["low"]


@pytest.mark.slow
def test_tables_hold_regressions_and_several_labels(fit: Fit, tones: Path, tmp_path: Path) -> None:
    files = sorted(tones.glob("*/*.wav"))
    for name, targets in (
        ("pitch", [400.0 + i if file.parent.name == "low" else 2000.0 + i for i, file in enumerate(files)]),
        ("tags", [f"{file.parent.name};{('even', 'odd')[i % 2]}" for i, file in enumerate(files)]),
    ):
        table = tmp_path / f"{name}.csv"
        with table.open("w", newline="") as file:
            csv.writer(file).writerows([["path", "target"], *zip(files, targets, strict=True)])
        kind = {"pitch": "regression", "tags": "multilabel"}[name]
        found = fit(table, trials=1, overwrite=True, label_separator=";" if kind == "multilabel" else None)
        assert found.model.task.kind == kind
        assert len(found.predict(files[:3])) == 3


@pytest.mark.slow
def test_bad_files_are_left_out_and_said(fit: Fit, tmp_path: Path) -> None:
    folder = write_tones(tmp_path / "tones", count=8)
    (folder / "low" / "empty.wav").write_bytes(b"")
    (folder / "low" / "renamed.mp3").write_bytes((folder / "low" / "s0_0.wav").read_bytes())
    (folder / "high" / "junk.flac").write_bytes(b"fLaC" + bytes(200))
    soundfile.write(folder / "high" / "silence.wav", np.zeros(4000), RATE)
    found = fit(folder, trials=1)
    skipped = {Path(each.name).name for each in found.data.skipped}
    assert {"empty.wav", "junk.flac"} <= skipped
    assert "renamed.mp3" not in skipped
    assert "silent" in {warning.code for warning in found.warnings}


@pytest.mark.slow
def test_workers_share_the_samples(fit: Fit, tones: Path) -> None:
    found = fit(tones, workers=2, trials=3)
    assert found.validation.score > 0.8
