"""The networks of a model as tensors and JSON: written, and read back with distrust."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from autotransfer.backbones.frozen import PROBES
from autotransfer.backbones.stage_features import StageFeatures
from autotransfer.candidate import Candidate
from autotransfer.contract.backbone import Backbone
from autotransfer.contract.modality import Modality
from autotransfer.contract.registry import Registry
from autotransfer.errors import ModelFormatError
from autotransfer.tasks.task import Task
from autotransfer.training.network import Network

__all__ = ["Part", "described", "read_parts", "tensors_of"]

_MOST = 16
# How the tensors of a network's backbone are named, and those of the networks after the first.
_BACKBONE, _OTHERS = "backbone.", "others."


@dataclass(frozen=True, kw_only=True)
class Part:
    """One network of a model.

    Attributes:
        network: Backbone and head, in eval mode; parts may share a backbone.
        candidate: The setup that it was trained with.
        autocast: Whether 16 bit was used, and is used to predict.
        weight: Its share of the prediction.
        views: Number of fixed views of an example that its outputs are the mean over.
    """

    network: Network
    candidate: Candidate
    autocast: bool = False
    weight: float = 1.0
    views: int = 1


def tensors_of(parts: Sequence[Part]) -> dict[str, Tensor]:
    """Return all tensors by name: those of the first part as they are, a shared backbone's once."""
    tensors: dict[str, Tensor] = {}
    for i, part in enumerate(parts):
        shared = _shared(parts, i) is not None
        for name, tensor in part.network.state_dict().items():
            if not (shared and name.startswith(_BACKBONE)):
                tensors[_prefix(i) + name] = tensor
    return tensors


def described(parts: Sequence[Part]) -> list[dict[str, Any]]:
    """Return each part as JSON, its tensors left out; those after the first say what they weigh and share."""
    found = [_described(part) for part in parts]
    for i in range(1, len(parts)):
        found[i] |= {"weight": parts[i].weight, "shares": _shared(parts, i)}
    return found


def read_parts(
    about: Mapping[str, Any], task: Task, modality: Modality, registry: Registry, state: Mapping[str, Tensor]
) -> list[Part]:
    """Build what ``described`` and ``tensors_of`` wrote; of the first, the weight is what the others leave.

    Raises:
        ModelFormatError: It is damaged.
    """
    others = about.get("others", [])
    if not isinstance(others, list) or len(others) >= _MOST:
        raise ModelFormatError(f"The other networks of a model are a list of fewer than {_MOST}.")
    parts: list[Part] = []
    for i, saved in enumerate([about, *others]):
        weight, shares = (1.0, None) if i == 0 else (saved["weight"], saved["shares"])
        if shares is not None and not (type(shares) is int and 0 <= shares < i):
            raise ModelFormatError(f"A network shares the backbone of one before it; got {shares!r:.60}.")
        if type(weight) is not float or not 0 < weight <= 1:
            raise ModelFormatError(f"The weight of a network is a number from 0 to 1; got {weight!r:.60}.")
        shared = None if shares is None else parts[shares].network.backbone
        network = _read_network(saved, task, modality, registry, _own(state, i), shared)
        candidate = Candidate.from_json(saved["candidate"])
        autocast, views = saved["autocast"] is True, _read_views(saved.get("views", 1), modality)
        parts.append(Part(network=network, candidate=candidate, autocast=autocast, weight=weight, views=views))
    if sum(part.weight for part in parts[1:]) >= 1:
        raise ModelFormatError("The weights of the other networks leave nothing to the first one.")
    return parts


def _read_network(
    saved: Mapping[str, Any],
    task: Task,
    modality: Modality,
    registry: Registry,
    own: dict[str, Tensor],
    shared: Backbone | None,
) -> Network:
    network = _rebuild(saved, task, modality, registry, sum(tensor.numel() for tensor in own.values()), shared)
    if shared is not None:
        own |= {_BACKBONE + name: tensor for name, tensor in shared.state_dict().items()}
    network.load_state_dict(own, strict=True)
    return network


def _prefix(position: int) -> str:
    return f"{_OTHERS}{position - 1}." if position else ""


def _own(state: Mapping[str, Tensor], position: int) -> dict[str, Tensor]:
    """Return the tensors of one part by their own names."""
    if position == 0:
        return {name: tensor for name, tensor in state.items() if not name.startswith(_OTHERS)}
    prefix = _prefix(position)
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def _shared(parts: Sequence[Part], position: int) -> int | None:
    """Return the position of the first part before this one with the same backbone."""
    backbone = parts[position].network.backbone
    return next((i for i in range(position) if parts[i].network.backbone is backbone), None)


def _described(part: Part) -> dict[str, Any]:
    backbone = part.network.backbone
    return {
        "candidate": part.candidate.to_json(),
        "backbone": {
            "name": part.candidate.backbone,
            "recipe": dict(backbone.recipe),
            "preprocessing": backbone.preprocessing.to_json(),
        },
        "head": {"shape": list(part.network.head_shape), "takes": part.network.head_takes},
        "autocast": part.autocast,
        "views": part.views,
    }


def _rebuild(
    about: Mapping[str, Any],
    task: Task,
    modality: Modality,
    registry: Registry,
    size: int,
    backbone: Backbone | None = None,
) -> Network:
    """Build a saved network, without its weights, of which there are ``size``, around a backbone if there is one."""
    saved, candidate = about["backbone"], Candidate.from_json(about["candidate"])
    shape = tuple(int(length) for length in about["head"]["shape"])
    recipe = saved["recipe"]
    if not isinstance(recipe, dict):
        raise ModelFormatError(f"The recipe of the backbone must be an object; got a {type(recipe).__name__}.")
    if backbone is None:
        backbone = registry.rebuild(recipe) if recipe else registry.backbone(saved["name"]).load()
        backbone.preprocessing = modality.read_format(saved["preprocessing"])
    spec = registry.head(candidate.head)
    with torch.device("meta"):  # a head of any size takes no memory there
        asked = sum(p.numel() for p in spec.build(shape, task.outputs, candidate.head_params).parameters())
    if asked > size:
        raise ModelFormatError(f"Its head is to have {asked} parameters; the file of weights holds {size} values.")
    head = spec.build(shape, task.outputs, candidate.head_params)
    width = np.zeros(task.width) if task.kind == "regression" else 0.0
    stages = StageFeatures(backbone.eval(), backbone.preprocessing.probe(PROBES)) if spec.features == "stages" else None
    if stages is not None and (*stages.widths, backbone.width) != shape:
        raise ModelFormatError(f"Its head takes features of the widths {shape}; its backbone gives others.")
    return Network(backbone, head, shape, shift=width, scale=width, head_takes=spec.features, stages=stages)


def _read_views(value: Any, modality: Modality) -> int:
    """Return the number of views of an example.

    Raises:
        ModelFormatError: There are not so many.
    """
    if type(value) is not int or not 0 < value <= len(modality.views):
        raise ModelFormatError(f"A network sees its inputs in 1 to {len(modality.views)} views; got {value!r:.60}.")
    return value
