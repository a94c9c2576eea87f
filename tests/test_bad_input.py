"""What a user can get wrong: the right error says what was wrong, what was given and what to do, before training."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures.fitting import fit_with

import autotransfer
from autotransfer.errors import (
    BackboneError,
    ConfigError,
    DataError,
    DataNotFoundError,
    RunExistsError,
    SearchError,
    UnknownNameError,
    UnreadableExampleError,
    WeightsUnavailableError,
)
from autotransfer.evaluation.evaluator import Evaluator
from autotransfer.settings import Compute, RunOptions

Refuse = Callable[..., str]


@pytest.fixture
def refuse(tiny_zoo: Path, digit_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Refuse:
    """Expect ``fit`` to raise exactly this, before anything is trained or written; return the message."""

    def no_training(*arguments: Any) -> Any:
        raise AssertionError("it was trained")

    monkeypatch.setattr(Evaluator, "__call__", no_training)
    monkeypatch.chdir(tmp_path)

    def refuse(error: type[Exception], built_in: type[Exception], *arguments: Any, **settings: Any) -> str:
        settings = {"zoo": tiny_zoo, "trials": 1, "out": tmp_path / "run", "progress": False, **settings}
        before = {path: path.read_bytes() for path in settings_files(settings["out"])}
        with pytest.raises(error) as caught:
            fit_with(*(arguments or (digit_folder / "train",)), cache_dir=tmp_path / "cache", **settings)
        assert type(caught.value) is error
        assert isinstance(caught.value, built_in)
        assert isinstance(caught.value, autotransfer.AutoTransferError)
        assert {path: path.read_bytes() for path in settings_files(settings["out"])} == before
        assert not (tmp_path / "runs").exists()
        return str(caught.value)

    def settings_files(out: Any) -> list[Path]:
        return sorted(path for path in Path(out).rglob("*") if path.is_file()) if out else []

    return refuse


@pytest.fixture
def images(digits: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, list[int]]:
    return digits[0][:30], digits[1][:30].tolist()


# --- data ----------------------------------------------------------------------------------------------------------


def test_a_missing_folder(refuse: Refuse, tmp_path: Path) -> None:
    message = refuse(DataNotFoundError, FileNotFoundError, tmp_path / "nowhere")
    assert "There is no file or folder" in message
    assert "nowhere" in message


@pytest.mark.slow
def test_an_empty_folder(refuse: Refuse, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    message = refuse(DataError, ValueError, tmp_path / "empty")
    assert "No class with examples" in message
    assert "FOLDER/cat" in message  # what it should look like


def test_images_directly_in_the_folder(refuse: Refuse, digit_folder: Path) -> None:
    assert "belongs to no class" in refuse(DataError, ValueError, digit_folder / "train" / "zero")


def test_a_folder_of_splits_without_one_to_train_on(refuse: Refuse, digit_folder: Path, tmp_path: Path) -> None:
    for part in ("test", "val"):
        shutil.copytree(digit_folder / "test", tmp_path / "parts" / part)
    message = refuse(DataError, ValueError, tmp_path / "parts")
    assert "splits, not classes (test, val), and none is there to train on" in message


def test_a_file_that_is_no_table(refuse: Refuse, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    assert "neither a folder nor a CSV, TSV or JSON lines file" in refuse(DataError, ValueError, tmp_path / "notes.txt")


def test_one_class_only(refuse: Refuse, digit_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(digit_folder / "train" / "zero", tmp_path / "one" / "zero")
    message = refuse(DataError, ValueError, tmp_path / "one")
    assert "Only one class is there ('zero')" in message
    assert "at least two" in message


def test_a_class_with_a_single_image(refuse: Refuse, digit_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(digit_folder / "train", tmp_path / "few")
    for path in sorted((folder / "one").iterdir())[1:]:
        path.unlink()
    message = refuse(DataError, ValueError, folder)
    assert "Class 'one' has fewer than two examples" in message
    assert "Add examples, or leave the class out" in message


def test_copies_of_a_single_image_are_no_class(refuse: Refuse, digit_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(digit_folder / "train", tmp_path / "copies")
    first, *others = sorted((folder / "one").iterdir())
    for path in others:
        shutil.copy(first, path)
    assert "copies and groups count once" in refuse(DataError, ValueError, folder)


def test_a_class_whose_images_cannot_be_read(refuse: Refuse, digit_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(digit_folder / "train", tmp_path / "broken")
    for path in sorted((folder / "one").iterdir())[1:]:
        path.write_bytes(b"no image")
    assert "'one'" in refuse(DataError, ValueError, folder)


def test_images_none_of_which_can_be_read(refuse: Refuse, tmp_path: Path) -> None:
    for name in ("a/1.png", "a/2.png", "b/1.png", "b/2.png"):
        (tmp_path / "junk" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "junk" / name).write_bytes(b"no image")
    message = refuse(DataError, ValueError, tmp_path / "junk")
    assert "None of the 4 images can be decoded" in message
    assert "1.png: no image" in message


@pytest.mark.slow
def test_one_unreadable_image_where_that_is_not_allowed(refuse: Refuse, digit_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(digit_folder / "train", tmp_path / "strict")
    (folder / "one" / "bad.png").write_bytes(b"no image")
    assert "bad.png" in refuse(UnreadableExampleError, OSError, folder, strict=True)


def test_one_unreadable_test_image_where_that_is_not_allowed(
    refuse: Refuse, digit_folder: Path, tmp_path: Path
) -> None:
    test = shutil.copytree(digit_folder / "test", tmp_path / "strict_test")
    (test / "one" / "bad.png").write_bytes(b"no image")
    assert "bad.png" in refuse(UnreadableExampleError, OSError, digit_folder / "train", test=test, strict=True)


def test_more_images_than_labels(refuse: Refuse, images: tuple[np.ndarray, list[int]]) -> None:
    message = refuse(DataError, ValueError, images[0], images[1][:-1])
    assert "30 examples but 29 targets: give one for each" in message


def test_images_without_labels(refuse: Refuse, images: tuple[np.ndarray, list[int]]) -> None:
    assert "30 examples have no targets: give one for each" in refuse(DataError, ValueError, images[0])


def test_labels_beside_a_folder(refuse: Refuse, digit_folder: Path) -> None:
    assert "leave targets out" in refuse(DataError, ValueError, digit_folder / "train", [0] * 90)


@pytest.mark.parametrize("missing", [float("nan"), None, float("inf")])
def test_missing_targets(refuse: Refuse, images: tuple[np.ndarray, list[int]], missing: Any) -> None:
    targets = [float(label) + 0.5 for label in images[1]]
    targets[4] = missing
    message = refuse(DataError, ValueError, images[0], targets)
    assert "1 of 30 targets are missing or not finite (first at position 4)" in message


@pytest.mark.slow
def test_a_single_example(refuse: Refuse, images: tuple[np.ndarray, list[int]]) -> None:
    assert "two" in refuse(DataError, ValueError, images[0][:1], [0])
    assert "too few" in refuse(DataError, ValueError, images[0][:2], [0.5, 1.5])


def test_no_example(refuse: Refuse) -> None:
    refuse(DataError, ValueError, [], [])


@pytest.mark.slow
def test_data_of_no_known_form(refuse: Refuse) -> None:
    message = refuse(DataError, ValueError, {"images": []})
    assert "a folder with one sub-folder per class" in message  # what would do
    assert "dict" in message


def test_a_table_without_such_a_column(refuse: Refuse, tmp_path: Path, digit_folder: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("file,digit\n" + "".join(f"{p},{p.parent.name}\n" for p in digit_folder.glob("train/*/*.png")))
    message = refuse(UnknownNameError, LookupError, table, target_column="digits")
    assert "'digits'" in message
    assert "digit" in message


def test_test_labels_that_training_never_saw(refuse: Refuse, images: tuple[np.ndarray, list[int]]) -> None:
    message = refuse(DataError, ValueError, *images, test=images[0][:2], test_targets=[0, 7])
    assert "Unknown label 7; the classes are [0, 1, 2]" in message


def test_test_images_without_labels(refuse: Refuse, images: tuple[np.ndarray, list[int]]) -> None:
    assert "no targets" in refuse(DataError, ValueError, *images, test=images[0][:2])


def test_a_missing_test_folder(refuse: Refuse, digit_folder: Path, tmp_path: Path) -> None:
    refuse(DataNotFoundError, FileNotFoundError, digit_folder / "train", test=tmp_path / "nowhere")


def test_labels_that_are_no_numbers_for_a_regression(refuse: Refuse, digit_folder: Path) -> None:
    message = refuse(DataError, ValueError, digit_folder / "train", task="regression")
    assert "A regression needs numbers as targets; got 'one'" in message


@pytest.fixture
def undecoded(refuse: Refuse, monkeypatch: pytest.MonkeyPatch) -> Refuse:
    """Expect ``fit`` to refuse before any image is decoded."""

    def no_decoding(*arguments: Any, **settings: Any) -> Any:
        raise AssertionError("images were decoded")

    monkeypatch.setattr("autotransfer_plugins.modalities.image.modality.ImageModality.load", no_decoding)
    return refuse


@pytest.fixture
def few(digit_folder: Path, tmp_path: Path) -> Path:
    """A folder of three classes of which one has a single image."""
    folder = shutil.copytree(digit_folder / "train", tmp_path / "few")
    for path in sorted((folder / "one").iterdir())[1:]:
        path.unlink()
    return folder


def test_a_single_image_of_a_class_is_refused_at_once(undecoded: Refuse, few: Path) -> None:
    message = undecoded(DataError, ValueError, few)
    assert "Class 'one' has fewer than two examples" in message
    assert "--min-examples 2 (min_examples=2)" in message


def test_a_class_within_one_group_is_refused_at_once(undecoded: Refuse, images: tuple[np.ndarray, list[int]]) -> None:
    message = undecoded(
        DataError, ValueError, *images, groups=["a" if label == 1 else i for i, label in enumerate(images[1])]
    )
    assert "Class 1 has fewer than two examples" in message
    assert "groups count once" in message


def test_an_unknown_test_label_is_refused_at_once(undecoded: Refuse, digit_folder: Path, tmp_path: Path) -> None:
    test = shutil.copytree(digit_folder / "test", tmp_path / "strange")
    (test / "one").rename(test / "seven")
    assert "Unknown label 'seven'" in undecoded(DataError, ValueError, digit_folder / "train", test=test)


def test_class_in_validation_examples_alone_is_refused(undecoded: Refuse, digit_folder: Path, tmp_path: Path) -> None:
    held_out = shutil.copytree(digit_folder / "test", tmp_path / "strange")
    (held_out / "one").rename(held_out / "seven")
    message = undecoded(DataError, ValueError, digit_folder / "train", validation=held_out)
    assert "no examples to train on of 'seven'" in message


@pytest.mark.slow
@pytest.mark.parametrize("argument", ["test", "validation"])
def test_unlabelled_validation_or_test_examples_are_refused(
    undecoded: Refuse, images: tuple[np.ndarray, list[int]], argument: str
) -> None:
    message = undecoded(DataError, ValueError, *images, **{argument: images[0]})
    assert f"The 30 examples have no targets: give one for each in {argument}_targets." in message


def test_a_folder_that_cannot_be_written_is_refused_at_once(undecoded: Refuse, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("taken")
    assert "cannot be written" in undecoded(ConfigError, ValueError, out=tmp_path / "file" / "runs" / "one")


def test_min_examples_for_values(undecoded: Refuse, images: tuple[np.ndarray, list[int]]) -> None:
    targets = [label + 0.5 for label in images[1]]
    assert "no classes" in undecoded(ConfigError, ValueError, images[0], targets, min_examples=2)
    assert "at least 1; got 0" in undecoded(ConfigError, ValueError, *images, min_examples=0)


def test_a_root_for_a_folder(undecoded: Refuse, digit_folder: Path) -> None:
    message = undecoded(DataError, ValueError, digit_folder / "train", root=digit_folder)
    assert "for tables and lists of paths" in message


# --- names ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "given", "kind", "close"),
    [
        ("heads", "linaer", "head", "linear"),
        ("heads", ["ridge", "lin*x"], "head", "linear"),
        ("freeze", "frozn", "freeze policy", "frozen"),
        ("freeze", "q*", "freeze policy", "frozen"),  # nothing is close: what there is, is listed
        ("backbones", "test_resnt", "backbone", "test_resnet"),
        ("backbones", "tset_*", "backbone", "test_"),
        ("metric", "acuracy", "metric", "accuracy"),
        ("task", "multi-class", "kind of task", "multiclass"),
    ],
)
def test_a_name_that_nothing_has(refuse: Refuse, setting: str, given: Any, kind: str, close: str) -> None:
    message = refuse(UnknownNameError, LookupError, **{setting: given})
    assert message.startswith(f"No {kind} matches {given if isinstance(given, str) else given[-1]!r}.")
    assert close in message


@pytest.mark.slow
def test_a_head_that_does_not_do_the_task(refuse: Refuse, images: tuple[np.ndarray, list[int]]) -> None:
    targets = [label + 0.5 for label in images[1]]
    assert "head for a regression task" in refuse(UnknownNameError, ValueError, images[0], targets, heads="ncm")


def test_a_metric_for_other_tasks(refuse: Refuse) -> None:
    assert "'r2' does not suit a multiclass task: it scores values" in refuse(ConfigError, ValueError, metric="r2")


def test_a_metric_of_classes_for_values(refuse: Refuse, images: tuple[np.ndarray, list[int]]) -> None:
    # Whole numbers could be taken for classes, and every trial would fail.
    message = refuse(ConfigError, ValueError, *images, task="regression", metric="accuracy")
    assert "'accuracy' does not suit a regression task: it scores classes" in message


def test_heads_and_policies_that_do_not_go_together(refuse: Refuse) -> None:
    message = refuse(ConfigError, ValueError, heads="ridge", freeze="full")
    assert "closed form" in message
    assert "'full'" in message


def test_a_binary_task_with_three_classes(refuse: Refuse) -> None:
    assert "two classes; the targets hold 3" in refuse(DataError, ValueError, task="binary")


# --- settings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"time_budget": "soon"}, ("'soon'", "'5m'")),
        ({"time_budget": "5x"}, ("'5x'",)),
        ({"time_budget": 0}, ("positive", "0")),
        ({"time_budget": -3.0}, ("positive", "-3")),
        ({"time_budget": float("nan")}, ("positive", "nan")),
        ({"time_budget": ""}, ("''",)),
        ({"trials": -1}, ("at least 1", "-1")),
        ({"trials": 0}, ("at least 1", "0")),
        ({"validation": 1.5}, ("between 0 and 1", "1.5")),
        ({"epochs": 0}, ("at least 1", "0")),
        ({"seed": -1}, ("seed", "-1")),
        ({"device": "gpu"}, ("'cuda'", "'gpu'")),
        ({"class_weight": "heavy"}, ("'balanced'", "'heavy'")),
    ],
)
def test_a_setting_out_of_bounds(refuse: Refuse, settings: dict[str, Any], words: tuple[str, ...]) -> None:
    message = refuse(ConfigError, ValueError, **settings)
    for word in words:
        assert word in message


def test_validation_examples_that_are_not_there(refuse: Refuse) -> None:
    assert "no file or folder 'nowhere'" in refuse(DataNotFoundError, FileNotFoundError, validation="nowhere")


def test_validation_targets_of_a_share(refuse: Refuse) -> None:
    assert "0.25, a share" in refuse(ConfigError, ValueError, validation_targets=[1, 2])


def test_groups_where_the_split_is_given(refuse: Refuse, images: tuple[np.ndarray, list[int]]) -> None:
    held_out = {"validation": images[0], "validation_targets": images[1]}
    message = refuse(ConfigError, ValueError, *images, groups=images[1], **held_out)
    assert "leave one of them out" in message


def test_a_class_that_only_the_validation_examples_have(refuse: Refuse, images: tuple[np.ndarray, list[int]]) -> None:
    others = {"validation": 255 - images[0][:4], "validation_targets": [*images[1][:3], 77]}
    assert "no examples to train on of 77, which only the validation" in refuse(
        DataError, ValueError, *images, **others
    )


def test_a_class_weight_for_what_is_no_class(refuse: Refuse) -> None:
    message = refuse(ConfigError, ValueError, class_weight={"three": 2.0})
    assert "'three', which is no class; the classes are ['one', 'two', 'zero']" in message


@pytest.mark.slow
def test_class_weights_for_a_regression(refuse: Refuse, images: tuple[np.ndarray, list[int]]) -> None:
    assert "no classes" in refuse(ConfigError, ValueError, *images, task="regression", class_weight="balanced")


@pytest.mark.parametrize(
    "settings",
    [
        {"time_budget": [5]},
        {"trials": "many"},
        {"trials": 2.5},
        {"epochs": "all"},
        {"seed": None},
    ],
)
def test_a_setting_of_another_type(refuse: Refuse, settings: dict[str, Any]) -> None:
    message = refuse(ConfigError, ValueError, **settings)
    assert repr(next(iter(settings.values()))) in message


def test_a_missing_gpu(refuse: Refuse) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is one")
    assert "cuda" in refuse(ConfigError, ValueError, device="cuda")


# --- zoos ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def zoo(tiny_zoo: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_zoo, tmp_path / "my_zoo")


def test_a_missing_zoo(refuse: Refuse, tmp_path: Path) -> None:
    assert "There is no zoo folder" in refuse(DataNotFoundError, FileNotFoundError, zoo=tmp_path / "nowhere")


def test_a_zoo_without_checkpoints(refuse: Refuse, tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    assert "holds no checkpoint NAME/config.json" in refuse(ConfigError, ValueError, zoo=tmp_path / "bare")


@pytest.mark.slow
def test_a_zoo_with_a_broken_configuration(refuse: Refuse, zoo: Path) -> None:
    (zoo / "test_vit" / "config.json").write_text("{")
    message = refuse(BackboneError, RuntimeError, zoo=zoo)
    assert "test_vit" in message
    assert "is not JSON" in message


def test_a_zoo_with_an_unknown_architecture(refuse: Refuse, zoo: Path) -> None:
    (zoo / "test_vit" / "config.json").write_text(json.dumps({"architecture": "test_vitt"}))
    assert "test_vitt" in refuse(BackboneError, RuntimeError, zoo=zoo)


def test_a_zoo_with_truncated_weights(refuse: Refuse, zoo: Path) -> None:
    file = zoo / "test_resnet" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])
    message = refuse(BackboneError, RuntimeError, zoo=zoo)
    assert "test_resnet" in message
    assert "no valid safetensors file" in message


def test_a_zoo_with_a_pickle_runs_no_code(refuse: Refuse, zoo: Path, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "it_ran",)

    (zoo / "test_resnet" / "model.safetensors").unlink()
    (zoo / "test_resnet" / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))
    message = refuse(BackboneError, RuntimeError, zoo=zoo)
    assert "can run code and is never loaded" in message
    assert "safe_serialization=True" in message  # what to do
    assert not (tmp_path / "it_ran").exists()


@pytest.mark.usefixtures("refuse")
def test_broken_checkpoint_not_asked_for_is_ignored(zoo: Path, images: tuple[np.ndarray, list[int]]) -> None:
    (zoo / "test_vit" / "config.json").write_text("{")
    with pytest.raises(SearchError, match="it was trained"):  # which is as far as it gets here
        autotransfer.fit(
            *images,
            zoo=zoo,
            backbones="test_resnet",
            trials=1,
            compute=Compute(cache=False),
            run=RunOptions(progress=False),
        )


def test_no_backbone_without_a_zoo_or_a_network(
    refuse: Refuse, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    refuse(WeightsUnavailableError, OSError, zoo=None, backbones="resnet18.a1_in1k")


# --- the output folder ---------------------------------------------------------------------------------------------


def test_a_folder_that_holds_a_run(refuse: Refuse, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    message = refuse(RunExistsError, FileExistsError)
    assert "already holds a run" in message
    assert "--overwrite" in message


def test_a_folder_that_holds_something_else(refuse: Refuse, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("years of work")
    assert "is not empty and holds no run" in refuse(ConfigError, ValueError)
    assert "is not empty and holds no run" in refuse(ConfigError, ValueError, overwrite=True)


def test_an_output_that_is_a_file(refuse: Refuse, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    assert "is a file" in refuse(ConfigError, ValueError, out=tmp_path / "taken")


def test_a_mistake_does_not_cost_the_run_that_is_to_be_replaced(refuse: Refuse, tmp_path: Path) -> None:
    (tmp_path / "run" / "model").mkdir(parents=True)
    (tmp_path / "run" / "run.json").write_text("{}")
    (tmp_path / "run" / "model" / "model.safetensors").write_text("weights")
    refuse(UnknownNameError, LookupError, overwrite=True, heads="linaer")  # checks that no file changes
