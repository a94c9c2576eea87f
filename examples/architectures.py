"""Measure parameters and multiply-accumulates of timm's architectures, for the table that comes with the package.

python examples/architectures.py --out plugins/backbones/architectures.csv [--only 'resnet*']
python examples/architectures.py --catalogue plugins/backbones/catalogue.csv

Each architecture with pretrained weights is built on the meta device. One forward pass counts its parameters without
the classifier, and its multiply-accumulates at the input size of its default weights. This takes about ten minutes.
With --catalogue, the script writes the list of the installed timm's models instead, which takes seconds. The package
lists models from this file, without timm, as long as the file matches the installed version.
"""

from __future__ import annotations

import argparse
import csv
import sys
import warnings
from pathlib import Path

import timm
import torch
from torch.utils.flop_counter import FlopCounterMode

from autotransfer_plugins.backbones._catalogue import catalogue, rows_of

COLUMNS = ("architecture", "parameters", "gmacs", "height", "width")


def cost(architecture: str) -> dict[str, object]:
    """Return a row of the table."""
    channels, height, width = timm.get_pretrained_cfg(architecture).input_size
    with torch.device("meta"):
        model = timm.create_model(architecture, num_classes=0).eval().requires_grad_(False)
        with FlopCounterMode(display=False) as counter:
            model(torch.empty(1, channels, height, width))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    gmacs = f"{counter.get_total_flops() / 2e9:.3g}"
    return dict(zip(COLUMNS, (architecture, parameters, gmacs, height, width), strict=True))


def write_catalogue(out: Path) -> None:
    """Write timm's list of models."""
    rows = rows_of(catalogue().values())
    with out.open("w", newline="") as file:
        file.write(f"timm {timm.__version__}\n")
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(f"{len(rows)} models")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    table = parser.add_mutually_exclusive_group(required=True)
    table.add_argument("--out", type=Path, help="the table of costs to write")
    table.add_argument("--catalogue", type=Path, help="the table of models to write")
    parser.add_argument("--only", default="", help="a glob pattern of architectures")
    given = parser.parse_args()
    if given.catalogue is not None:
        write_catalogue(given.catalogue)
        return
    rows = []
    for architecture in sorted({name.partition(".")[0] for name in timm.list_models(given.only, pretrained=True)}):
        try:
            rows.append(cost(architecture))
        except Exception as error:  # the model takes other inputs, or needs an optional package
            print(f"left out: {architecture}: {type(error).__name__}: {error}", file=sys.stderr)
    with given.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(f"{len(rows)} architectures")


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # on future names of architectures
    main()
