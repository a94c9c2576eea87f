"""Heads that are one affine map of the pooled features: weight and bias, whatever the modules that compute it."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor

from autotransfer.errors import ExportError
from autotransfer.model.ensemble_member import EnsembleMember
from autotransfer.model.transfer_model import TransferModel

__all__ = ["affine_map", "single_member"]

# Random features on which a map is checked, at each of the magnitudes.
_CHECKED_ROWS = 16
_MAGNITUDES = (0.1, 1.0, 10.0)
# Largest difference between a head and its affine map, relative to the largest output.
_MAX_RELATIVE_DIFFERENCE = 1e-6


def single_member(model: TransferModel, library: str) -> EnsembleMember:
    """Return the network of a model that is one network, and sees one view of an example.

    Raises:
        ExportError: The model is an ensemble, averages views, or its head takes other features than the pooled ones.
    """
    member, other = model.members[0], "or export with --format onnx"
    if len(model.members) > 1:
        raise ExportError(
            f"The model is an ensemble of {len(model.members)} networks, and a checkpoint of {library} holds one: fit "
            f"with ensemble=False (--no-ensemble), {other}."
        )
    if member.views > 1:
        raise ExportError(
            f"The model averages {member.views} views of each {model.modality.noun}, and a checkpoint of {library} "
            f"sees one: fit with views=1 (--views 1), {other}."
        )
    if member.network.head_takes != "pooled":
        what = {"map": "the last feature map", "stages": "the features of all stages"}[member.network.head_takes]
        raise ExportError(_no_form(member, library, f"takes {what}"))
    return member


def affine_map(model: TransferModel, library: str) -> tuple[Tensor, Tensor]:
    """Return the weight (outputs, width) and the bias (outputs,) that map pooled features to what the model answers.

    These are logits, divided by the temperature, or the values of a regression in the units of the targets.

    Raises:
        ExportError: The model is more than one network, or its head is no affine map of pooled features.
    """
    member = single_member(model, library)
    network, width = member.network, member.network.backbone.width
    head = deepcopy(network.head).cpu().double().eval()
    with torch.inference_mode(False), torch.no_grad():
        try:
            bias = head(torch.zeros(1, width, dtype=torch.float64))[0]
            weight = (head(torch.eye(width, dtype=torch.float64)) - bias).T
            rng = torch.Generator().manual_seed(0)
            differences = [
                _difference(head, weight, bias, scale * torch.randn(_CHECKED_ROWS, width, generator=rng).double())
                for scale in _MAGNITUDES
            ]
        except Exception as error:  # a linear layer takes float64; what does not is none
            raise ExportError(_no_form(member, library, "is no linear map")) from error
        if not max(differences) <= _MAX_RELATIVE_DIFFERENCE:
            raise ExportError(_no_form(member, library, "is no linear map"))
        if network.scale.ndim:
            weight, bias = weight * network.scale[:, None], bias * network.scale + network.shift
        elif model.task.kind != "regression":
            weight, bias = weight / model.temperature, bias / model.temperature
        return weight.float().contiguous(), bias.float().contiguous()


def _difference(head: torch.nn.Module, weight: Tensor, bias: Tensor, features: Tensor) -> float:
    outputs = head(features)
    return float((outputs - (features @ weight.T + bias)).abs().max() / outputs.abs().max().clamp(min=1e-12))


def _no_form(member: EnsembleMember, library: str, why: str) -> str:
    return (
        f"The head {member.candidate.head!r} {why}, and a checkpoint of {library} ends in a linear layer on the pooled "
        "features: fit with a linear head (--heads linear, logistic or ridge), or export with --format onnx."
    )
