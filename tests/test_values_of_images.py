"""From files and arrays to predictions: what training decided of their values holds for each image, alone or not."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures.fitting import evaluate_with, fit_with
from PIL import Image
from typer.testing import CliRunner

import autotransfer
from autotransfer.candidate import Candidate
from autotransfer.cli.main import app
from autotransfer.errors import ConfigError, DataError
from autotransfer.model.predictions import predict_by_name
from autotransfer.model.transfer_model import TransferModel
from autotransfer.settings import Compute, DataOptions, RunOptions
from autotransfer.settings.serialization import call_from_json
from autotransfer.warnings import ValueRangeWarning
from autotransfer_plugins.modalities.image.decoding import Decoding

FROZEN = Candidate(backbone="test_resnet", freeze="frozen", head="ridge")


def counts(number: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Smooth pictures of int32 counts (N, 24, 24): dark ones up to 250, and bright ones up to 4,000."""
    rng = np.random.default_rng(seed)
    bright = np.arange(number) % 2
    rough = rng.random((number, 5, 5)).astype(np.float32)
    planes = np.stack([np.asarray(Image.fromarray(one).resize((24, 24), Image.Resampling.BILINEAR)) for one in rough])
    return (planes * np.where(bright, 4000, 250)[:, None, None]).astype(np.int32), bright


@pytest.fixture(scope="module")
def zoo(tiny_zoo: Path) -> dict[str, Any]:
    return {"zoo": tiny_zoo, "cache": False, "device": "cpu"}


@pytest.fixture(scope="module")
def model(zoo: dict[str, Any]) -> TransferModel:
    return evaluate_with(FROZEN, *counts(60), **zoo).model


@pytest.mark.slow
def test_image_alone_gets_the_answer_that_it_gets_in_a_batch(model: TransferModel, tmp_path: Path) -> None:
    images, labels = counts(20, seed=1)
    assert Decoding.from_json(model.reading).value_range == (0, 4095)
    together = model.predict(images)
    assert (together == labels).mean() > 0.9
    model.save(tmp_path)
    for same in (model, autotransfer.load(tmp_path, device="cpu")):
        assert [same.predict([image])[0] for image in images] == together.tolist()
        assert [same.predict(image[..., None])[0] for image in images] == together.tolist()


@pytest.mark.slow
def test_dark_image_has_equal_brightness_alone_and_in_a_batch(zoo: dict[str, Any]) -> None:
    images, _ = counts(60)
    fitted = evaluate_with(FROZEN, images, images.mean((1, 2)), task="regression", **zoo).model
    later, _ = counts(20, seed=1)
    np.testing.assert_allclose(
        [fitted.predict([image])[0] for image in later], fitted.predict(later), rtol=1e-3, atol=1
    )


def test_three_axes_are_read_like_the_training_images(model: TransferModel) -> None:
    images, _ = counts(3, seed=1)
    assert len(model.predict(images)) == 3, "three grey images, not one with channels first"
    assert len(model.predict(images[0][..., None])) == len(model.predict(images[:1])) == 1
    with pytest.raises(DataError, match=r"shape \(24, 24\)"):
        model.predict(images[0])


