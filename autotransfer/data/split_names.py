"""Names of splits: words that mean train, validation or test."""

from __future__ import annotations

import re
from collections.abc import Iterable

from autotransfer.data.examples import Part

__all__ = ["find_split_names", "split_of_name"]

_WORDS: dict[str, str] = {
    **dict.fromkeys(("train", "training", "tr", "trn", "trainval"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev", "development"), "validation"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
    # Validation if another split is called test, else test: training on a test split could not be undone.
    **dict.fromkeys(("eval", "evaluation", "holdout"), "evaluation"),
}
# Words that may stand beside the name of a split, as in train_images and test data.
_FILLERS = frozenset(
    {"data", "dataset", "image", "images", "img", "imgs", "part", "photos", "pictures", "set", "split", "subset"}
)
_JOINED = re.compile(r"(data|set|images|imgs|split)$")


def find_split_names(names: Iterable[str]) -> dict[str, Part]:
    """Return the split of each name, for names that belong to one data set.

    ``Train``, ``test_set`` and ``val2017`` belong to one data set, and so do ``seg_train`` and ``seg_test``, whose
    other words are equal.

    Returns:
        Split by name, with a training split and another split at least; empty without these.
    """
    datasets: dict[tuple[str, ...], dict[str, str]] = {}
    for name in names:
        if (known := _read(name)) is not None:
            word, rest = known
            datasets.setdefault(rest, {})[name] = word
    for rest in sorted(datasets, key=lambda rest: (len(rest), rest)):
        found = datasets[rest]
        words = set(found.values())
        if "train" in words and len(words) > 1:
            evaluation: Part = "validation" if "test" in words and "validation" not in words else "test"
            return {name: _part(word, evaluation) for name, word in found.items()}
    return {}


def split_of_name(name: str) -> str | None:
    """Return the split that a name means: train, validation, test or evaluation (one of the last two); else None."""
    known = _read(name)
    return known[0] if known is not None and not known[1] else None


def _part(word: str, evaluation: Part) -> Part:
    known: dict[str, Part] = {"train": "train", "validation": "validation", "test": "test"}
    return known.get(word, evaluation)


def _read(name: str) -> tuple[str, tuple[str, ...]] | None:
    """Return the split that a name means and its other words; None for no split, or for several."""
    text = re.sub(r"(?i)h[eo]ld[\W_]*out", "holdout", name)
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).lower()
    words, rest = [], []
    for token in re.findall(r"[^\W\d_]+", text):
        stem = token if token in _WORDS else _JOINED.sub("", token)
        if stem in _WORDS:
            words.append(_WORDS[stem])
        elif token not in _FILLERS:
            rest.append(token)
    return (words[0], tuple(rest)) if len(words) == 1 else None
