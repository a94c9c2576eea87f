"""Sources: whatever form labelled images come in, the same examples come out, and what is left out is named."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from autotransfer.data.columns import TargetReader
from autotransfer.data.sources import find_examples, load_examples
from autotransfer.errors import DataError, DataNotFoundError, UnknownNameError
from autotransfer_plugins.modalities.image.decode import decode


def save(path: Path, value: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (12, 10), value).save(path, "PNG")
    return path


def reasons(skipped: Any) -> dict[str, str]:
    return {Path(s.name).name: s.reason for s in skipped}


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    root = tmp_path / "pets"
    for i, name in enumerate(["dog/b.png", "dog/a.PNG", "cat/deep/er/x.jpg", "cat/y.png"]):
        save(root / name, i)
    return root


# Folders


def test_folder_gives_classes_in_sorted_order(pets: Path) -> None:
    examples = load_examples(str(pets))
    assert examples.targets == ["cat", "cat", "dog", "dog"]
    assert [Path(name).name for name in examples.names] == ["x.jpg", "y.png", "a.PNG", "b.png"]
    assert examples.skipped == ()


def test_folder_ignores_hidden_and_other_files_and_counts_strays(pets: Path) -> None:
    save(pets / ".hidden" / "x.png"), save(pets / "dog" / "._a.png"), save(pets / "stray.png")
    (pets / "dog" / "notes.txt").write_text("x")
    (pets / "notes").mkdir()
    examples = load_examples(pets)
    assert len(examples) == 4
    assert set(reasons(examples.skipped)) == {"stray.png", "notes"}
    assert "no class" in reasons(examples.skipped)["stray.png"]


def test_numeric_class_names_stay_text(tmp_path: Path) -> None:
    save(tmp_path / "007/a.png"), save(tmp_path / "7/b.png")
    assert load_examples(tmp_path).targets == ["007", "7"]


def test_missing_empty_and_flat_folders_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match="nowhere"):
        load_examples(tmp_path / "nowhere")
    with pytest.raises(DataError, match="FOLDER/cat"):
        load_examples(tmp_path)
    save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"no class.*FOLDER/cat"):
        load_examples(tmp_path)
    with pytest.raises(DataError, match="neither a folder nor a CSV"):
        load_examples(tmp_path / "a.png")


def test_a_folder_of_splits_is_not_taken_for_classes(tmp_path: Path) -> None:
    for name in ("train/cat/a.png", "train/dog/b.png", "test/cat/a.png", "test/dog/a.png"):
        save(tmp_path / name)
    examples = load_examples(tmp_path)
    assert examples.targets == ["cat", "dog", "cat", "dog"]
    assert examples.parts == ("test", "test", "train", "train")


def test_classes_may_be_called_like_splits(tmp_path: Path) -> None:
    save(tmp_path / "train/a.png"), save(tmp_path / "test/a.png")
    assert load_examples(tmp_path).targets == ["test", "train"]


def test_links_are_followed_inside_the_folder_only_and_loops_end(pets: Path, tmp_path: Path) -> None:
    outside = save(tmp_path / "outside.png", 9)
    (pets / "dog/out.png").symlink_to(outside)
    (pets / "dog/broken.png").symlink_to(pets / "dog/none.png")
    (pets / "dog/again.png").symlink_to(pets / "dog/b.png")
    (pets / "dog/self.png").symlink_to(pets / "dog/self.png")
    (pets / "dog/loop").symlink_to(pets)
    examples = load_examples(pets)
    left_out = reasons(examples.skipped)
    assert "out of the folder" in left_out["out.png"]
    assert "broken" in left_out["broken.png"]
    assert "broken" in left_out["self.png"]
    assert "not followed" in left_out["loop"]
    # The link and its target are one image; the first name in order stays.
    assert left_out["b.png"] == "duplicate row"
    assert len(examples) == 4


def test_a_link_into_another_class_gives_one_image_two_labels(pets: Path) -> None:
    (pets / "cat/z.png").symlink_to(pets / "dog/b.png")
    examples = load_examples(pets)
    assert reasons(examples.skipped) == dict.fromkeys(["z.png", "b.png"], "listed under two labels: cat, dog")


def test_a_linked_root_is_followed(pets: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(pets)
    (pets / "dog/again.png").symlink_to(pets / "cat/y.png")
    assert len(load_examples(tmp_path / "link")) == 3


@pytest.mark.parametrize("name", [b"new\nline.png", b"quo\"te's.png", b"latin\xe9.png", "ünïcode 猫.png".encode()])
def test_odd_file_names_can_be_read_and_printed(pets: Path, name: bytes) -> None:
    path = Path(os.fsdecode(bytes(pets) + b"/dog/" + name))
    try:
        save(path)
    except OSError:
        pytest.skip("this file system refuses the name")
    examples = load_examples(pets)
    assert len(decode(examples, {"center": 8}, strict=True)) == 5
    "".join(examples.names).encode("utf-8")


# Arrays and tensors


@pytest.mark.parametrize("shape", [(4, 10, 12), (4, 10, 12, 1), (4, 10, 12, 3), (4, 10, 12, 4), (4, 3, 10, 12)])
def test_arrays_of_every_layout(shape: tuple[int, ...]) -> None:
    images = decode(load_examples(np.full(shape, 255, dtype=np.uint8), [0, 1, 0, 1]), {"center": 64})
    assert images.pixels["center"].shape == (4, 10, 10, 3)
    assert (images.pixels["center"] == 255).all()


@pytest.mark.parametrize(
    ("dtype", "top"),
    [("u1", 255), ("u2", 65535), ("f4", 1.0), ("f8", 255.0), ("f2", 1.0), ("i8", 255), ("i4", 65535), ("?", True)],
)
def test_the_range_is_decided_over_the_whole_array(dtype: str, top: float) -> None:
    array = np.zeros((3, 9, 9), dtype=dtype)
    array[1], array[2] = top * 0.5 if dtype != "?" else True, top
    pixels = decode(load_examples(array, [0, 1, 1]), {"center": 9}).pixels["center"]
    # The dark image stays dark: it is not stretched by itself.
    assert pixels[:, 0, 0, 0].tolist() in ([0, 127, 255], [0, 128, 255], [0, 255, 255])


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full((2, 4, 4), np.nan), "NaN"),
        (np.array([np.zeros((4, 4)), np.full((4, 4), np.inf)]), "infinity"),
        (np.zeros((2, 64)), r"reshape\(-1, 8, 8\)"),
        (np.zeros((2, 3072), dtype=np.uint8), r"reshape\(-1, 32, 32, 3\)"),
        (np.zeros((2, 65)), "flat images"),
        (np.zeros((2, 40, 40, 40), dtype=np.uint8), "channels"),
        (np.zeros((2, 0, 4), dtype=np.uint8), "at least one pixel"),
        (np.zeros((2, 4, 4), dtype=complex), "type complex128 and the shape"),
        (np.array([[[1, 2], [3, 4]]] * 2, dtype=object), "np.stack"),
        (np.zeros((2, 4), dtype=[("r", "u1"), ("g", "u1")]), r"shape \(2, 4\)"),
        (np.zeros(8), r"\(N, height, width\)"),
        (np.zeros((2, 3, 4, 4, 3)), r"got an array of shape \(2, 3, 4, 4, 3\)"),
        (np.ma.masked_less(np.ones((2, 4, 4)), 2), "filled"),
    ],
)
def test_arrays_that_are_no_images_are_refused_with_advice(array: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_examples(array, [0, 1])


def test_tensors_are_channels_first() -> None:
    colours = torch.zeros(2, 3, 3, 3)
    colours[0, 0], colours[1, 2] = 1, 1  # red and blue; with three channels everywhere only convention tells
    for tensor in (colours, colours.bfloat16(), colours.requires_grad_()):
        pixels = decode(load_examples(tensor, torch.tensor([0, 1])), {"squash": 8}).pixels["squash"]
        assert pixels[:, 0, 0].tolist() == [[255, 0, 0], [0, 0, 255]]
    assert load_examples(torch.zeros(2, 9, 9), torch.tensor([0, 1])).targets == [0, 1]


@pytest.mark.parametrize(
    "targets",
    [["a", "b"], ("a", "b"), np.array(["a", "b"]), pd.Series(["a", "b"]), np.array([["a"], ["b"]], dtype=object)],
)
def test_targets_of_every_form(targets: Any) -> None:
    assert load_examples(np.zeros((2, 9, 9), dtype=np.uint8), targets).targets == ["a", "b"]


@pytest.mark.parametrize("targets", [{0, 1}, {"a": 0, "b": 1}])
def test_targets_in_no_order_are_refused(targets: Any) -> None:
    with pytest.raises(DataError, match="Targets are a sequence"):
        load_examples(np.zeros((2, 8, 8), dtype=np.uint8), targets)


def test_targets_must_fit() -> None:
    array = np.zeros((3, 9, 9), dtype=np.uint8)
    with pytest.raises(DataError, match="3 examples but 2 targets"):
        load_examples(array, [0, 1])
    with pytest.raises(DataError, match="no targets"):
        load_examples(array)
    with pytest.raises(DataError, match="got str"):
        load_examples(array, "abc")


# Lists


def test_lists_may_mix_paths_images_and_arrays(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", 5)
    items = [str(path), Image.new("L", (9, 9)), np.zeros((9, 9)), np.ones((9, 9, 3)), torch.zeros(3, 9, 9)]
    examples = load_examples(items, list("ababa"))
    assert examples.names == (str(path), "item 1", "item 2", "item 3", "item 4")
    assert decode(examples, {"center": 9}).pixels["center"][3].min() == 255


def test_listed_files_that_are_missing_are_left_out(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png")
    examples = load_examples([path, tmp_path / "b.png", tmp_path, "x" * 5000 + ".png", "a\0b.png"], [0, 1, 1, 1, 1])
    assert (examples.names, examples.targets) == ((str(path),), [0])
    assert [s.reason for s in examples.skipped] == ["not found", "no file (folder)", "not found", "not found"]
    with pytest.raises(DataNotFoundError, match=r"None of the 2 files.*b\.png"):
        load_examples([tmp_path / "b.png", tmp_path / "c.png"], [0, 1])


def test_repeats_and_contradictions_in_lists(tmp_path: Path) -> None:
    a, b, c = (save(tmp_path / f"{n}.png") for n in "abc")
    roundabout = tmp_path / ".." / tmp_path.name / "a.png"
    examples = load_examples([a, a, roundabout, b, b, c], ["x", "x", "x", "x", "y", "y"])
    assert examples.targets == ["x", "y"]
    assert [s.reason for s in examples.skipped] == ["duplicate row"] * 2 + ["listed under two labels: x, y"] * 2
    # Two measurements of one image do not contradict each other.
    assert len(load_examples([a, a, b], [0.5, 0.7, 0.1])) == 3
    ratings = load_examples([a, a, b], [5, 7, 1], reader=TargetReader(kind="regression"))
    assert len(ratings) == 3, "whole numbers or not"


@pytest.mark.parametrize("data", [3, None, {"a": 1}, (x for x in "ab"), [{"image": 1}], [b"x"], object(), []])
def test_anything_else_is_refused(data: Any) -> None:
    with pytest.raises(DataError):
        load_examples(data, [0])


# Tables


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    for name in "abc":
        save(tmp_path / "img" / f"{name}.png", ord(name))
    return tmp_path / "table.csv"


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", errors="surrogateescape")
    return path


def test_csv_finds_its_columns_and_paths_in_its_own_folder(listed: Path) -> None:
    write(
        listed,
        "id,note,Label,file",
        "1,n.png,x,img/a.png",
        "2,m.png,y,img/b.png",
        "",
        f"3,,x,{listed.parent}/img/c.png",
    )
    examples = load_examples(listed)
    assert examples.targets == ["x", "y", "x"]
    assert len(decode(examples, {"center": 8}, strict=True)) == 3


@pytest.mark.parametrize(("name", "separator"), [("t.csv", ","), ("t.csv", ";"), ("t.csv", "\t"), ("t.tsv", "\t")])
def test_separators_byte_order_mark_and_quotes(listed: Path, name: str, separator: str) -> None:
    rows = [["\ufeffpath", "kind"], ["img/a.png", '"x, y; z"'], ["img/b.png", "w|v"]]
    path = write(listed.parent / name, *(separator.join(row) for row in rows))
    assert load_examples(path).targets == ["x, y; z", "w|v"]  # a '|' is part of the label


@pytest.mark.parametrize(
    ("values", "targets"),
    [
        (["007", "7", "1"], ["007", "7", "1"]),
        (["0", "10", "-2"], [0, 10, -2]),
        (["0.5", "1e3", "2"], [0.5, 1000.0, 2.0]),
        (["1e3", "2e3", "1e3"], ["1e3", "2e3", "1e3"]),
        (["1.0", "2.0", "1.0"], ["1.0", "2.0", "1.0"]),
        (["1", "2", "x"], ["1", "2", "x"]),
        (["1", "2", "nan"], [1, 2]),
        (["1", "2", "3" * 5000], ["1", "2", "3" * 5000]),
    ],
)
def test_labels_are_text_unless_the_whole_column_is_numbers(
    listed: Path, values: list[str], targets: list[Any]
) -> None:
    write(listed, "path,y", *(f"img/{n}.png,{v}" for n, v in zip("abc", values, strict=True)))
    assert load_examples(listed).targets == targets
    assert [type(t) for t in load_examples(listed).targets] == [type(t) for t in targets]


def test_several_target_columns_give_rows_of_numbers(listed: Path) -> None:
    write(listed, "path,u,v,w", "img/a.png,1,0,x", "img/b.png,0,1,x", "img/c.png,,1,x")
    for columns in ("u,v", "u, v", ["u", "v"], ("u", "v")):
        examples = load_examples(listed, target_column=columns)
        assert examples.targets == [[1, 0], [0, 1]]
        assert examples.skipped[0].reason == "no target"
    with pytest.raises(DataError, match=r"'w'.*holds 'x'"):
        load_examples(listed, target_column="u,w")
    write(listed, "path,u,v", "img/a.png,1,0.5", "img/b.png,0,1")
    assert str(load_examples(listed, target_column="u,v").targets) == "[[1.0, 0.5], [0.0, 1.0]]"


def test_rows_that_cannot_be_used_are_left_out(listed: Path) -> None:
    write(
        listed, "path,label", "img/a.png,x", "img/a.png,x", "img/b.png,x", "img/b.png,y", "img/c.png,y", "img/d.png,y",
        "img/c.png", ",y", "img/c.png,",
    )  # fmt: skip
    examples = load_examples(listed)
    assert examples.targets == ["x", "y"]
    assert sorted(s.reason for s in examples.skipped) == sorted(
        ["duplicate row", "not found", "1 fields; the header has 2", "no path", "no target"]
        + ["listed under two labels: x, y"] * 2
    )


def test_tables_without_usable_files(listed: Path) -> None:
    write(listed, "path,label", "gone/a.png,x", "gone/b.png,y")
    with pytest.raises(DataNotFoundError, match=r"None of the 2 files.*a\.png"):
        load_examples(listed)
    write(listed, "path,label", "img/a.png,x", "img/a.png,y")
    with pytest.raises(DataError, match=r"No example is left.*two labels"):
        load_examples(listed)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["img/a.png,x", "img/b.png,y"], "header row"),
        (["path,label"], "at least one row"),
        ([], "0 rows"),
        (["path,path", "img/a.png,x"], "same name"),
        (["name,label", "a,x", "b,y"], "looks like paths"),
        (["path,kind,colour", "img/a.png,x,y"], "target_column"),
    ],
)
def test_tables_that_cannot_be_understood(listed: Path, lines: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_examples(write(listed, *lines))


def test_a_binary_file_is_no_table(listed: Path) -> None:
    listed.write_bytes(os.urandom(2000) + b"\0\n\r\n")
    with pytest.raises(DataError):
        load_examples(listed)


def test_unknown_columns_are_named_with_a_suggestion(listed: Path) -> None:
    write(listed, "path,label", "img/a.png,x")
    with pytest.raises(UnknownNameError, match="Did you mean label"):
        load_examples(listed, target_column="lable")
    with pytest.raises(UnknownNameError, match="Did you mean path"):
        load_examples(listed, path_column="pathh")


def test_names_that_are_not_utf8_survive_a_csv(listed: Path) -> None:
    name = os.fsdecode(b"img/latin\xe9.png")
    try:
        save(listed.parent / name)
    except OSError:
        pytest.skip("this file system refuses the name")
    write(listed, "path,label", f"{name},x", "img/a.png,y")
    examples = load_examples(listed)
    assert len(decode(examples, {"center": 8}, strict=True)) == 2
    "".join(examples.names).encode("utf-8")


def test_frames_keep_their_types(listed: Path) -> None:
    paths = [str(listed.parent / f"img/{n}.png") for n in "abc"]
    frame = pd.DataFrame(
        {"file": paths, "label": ["01", "1", "x"], "n": [1, 2, 3], "f": [0.5, None, 1.5]}, index=[7, 7, 9]
    )
    assert load_examples(frame).targets == ["01", "1", "x"]
    assert load_examples(frame, target_column="n").targets == [1, 2, 3]
    examples = load_examples(frame, target_column="f")
    assert examples.targets == [0.5, 1.5]
    assert [(s.name, s.reason) for s in examples.skipped] == [("row 1", "no target")]
    assert load_examples(frame.astype({"label": "category"})).targets == ["01", "1", "x"]
    with pytest.raises(DataError, match="0 rows"):
        load_examples(frame[:0])


def test_what_belongs_to_tables_is_refused_elsewhere(pets: Path, listed: Path) -> None:
    write(listed, "path,label", "img/a.png,x")
    with pytest.raises(DataError, match="for tables"):
        load_examples(pets, target_column="label")
    with pytest.raises(DataError, match="leave targets out"):
        load_examples(pets, ["x"])
    with pytest.raises(DataError, match="leave targets out"):
        load_examples(listed, ["x"])


# Data sets


class Squares(Dataset):
    """Counts how often each image is asked for."""

    def __init__(self, kind: str, count: int = 40, **attributes: Any) -> None:
        self.kind, self.count, self.asked = kind, count, []
        vars(self).update(attributes)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> tuple[Any, Any]:
        self.asked.append(i)
        array = np.full((10, 12, 3), i, dtype=np.uint8)
        image = {"pil": Image.fromarray(array), "array": array, "tensor": torch.from_numpy(array).permute(2, 0, 1)}
        return image[self.kind], torch.tensor(i % 2)


@pytest.mark.parametrize("kind", ["pil", "array", "tensor"])
@pytest.mark.parametrize("lazy", [True, False])
def test_data_sets_are_asked_once_for_each_image(kind: str, lazy: bool) -> None:
    labels = [i % 2 for i in range(40)]
    data = Squares(kind, targets=torch.tensor(labels)) if lazy else Squares(kind)
    examples = load_examples(data)
    assert examples.targets == labels
    assert len(data.asked) == (1 if lazy else 40)  # the first tells what kind of examples they are
    images = decode(examples, {"center": 224})
    assert sorted(data.asked) == list(range(40))
    assert images.pixels["center"][:, 0, 0, 0].tolist() == list(range(40))
    assert images.side == 10  # small images of a data set are not blown up either


def test_misfit_or_transformed_targets_are_not_trusted() -> None:
    assert load_examples(Squares("array", targets=[9])).targets[:3] == [0, 1, 0]
    assert load_examples(Squares("array", targets=[9] * 40, target_transform=str)).targets[:3] == [0, 1, 0]
    assert load_examples(Squares("array"), ["a", "b"] * 20).targets[:3] == ["a", "b", "a"]


def test_a_sample_that_fails_is_left_out() -> None:
    class Failing(Squares):
        def __getitem__(self, i: int) -> tuple[Any, Any]:
            if i == 3:
                raise RuntimeError("lost")
            return super().__getitem__(i)

    images = decode(load_examples(Failing("pil", targets=[0, 1] * 20)), {"center": 8})
    assert [(s.name, s.reason) for s in images.skipped] == [("item 3", "RuntimeError: lost")]


def test_tensor_data_sets_and_their_subsets() -> None:
    data = TensorDataset(torch.rand(6, 3, 9, 9), torch.arange(6) % 2)
    assert load_examples(data).targets == [0, 1] * 3
    assert load_examples(torch.utils.data.Subset(data, [1, 3])).targets == [1, 1]


def test_data_sets_that_cannot_be_indexed_are_refused() -> None:
    class Stream(IterableDataset):
        def __iter__(self) -> Any:
            return iter([])

    with pytest.raises(DataError, match="map-style"):
        load_examples(Stream())
    with pytest.raises(DataError, match="empty"):
        load_examples(Squares("pil", count=0))
    with pytest.raises(DataError, match=r"\(example, label\)"):
        load_examples(TensorDataset(torch.rand(3, 3, 9, 9)))


# Images to predict on


def test_find_images_takes_files_folders_and_images(pets: Path, tmp_path: Path) -> None:
    single = save(tmp_path / "one.png")
    save(pets / "stray.png")
    assert [Path(n).name for n in find_examples(pets).names] == ["x.jpg", "y.png", "a.PNG", "b.png", "stray.png"]
    assert len(find_examples([single, str(pets), np.zeros((9, 9)), Image.new("L", (9, 9))])) == 8
    for one in (single, str(single), Image.new("L", (9, 9)), np.zeros((9, 9, 3)), torch.zeros(3, 9, 9)):
        examples = find_examples(one)
        assert len(examples) == 1
        assert examples.targets is None
    assert len(find_examples(np.zeros((5, 9, 9)))) == 5


@pytest.mark.parametrize(
    ("data", "count"),
    [
        (np.zeros((64, 64, 1), np.uint8), 1),
        (np.zeros((64, 64, 3), np.uint8), 1),
        (np.zeros((5, 64, 64), np.uint8), 5),
        (np.zeros((1, 64, 64), np.uint8), 1),
        (np.zeros((3, 64, 64, 1), np.uint8), 3),
        (np.zeros((1, 3, 64, 64), np.uint8), 1),
        (torch.zeros(3, 64, 64), 1),
        (torch.zeros(64, 64, 3), 1),
        (torch.zeros(5, 64, 64), 5),
        (torch.zeros(5, 3, 64, 64), 5),
    ],
)
def test_find_images_tells_one_array_from_several(data: Any, count: int) -> None:
    assert len(find_examples(data)) == count


@pytest.mark.parametrize("channels", [3, 4])
def test_ambiguous_array_is_refused_with_clear_shapes(channels: int) -> None:
    array = np.zeros((channels, 64, 64), np.uint8)
    with pytest.raises(DataError) as caught:
        find_examples(array)
    assert f"the shape ({channels}, 64, 64) could be {channels} grey images or one image" in str(caught.value)
    assert f"({channels}, 64, 64, 1) for the one" in str(caught.value)
    assert f"(1, {channels}, 64, 64) for the other" in str(caught.value)
    assert (len(find_examples(array[..., None])), len(find_examples(array[None]))) == (channels, 1)


def test_find_images_reads_every_form_that_fit_reads(pets: Path) -> None:
    paths = [str(pets / name) for name in ("dog/b.png", "cat/y.png", "dog/b.png")]
    table = pets.parent / "t.csv"
    table.write_text("\n".join(["file", *paths]))
    for data in (paths, tuple(paths), np.array(paths), pd.Series(paths), pd.DataFrame({"f": paths}), table, [table]):
        assert find_examples(data).names == tuple(paths), "in their order, also where one comes twice"
    for lazy in (Squares("pil", 4), Squares("array", 4, targets=[0] * 4)):
        examples = find_examples(lazy)
        assert (len(examples), examples.targets, lazy.asked) == (4, None, [0])
        assert decode(examples, {"center": 8}).pixels["center"][:, 0, 0, 0].tolist() == [0, 85, 170, 255]
    with pytest.raises(DataError, match="empty"):
        find_examples(Squares("pil", 0))


@pytest.mark.parametrize("read", [find_examples, lambda data: load_examples(data, [0])])
def test_iterators_are_refused_with_what_to_give(read: Any) -> None:
    loader = torch.utils.data.DataLoader(Squares("tensor", 4))
    with pytest.raises(DataError, match=r"got .*DataLoader\. Give the data set of the loader, loader\.dataset"):
        read(loader)
    for stream in ((path for path in ["a.png"]), iter(["a.png"]), range(0).__iter__()):
        with pytest.raises(DataError, match=r"Make a list of it first"):
            read(stream)
    with pytest.raises(
        DataError, match=r"sample 0 is dict\. Give lists of its columns, which are \['image', 'label'\]"
    ):
        load_examples(_Records())


class _Records(Dataset):
    """A data set of dictionaries, as the ``datasets`` package has them."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, i: int) -> dict[str, Any]:
        return {"image": Image.new("L", (9, 9)), "label": i}


