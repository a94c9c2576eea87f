"""The checks that autotransfer offers to its plugins."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from signals import plugin
from signals.network import SignalFormat

from autotransfer.contract.registry import Registry
from autotransfer.testing import check_backbone, check_modality


def test_plugin_keeps_the_contract(tmp_path: Path) -> None:
    registry = Registry.load()  # finds the plugin when it is installed
    waves = [np.sin(np.arange(20 + i) / (i + 1)) for i in range(5)]
    np.save(tmp_path / "wave.npy", waves[0])
    check_modality(registry.modality("signal"), [tmp_path / "wave.npy", *waves[1:]], [SignalFormat()])
    check_backbone(registry.backbone("tiny_signals"), rebuild=plugin.rebuild_backbone)
