"""The members of a model as tensors and JSON. Files may come from strangers: each value is checked when it is read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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
from autotransfer.model.ensemble_member import EnsembleMember
from autotransfer.tasks.task import Task
from autotransfer.training.network import Network

__all__ = ["describe_members", "read_members", "tensors_of"]

_MAX_MEMBERS = 16
_BACKBONE_PREFIX = "backbone."


def tensors_of(members: Sequence[EnsembleMember]) -> dict[str, Tensor]:
    """Return all tensors by name, such as ``members.0.head.weight``; those of a shared backbone are there once."""
    tensors: dict[str, Tensor] = {}
    for i, member in enumerate(members):
        shared = _shared_backbone(members, i) is not None
        for name, tensor in member.network.state_dict().items():
            if not (shared and name.startswith(_BACKBONE_PREFIX)):
                tensors[_prefix(i) + name] = tensor
    return tensors


def describe_members(members: Sequence[EnsembleMember]) -> list[dict[str, Any]]:
    """Return each member as JSON, without its tensors."""
    return [_describe(member) | {"shares": _shared_backbone(members, i)} for i, member in enumerate(members)]


def read_members(
    saved: Any,
    task: Task,
    modality: Modality,
    registry: Registry,
    state: Mapping[str, Tensor],
    files: Mapping[str, bytes],
) -> tuple[EnsembleMember, ...]:
    """Build what ``describe_members`` and ``tensors_of`` wrote.

    Args:
        saved: What the file says of the members.
        task: What the model predicts.
        modality: What kind of examples it takes.
        registry: Knows heads and backbones.
        state: All tensors of the model by name.
        files: What input formats need beside their JSON, by name.

    Raises:
        ModelFormatError: The description is damaged.
    """
    if not isinstance(saved, list) or not 0 < len(saved) <= _MAX_MEMBERS:
        raise ModelFormatError(f"The members of a model are a list of 1 to {_MAX_MEMBERS}.")
    members: list[EnsembleMember] = []
    for i, about in enumerate(saved):
        weight, shares = about["weight"], about["shares"]
        if shares is not None and not (type(shares) is int and 0 <= shares < i):
            raise ModelFormatError(f"A member shares the backbone of one before it; got {shares!r:.60}.")
        if type(weight) is not float or not 0 < weight <= 1:
            raise ModelFormatError(f"The weight of a member is a number from 0 to 1; got {weight!r:.60}.")
        shared = None if shares is None else members[shares].network.backbone
        own = {name.removeprefix(_prefix(i)): t for name, t in state.items() if name.startswith(_prefix(i))}
        members.append(
            EnsembleMember(
                network=_read_network(about, task, modality, registry, own, files, shared),
                candidate=Candidate.from_json(about["candidate"]),
                weight=weight,
                views=_read_views(about["views"], modality),
                autocast=about["autocast"] is True,
            )
        )
    if not math.isclose(total := sum(member.weight for member in members), 1.0, abs_tol=1e-6):
        raise ModelFormatError(f"The weights of the members of a model sum to 1; got {total:g}.")
    return tuple(members)


def _read_network(
    saved: Mapping[str, Any],
    task: Task,
    modality: Modality,
    registry: Registry,
    own: dict[str, Tensor],
    files: Mapping[str, bytes],
    shared: Backbone | None,
) -> Network:
    size = sum(tensor.numel() for tensor in own.values())
    network = _rebuild(saved, task, modality, registry, size, files, shared)
    if shared is not None:
        own |= {_BACKBONE_PREFIX + name: tensor for name, tensor in shared.state_dict().items()}
    network.load_state_dict(own, strict=True)
    return network


def _prefix(position: int) -> str:
    return f"members.{position}."


def _shared_backbone(members: Sequence[EnsembleMember], position: int) -> int | None:
    """Return the position of the first member before this one that has the same backbone."""
    backbone = members[position].network.backbone
    return next((i for i in range(position) if members[i].network.backbone is backbone), None)


def _describe(member: EnsembleMember) -> dict[str, Any]:
    backbone = member.network.backbone
    return {
        "candidate": member.candidate.to_json(),
        "backbone": {
            "name": member.candidate.backbone,
            "recipe": dict(backbone.recipe),
            "preprocessing": backbone.preprocessing.to_json(),
        },
        "head": {"shape": list(member.network.head_shape), "takes": member.network.head_takes},
        "weight": member.weight,
        "views": member.views,
        "autocast": member.autocast,
    }


def _rebuild(
    about: Mapping[str, Any],
    task: Task,
    modality: Modality,
    registry: Registry,
    size: int,
    files: Mapping[str, bytes],
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
        backbone.preprocessing = modality.read_format(saved["preprocessing"], files)
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
        ModelFormatError: The number is out of range.
    """
    if type(value) is not int or not 0 < value <= len(modality.views):
        raise ModelFormatError(f"A network sees an example in 1 to {len(modality.views)} views; got {value!r:.60}.")
    return value
