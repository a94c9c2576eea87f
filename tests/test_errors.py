"""The errors: users catch them as what they already know, and names that miss come with those that were meant."""

from __future__ import annotations

import copy
import inspect
import pickle

import pytest

from autotransfer import errors
from autotransfer.errors import AutoTransferError, UnknownNameError

BUILT_IN = {
    "ConfigError": ValueError,
    "UnknownNameError": LookupError,
    "RunExistsError": FileExistsError,
    "DataError": ValueError,
    "DataNotFoundError": FileNotFoundError,
    "UnreadableExampleError": OSError,
    "PluginError": RuntimeError,
    "BackboneError": RuntimeError,
    "WeightsUnavailableError": OSError,
    "ModelFormatError": ValueError,
    "ExportError": RuntimeError,
    "OutputError": OSError,
    "RunFormatError": ValueError,
    "SearchError": RuntimeError,
    "TrialError": RuntimeError,
}


def test_every_error_is_public_in_the_tree_and_has_builtin_base() -> None:
    defined = {name for name, value in vars(errors).items() if inspect.isclass(value) and issubclass(value, Exception)}
    assert defined == set(errors.__all__) == {"AutoTransferError", *BUILT_IN}
    assert errors.__doc__ is not None
    for name in defined:
        assert name in errors.__doc__


@pytest.mark.parametrize("name", BUILT_IN)
def test_an_error_is_also_what_a_caller_would_catch(name: str) -> None:
    error = getattr(errors, name)
    assert issubclass(error, (AutoTransferError,))
    assert issubclass(error, BUILT_IN[name])


@pytest.mark.parametrize("name", sorted({"AutoTransferError", *BUILT_IN} - {"UnknownNameError"}))
def test_messages_are_printed_as_they_are(name: str) -> None:
    assert str(getattr(errors, name)("what was wrong")) == "what was wrong"


@pytest.mark.parametrize("name", sorted({"AutoTransferError", *BUILT_IN} - {"UnknownNameError"}))
def test_names_in_messages_cannot_steer_the_terminal(name: str) -> None:
    # File names, labels and columns come from data, and errors are printed by whoever catches them.
    error = getattr(errors, name)("the file \x1b[2J\x9b of \u202e\udce9\n")
    assert str(error) == "the file \\x1b[2J\\x9b of \\x202e\\xdce9\\x0a"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.parametrize(
    ("name", "known", "hint", "message"),
    [
        ("resnet19", ["resnet18", "vgg"], "", "No head matches 'resnet19'. Did you mean resnet18?"),
        ("*resnet19*", ["resnet18"], "", "No head matches '*resnet19*'. Did you mean resnet18?"),
        ("resnt*", ["resnet18.a1_in1k", "vgg"], "", "No head matches 'resnt*'. Did you mean resnet18.a1_in1k?"),
        ("ResNet*", ["my_resnet18", "resnet"], "", "No head matches 'ResNet*'. Did you mean resnet, my_resnet18?"),
        ("*[ab]net_b9?", ["a", "unet_b8_small"], "", "No head matches '*[ab]net_b9?'. Did you mean unet_b8_small?"),
        ("***", ["b", "a"], "", "No head matches '***'. Known: a, b."),
        ("zzz", ["b", "a"], "", "No head matches 'zzz'. Known: a, b."),
        ("zzz", map(str, range(12)), "", "No head matches 'zzz'. Known: 0, 1, 10, 11, 2, 3, 4, 5, … (12 in all)."),
        ("zzz", [], "", "No head matches 'zzz'. None is registered."),
        ("zzz", [], "Install it.", "No head matches 'zzz'. None is registered. Install it."),
    ],
)
def test_a_name_that_misses_gets_advice(name: str, known: list[str], hint: str, message: str) -> None:
    assert str(UnknownNameError("head", name, known, hint)) == message


@pytest.mark.parametrize(
    "error", [UnknownNameError("head", "a", iter(["b", "c"]), "Hint."), errors.DataNotFoundError("gone")]
)
def test_errors_cross_process_borders(error: Exception) -> None:
    # Workers send their errors by pickle; one that cannot be read hangs or hides the reason.
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is type(error)
        assert str(twin) == str(error)
