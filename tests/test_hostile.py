"""Hostile and broken input: every case ends in a result or in one of our errors. The summary holds a table of them."""

from __future__ import annotations

import json
import os
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image
from safetensors.torch import load_file, save_file

import autotransfer
from autotransfer.candidate import Candidate
from autotransfer.contract.registry import Registry
from autotransfer.data.examples import Examples
from autotransfer.data.sources import find_examples, load_examples
from autotransfer.data.split import split_folds
from autotransfer.errors import AutoTransferError, BackboneError, DataError, ModelFormatError
from autotransfer.features.cache import ActivationCache, list_entries
from autotransfer.settings import Compute
from autotransfer.tasks.task import infer_task
from autotransfer_plugins.modalities.image.decode import decode
from autotransfer_plugins.modalities.image.modality import IMAGE

Attempt = Callable[[str, Callable[[], Any]], Any]

# The same cases in every run, and few enough for every commit; a file is written anew for each.
_SUPPRESSED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
fuzz = settings(derandomize=True, deadline=None, database=None, suppress_health_check=_SUPPRESSED)


def picture(width: int = 60, height: int = 40) -> Image.Image:
    rough = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return Image.fromarray(rough).resize((width, height), Image.Resampling.BICUBIC)


def stored(image: Image.Image, form: str, **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def png(width: int, height: int, data: bytes = b"\0", *extra: bytes) -> bytes:
    """A PNG that claims a size, whatever it holds."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = [chunk(b"IHDR", header), *(chunk(b"zTXt", text) for text in extra), chunk(b"IDAT", zlib.compress(data))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + chunk(b"IEND", b"")


def frames() -> bytes:
    return stored(picture(), "GIF", save_all=True, append_images=[picture(61), picture(62)])


# name -> (the bytes of a file called x.png, part of the reason why it is refused, or "" where it is an image)
IMAGES: dict[str, tuple[Callable[[], bytes], str]] = {
    "nothing": (lambda: b"", "empty"),
    "text": (lambda: b"this is no image", "no image"),
    "a page": (lambda: b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", "no image"),
    "a truncated JPEG": (lambda: stored(picture(200, 200), "JPEG")[:1500], "truncated"),
    "a truncated PNG": (lambda: stored(picture(), "PNG")[:900], "truncated|broken"),
    "a header alone": (lambda: stored(picture(), "PNG")[:33], "no image"),
    "a bomb": (lambda: png(60_000, 60_000), "MAX_IMAGE_PIXELS|bomb"),
    "half a bomb": (lambda: png(10_000, 10_000), "MAX_IMAGE_PIXELS"),
    "a bomb in one row": (lambda: png(2**31 - 1, 1), "MAX_IMAGE_PIXELS|bomb"),
    "a bomb of text": (lambda: png(9, 9, bytes(90), b"x\0\0" + zlib.compress(bytes(10**8))), "too large|limit"),
    "no pixels": (lambda: png(0, 0), ""),
    "a PostScript program": (lambda: stored(picture(), "EPS"), "EPS"),
    "a JPEG of another suffix": (lambda: stored(picture(), "JPEG"), "="),
    "an animation": (frames, "="),
    "CMYK": (lambda: stored(picture().convert("CMYK"), "JPEG"), "="),
    "CMYK in a TIFF": (lambda: stored(picture().convert("CMYK"), "TIFF"), "="),
    "16 bit": (lambda: stored(Image.fromarray(np.full((9, 9), 40_000, dtype=np.uint16)), "PNG"), "="),
    "one pixel": (lambda: stored(picture(1, 1), "PNG"), "="),
    "20,000 pixels wide": (lambda: stored(picture(20_000, 30), "JPEG"), "="),
    "20,000 pixels high": (lambda: stored(picture(30, 20_000), "PNG"), "="),
    "bytes after the end": (lambda: stored(picture(), "PNG") + bytes(1000), "="),
}


@pytest.mark.parametrize("name", IMAGES)
def test_images(name: str, attempt: Attempt, tmp_path: Path) -> None:
    make, reason = IMAGES[name]
    (tmp_path / "x.png").write_bytes(make())
    result = attempt("images", lambda: decode(find_examples(tmp_path / "x.png"), {"center": 32, "squash": 32}))
    if reason == "=":
        assert len(result) == 1
        assert result.pixels["center"].shape == (1, result.side, result.side, 3)
    else:
        assert isinstance(result, DataError)
        assert any(words in str(result) for words in reason.split("|")), str(result)


def test_postscript_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Pillow would hand it to the program gs, under whatever name the file has.
    program = tmp_path / "bin" / "gs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch {tmp_path / 'ran'}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    (tmp_path / "x.jpg").write_bytes(stored(picture(), "EPS"))
    with pytest.raises(DataError, match="EPS"):
        decode(find_examples(tmp_path / "x.jpg"), {"center": 32})
    with pytest.raises(DataError, match="EPS"), Image.open(tmp_path / "x.jpg") as opened:
        decode(find_examples(opened), {"center": 32})
    assert not (tmp_path / "ran").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
@pytest.mark.timeout(20)
def test_a_pipe_keeps_nobody_waiting(tmp_path: Path, attempt: Attempt) -> None:
    # Opening a pipe that nobody writes to waits for ever; one may also take a file's place after it was listed.
    picture().save(tmp_path / "a.png"), picture().save(tmp_path / "b.png")
    examples = find_examples(tmp_path)
    (tmp_path / "b.png").unlink()
    os.mkfifo(tmp_path / "b.png")
    os.mkfifo(tmp_path / "t.csv")
    images = decode(examples, {"center": 32})
    assert [(Path(s.name).name, s.reason) for s in images.skipped] == [("b.png", "no regular file")]
    assert "no regular file" in find_examples(tmp_path).skipped[0].reason
    for path in (tmp_path / "b.png", "/dev/zero"):
        assert isinstance(attempt("files", lambda path=path: find_examples(path)), DataError)
    assert isinstance(attempt("files", lambda: load_examples(tmp_path / "t.csv")), DataError)


def test_a_file_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture().save(tmp_path / "x.png")
    os.truncate(tmp_path / "x.png", 2**40)  # takes no room on the disk, but would in memory
    monkeypatch.setattr(
        "autotransfer_plugins.modalities.image.reading._LARGEST_FILE", 10**6
    )  # a gigabyte takes seconds to read
    with pytest.raises(DataError, match="larger than 1 GB"):
        decode(find_examples(tmp_path / "x.png"), {"center": 32})


def test_a_folder_that_changes_while_it_is_read(tmp_path: Path, attempt: Attempt) -> None:
    for i in range(60):
        (tmp_path / "pets" / "cat").mkdir(parents=True, exist_ok=True)
        picture().save(tmp_path / "pets" / "cat" / f"{i:02d}.png")

    def change(done: int, total: int) -> None:
        # While the first images are decoded, those behind them vanish, change, turn into folders, and new ones come.
        if done == 1:
            folder = tmp_path / "pets" / "cat"
            (folder / "40.png").unlink()
            (folder / "45.png").write_bytes(b"")
            (folder / "50.png").unlink()
            (folder / "50.png").mkdir()
            os.truncate(folder / "55.png", 100)
            picture(900, 500).save(folder / "47.png")  # grows: it is decoded as what it is now
            (folder / "52.png").write_bytes(stored(picture().rotate(180), "JPEG"))  # another image, another format
            with (folder / "57.png").open("ab") as file:
                file.write(bytes(10**6))
            picture().save(folder / "99.png")

    examples = load_examples(tmp_path / "pets")
    images = attempt("files", lambda: decode(examples, {"center": 32}, progress=change))
    assert [Path(skipped.name).name for skipped in images.skipped] == ["40.png", "45.png", "50.png", "55.png"]
    assert images.pixels["center"].shape == (56, 32, 32, 3)
    assert len(set(images.digests)) == 4, "digests are those of what was decoded"
    shutil.rmtree(tmp_path / "pets")
    assert isinstance(attempt("files", lambda: decode(examples, {"center": 32})), DataError)
    assert isinstance(attempt("files", lambda: load_examples(tmp_path / "pets")), DataError)


def test_many_small_files(tmp_path: Path) -> None:
    # Measured with 100,000 files: of each, finding it takes 35 microseconds and a kilobyte of memory, decoding it 0.3
    # milliseconds (0.07 of them to see its size) and its pixels. A thousand show the order.
    content = stored(picture(8, 8), "PNG")
    for i in range(1000):
        path = tmp_path / f"class {i % 10}" / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content + str(i).encode())
    examples = load_examples(tmp_path)
    assert len(examples) == 1000
    assert decode(examples, {"center": 8}).decoded == 1000


@pytest.fixture(scope="module")
def pictures() -> list[bytes]:
    forms = {"RGB": ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "TGA", "PCX"), "L": ("EPS", "PPM"), "P": ("PNG", "GIF")}
    forms |= {"CMYK": ("JPEG",), "RGBA": ("ICO",)}
    return [stored(picture(20, 15).convert(mode), form) for mode, kinds in forms.items() for form in kinds]


@st.composite
def damage(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """Draw what to do to a file: cut it, overwrite bytes, mostly near its beginning, or insert some."""
    share = draw(st.floats(0, 1))
    near = draw(st.sampled_from([30, 10**9]))
    changes = draw(st.lists(st.tuples(st.floats(0, 0.999), st.binary(min_size=1, max_size=4)), max_size=4))

    def apply(data: bytes) -> bytes:
        spoilt = bytearray(data)
        for place, content in changes:
            start = int(place * min(near, len(spoilt)))
            spoilt[start : start + len(content)] = content
        return bytes(spoilt[: int(share * len(spoilt))] if share < 0.3 else spoilt)

    return apply


@pytest.mark.slow
@settings(fuzz, max_examples=400)
@given(data=st.data())
def test_damaged_images(data: st.DataObject, pictures: list[bytes], attempt: Attempt, tmp_path: Path) -> None:
    spoilt = data.draw(damage())(data.draw(st.sampled_from(pictures)))
    (tmp_path / "x.png").write_bytes(spoilt)
    result = attempt("damaged images", lambda: decode(find_examples(tmp_path / "x.png"), {"center": 16, "squash": 16}))
    assert isinstance(result, AutoTransferError) or result.pixels["center"].shape == (1, result.side, result.side, 3)


# What lies in the activation cache


@pytest.mark.slow
@settings(fuzz, max_examples=80)
@given(change=damage(), name=st.sampled_from(["0.npy", "1.npy", "about.json"]))
def test_damaged_activations_are_computed_again(
    change: Callable[[bytes], bytes], name: str, attempt: Attempt, tmp_path: Path
) -> None:
    wanted = (np.arange(40, dtype=np.float16).reshape(10, 4), np.eye(10, dtype=np.float32))
    ActivationCache(tmp_path, memory_limit=10**6).put("key", "what it is", wanted)
    (tmp_path / "key" / name).write_bytes(change((tmp_path / "key" / name).read_bytes()))
    cache = ActivationCache(tmp_path, memory_limit=10**6)
    found = attempt("cached activations", lambda: cache.get_or_compute("key", "", lambda allocate: wanted))
    assert all(np.array_equal(array, good) for array, good in zip(found, wanted, strict=True))
    assert len(list_entries(tmp_path)) == 1


# Tables

_CELLS = st.one_of(
    st.sampled_from(["a.png", "b.png", "./a.png", "c.png", "../a.png", "", "cat", "007", "1", "-2", "0.5", "1e999"]),
    st.sampled_from(["9" * 5000, "nan", "\0", "\ufeff", '"', "=1+1", "\x1b[31m", "a.png\n", "/", "é", "label"]),
    st.text(max_size=8),
)


@pytest.fixture(scope="module")
def table_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    for name in "ab":
        picture(9, 9).save(folder / f"{name}.png")
    return folder


def examples_of(path: Path, **columns: Any) -> Examples:
    """Load a table as ``fit`` does, as far as its task."""
    examples = load_examples(path, **columns)
    assert examples.targets is not None
    infer_task(examples.targets)
    return examples


@pytest.mark.slow
@settings(fuzz, max_examples=300)
@given(
    header=st.lists(_CELLS, max_size=4),
    rows=st.lists(st.lists(_CELLS, max_size=4), max_size=6),
    separator=st.sampled_from(",;\t|"),
    suffix=st.sampled_from(["csv", "tsv"]),
    columns=st.sampled_from([{}, {"target_column": "label"}, {"path_column": "path", "target_column": ["label", "1"]}]),
)
def test_strange_tables(
    header: list[str],
    rows: list[list[str]],
    separator: str,
    suffix: str,
    columns: dict[str, Any],
    table_folder: Path,
    attempt: Attempt,
) -> None:
    path = table_folder / f"t.{suffix}"
    lines = [["path", "label"] if len(header) < 2 else header, ["a.png", "x"], ["b.png", "y"], *rows]
    path.write_bytes("\n".join(map(separator.join, lines)).encode("utf-8", "surrogatepass"))
    attempt("tables", lambda: examples_of(path, **columns))


@pytest.mark.slow
@settings(fuzz, max_examples=150)
@given(change=damage())
def test_damaged_tables(change: Callable[[bytes], bytes], table_folder: Path, attempt: Attempt) -> None:
    path = table_folder / "t.csv"
    path.write_bytes(change(b'path,label\na.png,"x, y"\nb.png,007\na.png,7\n' * 3))
    attempt("tables", lambda: examples_of(path))


def nested(leaf: st.SearchStrategy[Any], extend: Callable[[Any], st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
    """Return leaves, collections of them, and collections of these."""
    once = leaf | extend(leaf)
    return once | extend(once)


@pytest.mark.slow
@settings(fuzz, max_examples=200)
@given(
    targets=st.lists(
        nested(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.binary(max_size=2),
            lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner),
        ),
        max_size=6,
    )
    | st.one_of(
        st.lists(alike, min_size=2, max_size=6)
        for alike in (st.text(max_size=2), st.integers(), st.floats(), st.lists(st.text(max_size=1), max_size=2))
    )
)
def test_strange_targets(targets: list[Any], attempt: Attempt) -> None:
    def load() -> None:
        examples = load_examples([np.zeros((9, 9), dtype=np.uint8)] * len(targets), targets)
        assert examples.targets is not None
        task = infer_task(examples.targets)
        task.encode(examples.targets)

    attempt("targets", load)


_ARRAYS = arrays(
    st.sampled_from(["u1", "u2", "i4", "f2", "f4", "f8", "?", "O", "c8", "U3", "M8[s]"]),
    array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=4),
)
_THINGS = nested(
    st.sampled_from([None, True, 3, 2.5, b"x", Path("gone.png"), range(3), torch.zeros(3, 4, 4), torch.zeros(2, 2)])
    | st.builds(picture, st.integers(1, 5), st.integers(1, 5))
    | st.text("ab.\0é", min_size=1, max_size=4)
    | _ARRAYS,
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(st.text(max_size=2), inner),
)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::numpy.exceptions.ComplexWarning")
@settings(fuzz, max_examples=300)
@given(data=_THINGS | st.lists(_THINGS, max_size=4), targets=st.none() | st.lists(st.integers(0, 1), max_size=4))
def test_strange_data(
    data: Any, targets: list[int] | None, attempt: Attempt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # what is text is taken for a path
    attempt("data", lambda: decode(load_examples(data, targets, modalities=(IMAGE,)), {"center": 16}))
    attempt("data", lambda: decode(find_examples(data, modalities=(IMAGE,)), {"center": 16}))


@pytest.mark.slow
@settings(fuzz, max_examples=150)
@given(
    groups=st.lists(
        st.none() | st.floats() | st.text(max_size=3) | st.binary(max_size=2) | st.tuples(st.lists(st.integers())),
        min_size=10,
        max_size=10,
    )
    | st.one_of(st.lists(alike, min_size=10, max_size=10) for alike in (st.integers(0, 3), st.text("ab", max_size=1)))
    | st.lists(st.integers(), max_size=3)
)
def test_strange_groups(groups: list[Any], attempt: Attempt) -> None:
    def make_folds() -> list[Any]:
        labels = [0, 1] * 5
        examples = load_examples([np.zeros((9, 9), dtype=np.uint8)] * 10, labels, groups=groups)
        task = infer_task(labels)
        return split_folds(task.encode(labels), task, list("abcdefghij"), count=2, seed=0, groups=examples.groups)

    attempt("groups", make_folds)


@pytest.mark.slow
@settings(fuzz, max_examples=40)
@given(pattern=st.text("a.()[]{}|?*+^$\\-01,:<=!PL", max_size=8))
def test_strange_patterns(pattern: str, attempt: Attempt) -> None:
    images = [np.zeros((9, 9), dtype=np.uint8)] * 4
    result = attempt("groups", lambda: load_examples(images, [0, 1, 0, 1], groups=pattern))
    assert isinstance(result, DataError) or len(result.groups) == 4


def test_five_thousand_classes(attempt: Attempt) -> None:
    labels = [f"{i // 2:04d}" for i in range(10_000)]
    task = attempt("tables", lambda: infer_task(labels))
    assert (task.kind, len(task.classes), task.metric) == ("multiclass", 5000, "accuracy")
    assert task.classes[7] == "0007"


# Checkpoints and models

_JSON = nested(
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
)


def places(data: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to every value within JSON."""
    inner = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in inner:
        yield (*at, key)
        yield from places(value, (*at, key))


@st.composite
def changed(draw: st.DrawFn, data: Any) -> Any:
    """Draw JSON in which one or two values are others, or are gone."""
    spoilt = json.loads(json.dumps(data))
    for _ in range(draw(st.integers(1, 2))):
        *way, last = draw(st.sampled_from(list(places(spoilt))))
        place = spoilt
        for key in way:
            place = place[key]
        if draw(st.booleans()) and isinstance(place, dict):
            del place[last]
        else:
            place[last] = draw(_JSON | st.sampled_from([10**9, -1, 0, "../../x", [10**6] * 3, "hf-hub:a/b", ""]))
        if not isinstance(spoilt, dict) or not spoilt:
            break
    return spoilt


@pytest.fixture
def checkpoint(tiny_zoo: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_zoo / "test_vit", tmp_path / "zoo" / "net")


def loaded_backbone(folder: Path) -> Any:
    """Look a checkpoint up, check it and load it, as ``fit`` does."""
    spec = Registry.load((folder.parent,)).backbone("net")
    assert spec.check is not None
    spec.check()
    return spec.load()


@pytest.fixture(scope="module")
def resolve() -> Callable[[Path], Any]:
    """Load a checkpoint by its path; the plugins are loaded once."""
    registry = Registry.load()

    def load(folder: Path) -> Any:
        return registry.backbone(f"local-dir:{folder}").load()

    return load


@pytest.mark.slow
@settings(fuzz, max_examples=40)
@given(data=st.data())
def test_strange_configurations(
    data: st.DataObject, checkpoint: Path, attempt: Attempt, resolve: Callable[[Path], Any], tiny_zoo: Path
) -> None:
    good = json.loads((tiny_zoo / "test_vit" / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps(data.draw(changed(good))))
    result = attempt("config.json", lambda: resolve(checkpoint))
    assert isinstance(result, BackboneError) or result.width == 64


@settings(fuzz, max_examples=25)
@given(change=damage())
def test_damaged_configurations(
    change: Callable[[bytes], bytes], checkpoint: Path, attempt: Attempt, resolve: Callable[[Path], Any], tiny_zoo: Path
) -> None:
    (checkpoint / "config.json").write_bytes(change((tiny_zoo / "test_vit" / "config.json").read_bytes()))
    attempt("config.json", lambda: resolve(checkpoint))


@pytest.mark.slow
@settings(fuzz, max_examples=30)
@given(change=damage())
def test_damaged_weights(
    change: Callable[[bytes], bytes], checkpoint: Path, attempt: Attempt, resolve: Callable[[Path], Any], tiny_zoo: Path
) -> None:
    (checkpoint / "model.safetensors").write_bytes(change((tiny_zoo / "test_vit" / "model.safetensors").read_bytes()))
    attempt("safetensors", lambda: resolve(checkpoint))


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (struct.pack("<Q", 2**63) + b"{}", "no valid safetensors"),
        (struct.pack("<Q", 200 * 2**20) + b"{" + b" " * 1000, "no valid safetensors"),
        (struct.pack("<Q", 2) + b"[]", "no valid safetensors"),
        (b"\x08\0\0", "no valid safetensors"),
    ],
)
def test_headers_that_lie(header: bytes, reason: str, checkpoint: Path, attempt: Attempt) -> None:
    (checkpoint / "model.safetensors").write_bytes(header)
    error = attempt("safetensors", lambda: loaded_backbone(checkpoint))
    assert isinstance(error, BackboneError)
    assert reason in str(error)


