"""ONNX models with weights and activations in 8 bits, by onnxruntime's static quantization (QDQ)."""

from __future__ import annotations

import io
import logging
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from autotransfer.contract.export_inputs import ExportInputs
from autotransfer.data.examples import Examples
from autotransfer.errors import ExportError
from autotransfer.model.export.onnx_parts import OnnxParts, backbone_nodes
from autotransfer.model.export.tracing import batches_of
from autotransfer.model.transfer_model import TransferModel
from autotransfer.runtime.text import one_line

__all__ = ["MAX_LOSS", "Quantization", "quantize"]

MAX_LOSS = 0.005
"""Largest loss of the score that 8 bits may cost: half a point of accuracy."""

# Examples from which the ranges of activations are taken.
_CALIBRATION_EXAMPLES = 64
# Warm runs of one example whose median is the time of one.
_WARM_RUNS, _TIMED_RUNS = 3, 15
_MAX_BYTES = 1_500_000_000
_PRODUCTS = ("Conv", "MatMul", "Gemm", "Gather")


@dataclass(frozen=True, kw_only=True)
class _Attempt:
    """One way to quantize.

    Attributes:
        kinds: Operators in 8 bits.
        everywhere: Whether depthwise convolutions and the first convolution are among them: they lose most.
        averaged: Whether the range of an activation is the mean over the examples, not the widest of all.
    """

    kinds: tuple[str, ...] = _PRODUCTS
    everywhere: bool = True
    averaged: bool = True


# The fastest first; on MobileNetV2 and ants_bees, averaged ranges keep 99.3% of the labels, the widest ones 98.0%.
_ATTEMPTS = (
    _Attempt(kinds=(*_PRODUCTS, "Add", "Mul", "Clip", "Relu", "MaxPool", "ReduceMean")),
    _Attempt(),
    _Attempt(averaged=False),
    _Attempt(everywhere=False),
)


@dataclass(frozen=True, kw_only=True)
class Quantization:
    """What 8 bits change.

    Attributes:
        metric: What is compared.
        score_before: The score in float32.
        score_after: The score in 8 bits.
        examples: Number of examples that were scored.
        scored_on: What they are, in words.
        bytes_before: Bytes of the file in float32.
        bytes_after: Bytes of the file in 8 bits.
        seconds_before: Median time of one example in float32, on one thread.
        seconds_after: Median time of one example in 8 bits.
    """

    metric: str
    score_before: float
    score_after: float
    examples: int
    scored_on: str
    bytes_before: int
    bytes_after: int
    seconds_before: float
    seconds_after: float

    def to_json(self) -> dict[str, Any]:
        """Return the figures as JSON."""
        return dict(vars(self))

    def __str__(self) -> str:
        smaller, faster = self.bytes_before / self.bytes_after, self.seconds_before / self.seconds_after
        milliseconds = f"{1e3 * self.seconds_before:.1f} ms to {1e3 * self.seconds_after:.1f} ms for one example"
        scores = f"{self.metric} {self.score_before:.4f} to {self.score_after:.4f}"
        return (
            f"in 8 bits {smaller:.1f} times smaller and {faster:.2f} times as fast ({milliseconds}); {scores} on "
            f"{self.examples} {self.scored_on}"
        )


