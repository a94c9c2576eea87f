"""The forward pass of a model: from decoded examples to the outputs of each ensemble member."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from torch import Tensor

from autotransfer.backbones.frozen import FrozenBackbone, batch_sizes
from autotransfer.backbones.inputs import laid_out, pooled
from autotransfer.contract.backbone import Backbone
from autotransfer.contract.modality import Inputs, Store
from autotransfer.contract.plugin_call import plugin_call
from autotransfer.features.batches import Rows, collect
from autotransfer.features.ragged import by_length
from autotransfer.model.ensemble_member import EnsembleMember
from autotransfer.runtime.device import Device
from autotransfer.training.network import Network

__all__ = [
    "MembersOfBackbone",
    "Watched",
    "features_for_heads",
    "group_by_backbone",
    "outputs_of_heads",
    "outputs_of_network",
]

# Examples that pass at a time through a network of which nobody has measured what suits it.
_BATCH = 32


@dataclass(frozen=True, kw_only=True)
class Watched:
    """What looks at the pooled features of examples on their way to the heads.

    Attributes:
        look: Maps features (rows, width) to numbers (rows,).
        found: Takes the numbers (N,).
    """

    look: Callable[[Tensor], Tensor]
    found: np.ndarray


@dataclass(frozen=True, kw_only=True)
class MembersOfBackbone:
    """The members of a model that share a backbone. The backbone sees each view of an example once.

    Attributes:
        backbone: The backbone, fused and in the precision that the search ran it in while it was frozen.
        members: The members whose heads stand on the backbone.
        device: Where the backbone runs.
    """

    backbone: FrozenBackbone
    members: tuple[EnsembleMember, ...]
    device: Device

    def outputs(self, store: Store, watched: Watched | None = None) -> Iterator[tuple[EnsembleMember, Tensor]]:
        """Yield each member with its logits, or values in the units of the target (N, outputs), averaged over views.

        Args:
            store: The examples.
            watched: What looks at the pooled features of the first view.
        """
        sums: list[np.ndarray | None] = [None] * len(self.members)
        for position, view in enumerate(store.modality.views):
            seeing = [i for i, member in enumerate(self.members) if position < member.views]
            if not seeing:
                break
            networks = [self.members[i].network for i in seeing]
            found = self._outputs_of_view(store, view, networks, None if position else watched)
            for i, outputs in zip(seeing, found, strict=True):
                known = sums[i]
                sums[i] = outputs if known is None else known + outputs
        for member, total in zip(self.members, sums, strict=True):
            assert total is not None  # each member sees the first view
            yield member, member.network.to_target_units(torch.from_numpy(total / member.views))

    def holds(self, member: EnsembleMember) -> bool:
        """Whether a member's head stands on the backbone."""
        return any(one is member for one in self.members)

    def pooled_features(self, store: Store, rows: np.ndarray) -> np.ndarray:
        """Return the pooled features (rows, width) of some examples in the first view, as predictions have them."""
        network = self.members[0].network
        return self._outputs_of_view(store, store.modality.views[0], [network], rows=rows)[-1]

    def _outputs_of_view(
        self,
        store: Store,
        view: str,
        networks: Sequence[Network],
        watched: Watched | None = None,
        rows: np.ndarray | None = None,
    ) -> tuple[np.ndarray, ...]:
        """Return the logits or standardised values (N, outputs) of each network for one view.

        Given rows, their pooled features follow.
        """
        how = networks[0].backbone.preprocessing

        def outputs(part: Rows) -> tuple[Tensor, ...]:
            with self.backbone.running() as backbone:
                chosen = part if rows is None else rows[part]
                batch = self.backbone.take(store.inputs(chosen, how, self.device.torch, view))
                features = features_for_heads(backbone, networks, batch)
            known = outputs_of_heads(networks, features)
            if watched is not None:
                known = (*known, watched.look(features["pooled"])[:, None])
            return known if rows is None else (*known, features["pooled"])

        lengths, count = store.lengths(how), len(store) if rows is None else len(rows)
        lengths = lengths if lengths is None or rows is None else lengths[rows]
        size = batch_sizes(self.device, lengths)[0]  # always the same: predictions must not depend on a measurement
        found = collect(
            outputs,
            count,
            np.empty,
            (size,),
            half=False,
            lower=self.backbone.lower,
            fill=self.device.torch.type == "cuda" and lengths is None,
            order=None if lengths is None else by_length(lengths),
            lengths=lengths,
        )
        arrays = cast("tuple[np.ndarray, ...]", found)
        if watched is None:
            return arrays
        watched.found[:] = arrays[-1][:, 0]
        return arrays[:-1]


def features_for_heads(backbone: Backbone, networks: Sequence[Network], batch: Inputs) -> dict[str, Tensor]:
    """Return the features by what heads take of a backbone, which sees a batch once.

    Args:
        backbone: The backbone of all networks, in any form of it.
        networks: The networks.
        batch: Inputs (N, ...).
    """
    maps = any(network.head_takes == "map" for network in networks)
    stages = next((network.stages for network in networks if network.stages is not None), None)
    with ExitStack() as watching:
        recorded = [] if stages is None else watching.enter_context(stages.recorded(backbone, batch))
        found = backbone.forward_map(batch) if maps else backbone(batch)
        last = pooled(backbone, found, batch) if maps else found
    features: dict[str, Tensor] = {"pooled": last}
    features |= {"map": laid_out(backbone, found, batch, networks[0].map_positions)} if maps else {}
    features |= {"stages": torch.cat([*recorded, last], 1)} if stages is not None else {}
    return features


def outputs_of_heads(networks: Sequence[Network], features: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
    """Return the logits or standardised values (N, outputs) of each network, from ``features_for_heads``."""
    return tuple(network.head_outputs(features[network.head_takes].float()) for network in networks)


def outputs_of_network(network: Network, store: Store, device: Device) -> np.ndarray:
    """Return the logits of one network, or its values in the units of the target (N, outputs), in the plain view."""
    how, parts = network.backbone.preprocessing, list[Tensor]()
    with torch.inference_mode():
        for start in range(0, len(store), _BATCH):
            batch = store.inputs(np.arange(start, min(start + _BATCH, len(store))), how, device.torch)
            (found,) = outputs_of_heads([network], features_for_heads(network.backbone, [network], batch))
            parts.append(network.to_target_units(found).cpu())
    return np.asarray(torch.cat(parts).numpy())


def group_by_backbone(members: Sequence[EnsembleMember], device: Device) -> list[MembersOfBackbone]:
    """Return the members grouped by the backbone that they share, in order of their first appearance."""
    groups: dict[int, list[EnsembleMember]] = {}
    for member in members:
        groups.setdefault(id(member.network.backbone), []).append(member)
    found = []
    for sharing in groups.values():
        own = device if sharing[0].autocast else replace(device, half=None)
        with plugin_call(f"The backbone {sharing[0].candidate.backbone!r}"):
            backbone = FrozenBackbone.of(sharing[0].network.backbone, own)
        found.append(MembersOfBackbone(backbone=backbone, members=tuple(sharing), device=device))
    return found
