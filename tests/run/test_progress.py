"""Progress: plain lines where there is no terminal, a sign of life in silence, and no text that takes it over."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from autotransfer.candidate import Candidate
from autotransfer.run import progress
from autotransfer.run.progress import Progress
from autotransfer.search.trials import FAILED_LATER, TrialRecord
from autotransfer.settings import Budget


@pytest.fixture(autouse=True)
def _no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _stopped_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is always 0:00, however busy the machine is."""
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: 0.0))


@pytest.fixture
def running_clock(monkeypatch: pytest.MonkeyPatch, _stopped_clock: None) -> None:
    monkeypatch.setattr(progress, "time", time)


def shown(*texts: str, encoding: str = "utf-8") -> str:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding)
    with Progress(Budget(seconds=90.0), stream=stream) as show:
        for text in texts:
            show.print(text)
    stream.flush()
    return raw.getvalue().decode(encoding)


def record(number: int, score: float | None, state: str = "complete", reason: str = "") -> TrialRecord:
    candidate = Candidate(backbone="resnet18")
    return TrialRecord(
        number=number,
        state=state,  # type: ignore[arg-type]
        candidate=candidate,
        score=score,
        objective=score,
        reason=reason,
    )


def finish(show: Progress, ended: TrialRecord) -> None:
    show.trials.add(ended)
    show.trial(ended)


def test_lines_are_plain_and_say_how_much_time_is_spent() -> None:
    assert shown("decoding 12 images", "screening") == "0:00/1:30 decoding 12 images\n0:00/1:30 screening\n"


def test_without_a_time_budget_only_the_time_is_said() -> None:
    stream = io.StringIO()
    with Progress(Budget(trials=3), stream=stream) as show:
        show.phase("screening")
    assert stream.getvalue() == "0:00 screening\n"


@pytest.mark.parametrize(
    "text",
    [
        "[red]cat[/red]",
        "[/]",
        "[bold",
        "a\\",
        "\\[red]",
        "C:\\new[1]",
        ":smile: :x:",
        "[link=file:///etc]a[/link]",
        "{}",
    ],
)
def test_names_from_data_are_shown_as_they_are(text: str) -> None:
    assert shown(text) == f"0:00/1:30 {text}\n"


@pytest.mark.parametrize("text", ["a\nb", "a\rb", "a\x1b[2Jb", "a\x07b", "a\u202eb", "a\udce9b"])
def test_control_characters_cannot_take_the_terminal_over(text: str) -> None:
    line = shown(text)
    assert line.startswith("0:00/1:30 a\N{REPLACEMENT CHARACTER}")
    assert line.count("\n") == 1
    assert not set("\x1b\r\x07\u202e") & set(line)


@pytest.mark.parametrize(("encoding", "expected"), [("utf-8", "café 猫"), ("latin-1", "café ?"), ("ascii", "caf? ?")])
def test_a_stream_that_cannot_write_a_name_gets_question_marks(encoding: str, expected: str) -> None:
    assert shown("café 猫", encoding=encoding) == f"0:00/1:30 {expected}\n"


def test_long_lines_are_not_broken() -> None:
    assert shown("x" * 500).count("\n") == 1


def test_each_new_best_trial_and_each_failure_gets_a_line() -> None:
    stream = io.StringIO()
    with Progress(Budget(seconds=60.0), stream=stream) as show:
        finish(show, record(0, 0.5))
        finish(show, record(1, 0.4))
        finish(show, record(2, 0.7))
        finish(show, record(3, None, "failed", "the loss became [nan]"))
        finish(show, record(4, 0.1, "pruned"))
        finish(show, record(5, 0.1, "complete", f"{FAILED_LATER}a worker died"))
        show.update("searching")
        assert show.summary() == "0:00/1:00 best 0.7000 | 6 tried, 1 failed | searching"
    lines = stream.getvalue().splitlines()
    assert len(lines) == 4
    assert "trial 0: resnet18 + linear + frozen" in lines[0]
    assert lines[1] == "0:00/1:00 best 0.7000  trial 2: resnet18 + linear + frozen"
    assert lines[2].endswith("trial 3 failed: the loss became [nan]")
    assert lines[3].endswith("trial 5 could not go on: a worker died")


