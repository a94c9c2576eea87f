"""Pretrained weights from the hub, a hub cache, or older download addresses, loaded by timm."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import timm
import torch
from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError

from autotransfer.errors import AutoTransferError, BackboneError, WeightsUnavailableError
from autotransfer.runtime.text import one_line
from autotransfer_plugins.backbones._checkpoint import load_folder
from autotransfer_plugins.backbones._model import TimmBackbone
from autotransfer_plugins.backbones._recipe import Recipe, strip_classifier

__all__ = ["check", "check_repository", "load", "load_repository"]

_CONFIG, _WEIGHTS = "config.json", "model.safetensors"
_HOST_TIMEOUT = 2.0  # seconds


def load(name: str, side: int | None = None) -> TimmBackbone:
    """Build one of timm's models with its weights.

    Args:
        name: Name of the model.
        side: Side of the images in pixels; None takes the size of the model.

    Raises:
        WeightsUnavailableError: The weights are not here and cannot be fetched.
        BackboneError: The weights are damaged.
    """
    check(name)  # without a network, the client of the hub retries for a minute
    config = timm.get_pretrained_cfg(name)
    cached = None if config.hf_hub_filename else _cached(config.hf_hub_id, _WEIGHTS)
    overlay = {"file": cached, "custom_load": False} if cached else None  # makes no request for a cached file
    with _translated(name), torch.inference_mode(False):
        model = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay)
        strip_classifier(model)
    for key, tensor in model.state_dict().items():
        if not torch.isfinite(tensor).all():
            raise BackboneError(f"The weights of {name} are damaged: {key!r} holds values that are not finite.")
    data = {**model.pretrained_cfg, "file": None, "hf_hub_filename": None}  # the recipe rebuilds without weights
    recipe = Recipe.from_json(data, name)
    return TimmBackbone(model, recipe if side is None else recipe.at(side))


def load_repository(repository: str) -> TimmBackbone:
    """Fetch a repository and load it with the checks of a folder, since its author is unknown."""
    check_repository(repository)
    name, _, revision = repository.partition("@")
    with _translated(repository):
        config, _ = (
            _cached(repository, file) or hf_hub_download(name, file, revision=revision or None)
            for file in (_CONFIG, _WEIGHTS)
        )
    return load_folder(Path(config).parent)


def check(name: str) -> None:
    """Raise WeightsUnavailableError unless the weights are cached or their host answers."""
    config = timm.get_pretrained_cfg(name)
    if config.hf_hub_id:
        check_repository(config.hf_hub_id)
        return
    address = config.url if isinstance(config.url, str) else config.url[0]
    if not (Path(torch.hub.get_dir()) / "checkpoints" / Path(urlsplit(address).path).name).is_file():
        _check_host(address, name)


def check_repository(repository: str) -> None:
    """Raise WeightsUnavailableError unless a repository's weights are cached or the hub answers."""
    with _translated(repository):
        cached = _cached(repository, _WEIGHTS)
    if not cached:
        _check_host(constants.ENDPOINT, repository)


def _cached(repository: str | None, file: str) -> str | None:
    """Return the path of a repository's file in the hub cache."""
    name, _, revision = (repository or "").partition("@")
    path = try_to_load_from_cache(name, file, revision=revision or None) if name else None
    return path if isinstance(path, str) else None


def _check_host(address: str, what: str) -> None:
    if constants.HF_HUB_OFFLINE:
        raise _unavailable(what, "they are not in the cache, and HF_HUB_OFFLINE is set")
    host = urlsplit(address).hostname or address
    if not _is_reachable(*_endpoint(address)):
        raise _unavailable(what, f"they are not in the cache, and {host} cannot be reached")


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


def _unavailable(what: str, reason: str) -> WeightsUnavailableError:
    return WeightsUnavailableError(
        f"The weights of {what} cannot be had: {reason}. Give a folder of checkpoints (--zoo or AUTOTRANSFER_ZOO), a "
        "filled hub cache (HF_HOME), or a network."
    )


@contextmanager
def _translated(what: str) -> Iterator[None]:
    """Turn errors of the hub and of timm into errors of this package."""
    try:
        yield
    except AutoTransferError:
        raise
    except (OSError, EntryNotFoundError) as error:
        raise _unavailable(
            what, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        ) from error
    except Exception as error:  # a damaged file, names that do not fit: timm raises many kinds
        raise BackboneError(f"{what} cannot be loaded: {type(error).__name__}: {one_line(error)}") from error
