"""Options of modalities on the command line."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import typer
from typer.testing import CliRunner

from autotransfer.cli.console import Command
from autotransfer.cli.options import with_settings
from autotransfer.contract.modality import Modality, ModalityOption
from autotransfer.errors import ConfigError
from autotransfer.settings import Settings


class Signals(Modality):
    """A modality with options, one of them called like one of every command."""

    name, noun = "signal", "signal"
    options: ClassVar = {
        "rate": ModalityOption(help="Values in a second.", none="1", metavar="HZ", parse=int, check=abs),
        "channel": ModalityOption(help="Which channel is read.", default="first"),
        "seed": ModalityOption(help="Not the seed of every command."),
    }


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autotransfer.contract.registry.installed_modalities", lambda: (Signals(),))


def options_of(*arguments: str) -> dict[str, Any] | None:
    """Run a command with all settings of a fit, and return the options of the modality that it gets."""
    given: list[Settings] = []

    @with_settings(Settings)
    def command(*, settings: Settings) -> None:
        given.append(settings)

    app = typer.Typer(rich_markup_mode=None)
    app.command(cls=Command)(command)
    outcome = CliRunner().invoke(app, arguments)
    if outcome.exception is not None:
        raise outcome.exception
    options = given[0].data_options.modality_options
    return None if options is None else dict(options)


@pytest.mark.usefixtures("installed")
def test_options_of_a_modality_are_parsed_by_its_own_rule() -> None:
    assert options_of("--rate", "8000", "--channel", "1") == {"rate": 8000, "channel": "1"}
    assert options_of("--modality-options", '{"rate": 5, "channel": "2"}', "--rate", "7") == {"rate": 7, "channel": "2"}
    assert options_of("--seed", "3") is None


def test_options_that_are_no_json_are_refused() -> None:
    with pytest.raises(ConfigError, match="are a JSON object; got 'rate=3'"):
        options_of("--modality-options", "rate=3")


@pytest.mark.usefixtures("installed")
def test_help_lists_the_options_of_a_modality() -> None:
    app = typer.Typer(rich_markup_mode=None)
    app.command(cls=Command)(with_settings(Settings)(lambda *, settings: None))
    shown = CliRunner().invoke(app, ["--help"]).stdout
    panel = " ".join(shown[shown.index("How signals are read:") :].split())
    assert "--rate HZ Values in a second. [default: 1]" in panel
    assert "--channel VALUE Which channel is read. [default: first]" in panel
    assert "Not the seed of every command" not in shown


def test_a_modality_checks_its_options() -> None:
    assert Signals().read_options({"rate": -5}) == {"rate": 5}
    with pytest.raises(ConfigError, match=r"'size' says nothing of signals: leave it out; the options are \['channel'"):
        Signals().read_options({"size": 5})
