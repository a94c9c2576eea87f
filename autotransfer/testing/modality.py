"""The conformance check of a modality, of its stores and of its input formats."""

from __future__ import annotations

import json
import pickle
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from autotransfer.backbones.inputs import mask_of, shortened
from autotransfer.contract.modality import InputFormat, Inputs, Item, Modality, Store
from autotransfer.errors import DataError, ModelFormatError
from autotransfer.settings import Settings
from autotransfer.settings.fields import flat_settings
from autotransfer.testing.exports import check_export_inputs
from autotransfer.testing.lengths import check_lengths
from autotransfer.testing.rules import naming, require

__all__ = ["check_modality"]

_CPU = torch.device("cpu")
_LEAST_EXAMPLES = 4
_SETTINGS = frozenset(each.name for each in flat_settings(Settings))


def check_modality(modality: Modality, examples: Sequence[Any], formats: Sequence[InputFormat]) -> None:
    """Check that a modality recognises examples, reads each once, and makes the inputs that backbones want.

    Args:
        modality: What the plugin registers.
        examples: At least four different examples as a user gives them, paths of files and values in memory.
        formats: How the plugin's backbones want their inputs.

    Raises:
        PluginError: The contract is broken; the message says how.
    """
    name = f"the modality {getattr(modality, 'name', None)!r}"
    require(isinstance(modality, Modality), name, f"it is a Modality; got {type(modality).__name__}")
    require(len(examples) >= _LEAST_EXAMPLES, name, f"its check takes {_LEAST_EXAMPLES} examples or more")
    require(len(formats) > 0, name, "its check takes an input format or more")
    with naming(name):
        _check_names(name, modality)
        items = _items(name, modality, examples)
        for how in formats:
            _check_format(name, modality, how)
        store = _load(modality, items, formats)
        _check_store(name, modality, store, len(items))
        _check_reading(name, modality, items, formats, store)
        _check_decoded(name, modality, items, formats, store)
        _check_unreadable(name, modality, items, formats)
        for how in formats:
            _check_inputs(name, store, how)
            _check_rows(name, store, how)
            check_lengths(name, store, how)
        check_export_inputs(name, modality, items, formats, store)


def _check_names(name: str, modality: Modality) -> None:
    require(bool(modality.name) and bool(modality.noun), name, "it has a name, and a noun for one example")
    suffixes = modality.suffixes
    good = all(suffix.startswith(".") and suffix == suffix.lower() for suffix in suffixes)
    require(good, name, f"suffixes are in lower case and begin with a dot; got {sorted(suffixes)}")
    for what in ("views", "augmentations"):
        named = getattr(modality, what)
        unique = len(named) > 0 and len(set(named)) == len(named)
        require(isinstance(named, tuple) and unique, name, f"{what} are a tuple of different names; got {named!r}")
    first = modality.augmentations[0]
    require(first == "none", name, f"the first augmentation is 'none'; got {first!r}")
    for option in modality.options:
        require(option.isidentifier() and option not in _SETTINGS, name, f"no setting is called {option!r} already")
    copied = pickle.loads(pickle.dumps(modality))
    require(copied.name == modality.name, name, "it can be pickled: worker processes get it")


def _items(name: str, modality: Modality, examples: Sequence[Any]) -> list[Item]:
    """Return the examples as they are given to ``load``."""
    require(modality.item(object()) is None, name, "item() returns None for what is no example")
    items: list[Item] = []
    for number, example in enumerate(examples):
        if isinstance(example, Path):
            known = example.suffix.lower() in modality.suffixes or modality.holds(example)
            require(known, name, f"suffixes or holds() tell that {example.name} is an example")
        item = example if isinstance(example, Path) else modality.item(example)
        require(item is not None, name, f"item() takes example {number}, a {type(example).__name__}")
        items.append(item)
    return items


def _names(items: Sequence[Item]) -> list[str]:
    return [f"example {number}" for number in range(len(items))]


def _load(modality: Modality, items: Sequence[Item], formats: Sequence[InputFormat], **how: Any) -> Store:
    return modality.load(items, _names(items), formats, options={}, **how)


