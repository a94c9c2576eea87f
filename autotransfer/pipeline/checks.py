"""What can be refused at once: settings that name what does not exist, before any example is looked for."""

from __future__ import annotations

from autotransfer.contract.registry import Registry
from autotransfer.runtime.device import resolve_device
from autotransfer.runtime.storage import close_storage, open_storage
from autotransfer.settings import Settings

__all__ = ["check_settings"]


def check_settings(settings: Settings, registry: Registry) -> None:
    """Refuse settings that cannot be right, whatever the data are.

    Raises:
        UnknownNameError: There is no such backbone, head or freeze policy.
        ConfigError: The device or the storage cannot be used.
    """
    resolve_device(settings.compute.device)
    registry.select_heads(settings.heads, settings.data_options.task)
    registry.select_policies(settings.search.freeze)
    registry.select_backbones(settings.backbones)
    if settings.run.storage is not None:
        close_storage(open_storage(settings.run.storage))
