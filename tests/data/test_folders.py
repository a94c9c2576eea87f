"""Folders: every file counts, whatever it is called, and links are followed where that is asked for."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from autotransfer.data.folders import walk
from autotransfer_plugins.modalities.image.modality import IMAGE


def save(path: Path, kind: str = "PNG", value: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (20, 16), (value, 0, 0))  # an ICO file holds no icon of less than 16 pixels
    image.save(path, kind)
    return path


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


@pytest.mark.parametrize("name", ["a.mpo", "a.jpg_large", "a", "a.JPG", "a.jpg.bak", "a.txt", "a.jpg?s=2"])
def test_a_file_is_an_image_by_what_it_holds(tmp_path: Path, name: str) -> None:
    save(tmp_path / name, "JPEG")
    assert names(walk(tmp_path, IMAGE).files) == [name]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "JPEG2000", "PPM", "ICO"])
def test_formats_are_told_without_a_suffix(tmp_path: Path, kind: str) -> None:
    save(tmp_path / "download", kind)
    assert names(walk(tmp_path, IMAGE).files) == ["download"]


def test_several_pictures_in_one_file_are_an_image(tmp_path: Path) -> None:
    first, second = Image.new("RGB", (20, 20), "red"), Image.new("RGB", (20, 20), "blue")
    first.save(tmp_path / "two.MPO", "MPO", save_all=True, append_images=[second])
    first.save(tmp_path / "two", "MPO", save_all=True, append_images=[second])
    assert names(walk(tmp_path, IMAGE).files) == ["two", "two.MPO"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"123",
        b"P6 is a road",
        b"BM",
        bytes(100),
        b"\0\0\2\0\0\0\0\0\0\0\0\0\10\0\10\0\30\0" + bytes(192),
        b"%!PS\n",
    ],
)
def test_other_files_are_named_as_what_pillow_cannot_read(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.dat").write_bytes(content)  # the sixth is a Targa picture, or anything: its mark is no mark
    found = walk(tmp_path, IMAGE)
    assert found.files == []
    assert [(path.name, reason) for path, reason in found.skipped] == [("x.dat", "no image that can be read")]


def test_a_picture_too_large_to_open_is_one_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    save(tmp_path / "huge")
    assert names(walk(tmp_path, IMAGE).files) == ["huge"]  # decoding says what is wrong with it


def test_ignored_files_are_counted_without_a_warning(tmp_path: Path) -> None:
    for name in ("Thumbs.db", "desktop.ini", "README", "notes.TXT", "labels.csv", "boxes.xml", "all.zip", ".DS_Store"):
        (tmp_path / name).write_bytes(b"no image")
    save(tmp_path / "._a.png"), save(tmp_path / "__MACOSX" / "b.png"), save(tmp_path / ".git" / "c.png")
    found = walk(tmp_path, IMAGE)
    assert (found.files, found.skipped) == ([], [])
    assert found.ignored_files == {
        "hidden": 2, ".db": 1, ".ini": 1, "readme": 1, ".txt": 1, ".csv": 1, ".xml": 1, ".zip": 1
    }  # fmt: skip


def test_a_broken_image_by_name_is_not_passed_over(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.HEIC", "c.dcm", "d.svg"):
        (tmp_path / name).write_bytes(b"broken")
    assert names(walk(tmp_path, IMAGE).files) == ["a.jpg", "b.HEIC", "c.dcm", "d.svg"]  # decoding says why


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """A folder of links into another one, and of links that lead back."""
    save(tmp_path / "store" / "cats" / "1.png"), save(tmp_path / "store" / "2.png")
    root = tmp_path / "root"
    (root / "dog").mkdir(parents=True)
    (root / "cat").symlink_to(tmp_path / "store" / "cats")
    (root / "dog" / "2.png").symlink_to(tmp_path / "store" / "2.png")
    return root


def test_links_that_lead_out_are_left_out_and_named(linked: Path) -> None:
    found = walk(linked, IMAGE)
    assert found.files == []
    assert {path.name: reason for path, reason in found.skipped} == {
        "cat": "a link to a folder: not followed",
        "2.png": "a link that leads out of the folder",
    }


def test_links_are_followed_where_that_is_asked_for(linked: Path) -> None:
    found = walk(linked, IMAGE, follow_links=True)
    assert [path.relative_to(linked).parts for path in found.files] == [("cat", "1.png"), ("dog", "2.png")]
    assert found.skipped == []


def test_loops_of_links_end_and_are_named(linked: Path, tmp_path: Path) -> None:
    (linked / "dog" / "root").symlink_to(linked)
    (linked / "dog" / "above").symlink_to(tmp_path)  # it holds the root
    (linked / "dog" / "self").symlink_to(linked / "dog")
    (tmp_path / "store" / "cats" / "again").symlink_to(linked / "cat")
    found = walk(linked, IMAGE, follow_links=True)
    assert [path.relative_to(linked).parts for path in found.files] == [("cat", "1.png"), ("dog", "2.png")]
    assert {path.name: reason for path, reason in found.skipped} == dict.fromkeys(
        ["root", "above", "self", "again"], "a link back to a folder that is read already"
    )


def test_folders_linked_to_each_other_are_read_once_a_class(tmp_path: Path) -> None:
    count = 7  # entered along every path, they would be read 7! times
    for i in range(count):
        save(tmp_path / f"f{i}" / f"{i}.png")
    for i in range(count):
        for j in range(count):
            if i != j:
                (tmp_path / f"f{i}" / f"to{j}").symlink_to(tmp_path / f"f{j}")
    found = walk(tmp_path, IMAGE, follow_links=True)
    assert len(found.files) == count * count


def test_a_file_under_a_weak_mark_is_read_where_its_name_says_so(tmp_path: Path) -> None:
    data = io.BytesIO()
    Image.new("RGB", (8, 8)).save(data, "TGA")
    (tmp_path / "a.tga").write_bytes(data.getvalue())
    (tmp_path / "b.bin").write_bytes(data.getvalue())
    found = walk(tmp_path, IMAGE)
    assert names(found.files) == ["a.tga"]
    assert [path.name for path, _ in found.skipped] == ["b.bin"]
