"""The freeze policies of this package.

By default, ``depth`` is the number of stages less 1, ``decay`` is 1, and ``head_share`` is 0.3.
"""

from __future__ import annotations

from collections.abc import Callable

from autotransfer.contract.hookspecs import hookimpl
from autotransfer.contract.specs import FreezePolicySpec
from autotransfer_plugins.freezing.depth import DEPTH, FROZEN, FULL
from autotransfer_plugins.freezing.gradual import GRADUAL
from autotransfer_plugins.freezing.lora import LORA
from autotransfer_plugins.freezing.lp_ft import LP_FT
from autotransfer_plugins.freezing.norm_only import NORM_ONLY


@hookimpl
def register_freeze_policies(register: Callable[[FreezePolicySpec], None]) -> None:
    """Register the freeze policies."""
    for policy in (DEPTH, FROZEN, FULL, GRADUAL, LORA, LP_FT, NORM_ONLY):
        register(policy)