def test_prediction_warns_of_values_unlike_training(model: TransferModel, tmp_path: Path) -> None:
    images, _ = counts(4, seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.predict(images)
    with pytest.warns(ValueRangeWarning, match=r"1 example does not suit.*item 2: its values, \d+\.\.\d+, are clipped"):
        model.predict([images[0], images[1], np.clip(images[1] * 20, 0, None), images[3]])
    Image.fromarray((images[1] * 8).astype(np.uint16)).save(tmp_path / "bright.png")
    Image.fromarray(images[1].astype(np.uint16)).save(tmp_path / "fine.png")
    bright, fine = predict_by_name(model, [tmp_path])
    assert "clipped to 0..4095" in bright.to_json()["warning"]
    assert bright.prediction is not None
    assert "warning" not in fine.to_json()


@pytest.mark.slow
def test_fit_stores_the_given_range_and_says_what_is_outside(zoo: dict[str, Any], tmp_path: Path) -> None:
    images, labels = counts(40)
    later, truth = counts(20, seed=1)
    later[3] = later[3] * 30
    done = fit_with(
        images,
        labels,
        test=later,
        test_targets=truth,
        modality_options={"value_range": (0, 1000)},
        trials=2,
        heads="ridge",
        freeze="frozen",
        backbones="test_resnet",
        compare_scratch=False,
        progress=False,
        out=tmp_path / "run",
        **zoo,
    )
    said = [warning for warning in done.warnings if warning.code == "value_range"]
    assert ["asked for" in said[0].message, "test images" in said[1].message] == [True, True]
    about = json.loads((tmp_path / "run" / "model" / "model.json").read_text())
    expected = {"value_ranges": {"integer": [0, 1000]}, "background": "white", "channels": 1}
    assert about["reading"] == {"side": about["reading"]["side"], **expected}
    assert done.data.decoded == 40


@pytest.mark.slow
def test_a_command_line_fit_and_prediction_use_the_range(zoo: dict[str, Any], tmp_path: Path) -> None:
    for i, (image, label) in enumerate(zip(*counts(24), strict=True)):
        folder = tmp_path / "data" / ("dark", "bright")[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.astype(np.uint16)).save(folder / f"{i}.png")
    command = [
        "fit",
        str(tmp_path / "data"),
        "--zoo",
        str(zoo["zoo"]),
        "--trials",
        "1",
        "--heads",
        "ridge",
        "--no-cache",
    ]
    command += ["--freeze", "frozen", "--no-compare-scratch", "--out", str(tmp_path / "run"), "--device", "cpu"]
    assert CliRunner().invoke(app, [*command, "--value-range", "-10,5000"]).exit_code == 0
    fitted = autotransfer.load(tmp_path / "run", device="cpu")
    assert Decoding.from_json(fitted.reading).value_range == (-10, 5000)
    _, settings = call_from_json(json.loads((tmp_path / "run" / "run.json").read_text())["call"])
    assert settings.data_options.modality_options == {"value_range": (-10, 5000)}
    assert autotransfer.resume(tmp_path / "run", trials=2, progress=False).model.reading == fitted.reading
    Image.fromarray(np.linspace(0, 60000, 400).reshape(20, 20).astype(np.uint16)).save(tmp_path / "x.png")
    shown = CliRunner().invoke(app, ["predict", str(tmp_path / "run"), str(tmp_path / "x.png"), "--device", "cpu"])
    assert shown.exit_code == 0
    assert "are clipped to -10..5000" in shown.stderr


@pytest.mark.slow
@pytest.mark.parametrize("value", [(255, 0), (0,), (0, 1, 2), "0,255", (0, float("inf")), ("a", "b"), 5, (3, 3)])
def test_a_range_that_is_none_is_refused_before_anything_is_read(value: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="value range is two numbers"):
        autotransfer.fit(
            tmp_path / "nowhere",
            data_options=DataOptions(modality_options={"value_range": value}),
            out=tmp_path / "run",
            run=RunOptions(progress=False),
        )


def test_command_line_refuses_a_range_of_no_two_numbers(tmp_path: Path) -> None:
    shown = CliRunner().invoke(app, ["fit", str(tmp_path), "--value-range", "wide"])
    assert shown.exit_code != 0
    assert "value range is two numbers" in shown.stderr


@pytest.mark.slow
def test_a_student_sees_values_as_its_teacher_does(model: TransferModel, zoo: dict[str, Any]) -> None:
    dark = counts(24)[0][::2]
    student = autotransfer.distill(
        model,
        list(dark),
        architecture="test_vit",
        zoo=zoo["zoo"],
        epochs=1,
        compute=Compute(device="cpu"),
        run=RunOptions(progress=False),
    ).model
    assert student.reading == {**model.reading, "side": student.reading["side"]}


@pytest.mark.slow
def test_white_ink_on_transparent_files_is_told_apart(zoo: dict[str, Any], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for i in range(40):
        pixels = np.full((32, 32, 4), 255, dtype=np.uint8)
        pixels[..., 3] = 0
        at = rng.integers(4, 20)
        pixels[(at, slice(None), 3) if i % 2 else (slice(None), at, 3)] = 255  # a line across, or down
        folder = tmp_path / ("across" if i % 2 else "down")
        folder.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    done = evaluate_with(FROZEN, tmp_path, **zoo)
    assert done.model.reading["background"] == "black"
    assert done.score.score > 0.9  # chance on white
    file = sorted((tmp_path / "down").iterdir())[0]
    assert done.model.predict([file]) == ["down"]
