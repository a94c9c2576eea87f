"""Learn the priors of a search from recorded runs, and write them as parts of one file.

python fit_prior.py [--curves CURVES.json.gz] [--zoo RUNS.csv [RUNS.csv ...] --models MODELS.csv]
                    [--grids GRIDS.jsonl [--forms FORMS.jsonl] [--full TABLE --head TABLE]]
                    [--out autotransfer/search/prior.safetensors]

Learning curves make the part ``curves``, runs of the models of zoos the part ``models``. Recorded grids, the curves and
accuracies of networks trained whole or in their heads only make the part ``gains``. Parts for which no runs are given
stay as they are.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from fit_curve_prior import RUNGS, learn_curves
from fit_gain_prior import learn_gains
from fit_model_prior import learn_models

from autotransfer.search.prior_file import shipped_prior, write_part

SOURCE = "Quick-Tune meta-dataset (Pineda Arango et al., ICLR 2024; BSD-3-Clause)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--curves", type=Path, help="recorded learning curves")
    parser.add_argument("--zoo", type=Path, nargs="+", help="recorded fine-tunings of the models of zoos")
    parser.add_argument("--models", type=Path, help="what is known of these models, a row for each")
    parser.add_argument("--grids", type=Path, help="lines of oracle.py")
    parser.add_argument("--forms", type=Path, help="lines of record_forms.py")
    parser.add_argument("--full", type=Path, help="accuracies in percent, networks by targets, all stages trained")
    parser.add_argument("--head", type=Path, help="the same, only the head trained")
    parser.add_argument("--source", default=SOURCE, help="what the curves are, in words")
    parser.add_argument("--out", type=Path, default=shipped_prior())
    args = parser.parse_args()
    if args.curves is not None:
        tensors, about, covered = learn_curves(args.curves, args.source)
        write_part(args.out, "curves", tensors, about)
        shares = ", ".join(f"{share:.2f} by epoch {rung}" for rung, share in zip(RUNGS, covered, strict=True))
        print(f"curves: 90% intervals hold {shares} of the levels on data sets that were left out")
    if args.zoo is not None:
        write_part(args.out, "models", *learn_models(args.zoo, args.models))
    if args.grids is not None:
        tensors, about = learn_gains(args.grids, args.forms, args.full, args.head, args.curves)
        write_part(args.out, "gains", tensors, about)
    print(f"{args.out}: {args.out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
