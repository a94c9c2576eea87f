"""The conformance checks of examples of unequal length: good ones pass, and each fault of another is told."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fixtures.lengths import SequenceFormat, SequenceNet, SequenceStore

from autotransfer.errors import PluginError
from autotransfer.testing import check_backbone
from autotransfer.testing.lengths import check_lengths


def test_good_store_and_backbone_pass(sequences: SequenceStore, sequence_net: SequenceNet) -> None:
    check_lengths("it", sequences, SequenceFormat())
    check_backbone(sequence_net)


class Silent(SequenceStore):
    """Says no lengths."""

    def lengths(self, how: Any) -> Any:
        return None

    def inputs(self, rows: Any, how: Any, device: torch.device, view: str | None = None) -> Any:
        return SequenceFormat().probe(3)


class Wrong(SequenceStore):
    """Says lengths that its masks do not have."""

    def inputs(self, rows: Any, how: Any, device: torch.device, view: str | None = None) -> Any:
        return SequenceFormat().probe(3)


class Padded(SequenceStore):
    """Pads each batch to the longest of all examples."""

    def inputs(self, rows: Any, how: Any, device: torch.device, view: str | None = None) -> Any:
        given: Any = super().inputs(rows, how, device, view)
        return {name: torch.nn.functional.pad(tensor, (0, 1)) for name, tensor in given.items()}


class Backwards(SequenceStore):
    """Turns padding to the front."""

    def inputs(self, rows: Any, how: Any, device: torch.device, view: str | None = None) -> Any:
        given: Any = super().inputs(rows, how, device, view)
        return {name: tensor.flip(1) for name, tensor in given.items()}


class Numbers(SequenceStore):
    """Has a mask of numbers."""

    def inputs(self, rows: Any, how: Any, device: torch.device, view: str | None = None) -> Any:
        given: Any = super().inputs(rows, how, device, view)
        return {**given, "mask": given["mask"].long()}


@pytest.mark.parametrize(
    ("kind", "rule"),
    [
        (Silent, "lengths() gives the number of positions"),
        (Wrong, "masks have [12, 10, 8]"),
        (Padded, "as long as the longest of their rows"),
        (Backwards, "come first"),
        (Numbers, "of truth values"),
    ],
)
def test_fault_of_a_store_is_told(kind: type[SequenceStore], rule: str, sequences: SequenceStore) -> None:
    faulty = kind(**vars(sequences))
    with pytest.raises(PluginError) as raised:
        check_lengths("it", faulty, SequenceFormat())
    assert rule in str(raised.value)


def test_probe_without_padding_is_refused(sequences: SequenceStore, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = {"ids": torch.ones(3, 4, dtype=torch.long), "mask": torch.ones(3, 4, dtype=torch.bool)}
    monkeypatch.setattr(SequenceFormat, "probe", lambda how, count, seed=0: whole)
    with pytest.raises(PluginError, match="unequal length"):
        check_lengths("it", sequences, SequenceFormat())


class Unmasked(SequenceNet):
    """A net whose layers look at positions that are not there."""

    def forward_map(self, inputs: Any) -> torch.Tensor:
        return super().forward_map({**inputs, "mask": torch.ones_like(inputs["mask"])})


def test_backbone_that_looks_at_padding_is_refused() -> None:
    torch.manual_seed(0)
    with pytest.raises(PluginError, match="positions that are not there"):
        check_backbone(Unmasked())
