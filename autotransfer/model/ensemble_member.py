"""One network of a model, with its share of the prediction."""

from __future__ import annotations

from dataclasses import dataclass

from autotransfer.candidate import Candidate
from autotransfer.training.network import Network

__all__ = ["EnsembleMember"]


@dataclass(frozen=True, kw_only=True)
class EnsembleMember:
    """One network of a model. A model that is no ensemble has a single member.

    Attributes:
        network: Backbone and head, in eval mode. Members may share a backbone.
        candidate: The setup that the network was trained with.
        weight: Share of the prediction; the weights of all members sum to 1.
        views: Number of fixed views of an example that the network's outputs are averaged over.
        autocast: Whether the network was trained, and predicts, in 16 bit.
    """

    network: Network
    candidate: Candidate
    weight: float = 1.0
    views: int = 1
    autocast: bool = False
