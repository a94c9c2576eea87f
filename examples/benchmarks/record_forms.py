"""What each form of a backbone brings: resolutions, framings and numbers of views, under two closed-form heads.

    python record_forms.py --data ants_bees dtd10 --zoo zoo/timm --table forms.jsonl

Each candidate is scored twice: on the folds that a fit scores on, for its validation accuracy, and on all of train/,
for its test accuracy. Each result is a line of the table at once; a candidate that the table holds is not scored again.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import common
from oracle import Exam, read

from autotransfer import Candidate
from autotransfer.contract.specs import BackboneSpec
from autotransfer.data.examples import Examples, modality_of
from autotransfer.runtime.memory import keep_freed_memory
from autotransfer.search.tta import VIEW_COUNTS
from autotransfer.search.variants import offer_variants

Row = dict[str, Any]
# The heads that lead the screenings of most image sets, with the settings that a screening gives them.
HEADS: dict[str, dict[str, float]] = {"logistic": {"C": 0.1}, "stage_ridge": {"alpha": 316.2, "early": 0.3162}}


def in_all_forms(backbones: Sequence[BackboneSpec], examples: Examples) -> Sequence[BackboneSpec]:
    """Return backbones in the forms that a fit would search, those that it screens first in front."""
    found = offer_variants(backbones, (), modality_of(examples), examples.items)
    return [*found.first, *(form for form in found.backbones if form not in found.first)]


def candidates(backbones: Sequence[str], counts: Sequence[int]) -> Iterator[Candidate]:
    """Yield each form of each backbone in each number of views under each head."""
    for views, backbone, (head, settings) in product(counts, backbones, HEADS.items()):
        training = {"views": views} if views > 1 else {}
        yield Candidate(backbone=backbone, head=head, head_params=settings, training=training)


def record(data: Path, zoo: Path, table: Path, *, views: Sequence[int], images: int | None, seed: int) -> Row:
    """Score what the table lacks of one data set; return how much it holds."""
    done = {key_of(line) for line in read(table) if line["data"] == data.name}
    with tempfile.TemporaryDirectory() as cache, keep_freed_memory():
        exam = Exam(data, zoo, Path(cache), seed, forms=in_all_forms, images=images)
        for candidate in candidates([spec.name for spec in exam.backbones], views):
            line = {"data": data.name, "backbone": candidate.backbone, "views": candidate.views, "head": candidate.head}
            if key_of(line) in done:
                continue
            line |= exam(candidate)
            with table.open("a") as file:
                file.write(json.dumps(line) + "\n")
    return {"data": data.name, "lines": sum(line["data"] == data.name for line in read(table))}


def key_of(line: dict[str, Any]) -> tuple[Any, ...]:
    return line["backbone"], line["views"], line["head"]


def main() -> None:
    arguments = common.parser(__doc__.splitlines()[0], several=True)
    arguments.add_argument("--table", type=Path, required=True, help="one line of JSON for each candidate and data set")
    arguments.add_argument("--views", type=int, nargs="+", choices=VIEW_COUNTS, default=VIEW_COUNTS)
    arguments.add_argument("--images", type=int, help="take so many images of train/ and of test/ at most")
    arguments.add_argument("--seed", type=int, default=0)
    given = arguments.parse_args()
    how = {"views": given.views, "images": given.images, "seed": given.seed}
    common.finish([record(data, given.zoo, given.table, **how) for data in given.data], given.out)


if __name__ == "__main__":
    main()
