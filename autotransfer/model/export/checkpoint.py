"""Checkpoints of other libraries: a folder that timm or transformers loads, with the same probabilities."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import numpy as np
import torch
from torch import Tensor

from autotransfer.backbones.frozen import batch_sizes
from autotransfer.contract.checkpoints import write_checkpoint
from autotransfer.contract.modality import Inputs, Store
from autotransfer.contract.registry import Registry
from autotransfer.data.examples import Examples
from autotransfer.errors import ExportError
from autotransfer.features.ragged import by_length
from autotransfer.model.export.affine import affine_map, single_member
from autotransfer.model.export.card import card_of
from autotransfer.model.export.decisions import thresholds_of
from autotransfer.model.export.exporters import ExportRequest, Predict
from autotransfer.model.transfer_model import TransferModel
from autotransfer.report.card_usage import CARD
from autotransfer.runtime.device import resolve_device
from autotransfer.runtime.files import write_atomically
from autotransfer.training.network import to_predictions

__all__ = ["write"]


def write(request: ExportRequest, library: str) -> Predict:
    """Write the folder of a library; see ``WriteFormat``.

    Raises:
        ExportError: The model has a part that the library has no place for.
    """
    model, folder = request.model, request.path
    member, classifier = single_member(model, library), affine_map(model, library)
    backbone = deepcopy(member.network.backbone).float().cpu().eval()
    labels = [str(label) for label in model.task.classes] or list(model.task.target_names)
    if len(set(labels)) < len(labels):
        raise ExportError(f"Two classes have the same name as texts, such as 1 and '1': {library} knows texts only.")
    folder.mkdir()
    thresholds = thresholds_of(model.task)
    about = {"kind": model.task.kind, "labels": labels, **({"thresholds": thresholds} if thresholds else {})}
    made = write_checkpoint(Registry.load(), library, backbone, classifier, about, folder)
    write_atomically(folder / CARD, card_of(model, library, made.usage))
    return _predictor(model, made.run)


def _predictor(model: TransferModel, run: Callable[[Inputs], Tensor]) -> Predict:
    """Return what predicts for examples, with the inputs of the model's own backbone."""
    how, cpu = model.members[0].network.backbone.preprocessing, resolve_device("cpu")

    def outputs(store: Store, rows: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            found = run(store.inputs(rows, how, cpu.torch, model.modality.views[0]))
        return to_predictions(model.task, found)

    def predict(examples: Examples) -> np.ndarray:
        store = model.decode(examples, strict=True)
        lengths = store.lengths(how)
        order = np.arange(len(store)) if lengths is None else by_length(lengths)
        predictions = np.empty((len(store), model.task.outputs), dtype=model.task.dtype)
        size = batch_sizes(cpu)[0]
        for start in range(0, len(store), size):
            rows = order[start : start + size]
            predictions[rows] = outputs(store, rows)
        return predictions

    return predict
