"""The YAML at the top of a model card, from which the hub knows task, licence, base models and scores."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from autotransfer.contract.specs import BackboneSpec
from autotransfer.report.markdown import front_matter
from autotransfer.tasks.score import Score, format_score

if TYPE_CHECKING:
    from autotransfer.run.result import FitResult

__all__ = ["header", "licenses_of"]

# Licences that the hub knows by these names, of those that published weights have.
_HUB_LICENSES = frozenset(
    re.findall(
        r"\S+",
        """
        apache-2.0 mit bsd-2-clause bsd-3-clause cc0-1.0 cc-by-2.0 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0
        cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-nc-nd-4.0 apple-ascl apple-amlr gemma
        gpl-2.0 gpl-3.0 lgpl-3.0 agpl-3.0 mpl-2.0 openrail llama2 llama3 unlicense wtfpl isc unknown
        """,
    )
)
_PUBLISHED = re.compile(r"hub ([\w.-]+/[\w.-]+)")


def header(result: FitResult, dataset: str, backbones: Mapping[str, BackboneSpec]) -> str:
    """Return the YAML of a fit's model.

    Args:
        result: The result.
        dataset: Name of the data.
        backbones: Specs of the model's backbones by name.
    """
    task, modality = result.model.task, result.model.modality
    hub_task = modality.hub_task if task.classes else ""
    scores = {"validation": result.validation, "test": result.test}
    metrics = [_metric(split, score) for split, score in scores.items() if score is not None]
    found = {"task": {"type": hub_task or task.kind, "name": task.kind}, "dataset": {"type": "custom", "name": dataset}}
    published = [match[1] for spec in backbones.values() if (match := _PUBLISHED.fullmatch(spec.weights))]
    return front_matter(
        {
            **_license(backbones),
            "library_name": "autotransfer",
            "pipeline_tag": hub_task,
            "tags": ["autotransfer", "transfer-learning", task.kind, modality.name],
            "base_model": published,
            "metrics": [result.validation.metric],
            "model-index": [
                {"name": dataset, "results": [{**found, "metrics": [m for m in metrics if m["value"] is not None]}]}
            ],
        }
    )


def licenses_of(backbones: Mapping[str, BackboneSpec]) -> dict[str, str]:
    """Return the licence of the weights of each backbone that has weights; empty text for an unknown one."""
    return {name: spec.license for name, spec in backbones.items() if spec.heads is None}


def _license(backbones: Mapping[str, BackboneSpec]) -> dict[str, str]:
    """Return what the hub knows of the licence: a name of its own, or ``other`` with what is said."""
    names = dict.fromkeys(license or "unknown" for license in licenses_of(backbones).values())
    if not names:
        return {}
    only = next(iter(names)).lower()
    if len(names) == 1 and only in _HUB_LICENSES:
        return {"license": only}
    return {"license": "other", "license_name": re.sub(r"[^a-z0-9.]+", "-", " and ".join(names).lower()).strip("-")}


def _metric(split: str, score: Score) -> dict[str, Any]:
    low, high = score.ci95
    ends = f"{format_score(low, score.score)} to {format_score(high, score.score)}"
    interval = "" if math.isnan(low) else f" (95% interval {ends}, {score.examples} examples)"
    value = float(format_score(score.score)) if math.isfinite(score.score) else None
    return {"type": score.metric, "value": value, "name": f"{score.metric_label}, {split}{interval}"}