def test_names_that_lead_away_lead_nowhere(checkpoint: Path, attempt: Attempt) -> None:
    # Neither tensors nor files may be named by what a stranger wrote.
    weights = load_file(checkpoint / "model.safetensors")
    save_file({"../../evil": torch.zeros(1), **weights}, checkpoint / "model.safetensors")
    error = attempt("safetensors", lambda: loaded_backbone(checkpoint))
    assert "../../evil" in str(error)
    config = json.loads((checkpoint / "config.json").read_text())
    for key in ("file", "state_dict", "hf_hub_filename"):
        config["pretrained_cfg"] = {key: "../../../secret.safetensors"}
        (checkpoint / "config.json").write_text(json.dumps(config))
        assert "other weights" in str(attempt("config.json", lambda: loaded_backbone(checkpoint)))


@pytest.fixture(scope="module")
def saved(tiny_zoo: Path, digits: tuple[np.ndarray, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model with a head that has settings."""
    candidate = Candidate(backbone="test_vit", head="mlp", head_params={"width": 16}, training={"epochs": 1})
    images, labels = digits[0][:60], digits[1][:60]
    done = autotransfer.evaluate(candidate, images, labels, zoo=tiny_zoo, compute=Compute(cache=False))
    return done.model.save(tmp_path_factory.mktemp("saved"))


@pytest.fixture
def copied(saved: Path, tmp_path: Path) -> Path:
    return shutil.copytree(saved, tmp_path / "model")


@pytest.fixture(scope="module")
def reload() -> Callable[[Path], Any]:
    """Load a model and predict with it; the plugins are loaded once."""
    registry = Registry.load()

    def load(folder: Path) -> np.ndarray:
        model = autotransfer.TransferModel.load(folder, registry=registry, device="cpu")
        return model.predict_proba(np.zeros((2, 9, 9), dtype=np.uint8))

    return load


@pytest.mark.slow
@settings(fuzz, max_examples=80)
@given(data=st.data())
def test_strange_models(
    data: st.DataObject, copied: Path, saved: Path, attempt: Attempt, reload: Callable[[Path], Any]
) -> None:
    about = data.draw(changed(json.loads((saved / "model.json").read_text())))
    (copied / "model.json").write_text(json.dumps(about))
    result = attempt("model.json", lambda: reload(copied))
    assert isinstance(result, AutoTransferError) or len(result) == 2


@pytest.mark.slow
@settings(fuzz, max_examples=40)
@given(change=damage(), name=st.sampled_from(["model.json", "model.safetensors"]))
def test_damaged_models(
    change: Callable[[bytes], bytes],
    name: str,
    copied: Path,
    saved: Path,
    attempt: Attempt,
    reload: Callable[[Path], Any],
) -> None:
    for file in ("model.json", "model.safetensors"):
        content = (saved / file).read_bytes()
        (copied / file).write_bytes(change(content) if file == name else content)
    attempt(name.replace("model.safetensors", "safetensors"), lambda: reload(copied))


def edited(folder: Path, *way: str | int, value: Any) -> None:
    about = json.loads((folder / "model.json").read_text())
    place = about
    for key in way[:-1]:
        place = place[key]
    place[way[-1]] = value
    (folder / "model.json").write_text(json.dumps(about))


@pytest.mark.parametrize(
    ("way", "value", "reason"),
    [
        (("reading", "side"), 10**9, "side of an image"),
        (("members", 0, "candidate", "head_params"), {"width": 10**7, "layers": 3}, "parameters; the file"),
        (("members", 0, "backbone", "recipe"), "timm", "must be an object"),
        (("members", 0, "backbone", "recipe"), {"plugin": "nobody"}, "'nobody' made it: install it"),
        (("members", 0, "backbone", "preprocessing", "size"), [10**6, 10**6], "side of an image"),
        (("members", 0, "backbone", "preprocessing", "std"), [0, 0, 0], "out of their range"),
        (("task", "kind"), "magic", "a kind, classes"),
        (("reading", "value_ranges"), {"uint8": [255, 0]}, "pairs of numbers"),
        (("reading", "background"), "pink", "background of a model"),
        (("task", "classes"), ["a"], "a kind, classes"),
    ],
)
def test_a_model_that_asks_for_too_much(
    way: tuple[str | int, ...], value: Any, reason: str, copied: Path, attempt: Attempt, reload: Callable[[Path], Any]
) -> None:
    edited(copied, *way, value=value)
    assert reason in str(attempt("model.json", lambda: reload(copied)))


def test_a_model_nested_without_end(copied: Path, attempt: Attempt, reload: Callable[[Path], Any]) -> None:
    (copied / "model.json").write_text("[" * 100_000)
    assert isinstance(attempt("model.json", lambda: reload(copied)), ModelFormatError)


def test_weights_that_are_no_numbers_are_refused_by_name(
    copied: Path, attempt: Attempt, reload: Callable[[Path], Any]
) -> None:
    weights = load_file(copied / "model.safetensors")
    name = next(name for name in weights if name.startswith("members.0.head."))
    weights[name].fill_(torch.nan)
    save_file(weights, copied / "model.safetensors")
    assert f"'{name}' holds values that are not finite" in str(attempt("safetensors", lambda: reload(copied)))


def test_a_pickle_in_the_place_of_a_model_runs_nothing(
    copied: Path, tmp_path: Path, attempt: Attempt, reload: Callable[[Path], Any]
) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "ran",)

    torch.save(Trap(), copied / "model.safetensors")
    assert isinstance(attempt("safetensors", lambda: reload(copied)), ModelFormatError)
    assert not (tmp_path / "ran").exists()
