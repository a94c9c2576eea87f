"""The catalogue: timm's models are listed without timm, as timm itself would list them, whatever its version."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import timm
from timm.models import get_deprecated_models

from autotransfer.contract.registry import Registry
from autotransfer.errors import UnknownNameError
from autotransfer_plugins.backbones import _catalogue
from autotransfer_plugins.backbones._catalogue import catalogue, is_architecture, timm_version
from autotransfer_plugins.backbones.timm import resolve_backbone

LISTED = """
import sys
from autotransfer_plugins.backbones import _catalogue
{change}
from autotransfer.contract.registry import Registry
registry = Registry.load()
specs = [spec.to_row() | {{"load_at": spec.load_at is None, "version": ""}} for spec in registry.backbones.values()]
print("timm" in sys.modules, "torch" in sys.modules, len(specs), hash(str(specs)))
"""


def _listed(change: str = "") -> list[str]:
    code = LISTED.format(change=change)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "0"}
    )
    return done.stdout.split()


def test_the_table_says_what_timm_says() -> None:
    version, _ = _catalogue._table()
    if version != timm.__version__:
        pytest.skip(f"the table is of timm {version}; here is {timm.__version__}, which is asked instead")
    assert timm_version() == timm.__version__
    assert _catalogue._from_table() == _catalogue._from_timm()


@pytest.mark.slow
def test_timm_is_asked_where_it_is_loaded_or_of_another_version() -> None:
    assert catalogue() is _catalogue._from_timm(), "here it is loaded"
    pretrained = {name for name, entry in catalogue().items() if entry.pretrained}
    assert pretrained == set(timm.list_models(pretrained=True))
    loaded, _, *asked = _listed("_catalogue.timm_version = lambda: '99.0'")
    assert loaded == "True"
    *seen, count, listed = _listed()
    assert [count, listed] == asked
    if _catalogue._table()[0] == timm.__version__:
        assert seen == ["False", "False"], "listing takes neither"


@pytest.mark.slow
def test_what_a_name_alone_means_is_what_timm_means() -> None:
    for name in ("resnet50", "test_vit", "vit_base_patch16_224", "mobilenetv2_100"):
        spec = resolve_backbone(name)
        assert spec is not None
        assert spec.name == f"{name}.{timm.get_pretrained_cfg(name).tag}"
    assert resolve_backbone("vit_gigantic_patch16_clip") is None
    assert all(map(is_architecture, timm.list_models()))
    assert is_architecture("tf_efficientnet_b0_ns"), "timm builds what has an older name"
    assert not is_architecture("resnet5000")


@pytest.mark.slow
def test_names_that_timm_has_given_up_lead_to_those_of_today() -> None:
    registry, renamed = Registry.load(), get_deprecated_models()
    with pytest.raises(UnknownNameError, match=r"Did you mean tf_efficientnet_b0\.ns_jft_in1k\?"):
        registry.select_backbones(("tf_efficientnet_b0_ns",))
    with pytest.raises(UnknownNameError, match=r"convnext_\w+\.fb_in22k_ft_in1k"):
        registry.select_backbones(("convnext_*_in22ft1k",))
    for old, new in renamed.items():
        if new is not None:
            with pytest.raises(UnknownNameError) as caught:
                resolve_backbone(old)
            assert new in str(caught.value)


@pytest.mark.slow
def test_its_script_writes_it(tmp_path: Path) -> None:
    script = Path(__file__).parents[3] / "examples" / "architectures.py"
    made = tmp_path / "catalogue.csv"
    subprocess.run([sys.executable, str(script), "--catalogue", str(made)], check=True, capture_output=True)
    if _catalogue._table()[0] == timm.__version__:
        assert made.read_text() == (Path(_catalogue.__file__).parent / "catalogue.csv").read_text()
