"""What can be refused at once: settings that name what does not exist, before any example is looked for."""

from __future__ import annotations

from autotransfer.contract.registry import Registry
from autotransfer.errors import UnknownNameError
from autotransfer.runtime.device import resolve_device
from autotransfer.runtime.storage import close_storage, open_storage
from autotransfer.settings import DataOptions, Settings

__all__ = ["check_modality_settings", "check_settings"]


def check_settings(settings: Settings, registry: Registry) -> None:
    """Refuse settings that cannot be right, whatever the data are.

    Raises:
        UnknownNameError: There is no such modality, backbone, head or freeze policy.
        ConfigError: The device or the storage cannot be used, or no modality has an option that is set.
    """
    resolve_device(settings.compute.device)
    check_modality_settings(settings.data_options, registry)
    registry.select_heads(settings.heads, settings.data_options.task)
    registry.select_policies(settings.search.freeze)
    registry.select_backbones(settings.backbones)
    if settings.run.storage is not None:
        close_storage(open_storage(settings.run.storage))


def check_modality_settings(options: DataOptions, registry: Registry) -> None:
    """Refuse a modality that there is not, and options that suit no modality that there is.

    Raises:
        UnknownNameError: There is no such modality, or no such option.
        ConfigError: The modality does not have such an option, or not with such a value.
    """
    if options.modality is not None:
        registry.modality(options.modality).read_options(options.modality_options)
        return
    for name, value in (options.modality_options or {}).items():
        having = [modality for modality in registry.modalities.values() if name in modality.options]
        if not having:
            known = sorted({option for modality in registry.modalities.values() for option in modality.options})
            raise UnknownNameError("option of a modality", name, known)
        if len(having) == 1:
            having[0].read_options({name: value})
