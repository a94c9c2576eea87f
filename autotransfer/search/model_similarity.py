"""What is known of a pretrained model without running it, and how similar two models are by that."""

from __future__ import annotations

import math
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from autotransfer.contract.specs import BackboneSpec

__all__ = ["ModelInfo", "Similarity", "knows", "model_info"]

Array = npt.NDArray[np.float64]
# Names are compared by their n-grams of 3 to 5 characters, each of which has one of this many columns.
MIN_NGRAM, MAX_NGRAM, COLUMNS = 3, 5, 1 << 16
# Models that had no owner in front of their names before their hub asked for one have these.
FIRST_OWNERS = frozenset({"FacebookAI", "albert", "distilbert", "google-bert", "openai-community"})
# A word of a target's name that a model's name, or its source, shares says that the model knows the target. Words
# that say nothing are left out.
MIN_WORD_LETTERS, EMPTY_WORDS = 3, frozenset({"label", "eval", "data", "dataset"})


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """What is known of a model without running it.

    Attributes:
        name: Its name, with an owner in front or not.
        source: The data that it was pretrained on, in a word.
        architecture: Its architecture, in a word.
        parameters: Number of parameters.
        input_size: Side of its inputs.
        accuracy: Published accuracy on its source, 0..1.
        classes: Number of classes of its source.
        benchmark: Published accuracy on the usual benchmark of its modality, such as ImageNet top-1, 0..1.
    """

    name: str
    source: str = ""
    architecture: str = ""
    parameters: float | None = None
    input_size: float | None = None
    accuracy: float | None = None
    classes: float | None = None
    benchmark: float | None = None


def model_info(spec: BackboneSpec) -> ModelInfo:
    """Return what is known of a backbone; all forms of a backbone have the name of the backbone."""
    name = spec.name.partition("@")[0]
    source, classes = _source(spec.source)
    return ModelInfo(
        name=name,
        source=source,
        architecture=re.split(r"[^a-z]", name.rpartition("/")[2].lower())[0],
        parameters=spec.parameters or None,
        input_size=spec.input_size[0] if spec.input_size else None,
        accuracy=spec.accuracy,
        classes=classes,
        benchmark=spec.accuracy,
    )


def knows(target: str, models: Sequence[ModelInfo]) -> Array:
    """Return 1 for each model (n,) whose name or source shares a word with the name of a target, else 0."""
    words = _words(target)
    return np.array([float(bool(words & (_words(model.name) | _words(model.source)))) for model in models])


class Similarity:
    """How similar models are, in several kinds: the same model, names, numbers, architecture and source.

    Args:
        models: Models that say which n-grams of names are rare, and what numbers are usual.
    """

    KINDS = 4  # beside that of being the same model

    def __init__(self, models: Sequence[ModelInfo]) -> None:
        found = Counter(column for model in models for column in set(_character_ngrams(model.name)))
        self._weights = np.full(COLUMNS, math.log(1 + len(models)) + 1)
        columns = np.fromiter(found, dtype=np.int64, count=len(found))
        counts = np.fromiter(found.values(), dtype=np.float64, count=len(found))
        self._weights[columns] = np.log((1 + len(models)) / (1 + counts)) + 1
        numbers = _numbers(models)
        known = np.maximum((~np.isnan(numbers)).sum(0), 1)
        self._centre = np.nansum(numbers, 0) / known
        spread = np.sqrt(np.nansum((numbers - self._centre) ** 2, 0) / known)
        self._scale = np.where(spread > 0, 1 / np.where(spread > 0, spread, 1.0), 0.0)  # unknown of all: says nothing

    def between(self, left: Sequence[ModelInfo], right: Sequence[ModelInfo]) -> Array:
        """Return how similar models are to others (1 + KINDS, n, m), 0 to 1; the first is 1 for the same model."""
        names = self._vectors(left) @ self._vectors(right).T
        mine, theirs = self._standardised(left), self._standardised(right)
        distance = (mine**2).sum(1)[:, None] + (theirs**2).sum(1)[None] - 2 * mine @ theirs.T
        same = _equal([_names(model) for model in left], [_names(model) for model in right])
        architecture = _equal([{m.architecture} - {""} for m in left], [{m.architecture} - {""} for m in right])
        source = _equal([{m.source} - {""} for m in left], [{m.source} - {""} for m in right])
        numbers = np.exp(-np.maximum(distance, 0.0) / 4)
        return np.stack([same, names.toarray(), numbers, np.maximum(architecture, same), np.maximum(source, same)])

    def _vectors(self, models: Sequence[ModelInfo]) -> csr_matrix:
        """Return how often each n-gram is in a name, rare ones weighted more; rows have a length of 1."""
        columns, values, starts = list[int](), list[int](), [0]
        for model in models:
            counted = Counter(_character_ngrams(model.name))
            columns += counted.keys()
            values += counted.values()
            starts.append(len(columns))
        places = np.array(columns, dtype=np.int64)
        weighted = (1 + np.log(np.array(values, dtype=float))) * self._weights[places]
        rows = np.repeat(np.arange(len(models)), np.diff(starts))
        length = np.sqrt(np.bincount(rows, weighted**2, minlength=len(models)))
        return csr_matrix((weighted / length[rows], places, starts), shape=(len(models), COLUMNS))

    def _standardised(self, models: Sequence[ModelInfo]) -> Array:
        """Return the numbers of models; an unknown one is like the mean."""
        return np.asarray(np.nan_to_num((_numbers(models) - self._centre) * self._scale))


