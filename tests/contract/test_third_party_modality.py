"""Someone else's modality, really built and installed, goes through everything without a change to the core."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "third_party_modality"

FIT = """
import json, sys
import numpy as np
import autotransfer
from autotransfer import AutoTransferClassifier, DataOptions, RunOptions, SearchOptions
waves = np.load("waves.npy")
labels = np.load("labels.npy").tolist()
given = {"test": waves[60:], "data_options": DataOptions(test_targets=labels[60:])}
search = SearchOptions(compare_scratch=False)
given |= {"search": search, "out": "run"}
result = autotransfer.fit(waves[:60], labels[:60], **given, trials=6)
model = result.model
known = model.predict_proba(waves[60:])
again = autotransfer.load(model.save("saved")).predict_proba(waves[60:])
more = autotransfer.fit(waves[:60], labels[:60], **given, trials=8, run=RunOptions(resume=True))
one = model.predict(waves[60])
estimator = AutoTransferClassifier(trials=2).fit(waves[:60], labels[:60])
print(json.dumps({
    "score": result.test.score, "same": bool((known == again).all()), "trials": len(more.trials),
    "failed": more.trials.counts()["failed"], "one": len(one),
    "modality": model.modality.name, "backbone": result.best.backbone.split("@")[0],
    "estimated": float((estimator.predict(waves[60:]) == np.array(labels[60:])).mean()),
}))
"""


@pytest.fixture(scope="module")
def site(install_example: Callable[[Path], Path]) -> Path:
    """A folder where pip installed the example."""
    return install_example(EXAMPLE)


@pytest.fixture
def signals(tmp_path: Path) -> Path:
    """A folder of signals of three shapes, as arrays and as files: ``train/CLASS/N.npy`` and ``test/CLASS/N.npy``."""
    rng, steps = np.random.default_rng(0), np.arange(24)
    labels = rng.integers(0, 3, 90)
    shapes = (np.sin(steps), np.sign(np.sin(steps)), steps / 24)
    waves = np.stack([shapes[label] + rng.normal(0, 0.2, 24) for label in labels])
    np.save(tmp_path / "waves.npy", waves)
    np.save(tmp_path / "labels.npy", labels)
    for number, (wave, label) in enumerate(zip(waves, labels, strict=True)):
        place = tmp_path / "data" / ("train" if number < 60 else "test") / ("sine", "square", "ramp")[label]
        place.mkdir(parents=True, exist_ok=True)
        np.save(place / f"{number:02}.npy", wave[: 20 + number % 5])
    return tmp_path


def run(site: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder where the example is installed."""
    environment = {**os.environ, "PYTHONPATH": str(site), "AUTOTRANSFER_CACHE": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, cwd=folder, check=False
    )
    assert done.returncode == 0, done.stderr
    return done


def test_example_keeps_to_a_page() -> None:
    files = [path for path in (EXAMPLE / "signals").glob("*.py") if path.name != "__init__.py"]
    assert sum(len(path.read_text().splitlines()) for path in files) <= 150


@pytest.mark.slow
def test_example_passes_its_own_conformance_tests(site: Path, tmp_path: Path) -> None:
    tests = shutil.copytree(EXAMPLE / "tests", tmp_path / "tests")
    done = run(site, tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tests), str(tests))
    assert "1 passed" in done.stdout


@pytest.mark.slow
def test_signals_from_arrays_are_fitted_saved_and_resumed(site: Path, signals: Path) -> None:
    found = json.loads(run(site, signals, "-c", FIT).stdout)
    assert (found["modality"], found["backbone"], found["same"], found["one"]) == ("signal", "tiny_signals", True, 1)
    assert min(found["score"], found["estimated"]) > 0.8
    assert (found["trials"], found["failed"]) == (8, 0)  # views and augmentations are those that signals have


@pytest.mark.slow
def test_signals_from_files_pass_the_command_line(site: Path, signals: Path) -> None:
    main = ("-m", "autotransfer")
    fitted = run(
        site, signals, *main, "fit", "data/train", "--test", "data/test", "--trials", "6", "--workers", "2",
        "--out", "run", "--json",
    )  # fmt: skip
    found = json.loads(fitted.stdout)
    assert found["decoded"] == 60
    assert found["test"]["score"] > 0.8
    predicted = run(site, signals, *main, "predict", "run", "data/test", "--json")
    rows = json.loads(predicted.stdout)
    assert len(rows) == 30
    assert {row["prediction"] for row in rows} <= {"sine", "square", "ramp"}
    run(site, signals, *main, "resume", "run", "--trials", "7")


@pytest.mark.slow
def test_images_and_signals_at_once_are_refused(site: Path, signals: Path) -> None:
    code = (
        "import autotransfer, numpy as np\n"
        "try:\n"
        "    autotransfer.fit('data/train', backbones='resnet18.*', trials=1)\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, error)\n"
    )
    assert "UnknownNameError" in run(site, signals, "-c", code).stdout