def test_a_folder_to_predict_on_names_what_is_no_image(pets: Path) -> None:
    save(pets / "cat" / "plain").rename(pets / "cat" / "picture")
    (pets / "cat" / "broken").write_bytes(b"123")
    examples = find_examples(pets)
    assert "picture" in {Path(name).name for name in examples.names}
    assert reasons(examples.skipped) == {"broken": "no image that can be read"}


def test_find_images_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match=r"gone\.png"):
        find_examples([tmp_path / "gone.png"])
    for impossible in ("x" * 5000, "a\0b"):
        with pytest.raises(DataNotFoundError):
            find_examples(impossible)
        with pytest.raises(DataNotFoundError):
            load_examples(impossible)
    with pytest.raises(DataError, match="no examples"):
        find_examples(tmp_path)
    with pytest.raises(DataError, match="Item 0 is dict"):
        find_examples([{}])


@pytest.mark.shared
def test_real_photographs(ants_bees: Path) -> None:
    examples = load_examples(ants_bees / "train")
    assert (len(examples), set(examples.targets)) == (244, {"ants", "bees"})
    assert not examples.skipped


# --- groups --------------------------------------------------------------------------------------------------------


def test_groups_of_a_list_stay_with_their_images(tmp_path: Path) -> None:
    # A file that is missing takes its group with it.
    paths = [save(tmp_path / "a.png"), tmp_path / "gone.png", save(tmp_path / "b.png"), save(tmp_path / "c.png")]
    examples = load_examples(paths, [0, 1, 0, 1], groups=["x", "y", "z", "x"])
    assert examples.groups == ("x", "z", "x")


