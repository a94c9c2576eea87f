"""Where computation runs: names that fit this machine, and a clear refusal of the others."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from autotransfer.errors import ConfigError
from autotransfer.runtime.device import Device, memory_format_for, resolve_device

no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")


def test_the_cpu_is_always_there() -> None:
    device = resolve_device("cpu")
    assert device.torch == torch.device("cpu")
    assert device.half in (None, torch.bfloat16)


def test_auto_takes_a_gpu_when_there_is_one() -> None:
    assert resolve_device().torch.type == ("cuda" if torch.cuda.is_available() else "cpu")


@no_gpu
@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:7"])
def test_a_gpu_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"'{name}' is not there: .* shows 0 CUDA device.*--device cpu"):
        resolve_device(name)


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cudaX", "cuda:", "CPU", "", "tpu", "cpu:0:0"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="The device is 'auto', 'cpu'"):
        resolve_device(name)


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="this machine has it")
def test_apple_silicon_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match="'mps' is not there"):
        resolve_device("mps")


def test_autocast_uses_16_bit_only_if_enabled_and_native() -> None:
    layer, x = nn.Linear(4, 4), torch.ones(2, 4)
    native = Device(torch=torch.device("cpu"), half=torch.bfloat16)
    plain = Device(torch=torch.device("cpu"), half=None)

    def kind(device: Device, enabled: bool) -> torch.dtype:
        with device.autocast(enabled):
            return layer(x).dtype  # type: ignore[no-any-return]

    assert kind(native, True) == torch.bfloat16
    assert kind(native, False) == torch.float32
    assert kind(plain, True) == torch.float32


def test_modules_are_placed_channels_last() -> None:
    conv = resolve_device("cpu").place(nn.Conv2d(3, 8, 3))
    assert conv.weight.is_contiguous(memory_format=torch.channels_last)


def test_what_trains_repeatably_leaves_the_setting_as_it_was() -> None:
    device = resolve_device("cpu")
    before = torch.backends.cudnn.deterministic
    with device.repeatable():
        assert torch.backends.cudnn.deterministic is True
    assert torch.backends.cudnn.deterministic is before


def test_a_gpu_takes_the_layout_that_needs_no_kernels_of_its_own() -> None:
    assert memory_format_for(torch.device("cuda", 0)) is torch.contiguous_format
    assert memory_format_for(torch.device("cpu")) is torch.channels_last
