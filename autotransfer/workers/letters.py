"""What passes through a storage: texts of any length, and what came of a job, as attributes of a trial."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from autotransfer.search.jobs import Evaluation

__all__ = ["SetAttribute", "read_evaluation", "read_text", "write_evaluation", "write_text"]

# Characters of one attribute: what the strictest database takes.
_CHUNK = 60_000

SetAttribute = Callable[[str, Any], None]


def write_text(write: SetAttribute, name: str, text: str) -> None:
    """Write a text of any length as one attribute, or as several and their number."""
    if len(text) <= _CHUNK:
        return write(name, text)
    parts = [text[start : start + _CHUNK] for start in range(0, len(text), _CHUNK)]
    for number, part in enumerate(parts):
        write(f"{name}:{number}", part)
    write(name, len(parts))


def read_text(attributes: Mapping[str, Any], name: str) -> str:
    """Return what ``write_text`` wrote."""
    found = attributes[name]
    return found if isinstance(found, str) else "".join(attributes[f"{name}:{number}"] for number in range(found))


def write_evaluation(write: SetAttribute, found: Evaluation) -> None:
    """Write what came of a job."""
    predictions = np.zeros((0, 0), np.float32) if found.predictions is None else found.predictions
    packed = base64.b85encode(zlib.compress(predictions.tobytes())).decode()
    about = {
        **asdict(replace(found, predictions=None)),
        "shape": predictions.shape,
        "dtype": predictions.dtype.str,
        "predictions": packed,
    }
    write_text(write, "found", json.dumps(about))


def read_evaluation(attributes: Mapping[str, Any]) -> Evaluation:
    """Return what ``write_evaluation`` wrote."""
    about = json.loads(read_text(attributes, "found"))
    raw = zlib.decompress(base64.b85decode(about["predictions"]))
    predictions = np.frombuffer(raw, about.pop("dtype")).reshape(about.pop("shape")).copy()
    return Evaluation(
        **{**about, "curve": tuple(about["curve"]), "predictions": predictions if predictions.size else None}
    )
