"""A model as one module: from what was decoded to predictions, as torch traces it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

from autotransfer.contract.export_inputs import ExportInputs
from autotransfer.errors import ExportError
from autotransfer.model.inference import features_for_heads, outputs_of_heads
from autotransfer.model.temperature import MIN_DISTANCE_TO_CERTAINTY
from autotransfer.model.transfer_model import TransferModel
from autotransfer.training.network import Network

__all__ = ["ExportedModel", "export_inputs_of"]


def export_inputs_of(model: TransferModel) -> ExportInputs:
    """Return what the exported model is given in place of examples.

    Raises:
        ExportError: The modality, or a backbone, has no form that can be exported.
    """
    formats = [member.network.backbone.preprocessing for member in model.members]
    found = model.modality.export_inputs(formats, model.reading)
    if found is None:
        raise ExportError(
            f"Models of {model.modality.noun}s cannot be exported: the plugin of the modality {model.modality.name!r} "
            "does not say how inputs are made outside of this package (Modality.export_inputs)."
        )
    return found


class ExportedModel(nn.Module):
    """All of a model: reading, views, backbones, heads, weights and temperature; in float32, on the CPU.

    Args:
        model: The model; it is copied.
        inputs: What stands in place of examples.
    """

    def __init__(self, model: TransferModel, inputs: ExportInputs) -> None:
        super().__init__()
        networks = deepcopy([member.network for member in model.members])  # in one call: backbones stay shared
        self.reader, self.task, self.temperature = inputs.reader(), model.task, model.temperature
        self.networks = nn.ModuleList(network.float().cpu().eval().requires_grad_(False) for network in networks)
        for part in self.networks.modules():
            if hook := getattr(part, "before_export", None):
                hook()
        self._weights = [member.weight for member in model.members]
        self._views = [member.views for member in model.members]
        self.views = nn.ModuleDict()
        self._groups: list[list[int]] = []
        order = sorted(range(len(networks)), key=lambda i: (_first_with(networks, i), i))
        for _, group in groupby(order, key=lambda i: _first_with(networks, i)):
            members = list(group)
            how = networks[members[0]].backbone.preprocessing
            for view in model.modality.views[: max(self._views[i] for i in members)]:
                self.views[f"{len(self._groups)}_{view}"] = inputs.view(how, view)
            self._groups.append(members)
        self._names = model.modality.views
        self.detector = None if model.outliers is None else deepcopy(model.outliers.detector).float().cpu()
        self._detecting = -1 if model.outliers is None else model.outliers.member

    def forward(self, *given: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Map inputs, in order, to probabilities (N, classes) or values (N, targets) in the units of the targets.

        Where the model knows what its training examples were like, outlier scores (N,) follow.
        """
        read = self.reader(*given)
        outputs: list[Any] = [None] * len(self.networks)
        unlike: Tensor | None = None
        for number, members in enumerate(self._groups):
            for position, view in enumerate(self._names):
                seeing = [i for i in members if position < self._views[i]]
                if not seeing:
                    break
                features = self._features(self.views[f"{number}_{view}"], read, [self.networks[i] for i in seeing])
                found = outputs_of_heads([self.networks[i] for i in seeing], features)  # type: ignore[misc]
                for i, one in zip(seeing, found, strict=True):
                    outputs[i] = one if outputs[i] is None else outputs[i] + one
                if position == 0 and self._detecting in members and self.detector is not None:
                    unlike = self.detector(features["pooled"])
        shares = zip(self.networks, outputs, self._weights, self._views, strict=True)
        mean = sum(weight * self._predictions(network, total / views) for network, total, weight, views in shares)
        return self._tempered(mean) if unlike is None else (self._tempered(mean), unlike)

    def _features(self, view: nn.Module, read: Mapping[str, Tensor], networks: Sequence[Any]) -> dict[str, Tensor]:
        return features_for_heads(networks[0].backbone, networks, view(read))

    def _predictions(self, network: Any, outputs: Tensor) -> Tensor:
        if self.task.single_label:
            return outputs.softmax(1)
        if self.task.kind == "multilabel":
            return outputs.sigmoid()
        return network.to_target_units(outputs)  # type: ignore[no-any-return]

    def _tempered(self, mean: Any) -> Tensor:
        """Divide logits by the temperature; see ``temper``."""
        found: Tensor = mean
        if self.temperature == 1.0 or self.task.kind == "regression":
            return found
        if self.task.single_label:
            return (found.clamp(min=torch.finfo(torch.float32).tiny).log() / self.temperature).softmax(1)
        found = found.clamp(MIN_DISTANCE_TO_CERTAINTY, 1 - MIN_DISTANCE_TO_CERTAINTY)
        return ((found.log() - (1 - found).log()) / self.temperature).sigmoid()


def _first_with(networks: Sequence[Network], position: int) -> int:
    """Return the position of the first network that has the same backbone."""
    backbone = networks[position].backbone
    return next(i for i, network in enumerate(networks) if network.backbone is backbone)
