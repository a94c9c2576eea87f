"""Replay recorded trainings with a virtual clock: what a search would have found, by recorded seconds.

python replay.py curves CURVES.json.gz [--budgets 900,3600,14400,57600] [--seeds 1] [--halves 16]
                        [--without PART ...] [--json]
python replay.py zoo RUNS.csv [--models MODELS.csv] [--prior RUNS.csv] [--json]
python replay.py grid [--budgets 20,60,200,600] [--seeds 1] [--full F --head F] [--curves F] [--json]

``curves`` drives the search loop over learning curves of many settings. ``zoo`` ranks and trains the models of a zoo on
targets that the prior has not seen: the other targets of the file, or those of ``--prior``, are what it knows. ``grid``
drives the strategy of a live search over our own grids, each with what the other grids and public runs say of gains.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import fit_gain_prior
import recorded_grid
import replay_curves
import replay_grid
import replay_zoo


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(required=True, metavar="KIND")

    curves = kinds.add_parser("curves", help="recorded learning curves")
    curves.add_argument("curves", type=Path)
    curves.add_argument("--budgets", default="900,3600,14400,57600", help="recorded seconds, comma-separated")
    curves.add_argument("--seeds", type=int, default=1, help="fits to average over, where priors are fitted here")
    curves.add_argument("--halves", type=int, default=0, help="fit priors on so many random halves of the data sets")
    parts = "; ".join(f"{name}: {what}" for name, what in replay_curves.PARTS.items())
    curves.add_argument("--without", nargs="+", choices=replay_curves.PARTS, default=(), help=f"leave out. {parts}")
    curves.set_defaults(run=replay_curves.main)

    zoo = kinds.add_parser("zoo", help="recorded fine-tunings of the models of a zoo")
    zoo.add_argument("runs", type=Path, help="columns: model, target, accuracy, seconds, scores of transferability")
    zoo.add_argument("--models", type=Path, help="what is known of the models, a row for each")
    zoo.add_argument("--prior", type=Path, help="runs on other targets to learn from; default: leave one target out")
    zoo.set_defaults(run=replay_zoo.main)

    grid = kinds.add_parser("grid", help="recorded grids of setups")
    grid.add_argument("grid", type=Path, nargs="?", default=fit_gain_prior.GRIDS, help="lines that oracle.py wrote")
    grid.add_argument("--data", nargs="+", choices=recorded_grid.TASKS, default=(), help="replay these sets alone")
    grid.add_argument("--budgets", default="20,60,200,600", help="recorded seconds, comma-separated")
    grid.add_argument("--seeds", type=int, default=1, help="searches to average over")
    grid.add_argument("--forms", type=Path, default=fit_gain_prior.FORMS, help="lines that record_forms.py wrote")
    for name in ("full", "head", "curves"):
        grid.add_argument(f"--{name}", type=Path, help="public runs to learn from; see fit_gain_prior.py")
    grid.set_defaults(run=replay_grid.main)

    for kind in (curves, zoo, grid):
        kind.add_argument("--json", action="store_true")
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
