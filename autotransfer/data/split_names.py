"""Names of the parts of divided data: what stands for train, for validation and for test."""

from __future__ import annotations

import re
from collections.abc import Iterable

from autotransfer.data.examples import Part

__all__ = ["find_split_names", "split_of_name"]

_WORDS: dict[str, str] = {
    **dict.fromkeys(("train", "training", "tr", "trn", "trainval"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev", "development"), "validation"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
    # The test part, unless another one is called test: to train or to choose on it could not be undone.
    **dict.fromkeys(("eval", "evaluation", "holdout"), "late"),
}
# Words that say nothing beside one of those: train_images, test data.
_FILLERS = frozenset(
    {"data", "dataset", "image", "images", "img", "imgs", "part", "photos", "pictures", "set", "split", "subset"}
)
_JOINED = re.compile(r"(data|set|images|imgs|split)$")


def find_split_names(names: Iterable[str]) -> dict[str, Part]:
    """Return the part that each name stands for, of those that name the parts of one whole.

    ``Train``, ``test_set`` and ``val2017`` do, and so do ``seg_train`` and ``seg_test``, whose other words are equal.

    Returns:
        Part by name, with one to train on and another at least; empty where the names hold no such parts.
    """
    wholes: dict[tuple[str, ...], dict[str, str]] = {}
    for name in names:
        if (known := _read(name)) is not None:
            word, rest = known
            wholes.setdefault(rest, {})[name] = word
    for rest in sorted(wholes, key=lambda rest: (len(rest), rest)):
        found = wholes[rest]
        words = set(found.values())
        if "train" in words and len(words) > 1:
            late: Part = "validation" if "test" in words and "validation" not in words else "test"
            return {name: _part(word, late) for name, word in found.items()}
    return {}


def split_of_name(name: str) -> str | None:
    """Return what a name by itself stands for: train, validation, test, late for one of the last two; else None."""
    known = _read(name)
    return known[0] if known is not None and not known[1] else None


def _part(word: str, late: Part) -> Part:
    known: dict[str, Part] = {"train": "train", "validation": "validation", "test": "test"}
    return known.get(word, late)


def _read(name: str) -> tuple[str, tuple[str, ...]] | None:
    """Return what a name stands for, and its other words; None for a name that stands for no part, or for several."""
    text = re.sub(r"(?i)h[eo]ld[\W_]*out", "holdout", name)
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).lower()
    words, rest = [], []
    for token in re.findall(r"[^\W\d_]+", text):
        bare = token if token in _WORDS else _JOINED.sub("", token)
        if bare in _WORDS:
            words.append(_WORDS[bare])
        elif token not in _FILLERS:
            rest.append(token)
    return (words[0], tuple(rest)) if len(words) == 1 else None