def _numbers(models: Sequence[ModelInfo]) -> Array:
    rows = [
        [math.log(value) if value and value > 0 else math.nan for value in (m.parameters, m.input_size, m.classes)]
        + [math.nan if m.accuracy is None else m.accuracy]
        for m in models
    ]
    return np.array(rows, dtype=float).reshape(-1, 4)


@lru_cache(maxsize=8192)
def _character_ngrams(name: str) -> tuple[int, ...]:
    """Return the column of each n-gram of characters in the words of a name, the owner left out."""
    found = []
    for word in [*re.sub(r"[-_/]", " ", name.rpartition("/")[2].lower()).split(), "."]:
        padded = f" {word} "
        for length in range(MIN_NGRAM, MAX_NGRAM + 1):
            ngrams = [padded[i : i + length] for i in range(max(len(padded) - length, 0) + 1)]
            found += [zlib.crc32(ngram.encode()) % COLUMNS for ngram in ngrams]
            if len(padded) <= length:
                break
    return tuple(found)


def _names(model: ModelInfo) -> set[str]:
    """Return the names of a model: one without an owner is the first of its name."""
    owner, _, name = model.name.rpartition("/")
    return {f"{owner}/{name}", f"/{name}"} if owner in FIRST_OWNERS else {f"{owner}/{name}"}


def _equal(left: Sequence[set[str]], right: Sequence[set[str]]) -> Array:
    """Return where sets of words share one (n, m)."""
    known = {word: i for i, word in enumerate(sorted(set().union(*left, *right)))}

    def marks(sets: Sequence[set[str]]) -> csr_matrix:
        places = [(row, known[word]) for row, words in enumerate(sets) for word in words]
        rows, columns = np.array(places, dtype=np.int64).reshape(-1, 2).T
        return csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(sets), max(len(known), 1)))

    return np.asarray(np.minimum((marks(left) @ marks(right).T).toarray(), 1.0))


def _source(described: str) -> tuple[str, float | None]:
    """Return the data that weights were trained on last, in a word, and their number of classes where it is usual."""
    last = described.rpartition("then ")[2].strip()
    if last == "ImageNet-1k":
        return "imagenet", 1000.0
    if last in ("ImageNet-22k", "ImageNet-21k"):
        return "imagenet-21k", 21841.0
    return last.lower(), None


def _words(name: str) -> set[str]:
    parts = re.split(r"[^a-z0-9]+", name.rsplit("/", 1)[-1].lower())
    return {part for part in parts if len(part) >= MIN_WORD_LETTERS} - EMPTY_WORDS
