"""Imported by the fork server alone: worker processes begin with what it has imported, and share its memory."""

from __future__ import annotations

import gc

from autotransfer.workers.process import import_libraries

__all__: list[str] = []

import_libraries()
gc.freeze()  # so that collecting garbage in a worker does not copy what it shares
