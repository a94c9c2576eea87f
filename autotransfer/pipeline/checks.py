"""What can be refused at once: settings that name what does not exist, before any image is looked for."""

from __future__ import annotations

from typing import get_args

from autotransfer.contract.registry import Registry
from autotransfer.errors import UnknownNameError
from autotransfer.runtime.device import resolve_device
from autotransfer.runtime.storage import close_storage, open_storage
from autotransfer.settings import SearchConfig
from autotransfer.tasks.task import Kind

__all__ = ["check_settings"]


def check_settings(config: SearchConfig, registry: Registry) -> None:
    """Refuse settings that cannot be right, whatever the data are.

    Raises:
        UnknownNameError: There is no such task, backbone, head or freeze policy.
        ConfigError: The device or the storage cannot be used.
    """
    if config.task not in (None, *get_args(Kind)):
        raise UnknownNameError("kind of task", str(config.task), get_args(Kind))
    resolve_device(config.device)
    registry.select_heads(config.heads, config.task)
    registry.select_policies(config.freeze)
    registry.select_backbones(config.backbones)
    if config.storage is not None:
        close_storage(open_storage(config.storage))
