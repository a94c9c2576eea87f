"""A storage that cannot be used is named, but not its password; several processes may make its tables at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import optuna
import pytest

from autotransfer.errors import ConfigError, SearchError
from autotransfer.runtime.storage import close_storage, open_storage, translate_storage_errors


def test_an_error_names_the_storage_without_its_password() -> None:
    with pytest.raises(ConfigError, match="cannot be used") as caught:
        open_storage("nonsense://me:secret@db:5432/search")
    assert "nonsense://me:***@db:5432/search" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.slow
def test_several_processes_may_begin_with_an_empty_database(tmp_path: Path) -> None:
    code = "import sys; from autotransfer.runtime.storage import *; close_storage(open_storage(sys.argv[1]))"
    url = f"sqlite:///{tmp_path / 'study.db'}"
    started = [subprocess.Popen([sys.executable, "-c", code, url], stderr=subprocess.PIPE, text=True) for _ in range(4)]
    said = [process.communicate(timeout=120)[1] for process in started]
    assert [process.returncode for process in started] == [0] * 4, said
    close_storage(open_storage(url))


def test_failing_database_ends_the_search_with_advice(tmp_path: Path) -> None:
    file = tmp_path / "study.db"
    storage = open_storage(f"sqlite:///{file}")
    study = optuna.create_study(storage=storage)
    file.write_bytes(b"this is no database any more")
    with pytest.raises(SearchError, match=r"The storage failed: .* Go on."), translate_storage_errors("Go on."):
        study.ask()
    close_storage(storage)
