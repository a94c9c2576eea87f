"""What a folder that is no zoo is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotransfer.errors import ConfigError
from autotransfer_plugins.backbones._zoo import find_checkpoints


@pytest.mark.parametrize(
    ("files", "advice"),
    [
        (["config.json", "model.safetensors"], "It is a checkpoint itself: give "),
        (["model.safetensors"], "It is a checkpoint itself: give "),
        (["small.json", "small.safetensors"], "Give each of its checkpoints a folder: small/model.safetensors, with "),
        (["notes.txt"], r"holds no checkpoint NAME/config\.json \+ NAME/model\.safetensors\.$"),
    ],
)
def test_folder_without_checkpoints_gets_fitting_advice(files: list[str], advice: str, tmp_path: Path) -> None:
    for name in files:
        (tmp_path / name).touch()
    with pytest.raises(ConfigError, match=advice):
        find_checkpoints([tmp_path])
