"""What can be refused at once is refused before any image is looked for, and after that before any is decoded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures.fitting import fit_with

import autotransfer
from autotransfer.errors import ConfigError, DataNotFoundError, UnknownNameError
from autotransfer.pipeline import prepare as preparation

Digits = tuple[np.ndarray, np.ndarray]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"heads": "lineer"}, "No head matches 'lineer'. Did you mean linear"),
        ({"heads": ["linear", "x*"]}, "No head matches 'x\\*'"),
        ({"task": "regression", "heads": "ncm"}, "No head for a regression task matches 'ncm'"),
        ({"freeze": "frosen"}, "No freeze policy matches 'frosen'. Did you mean frozen"),
        ({"backbones": "test_vitt"}, "No backbone matches 'test_vitt'. Did you mean test_vit"),
        ({"metric": "acuracy"}, "No metric matches 'acuracy'. Did you mean accuracy"),
        ({"task": "guess"}, "No kind of task matches 'guess'"),
        ({"storage": "nonsense://x"}, "The storage 'nonsense://x' cannot be used"),
        ({"zoo": "no-such-zoo"}, "There is no zoo folder"),
        ({"device": "cuda:99"}, "The device 'cuda:99' is not there"),
    ],
)
def test_wrong_settings_are_refused_before_data_are_read(
    settings: dict[str, Any], message: str, tiny_zoo: Path, tmp_path: Path
) -> None:
    with pytest.raises((ConfigError, DataNotFoundError), match=message):
        fit_with(tmp_path / "nowhere", out=tmp_path / "run", **{"zoo": tiny_zoo, **settings})
    assert not (tmp_path / "run").exists()


def test_unsuitable_head_is_refused_before_decoding(
    digits: Digits, tiny_zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decode(*arguments: Any, **settings: Any) -> None:
        raise AssertionError("images were decoded")

    monkeypatch.setattr(preparation, "modality_of", decode)
    images, _ = digits
    with pytest.raises(UnknownNameError, match="No head for a regression task matches 'ncm'"):
        autotransfer.fit(images, images.mean((1, 2)), zoo=tiny_zoo, heads="ncm", out=tmp_path / "run")