def _check_format(name: str, modality: Modality, how: InputFormat) -> None:
    probe, again, other = how.probe(3), how.probe(3), how.probe(3, seed=1)
    require(_equal(probe, again), name, "probe() gives equal inputs for equal seeds")
    require(not _equal(probe, other), name, "probe() gives other inputs for another seed")
    rows = {key: len(tensor) for key, tensor in _named(probe).items()}
    require(set(rows.values()) == {3}, name, f"probe(3) gives three rows; got {rows}")
    about = json.loads(json.dumps(how.to_json()))
    files = modality.format_files(how)
    require(modality.read_format(about, files) == how, name, "read_format() reads what to_json() returns")
    junks: tuple[Any, ...] = (None, [], {}, "x")
    for junk in junks:
        if about != junk:
            _refused(name, "read_format()", modality.read_format, junk)


def _refused(name: str, what: str, read: Any, junk: Any) -> None:
    try:
        read(junk)
    except ModelFormatError:
        return
    except Exception as error:
        require(False, name, f"{what} refuses {junk!r} with a ModelFormatError; it raised {type(error).__name__}")
    require(False, name, f"{what} refuses {junk!r} with a ModelFormatError")


def _check_store(name: str, modality: Modality, store: Store, count: int) -> None:
    require(isinstance(store, Store), name, f"load() returns a Store; got {type(store).__name__}")
    require(store.modality is modality, name, "a store holds its modality")
    require(len(store) == store.decoded == count, name, f"load() reads all of {count} examples; got {len(store)}")
    require(store.kept.tolist() == list(range(count)), name, "kept holds the position of each example that was read")
    require(len(set(store.digests)) == count, name, "different examples have different digests")
    own = type(store).keep is not Store.keep and type(store).take is not Store.take
    for key, array in store.arrays.items():
        good = isinstance(array, np.ndarray) and (own or len(array) == count)
        require(good, name, f"the array {key!r} has a row for each example, or the store its own keep() and take()")


def _check_decoded(
    name: str, modality: Modality, items: Sequence[Item], formats: Sequence[InputFormat], store: Store
) -> None:
    decoded = [modality.decoded(item) for item in items]
    try:
        count = len(_load(modality, decoded, formats, reading=store.reading))
    except DataError:
        count = 0
    require(count == len(items), name, f"load() takes what decoded() returns; it took {count} of {len(items)}")
    modality.decoded(Path("no such file"))  # what cannot be read stays as it is


def _check_reading(
    name: str, modality: Modality, items: Sequence[Item], formats: Sequence[InputFormat], store: Store
) -> None:
    """Check that an example is read alike alone and among others, and by a model that was saved."""
    reading = json.loads(json.dumps(dict(store.reading)))
    require(dict(modality.read_reading(reading)) == reading, name, "read_reading() reads what Store.reading returns")
    _refused(name, "read_reading()", modality.read_reading, [])
    again = _load(modality, items, formats)
    require(again.key == store.key, name, "the same examples, read again, have the same digests, reading and decisions")
    twice = _load(modality, [items[0], *items], formats)
    require(twice.digests[0] == twice.digests[1], name, "equal examples have equal digests")
    alone = _load(modality, items[1:2], formats, reading=reading)
    require(dict(alone.reading) == reading, name, "load() with a reading reads in just that way")
    for how in formats:
        same = _equal(alone.inputs(slice(1), how, _CPU), store.inputs(slice(1, 2), how, _CPU))
        require(same, name, "an example that is read alone, with the reading of others, has the same inputs")
    modality.check(items, _names(items), reading)


def _check_unreadable(name: str, modality: Modality, items: Sequence[Item], formats: Sequence[InputFormat]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder, f"empty{min(modality.suffixes, default='')}")
        empty.touch()
        store = _load(modality, [items[0], empty, items[1]], formats)
        found = store.kept.tolist() == [0, 2] and [left_out.name for left_out in store.skipped] == ["example 1"]
        require(found, name, "load() leaves an empty file out: kept lacks its position, and skipped names it")
        require(bool(store.skipped[0].reason), name, "what is skipped has a reason")
        for what, broken, strict in (("strict", [items[0], empty], True), ("nothing to read", [empty], False)):
            try:
                _load(modality, broken, formats, strict=strict)
            except DataError:
                continue
            require(False, name, f"load() raises a DataError for an empty file ({what})")


