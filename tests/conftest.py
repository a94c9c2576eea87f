"""Fixtures that every test may use."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

# Set before torch is imported: test processes that share cores must not spin against each other, and tiny networks
# gain nothing from a second thread.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

# What tests of several folders share; see tests/fixtures.
pytest_plugins = (
    "fixtures.networks",
    "fixtures.searches",
    "fixtures.sequences",
    "fixtures.texts",
    "fixtures.trials",
)

_EXAMPLE = Path(__file__).parents[1] / "examples" / "third_party_backbone"


class Tally:
    """Counts how hostile inputs end, by their kind."""

    def __init__(self) -> None:
        self.counts: dict[str, Counter[str]] = {}

    def __call__(self, kind: str, action: Callable[[], Any]) -> Any:
        """Return what the action returns, or the error of ours that it raises; any other one goes through."""
        from autotransfer.errors import AutoTransferError

        count = self.counts.setdefault(kind, Counter())
        try:
            result = action()
        except AutoTransferError as error:
            count["refused"] += 1
            return error
        except BaseException:
            count["crashed"] += 1
            raise
        count["accepted"] += 1
        return result


_TALLY = pytest.StashKey[Tally]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_TALLY] = Tally()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print how hostile inputs ended, where any was tried in this process."""
    counts = config.stash[_TALLY].counts
    if counts:
        terminalreporter.section("hostile inputs")
        ends = ("refused", "accepted", "crashed")
        terminalreporter.write_line(f"{'':26}{'tried':>8}" + "".join(f"{end:>10}" for end in ends))
        for kind, count in [*counts.items(), ("all", sum(counts.values(), Counter()))]:
            terminalreporter.write_line(f"{kind:26}{count.total():8}" + "".join(f"{count[end]:10}" for end in ends))


@pytest.fixture(scope="session")
def attempt(pytestconfig: pytest.Config) -> Tally:
    """Try a hostile input: it ends in a result or in one of our errors; the summary of the tests has a table."""
    return pytestconfig.stash[_TALLY]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and weights; tests that need it are skipped where it is missing."""
    folder = Path(os.environ.get("AUTOTRANSFER_SHARED", Path(__file__).parents[2] / "shared"))
    if not (folder / "zoo").is_dir():
        pytest.skip("the shared folder of real data and weights is not here")
    return folder


@pytest.fixture(scope="session")
def ants_bees(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """397 real photographs of two classes, unpacked: ``train/CLASS/x.jpg`` and ``test/CLASS/x.jpg``."""
    folder = tmp_path_factory.mktemp("ants_bees")
    with tarfile.open(shared / "data" / "ants_bees.tar") as archive:
        # Python before 3.11.4 has no filters.
        archive.extraction_filter = getattr(tarfile, "data_filter", lambda member, path: member)
        archive.extractall(folder)
    return folder if (folder / "train").is_dir() else folder / "ants_bees"


@pytest.fixture(scope="session")
def tiny_zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A zoo of two real, tiny architectures, one convolutional and one a transformer, with fixed random weights."""
    import timm
    import torch
    from safetensors.torch import save_file

    zoo = tmp_path_factory.mktemp("zoo")
    for name, arguments in {"test_resnet": {}, "test_vit": {"img_size": 32}}.items():
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = timm.create_model(name, num_classes=0, **arguments)
        config = {
            "architecture": name,
            "num_classes": 0,
            "num_features": model.num_features,
            "model_args": arguments,
            "pretrained_cfg": {
                "input_size": [3, 32, 32],
                "fixed_input_size": name == "test_vit",
                "crop_pct": 1.0,
                "interpolation": "bilinear",
            },
        }
        (zoo / name).mkdir()
        (zoo / name / "config.json").write_text(json.dumps(config))
        save_file(model.state_dict(), zoo / name / "model.safetensors")
    return zoo


@pytest.fixture(scope="session")
def digits() -> tuple[np.ndarray, np.ndarray]:
    """120 real handwritten digits, 0 to 2: uint8 images (120, 32, 32) and labels (120,)."""
    from sklearn.datasets import load_digits

    data = load_digits(n_class=3)
    images = np.kron(data.images[:120] * (255 / 16), np.ones((4, 4)))
    return images.astype(np.uint8), data.target[:120]


@pytest.fixture(scope="session")
def digit_folder(digits: tuple[np.ndarray, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same digits as files: ``train/CLASS/NNN.png`` (90) and ``test/CLASS/NNN.png`` (30)."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("digits")
    for number, (image, label) in enumerate(zip(*digits, strict=True)):
        place = folder / ("train" if number < 90 else "test") / ("zero", "one", "two")[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{number:03d}.png")
    return folder


@pytest.fixture(scope="session")
def install_example(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """Return a function that lets pip install an example of a third party's distribution into a folder of its own."""
    pytest.importorskip("setuptools")

    def install(example: Path) -> Path:
        source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
        # Built from a copy: setuptools writes beside what it builds.
        shutil.copytree(
            example, source / "example", ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__")
        )
        options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "--quiet"]
        pip = [sys.executable, "-m", "pip", "install", *options, "--target", str(target), str(source / "example")]
        subprocess.run(pip, check=True, capture_output=True, text=True)
        return target

    return install


@pytest.fixture(scope="session")
def example_site(install_example: Callable[[Path], Path]) -> Path:
    """A folder where pip installed the example of a third party's backbone."""
    return install_example(_EXAMPLE)


@pytest.fixture
def install(example_site: Path, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that installs modules as distributions ``NAME-plugin 6.6`` beside the example."""

    def install(**sources: str) -> Path:
        site = shutil.copytree(example_site, tmp_path / "site")
        for name, text in sources.items():
            metadata = site / f"{name}_plugin-6.6.dist-info"
            metadata.mkdir()
            (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-plugin\nVersion: 6.6\n")
            (metadata / "entry_points.txt").write_text(f"[autotransfer]\n{name} = {name}_plugin\n")
            (site / f"{name}_plugin.py").write_text(text)
        return site

    return install
