"""Limits on the size of files and functions, and words that no newcomer knows.

``style_exemptions.json`` names what was beyond a limit when the limit was set. Remove an entry when the code is
mended, and add none.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 40  # without the docstring
MAX_PARAMETERS = 16  # of a public function
MAX_CONSTRUCTOR_PARAMETERS = 10
MAX_TEST_NAME_LENGTH = 60

# A constant is named by its quantity and unit; none of these says what is counted.
ADJECTIVES = set(
    re.findall(
        r"\w+",
        """
        ALIKE CLOSE COMPARED COVERED DOUBT EACH ENOUGH FAR FEW FEWEST GAIN HELD LARGE LARGEST LEAST LITTLE LONG LONGEST
        LOST MANY MOST MUCH NAMED NEAR NEXT RARE REACHED ROW SAME SHORT SHOWN SLOW SMALL STEP STRICT TELLING TIGHT
        TOO_MANY WHOLE WIDE WORTH
        """,
    )
)
# Words of an earlier version of this project, each with a word of the field in its place.
PRIVATE_WORDS = set(
    re.findall(
        r"\w+",
        """
        blame blamed chances clutter contradictions cook cooked crew crews deal deals dealt dealing flatter flattered
        flatters flattery ingredient ingredients inflation lesson lessons likeness lottery mailbox mattered nursery
        pupil pupils purse sprout sprouted sprouts tear tears told torn twin twins workshop worth
        """,
    )
)


def sources(*folders: str) -> Iterator[tuple[str, str]]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if ".venv" not in path.parts:
                yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")


def functions(text: str) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Yield each function with its qualified name."""

    def visit(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield f"{prefix}{child.name}", child
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                yield from visit(child, f"{prefix}{child.name}.")
            else:
                yield from visit(child, prefix)

    return visit(ast.parse(text), "")


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the lines of a function, its signature included and its docstring left out."""
    first, docstring = function.body[0], 0
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        docstring = (first.end_lineno or 0) - first.lineno + 1
    return (function.end_lineno or 0) - function.lineno + 1 - docstring


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    given = function.args
    names = [each.arg for each in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    return len(names) - (names[:1] in (["self"], ["cls"]))


def words(text: str) -> set[str]:
    """Return the words of names, comments and messages, in lower case; parts of a name are words."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", text)}


def assert_exempt(limit: str, found: set[str]) -> None:
    exempt = set(json.loads((ROOT / "tests" / "style_exemptions.json").read_text(encoding="utf-8"))[limit])
    assert found <= exempt, f"beyond the limit: {sorted(found - exempt)}"


def test_files_are_short() -> None:
    found = {file for file, text in sources("autotransfer", "plugins") if len(text.splitlines()) > MAX_FILE_LINES}
    assert_exempt("long_files", found)


@pytest.mark.slow
def test_functions_are_short() -> None:
    found = {
        f"{file}:{name}"
        for file, text in sources("autotransfer", "plugins")
        for name, function in functions(text)
        if body_lines(function) > MAX_FUNCTION_LINES
    }
    assert_exempt("long_functions", found)


@pytest.mark.slow
def test_functions_take_few_parameters() -> None:
    found = set()
    for file, text in sources("autotransfer", "plugins"):
        for name, function in functions(text):
            last = name.rpartition(".")[2]
            limit = MAX_CONSTRUCTOR_PARAMETERS if last == "__init__" else MAX_PARAMETERS
            if (last == "__init__" or not last.startswith("_")) and parameters(function) > limit:
                found.add(f"{file}:{name}")
    assert_exempt("many_parameters", found)


@pytest.mark.slow
def test_constants_are_named_by_quantity() -> None:
    found = set()
    for file, text in sources("autotransfer", "plugins"):
        for node in ast.parse(text).body:
            targets = (
                node.targets
                if isinstance(node, ast.Assign)
                else [node.target]
                if isinstance(node, ast.AnnAssign)
                else []
            )
            names = {each.id for target in targets for each in ast.walk(target) if isinstance(each, ast.Name)}
            found |= {f"{file}:{name}" for name in names if name.lstrip("_") in ADJECTIVES}
    assert_exempt("adjective_constants", found)


def test_no_private_words_are_left() -> None:
    found = {
        f"{file}:{word}"
        for file, text in sources("autotransfer", "plugins", "examples")
        for word in words(text) & PRIVATE_WORDS
    }
    assert_exempt("private_words", found)


@pytest.mark.slow
def test_test_names_are_short() -> None:
    found = {
        f"{file}:{name}"
        for file, text in sources("tests", "examples")
        for name, _ in functions(text)
        if name.startswith("test_") and "." not in name and len(name) > MAX_TEST_NAME_LENGTH
    }
    assert_exempt("long_test_names", found)
