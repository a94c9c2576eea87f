"""Pretrained weights from the hub, a hub cache, or older download addresses, loaded by timm."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import timm
import torch
from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError

from autotransfer.errors import AutoTransferError, BackboneError
from autotransfer.runtime.text import one_line
from autotransfer_plugins.backbones._channels import build_with_channels
from autotransfer_plugins.backbones._checkpoint import load_folder
from autotransfer_plugins.backbones._hosts import check_host, unavailable
from autotransfer_plugins.backbones._model import TimmBackbone
from autotransfer_plugins.backbones._recipe import Recipe, strip_classifier

__all__ = ["check", "check_repository", "load", "load_repository"]

_CONFIG, _WEIGHTS = "config.json", "model.safetensors"


def load(name: str, side: int | None = None, channels: int | None = None) -> TimmBackbone:
    """Build one of timm's models with its weights.

    Args:
        name: Name of the model.
        side: Side of the images in pixels; None takes the size of the model.
        channels: Number of channels of the images, for which the first layer is adapted; None takes its own.

    Raises:
        WeightsUnavailableError: The weights are not here and cannot be fetched.
        BackboneError: The weights are damaged, or the first layer cannot be adapted.
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
    wanted = recipe.at(side, channels)
    if wanted.channels != recipe.channels:
        model = build_with_channels(wanted, model.state_dict(), recipe.channels)
    return TimmBackbone(model, wanted)


def load_repository(repository: str, side: int | None = None, channels: int | None = None) -> TimmBackbone:
    """Fetch a repository and load it with the checks of a folder, since its author is unknown; see ``load_folder``."""
    check_repository(repository)
    name, _, revision = repository.partition("@")
    with _translated(repository):
        config, _ = (
            _cached(repository, file) or hf_hub_download(name, file, revision=revision or None)
            for file in (_CONFIG, _WEIGHTS)
        )
    return load_folder(Path(config).parent, side, channels)


def check(name: str) -> None:
    """Raise WeightsUnavailableError unless the weights are cached or their host answers."""
    config = timm.get_pretrained_cfg(name)
    if config.hf_hub_id:
        check_repository(config.hf_hub_id)
        return
    address = config.url if isinstance(config.url, str) else config.url[0]
    if not (Path(torch.hub.get_dir()) / "checkpoints" / Path(urlsplit(address).path).name).is_file():
        check_host(address, name)


def check_repository(repository: str) -> None:
    """Raise WeightsUnavailableError unless a repository's weights are cached or the hub answers."""
    with _translated(repository):
        cached = _cached(repository, _WEIGHTS)
    if not cached:
        check_host(constants.ENDPOINT, repository)


def _cached(repository: str | None, file: str) -> str | None:
    """Return the path of a repository's file in the hub cache."""
    name, _, revision = (repository or "").partition("@")
    path = try_to_load_from_cache(name, file, revision=revision or None) if name else None
    return path if isinstance(path, str) else None


@contextmanager
def _translated(what: str) -> Iterator[None]:
    """Turn errors of the hub and of timm into errors of this package."""
    try:
        yield
    except AutoTransferError:
        raise
    except (OSError, EntryNotFoundError) as error:
        raise unavailable(
            what, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        ) from error
    except Exception as error:  # a damaged file, names that do not fit: timm raises many kinds
        raise BackboneError(f"{what} cannot be loaded: {type(error).__name__}: {one_line(error)}") from error
