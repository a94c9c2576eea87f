"""Peak memory of a fit against the number of texts, under a frozen backbone; each run in a process of its own.

python text_memory.py --zoo zoo/text --backbone all_minilm_l6_v2

The texts are made: 40 words each, drawn as frequent as words are, some of them by class. The model is what its weights
take in float32.
"""

from __future__ import annotations

import argparse
import csv
import re
import tempfile
from collections import Counter
from pathlib import Path
from pydoc_data.topics import topics

import common
import numpy as np

WORDS, OWN_WORDS = 40, 3  # of a text, and those of them that tell its class
CLASSES, FIRST_WORD_OF_A_CLASS, WORDS_OF_A_CLASS = 4, 500, 25
MAX_VOCABULARY = 3000

_RUN = """
import json, resource, sys
import autotransfer
from autotransfer.contract.registry import Registry

table, zoo, backbone, trials, folder = sys.argv[1:]
spec = Registry.load((zoo,)).backbone(backbone)
result = autotransfer.fit(table, zoo=zoo, backbones=backbone, heads=["logistic", "ridge", "linear"], trials=int(trials),
    out=folder + "/run", search=autotransfer.SearchOptions(freeze="frozen", epochs=2, compare_scratch=False),
    compute=autotransfer.Compute(cache_dir=folder + "/cache"), run=autotransfer.RunOptions(progress=False))
print(json.dumps({
    "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    "model": (spec.parameters or 0) * 4 / 2**20,
    "seconds": result.seconds["total"],
    "decoded": result.data.decoded,
    "validation": result.validation.score,
}))
"""


def make(count: int, table: Path) -> None:
    """Write texts of some classes as a CSV file, with the words and frequencies of Python's own documentation."""
    rng = np.random.default_rng(0)
    counts = Counter(re.findall(r"[a-z]{2,}", " ".join(topics.values()).lower())).most_common(MAX_VOCABULARY)
    words, shares = np.array([word for word, _ in counts]), np.array([share for _, share in counts])
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for number in range(count):
            label = number % CLASSES
            chosen = rng.choice(len(words), WORDS, p=shares / shares.sum())
            own = FIRST_WORD_OF_A_CLASS + label * WORDS_OF_A_CLASS + rng.integers(0, WORDS_OF_A_CLASS, OWN_WORDS)
            chosen[rng.choice(WORDS, OWN_WORDS, replace=False)] = own
            writer.writerow([" ".join(words[chosen]), f"class {label}"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--zoo", type=Path, required=True, help="a folder of checkpoints")
    parser.add_argument("--backbone", required=True, help="a backbone of the zoo")
    parser.add_argument("--texts", type=int, nargs="+", default=[25_000, 50_000, 100_000])
    parser.add_argument("--trials", type=int, default=5)
    parser.add_argument("--out", type=Path, help="write the results here, as JSON")
    given = parser.parse_args()
    rows: list[dict[str, object]] = []
    for count in given.texts:
        with tempfile.TemporaryDirectory() as folder:
            table = Path(folder, "texts.csv")
            make(count, table)
            found = common.in_own_process(_RUN, table, given.zoo, given.backbone, given.trials, folder)
        common.note(
            rows,
            **{
                "backbone": given.backbone,
                "texts": count,
                "peak MB": found["peak"],
                "model MB": found["model"],
                "beside the model, MB": found["peak"] - found["model"],
                "seconds": found["seconds"],
                "tokenised texts": found["decoded"],
                "validation": found["validation"],
            },
        )
    common.finish(rows, given.out)


if __name__ == "__main__":
    main()
