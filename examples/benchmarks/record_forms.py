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
from autotransfer.pipeline.prepare_search import VIEW_COUNTS
from autotransfer.runtime.memory import keep_freed_memory
from autotransfer.search.variants import offer_variants

Row = dict[str, Any]
# The heads that lead the screenings of most image sets, with the settings that a screening gives them.
HEADS: dict[str, dict[str, float]] = {"logistic": {"C": 0.1}, "stage_ridge": {"alpha": 316.2, "early": 0.3162}}


def forms_of(backbones: Sequence[BackboneSpec], examples: Examples) -> Sequence[BackboneSpec]:
    """Return the forms that a fit screens first, and those that follow them in one step."""
    found = offer_variants(backbones, (), modality_of(examples), examples.items)
    first = {spec.name for spec in found.first}
    return [*found.first, *(form for form in found.backbones if found.after.get(form.name) in first)]


def candidates(backbones: Sequence[str], first: int) -> Iterator[Candidate]:
    """Yield each form under each head, and the first ones in more views."""
    for views, backbone, (head, settings) in product(VIEW_COUNTS, backbones, HEADS.items()):
        if views == 1 or backbone in backbones[:first]:
            training = {"views": views} if views > 1 else {}
            yield Candidate(backbone=backbone, head=head, head_params=settings, training=training)


def record(data: Path, zoo: Path, table: Path, *, images: int | None, seed: int) -> Row:
    """Score what the table lacks of one data set; return how much it holds."""
    done = {key_of(line) for line in read(table) if line["data"] == data.name}
    with tempfile.TemporaryDirectory() as cache, keep_freed_memory():
        exam = Exam(data, zoo, Path(cache), seed, forms=forms_of, images=images)
        names = [spec.name for spec in exam.backbones]
        for candidate in candidates(names, len({name.split("@")[0] for name in names})):
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
    arguments.add_argument("--images", type=int, help="take so many images of train/ and of test/ at most")
    arguments.add_argument("--seed", type=int, default=0)
    given = arguments.parse_args()
    how = {"images": given.images, "seed": given.seed}
    common.finish([record(data, given.zoo, given.table, **how) for data in given.data], given.out)


if __name__ == "__main__":
    main()
