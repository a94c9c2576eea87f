"""Places: where the file is that a table names."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotransfer.data.file_lookup import Places
from autotransfer.errors import DataNotFoundError


@pytest.fixture
def there(tmp_path: Path) -> Path:
    for name in ("table/img/a.png", "root/img/b.png", "root/7.png", "root/img/a.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("value", "file"),
    [
        ("img/a.png", "root/img/a.png"),  # the root was named: it goes before the table's own folder
        ("img/b.png", "root/img/b.png"),
        (r"img\b.png", "root/img/b.png"),
        (r".\img\b.png", "root/img/b.png"),
        (r"C:\img\b.png", "root/img/b.png"),
        ("/img/b.png", "root/img/b.png"),
        ("img/b", "root/img/b.png"),
        ("7", "root/7.png"),
        (7, "root/7.png"),
        (7.0, "root/7.png"),  # a column of whole numbers with a gap
        ("img/none.png", "root/img/none.png"),
    ],
)
def test_a_value_is_found_where_it_can_be(there: Path, value: object, file: str) -> None:
    places = Places.of(there / "table", there / "root", "png")
    assert places.find(value) == there / file
    assert places.holds(value) == ("none" not in file)


def test_without_a_root_paths_start_at_the_table(there: Path) -> None:
    places = Places.of(there / "table", None, None)
    assert places.find(r"img\a.png") == there / "table/img/a.png"
    assert places.find(str(there / "root/7.png")) == there / "root/7.png"
    assert not places.holds("img/b.png")


def test_a_backslash_may_be_a_part_of_a_name(there: Path) -> None:
    file = there / "table" / r"img\a.png"
    try:
        file.touch()
    except OSError:
        pytest.skip("this file system refuses the name")
    assert Places.of(there / "table", None, None).find(r"img\a.png") == file


@pytest.mark.parametrize("suffix", ["png", ".png"])
def test_a_suffix_needs_no_dot(suffix: str, there: Path) -> None:
    assert Places.of(there / "root", None, suffix).holds("7")


def test_the_places_that_were_tried_are_told(there: Path) -> None:
    told = Places.of(there / "table", there / "root", None).tried(r"x\y.png")
    for place in (r"root/x\\y.png", "root/x/y.png", "table/x/y.png"):
        assert f"{there}/{place}" in told
    assert "--suffix" in told
    assert "--root" not in told


def test_a_root_that_is_no_folder_is_refused(there: Path) -> None:
    with pytest.raises(DataNotFoundError, match=r"root .* is no folder"):
        Places.of(there, there / "nowhere", None)