@pytest.mark.parametrize("groups", [[1, 2, 1], np.array([1, 2, 1]), pd.Series([1, 2, 1]), torch.tensor([1, 2, 1])])
def test_groups_of_every_form(groups: Any) -> None:
    images = np.zeros((3, 8, 8), dtype=np.uint8)
    assert load_examples(images, [0, 1, 0], groups=groups).groups == (1, 2, 1)


def test_a_column_of_groups_is_not_taken_for_the_target(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        save(tmp_path / f"{name}.png")
    table = write(tmp_path / "table.csv", "file,patient,finding", "a.png,7,yes", "b.png,8,no", "c.png,,yes")
    examples = load_examples(table, groups="patient")
    assert examples.targets == ["yes", "no", "yes"]
    assert examples.groups == ("7", "8", None), "without a patient it is alone"


def test_a_regular_expression_finds_the_group_in_a_path(pets: Path) -> None:
    save(pets / "cat" / "tom_1.png")
    save(pets / "cat" / "tom_2.png")
    save(pets / "dog" / "rex_1.png")
    examples = load_examples(pets, groups=r"(\w+)_\d\.png$")
    assert examples.groups is not None
    named = {Path(name).name: group for name, group in zip(examples.names, examples.groups, strict=True)}
    assert [named[name] for name in ("tom_1.png", "tom_2.png", "rex_1.png")] == [("tom",), ("tom",), ("rex",)]
    assert None in examples.groups, "the others are alone"


def test_a_regular_expression_without_groups_of_its_own_is_one() -> None:
    examples = load_examples(np.zeros((3, 8, 8), dtype=np.uint8), [0, 1, 0], groups="[[01]$")
    assert examples.groups == ("0", "1", None)


@pytest.mark.slow
def test_a_regular_expression_that_never_ends_is_refused(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Each further letter doubles the time: this name alone would take years.
    save(pets / "cat" / f"{'a' * 60}!.png")
    monkeypatch.setattr("autotransfer.data.groups._TIMEOUT", 1.0)
    with pytest.raises(DataError, match=r"take more than 1 seconds on 5 paths: avoid repeats within repeats"):
        load_examples(pets, groups=r"(a+)+\.png")


def test_examples_whose_group_is_nan_are_alone() -> None:
    images = np.zeros((3, 8, 8), dtype=np.uint8)
    nan = float("nan")  # one object, which equals itself as a key
    assert load_examples(images, [0, 1, 0], groups=[nan, nan, 2.0]).groups == (None, None, 2.0)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([1, 2], "There are 3 examples but 2 groups"),
        (5, "one for each example; got int"),
        ([[1], [2], [3]], r"A group is a text or a number; got \[1\]"),
        ([{1}, {2}, {3}], r"A group is a text or a number; got \{1\}"),
        ([([1],), 2, 3], r"A group is a text or a number; got \(\[1\],\)"),
        ({1, 2, 3}, "one for each example; got set"),  # in no order
        ({1: 1, 2: 2, 3: 3}, "one for each example; got dict"),  # its keys would be taken
        ("x{99999999999999999999}", "no regular expression"),
        ("(" * 10_000, "no regular expression"),
        ("nothing like it", "match none of 3 paths; the first is 'item 0'"),
        ("(", "no regular expression"),
    ],
)
def test_groups_that_fit_nothing_are_refused(groups: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_examples(np.zeros((3, 8, 8), dtype=np.uint8), [0, 1, 0], groups=groups)
