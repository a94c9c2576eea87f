"""What is public, what importing costs, and which way imports point."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path
from typing import get_origin

import pytest

import autotransfer

SOURCES = Path(autotransfer.__file__).parent
PUBLIC = [
    "AutoTransferClassifier",
    "AutoTransferError",
    "AutoTransferRegressor",
    "Candidate",
    "Compute",
    "DataOptions",
    "DistillResult",
    "EvaluationResult",
    "FitResult",
    "Limits",
    "ModelCard",
    "PretrainResult",
    "RunOptions",
    "SearchOptions",
    "Selection",
    "Settings",
    "TrainingOptions",
    "TransferModel",
    "__version__",
    "distill",
    "evaluate",
    "fit",
    "hookimpl",
    "load",
    "pretrain",
    "resume",
]
# A folder imports from its own floor and from those below it, without cycles.
FLOORS = (
    {"_version", "errors", "warnings", "settings", "candidate", "runtime", "tasks"},
    {"contract"},
    {"data", "backbones", "features", "training"},
    {"search", "evaluation"},
    {"model", "selection", "run", "report", "analysis", "workers", "pipeline"},
    {"api"},
    {"estimator", "testing", "pretraining"},
    {"cli", "__main__"},
)
FLOOR = {folder: number for number, folders in enumerate(FLOORS) for folder in folders}


def modules() -> dict[str, Path]:
    """Return the files of the core by module name, the package's own ``__init__`` left out: it points everywhere."""
    found = {".".join(path.relative_to(SOURCES).with_suffix("").parts): path for path in SOURCES.rglob("*.py")}
    return {name.removesuffix(".__init__"): path for name, path in found.items() if name != "__init__"}


def imports(path: Path, *, at_load: bool = False) -> set[str]:
    """Return every module that a file imports; with ``at_load`` those that loading it imports."""
    tree = ast.parse(path.read_text())
    nodes = list(ast.walk(tree))
    if at_load:
        nodes = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def ours(names: set[str]) -> set[str]:
    """Return the modules of the core among imported names."""
    known = modules()
    return {name.removeprefix("autotransfer.") for name in names} & set(known)


def test_public_names() -> None:
    assert autotransfer.__all__ == PUBLIC
    assert dir(autotransfer) == sorted(PUBLIC)
    for name in PUBLIC:
        assert getattr(autotransfer, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        _ = autotransfer.fitt


def test_public_names_come_from_where_type_checkers_think() -> None:
    # The lazy table and the imports for type checkers are two lists of one thing.
    assert set(autotransfer._HOMES) == set(PUBLIC)
    typed = imports(SOURCES / "__init__.py")
    for name, home in autotransfer._HOMES.items():
        assert f"autotransfer.{home}.{name}" in typed


def test_all_names_exist_and_are_documented() -> None:
    for name in sorted(set(modules()) - {"__main__"}):
        module = importlib.import_module(f"autotransfer.{name}")
        for public in getattr(module, "__all__", ()):
            assert hasattr(module, public), f"{name}.{public} does not exist"
            thing = getattr(module, public)
            alias = get_origin(thing) is not None  # Python 3.10 takes Callable[[], float] for a class
            if not alias and (inspect.isclass(thing) or inspect.isfunction(thing)):
                assert thing.__doc__, f"{name}.{public} has no docstring"


def test_importing_loads_nothing_heavy(tmp_path: Path) -> None:
    # A third-party plugin imports the contract, everybody the package: neither may cost seconds.
    code = (
        "import sys, autotransfer, autotransfer.settings\n"
        "import autotransfer.contract.hookspecs, autotransfer.contract.specs\n"
        "autotransfer.hookimpl, autotransfer.AutoTransferError, autotransfer.Candidate, autotransfer.__version__\n"
        "print([m for m in ('torch', 'timm', 'sklearn', 'optuna', 'numpy', 'typer', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == "[]"


def test_at_most_14_files_stand_at_the_top() -> None:
    assert len(list(SOURCES.glob("*.py"))) <= 14


def test_every_folder_has_a_floor() -> None:
    assert {name.partition(".")[0] for name in modules()} == set(FLOOR)


@pytest.mark.slow
def test_imports_point_down() -> None:
    for name, path in modules().items():
        for other in ours(imports(path)):
            floors = FLOOR[name.partition(".")[0]], FLOOR[other.partition(".")[0]]
            assert floors[1] <= floors[0], f"autotransfer.{name} imports autotransfer.{other}"


@pytest.mark.slow
def test_imports_have_no_cycle() -> None:
    graph = {name: ours(imports(path, at_load=True)) - {name} for name, path in modules().items()}
    while free := {name for name, needs in graph.items() if not needs}:
        graph = {name: needs - free for name, needs in graph.items() if name not in free}
    assert not graph, f"these import each other, or what does: {graph}"


def test_the_core_imports_no_plugin() -> None:
    for name, path in modules().items():
        roots = {imported.partition(".")[0] for imported in imports(path)}
        assert not roots & {"timm", "transformers", "autotransfer_plugins", "plugins"}, name