def quantize(
    file: Path,
    model: TransferModel,
    inputs: ExportInputs,
    calibration: Examples,
    scored: Examples,
    scored_on: str,
) -> Quantization:
    """Replace the file of an exported model by one in 8 bits, where that costs at most half a point.

    Args:
        file: The ONNX file.
        model: The model.
        inputs: What the exported model is given.
        calibration: Examples, decoded as ``inputs.decoded`` does; the ranges of activations are taken from some.
        scored: Labelled examples to measure the loss on, decoded alike.
        scored_on: What these are, in words.

    Raises:
        ExportError: The model is too large, cannot be quantized, or loses more; the file stays as it is.
    """
    import onnx

    if file.stat().st_size > _MAX_BYTES or file.with_name(f"{file.name}.data").exists():
        raise ExportError("The model is too large for 8 bits, which takes files up to 1.5 GB: leave --quantize out.")
    items = list(calibration.items)[:: max(1, len(calibration) // _CALIBRATION_EXAMPLES)][:_CALIBRATION_EXAMPLES]
    feeds = list(_one_by_one(inputs.arrays(items)))
    parts = OnnxParts.of(onnx.load(str(file)), feeds)
    metric, before = _score(model, file, inputs, scored)
    outcomes: list[str] = []
    with tempfile.TemporaryDirectory(dir=file.parent.parent) as folder:
        made = Path(folder) / file.name
        for attempt in _ATTEMPTS:
            try:
                onnx.save(parts.joined(_quantized(parts.back, parts.rows, attempt, Path(folder))), str(made))
                after = _score(model, made, inputs, scored)[1]
            except Exception as error:  # of a library that takes many kinds of models, and not all
                outcomes.append(f"an error ({type(error).__name__}: {one_line(error)[:100]})")
                continue
            outcomes.append(f"{after:.4f}")
            if before - after <= MAX_LOSS:
                figures: dict[str, Any] = {"examples": len(scored), "scored_on": scored_on}
                figures |= _figures(file, made, feeds[0])
                made.replace(file)
                return Quantization(metric=metric, score_before=before, score_after=after, **figures)
    raise ExportError(
        f"In 8 bits the model loses more than half a point: {metric} {before:.4f} in float32, and "
        f"{', '.join(outcomes)} in 8 bits, on {len(scored)} {scored_on}. Nothing was written: export without "
        "--quantize, or fit with another backbone."
    )


def _figures(before: Path, after: Path, feed: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return bytes and seconds of both files."""
    return {
        "bytes_before": before.stat().st_size,
        "bytes_after": after.stat().st_size,
        "seconds_before": _seconds(before, feed),
        "seconds_after": _seconds(after, feed),
    }


def _quantized(back: Any, rows: Sequence[Mapping[str, np.ndarray]], attempt: _Attempt, folder: Path) -> Any:
    """Return the part of the backbones in 8 bits."""
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Rows(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
        def __init__(self) -> None:
            self.rest = iter(rows)

        def get_next(self) -> Any:
            return next(self.rest, None)

    chosen = [node for node in backbone_nodes(back) if node.op_type in attempt.kinds]
    if not attempt.everywhere:
        first = next((node.name for node in chosen if node.op_type == "Conv"), None)
        chosen = [node for node in chosen if node.name != first and not _is_depthwise(node)]
    onnx.save(back, str(folder / "float.onnx"))
    with _quiet():
        quantize_static(
            str(folder / "float.onnx"),
            str(folder / "int8.onnx"),
            Rows(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(attempt.kinds),
            nodes_to_quantize=[node.name for node in chosen],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            extra_options={"CalibMovingAverage": attempt.averaged},
        )
    return onnx.load(str(folder / "int8.onnx"))


def _is_depthwise(node: Any) -> bool:
    return node.op_type == "Conv" and any(each.name == "group" and each.i > 1 for each in node.attribute)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the advice of onnxruntime's quantizer, which logs with the root logger and prints, from users."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        root.setLevel(level)


def _score(model: TransferModel, file: Path, inputs: ExportInputs, scored: Examples) -> tuple[str, float]:
    """Return the metric, and the score of a file on labelled examples."""
    session, task = _session(file), model.task
    found = np.concatenate([session.run(None, dict(arrays))[0] for arrays in batches_of(inputs, scored)])
    metric = "accuracy" if task.single_label else "f1_macro" if task.kind == "multilabel" else "r2"
    targets = task.encode([] if scored.targets is None else scored.targets)
    return metric, float(task.score(targets, found.astype(task.dtype), metric))


def _session(file: Path, threads: int = 0) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, threads
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def _seconds(file: Path, feed: Mapping[str, np.ndarray]) -> float:
    """Return the median time of one example, over warm runs on one thread."""
    session, taken = _session(file, threads=1), list[float]()
    for _ in range(_WARM_RUNS + _TIMED_RUNS):
        begin = time.perf_counter()
        session.run(None, dict(feed))
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken[_WARM_RUNS:])


def _one_by_one(batches: Iterator[Mapping[str, np.ndarray]]) -> Iterator[dict[str, np.ndarray]]:
    """Yield the arrays of one example at a time."""
    for batch in batches:
        for i in range(len(next(iter(batch.values())))):
            yield {name: array[i : i + 1] for name, array in batch.items()}
