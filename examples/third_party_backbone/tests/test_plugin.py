"""The checks that autotransfer offers to its plugins."""

from __future__ import annotations

from bright_backbone import plugin

from autotransfer.contract.registry import Registry
from autotransfer.testing import check_backbone, check_freeze_policy, check_head


def test_plugin_keeps_the_contract() -> None:
    registry = Registry.load()  # finds the plugin when it is installed
    check_backbone(registry.backbone("bright_tiny"), rebuild=plugin.rebuild_backbone)
    check_head(registry.head("cosine"))
    check_freeze_policy(registry.policy("last_two"))
