"""Every command and snippet of the README and of the guides runs as it stands there; only budgets are cut."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

import autotransfer
from autotransfer.cli.main import app
from autotransfer.contract.registry import installed_modalities
from autotransfer.warnings import warning_codes
from autotransfer_plugins.modalities.audio.modality import AUDIO
from autotransfer_plugins.modalities.text.modality import TEXT

ROOT = Path(__file__).parents[1]
GUIDES = ROOT / "examples" / "guide"
PAGES = {path.name if path.parent == ROOT else path.stem: path for path in (ROOT / "README.md", *GUIDES.glob("*.md"))}
# A line of its own, or a cell of a table.
COMMAND = re.compile(r"^    (autotransfer [^\n]*)$|\| `(autotransfer [^`]*)` \|", re.MULTILINE)
# Budgets that tests have no time for, and addresses that are not there.
CUTS = (
    (r"--time-budget 10m", "--trials 4"),
    (r"--time-budget \w+", "--trials 3"),
    (r"--epochs 30", "--epochs 1"),
    (r"--max-latency \w+", "--max-latency 60s"),  # tests share a machine: how fast it is now says nothing
    (r" --ray-address \S+", ""),
    (r"postgresql\+psycopg://\S+", "sqlite:///study.db"),
)
SNIPPET_CUTS = (
    (r'time_budget="\w+"', "trials=3"),
    (r"epochs=20", "epochs=1"),
    (r'latency="\w+"', 'latency="60s"'),
    (r'out="run"', 'out="another_run"'),
    # VGG16's weights are half a gigabyte away: a small network stands in for it.
    (r"vgg16\.tv_in1k", "test_resnet"),
)


def commands_of(page: str) -> list[str]:
    """Return the commands of a page, in their order."""
    return [line or cell for line, cell in COMMAND.findall(PAGES[page].read_text(encoding="utf-8"))]


def snippets_of(page: str) -> list[str]:
    """Return the Python snippets of a page, in their order."""
    return re.findall(r"```python\n(.*?)```", PAGES[page].read_text(encoding="utf-8"), flags=re.DOTALL)


def cut(text: str, cuts: tuple[tuple[str, str], ...]) -> str:
    """Return a command or snippet with what tests have no time for replaced."""
    for long, short in cuts:
        text = re.sub(long, short, text)
    return text


@pytest.fixture(scope="module")
def finished_run(tiny_zoo: Path, digit_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a short search on digits."""
    folder = tmp_path_factory.mktemp("docs") / "run"
    autotransfer.fit(digit_folder / "train", zoo=tiny_zoo, trials=3, out=folder)
    return folder


@pytest.fixture
def place(
    tmp_path: Path, finished_run: Path, tiny_zoo: Path, digit_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A folder with everything that the pages name."""
    shutil.copytree(digit_folder, tmp_path / "photos")
    shutil.copytree(tiny_zoo, tmp_path / "zoo")
    shutil.copytree(digit_folder / "test" / "one", tmp_path / "more_photos")
    shutil.copytree(digit_folder / "train", tmp_path / "source_photos")
    shutil.copy(next((digit_folder / "test" / "two").iterdir()), tmp_path / "new.jpg")
    shutil.copytree(finished_run, tmp_path / "run")
    rows = [f"train/{file.parent.name}/{file.name},{file.parent.name}" for file in (digit_folder / "train").glob("*/*")]
    (tmp_path / "table.csv").write_text("path,label\n" + "\n".join(rows) + "\n")
    write_texts_and_sounds(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUTOTRANSFER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("AUTOTRANSFER_ZOO", str(tmp_path / "zoo"))
    return tmp_path


def write_texts_and_sounds(folder: Path) -> None:
    """Write ``notes.csv`` and a folder ``sounds``: some of what the demonstration shows."""
    texts, sounds = TEXT.demo_data(), AUDIO.demo_data()
    rows = zip(texts.train[:80], texts.targets, strict=False)
    (folder / "notes.csv").write_text("text,label\n" + "".join(f'"{text}",{label}\n' for text, label in rows))
    for number, (sound, label) in enumerate(zip(sounds.train[:80], sounds.targets, strict=False)):
        (folder / "sounds" / label).mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / "sounds" / label / f"{number}.wav", sound["array"], sound["sampling_rate"])


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted(page for page in PAGES if commands_of(page)))
def test_commands_of_a_page_run_in_their_order(page: str, place: Path) -> None:
    for command in commands_of(page):
        arguments = shlex.split(cut(command, CUTS))[1:]
        if "--out" in arguments:
            arguments.append("--overwrite")
        if "--workers" in arguments or "--executor" in arguments:  # processes of their own, as from a shell
            line = [sys.executable, "-m", "autotransfer", *arguments]
            done = subprocess.run(line, capture_output=True, text=True, check=False)
            assert done.returncode == 0, (command, done.stderr)
        else:
            outcome = CliRunner().invoke(app, arguments)
            assert outcome.exit_code == 0, (command, outcome.output)


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted(page for page in PAGES if snippets_of(page)))
def test_snippets_of_a_page_run(page: str, place: Path, digits: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = digits
    names: dict[str, Any] = {
        "autotransfer": autotransfer,
        "load_mine": lambda: None,
        **{"X": images[:90], "y": labels[:90], "X_test": images[90:], "y_test": labels[90:]},
    }
    for snippet in snippets_of(page):
        exec(cut(snippet, SNIPPET_CUTS), names)


def test_every_code_of_a_warning_is_explained() -> None:
    explained = (GUIDES / "result.md").read_text(encoding="utf-8")
    assert "image" in {modality.name for modality in installed_modalities()}
    assert {code for code in warning_codes() if f"`{code}`" not in explained} == set()


def test_links_between_pages_lead_somewhere() -> None:
    blob = "https://github.com/autotransfer/autotransfer/blob/main/"
    for path in PAGES.values():
        for link in re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8")):
            if link.startswith(blob):
                assert (ROOT / link.removeprefix(blob)).exists(), (path.name, link)
            elif "://" not in link:
                assert path != ROOT / "README.md", f"{link} leads nowhere on a package index"
                assert (path.parent / link).exists(), (path.name, link)


def test_readme_has_at_most_180_lines() -> None:
    assert len(PAGES["README.md"].read_text(encoding="utf-8").splitlines()) <= 180


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_knows_the_targets_of_the_readme() -> None:
    # What the targets do takes minutes and a package index; the tests themselves run through the second one.
    for target in re.findall(r"^    make ([\w-]+) ", PAGES["README.md"].read_text(encoding="utf-8"), re.MULTILINE):
        done = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
