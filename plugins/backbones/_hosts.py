"""Hosts of pretrained weights: whether one can be reached, and the error where it cannot."""

from __future__ import annotations

import socket
import threading
from functools import cache
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from huggingface_hub import constants

from autotransfer.errors import WeightsUnavailableError

__all__ = ["check_host", "unavailable"]

_HOST_TIMEOUT = 2.0  # seconds


def check_host(address: str, what: str) -> None:
    """Raise WeightsUnavailableError unless the host of an address may be asked, and answers."""
    if constants.HF_HUB_OFFLINE:
        raise unavailable(what, "they are not in the cache, and HF_HUB_OFFLINE is set")
    host = urlsplit(address).hostname or address
    if not _is_reachable(*_endpoint(address)):
        raise unavailable(what, f"they are not in the cache, and {host} cannot be reached")


def _endpoint(address: str) -> tuple[str, int]:
    """Return the host and port of an address, or of the proxy for it."""
    parts = urlsplit(address)
    proxy = getproxies().get(parts.scheme)
    if proxy and not proxy_bypass(parts.hostname or ""):
        parts = urlsplit(proxy if "://" in proxy else f"//{proxy}", scheme="http")
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


@cache
def _is_reachable(host: str, port: int) -> bool:
    """Whether a host accepts a connection within two seconds; checked once in a process."""
    connected = threading.Event()

    def connect() -> None:
        try:
            socket.create_connection((host, port), _HOST_TIMEOUT).close()
        except OSError:
            return
        connected.set()

    # A thread, since resolving a name can take longer than the timeout of a socket.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(_HOST_TIMEOUT)
    return connected.is_set()


def unavailable(what: str, reason: str) -> WeightsUnavailableError:
    """Return the error of weights that cannot be had, with what to do."""
    return WeightsUnavailableError(
        f"The weights of {what} cannot be had: {reason}. Give a folder of checkpoints (--zoo or AUTOTRANSFER_ZOO), a "
        "filled hub cache (HF_HOME), or a network."
    )