def test_the_best_is_shown_by_what_trials_are_compared_by() -> None:
    # A score on one easy fold may be far above the objective: shown as the best, it would fall when it is overtaken.
    stream = io.StringIO()
    with Progress(Budget(seconds=60.0), stream=stream) as show:
        finish(show, replace(record(0, 1.0), objective=0.9343))
        assert "best 0.9343 |" in show.summary()
        finish(show, replace(record(1, 0.95), objective=0.93434))  # to four digits, that is no news
        finish(show, replace(record(2, 0.94), objective=0.94))
    lines = stream.getvalue().splitlines()
    assert [line.partition(":00 ")[2] for line in lines] == [
        "best 0.9343  trial 0: resnet18 + linear + frozen",
        "best 0.9400  trial 2: resnet18 + linear + frozen",
    ]


@pytest.mark.slow
@pytest.mark.usefixtures("running_clock")
def test_figures_stand_first_and_the_phase_is_cut_at_the_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "MAX_SECONDS_WITHOUT_A_LINE", 0.3)
    monkeypatch.setenv("COLUMNS", "60")
    stream = io.StringIO()
    with Progress(Budget(seconds=45.0), stream=stream) as show:
        show.phase("searching 5 backbones: binary, accuracy, 244 examples, 5 folds, 2 classes")
        finish(show, record(0, 0.7881))
        assert show.summary().endswith("/0:45 best 0.7881 | 1 tried | searching 5 backbones")
        show.update("decoding " + "x" * 100)
        deadline = time.monotonic() + 60
        while "decoding" not in stream.getvalue() and time.monotonic() < deadline:
            time.sleep(0.05)
    first, *_, sign = stream.getvalue().splitlines()
    assert first.endswith("binary, accuracy, 244 examples, 5 folds, 2 classes"), "it is said in full once"
    assert len(sign) < 60
    assert "/0:45 best 0.7881 | 1 tried | decoding xxx" in sign


@pytest.mark.slow
@pytest.mark.usefixtures("running_clock")
def test_silence_is_broken_by_a_sign_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "MAX_SECONDS_WITHOUT_A_LINE", 0.5)
    stream = io.StringIO()
    with Progress(Budget(seconds=60.0), stream=stream) as show:
        show.update("training [1]")
        deadline = time.monotonic() + 60
        while not stream.getvalue() and time.monotonic() < deadline:
            time.sleep(0.05)
    assert stream.getvalue().splitlines()[0].endswith("/1:00 training [1]")


def test_nothing_is_said_when_nobody_wants_to_hear_it() -> None:
    stream = io.StringIO()
    with Progress(Budget(seconds=60.0), stream=stream, shown=False) as show:
        show.phase("screening")
        finish(show, record(0, 0.5))
        show.update("searching")
    assert stream.getvalue() == ""
    assert "best 0.5000" in show.summary()


def test_an_error_inside_stops_the_sign_of_life() -> None:
    show = Progress(Budget(seconds=60.0), stream=io.StringIO())
    with pytest.raises(ZeroDivisionError), show:
        raise ZeroDivisionError
    assert not show._ticker.is_alive()


def test_a_terminal_has_a_live_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    stream = io.StringIO()
    with Progress(Budget(seconds=60.0), stream=stream) as show:
        show.phase("training [red]cat[/red]")
        show.update("epoch 2")
    assert "training [red]cat[/red]" in stream.getvalue()
    assert "\x1b[" in stream.getvalue()


# Whoever reads the progress may go away, as `head` does; the search goes on and its result is printed.
PIPE = """
    import sys
    from autotransfer.settings import Budget
    from autotransfer.run.progress import Progress

    with Progress(Budget(seconds=60.0)) as show:
        sys.stdin.readline()
        for i in range(3):
            show.print("x" * 100_000)
    print("the result")
    sys.stdout.flush()
    sys.stderr = None  # what is left in its buffer has no reader
"""


@pytest.mark.skipif(os.name != "posix", reason="pipes break otherwise elsewhere")
def test_a_reader_that_went_away_does_not_end_the_search() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PIPE)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    process.stderr.close()
    process.stderr = None
    output, _ = process.communicate("go\n", timeout=60)
    assert output == "the result\n"
    assert process.returncode == 0
