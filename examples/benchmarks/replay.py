"""Replay recorded trainings with a virtual clock: what a search would have found, by recorded seconds.

python replay.py curves CURVES.json.gz [--budgets 900,3600,14400,57600] [--seeds 1] [--halves 16]
                        [--without PART ...] [--json]
python replay.py zoo RUNS.csv [--models MODELS.csv] [--prior RUNS.csv] [--json]

``curves`` drives the search loop over learning curves of many settings. ``zoo`` ranks and trains the models of a zoo on
targets that the prior has not seen: the other targets of the file, or those of ``--prior``, are what it knows.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import replay_curves
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

    for kind in (curves, zoo):
        kind.add_argument("--json", action="store_true")
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
