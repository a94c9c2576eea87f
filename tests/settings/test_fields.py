"""A setting is one field: what follows from the fields of the settings."""

from __future__ import annotations

import inspect
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import autotransfer
from autotransfer.cli.console import Command
from autotransfer.cli.options import with_settings
from autotransfer.errors import ConfigError
from autotransfer.settings import Compute, DataOptions, PretrainOptions, Settings, grouped, refuse_unused
from autotransfer.settings.checks import whole_number
from autotransfer.settings.fields import documented, flat_settings, group, setting
from autotransfer.settings.serialization import described, settings_from_json, settings_to_json

ALL = [*flat_settings(Settings), *flat_settings(PretrainOptions)]
# Options of ``autotransfer fit`` that scripts rely on.
OPTIONS = [
    "--test",
    "--out",
    "--time-budget",
    "--trials",
    "--backbones",
    "--exclude",
    "--zoo",
    "--heads",
    "--freeze",
    "--metric",
    "--task",
    "--positive-class",
    "--modality",
    "--value-range",
    "--seed",
    "--device",
    "--path-column",
    "--target-column",
    "--label-separator",
    "--groups",
    "--root",
    "--suffix",
    "--follow-links",
    "--min-examples",
    "--class-weight",
    "--validation",
    "--epochs",
    "--views",
    "--no-ensemble",
    "--no-calibrate",
    "--no-thresholds",
    "--max-latency",
    "--max-size",
    "--max-memory",
    "--latency-batch",
    "--strict",
    "--overwrite",
    "--resume",
    "--storage",
    "--study",
    "--workers",
    "--executor",
    "--ray-address",
    "--trial-timeout",
    "--cache-dir",
    "--no-compare-scratch",
    "--no-cache",
    "--json",
]


@documented
@dataclass(frozen=True, kw_only=True)
class WiderCompute(Compute):
    """A group with one more field."""

    nodes: int = setting(
        1, help="Number of nodes.", more="One is enough.", check=whole_number("number of nodes", 1), metavar="N"
    )


@dataclass(frozen=True, kw_only=True)
class WiderSettings(Settings):
    """Settings with the wider group."""

    compute: WiderCompute = group(WiderCompute(), "Where candidates are evaluated")


def run(command: Callable[..., None], *arguments: str) -> str:
    app = typer.Typer(rich_markup_mode=None)
    app.command(cls=Command)(command)
    outcome = CliRunner().invoke(app, arguments)
    if outcome.exception is not None and not isinstance(outcome.exception, SystemExit):
        raise outcome.exception
    return outcome.stdout


def test_a_new_field_has_a_default_and_a_check() -> None:
    assert WiderSettings().compute.nodes == 1
    assert grouped(WiderSettings, {"nodes": 3, "seed": 1}) == {"seed": 1, "compute": WiderCompute(nodes=3)}
    with pytest.raises(ConfigError, match="The number of nodes must be at least 1; got 0"):
        WiderCompute(nodes=0)


def test_a_new_field_is_an_option_of_the_command_line() -> None:
    given: list[WiderSettings] = []

    @with_settings(WiderSettings)
    def command(*, settings: WiderSettings) -> None:
        given.append(settings)

    run(command, "--nodes", "3", "--no-cache", "--exclude", "a*", "--exclude", "b")
    run(command)
    assert (given[0].compute.nodes, given[0].compute.cache, given[0].search.exclude) == (3, False, ("a*", "b"))
    assert given[1] == WiderSettings()
    shown = run(command, "--help")
    panel = shown[shown.index("Where candidates are evaluated:") : shown.index("The run folder:")]
    assert "--nodes N" in panel
    assert "Number of nodes. [default: 1]" in " ".join(panel.split())


def test_a_new_field_is_a_parameter_of_the_estimators() -> None:
    estimator = autotransfer.AutoTransferClassifier(compute=WiderCompute(nodes=2))
    assert estimator.get_params()["compute__nodes"] == 2
    assert estimator.set_params(compute__nodes=4).compute == WiderCompute(nodes=4)


def test_a_new_field_is_documented() -> None:
    assert "    nodes (default 1): Number of nodes. One is enough." in (WiderCompute.__doc__ or "")


def test_a_new_field_comes_back_from_json() -> None:
    given = WiderSettings(compute=WiderCompute(nodes=5))
    assert settings_from_json(WiderSettings, json.loads(json.dumps(settings_to_json(given)))) == given
    assert described(given)["nodes"] == 5


@pytest.mark.parametrize(
    ("function", "settings", "data"),
    [
        ("fit", Settings, ["data", "targets", "test"]),
        ("pretrain", PretrainOptions, ["data", "targets"]),
    ],
)
def test_functions_take_the_fields_of_their_settings(function: str, settings: type, data: list[str]) -> None:
    parameters = inspect.signature(getattr(autotransfer, function)).parameters
    assert list(parameters) == [*data, *(each.name for each in fields(settings))]
    for each in fields(settings):
        default = inspect.Parameter.empty if each.default is MISSING else each.default
        assert parameters[each.name].default == default, each.name


def test_functions_and_constructors_are_short() -> None:
    for name in ("fit", "evaluate", "pretrain", "distill", "resume"):
        assert len(inspect.signature(getattr(autotransfer, name)).parameters) <= 16, name
    for name in ("AutoTransferClassifier", "AutoTransferRegressor"):
        assert len(inspect.signature(getattr(autotransfer, name)).parameters) <= 10, name


@pytest.mark.parametrize("settings", [Settings, PretrainOptions])
def test_names_of_settings_are_unique(settings: type) -> None:
    names = Counter(each.name for each in flat_settings(settings))
    assert max(names.values()) == 1, names.most_common(3)


def test_help_texts_are_sentences() -> None:
    for each in ALL:
        assert each.info.help.endswith("."), each.name
        assert not each.info.none.endswith("."), each.name
        assert bool(each.info.off) == (each.default is True), each.name


def test_fit_keeps_the_names_of_its_options() -> None:
    from autotransfer.cli.fit import fit

    shown = run(fit, "--help")
    assert [option for option in OPTIONS if f"  {option}" not in shown] == []


def test_an_option_keeps_its_earlier_name() -> None:
    from autotransfer.cli.fit import fit

    assert "--min-examples, --min-images N" in run(fit, "--help")


@pytest.mark.parametrize(
    ("given", "instead"),
    [({"min_images": 2}, "min_examples="), ({"value_range": (0, 1)}, r"modality_options=\{'value_range': \.\.\.\}")],
)
def test_an_earlier_argument_says_what_takes_its_place(given: dict[str, Any], instead: str) -> None:
    with pytest.raises(ConfigError, match=f"DataOptions has no {next(iter(given))}: give {instead} instead"):
        DataOptions(**given)


def test_a_group_is_an_object_of_its_class() -> None:
    wrong: Any = {"workers": 2}
    with pytest.raises(ConfigError, match=r"give compute=autotransfer\.Compute\(\.\.\.\); got {'workers': 2}"):
        Settings(compute=wrong)


def test_settings_without_effect_are_refused() -> None:
    refuse_unused(Compute(device="cpu"), ["device"])
    with pytest.raises(ConfigError, match="workers of Compute has no effect here: leave it out; got 2"):
        refuse_unused(Compute(workers=2), ["device"])
    with pytest.raises(ConfigError, match="min_examples of DataOptions has no effect here"):
        PretrainOptions(architecture="resnet18", out="zoo/mine", data_options=DataOptions(min_examples=2))