def _check_inputs(name: str, store: Store, how: InputFormat) -> None:
    """Check the inputs in each view and augmentation against the probe."""
    modality, rows, expected = store.modality, slice(0, 3), _outline(how.probe(3))
    require(store.suits(how), name, "a store suits the formats that it was loaded for")
    plain = store.inputs(rows, how, _CPU)
    require(_equal(plain, store.inputs(rows, how, _CPU, modality.views[0])), name, "the first view is the plain one")
    for view in modality.views:
        given = store.inputs(rows, how, _CPU, view)
        got = _outline(given)
        require(got == expected, name, f"inputs in the view {view!r} are like the probe, {expected}; got {got}")
        require(_finite(given), name, f"inputs in the view {view!r} are finite")
        require(_equal(given, store.inputs(rows, how, _CPU, view)), name, "the same view gives the same inputs")
    for strength in modality.augmentations:
        given, again = (store.augmented(rows, how, _CPU, strength, torch.Generator().manual_seed(0)) for _ in range(2))
        got = _outline(given)
        require(got == expected, name, f"augmented inputs ({strength}) are like the probe, {expected}; got {got}")
        require(_finite(given), name, f"augmented inputs ({strength}) are finite")
        require(_equal(given, again), name, "an augmentation draws from its generator alone")
        require(strength != "none" or _equal(given, plain), name, "the augmentation 'none' changes nothing")


def _check_rows(name: str, store: Store, how: InputFormat) -> None:
    """Check rows that are chosen, copied, kept, and shared between processes."""
    rows = np.array([2, 0])
    chosen = store.inputs(rows, how, _CPU)
    require(_equal(chosen, _rows(store.inputs(slice(0, 3), how, _CPU), rows)), name, "inputs follow the rows in order")
    require(_equal(store.take(rows).inputs(slice(2), how, _CPU), chosen), name, "take() copies rows in order")
    with tempfile.TemporaryDirectory() as folder:
        bare = pickle.loads(pickle.dumps(replace(store, arrays={})))
        mapped = {}
        for number, (key, array) in enumerate(store.arrays.items()):
            np.save(Path(folder, f"{number}.npy"), array, allow_pickle=False)
            mapped[key] = np.load(Path(folder, f"{number}.npy"), mmap_mode="c")
        shared = replace(bare, arrays=mapped)
        require(_equal(shared.inputs(rows, how, _CPU), chosen), name, "a store works on arrays that processes share")
        require(shared.key == store.key, name, "a store that processes share has the same key")
        kept = shared.keep([0, 2])  # in place, so on the copy
        require(_equal(_rows(chosen, np.array([1, 0])), kept.inputs(slice(2), how, _CPU)), name, "keep() moves rows up")


def _named(inputs: Inputs) -> dict[str, Tensor]:
    return {"": inputs} if isinstance(inputs, Tensor) else dict(inputs)


def _outline(inputs: Inputs) -> dict[str, tuple[tuple[int, ...], str]]:
    """Return shapes and types; the number of positions, which follows the rows, is left out."""
    mask = mask_of(inputs)

    def sizes(tensor: Tensor) -> tuple[int, ...]:
        follows = mask is not None and tensor.shape[:2] == mask.shape
        return (len(tensor), -1, *tensor.shape[2:]) if follows else tuple(tensor.shape)

    return {key: (sizes(tensor), str(tensor.dtype)) for key, tensor in _named(inputs).items()}


def _rows(inputs: Inputs, rows: np.ndarray) -> Inputs:
    """Return some rows, as long as the longest of them."""
    chosen = {key: tensor[torch.from_numpy(rows)] for key, tensor in _named(inputs).items()}
    mask = mask_of(chosen)
    return chosen if mask is None else shortened(chosen, int(mask.sum(1).max()))


def _equal(first: Inputs, second: Inputs) -> bool:
    one, other = _named(first), _named(second)
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def _finite(inputs: Inputs) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in _named(inputs).values())
