"""Neighbours vote the same whether all rows are scored at once or block by block."""

from __future__ import annotations

import pytest
import torch

from autotransfer_plugins.heads import knn


@pytest.mark.parametrize("count", [0, 1, 50])
def test_blocks_of_rows_vote_as_all_rows_do(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = torch.Generator().manual_seed(0)
    head = knn.NearestNeighbours(8, 3, k=5)
    head.keys = head.embed(torch.randn(40, 8, generator=draw)).half()
    head.values = torch.eye(3)[torch.randint(0, 3, (40,), generator=draw)]
    features, blocks = torch.randn(count, 8, generator=draw), []
    whole = head(features)
    votes = knn.NearestNeighbours._votes
    monkeypatch.setattr(knn, "_MAX_SIMILARITIES", 7 * 40)  # seven rows against 40 examples
    monkeypatch.setattr(
        knn.NearestNeighbours, "_votes", lambda self, rows, keys: blocks.append(len(rows)) or votes(self, rows, keys)
    )
    torch.testing.assert_close(head(features), whole)
    assert whole.shape == (count, 3)
    assert max(blocks) <= 7


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["single", "multilabel", "regression"])
def test_exported_form_votes_the_same_for_any_rows(kind: str) -> None:
    draw = torch.Generator().manual_seed(0)
    head = knn.NearestNeighbours(8, 3, k=5)
    head.keys = head.embed(torch.randn(40, 8, generator=draw)).half()
    head.values = torch.eye(3)[torch.randint(0, 3, (40,), generator=draw)]
    head.kind.fill_(("single", "multilabel", "regression").index(kind))
    features = torch.randn(6, 8, generator=draw)
    expected = head(features)
    head.before_export()
    rows = {0: torch.export.Dim("rows")}
    program = torch.export.export(head, (features,), dynamic_shapes=(rows,), strict=False).module()
    torch.testing.assert_close(program(features), expected)
    torch.testing.assert_close(program(features[:1]), expected[:1])
