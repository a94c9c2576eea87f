"""What a network is trained on: decoded images, their labels where they have any, and which of them are held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from autotransfer.contract.modality import InputFormat, Store
from autotransfer.data.examples import Examples, modality_of
from autotransfer.data.folds import Fold
from autotransfer.data.split import assign_group_ids, split
from autotransfer.errors import DataError
from autotransfer.run.progress import Progress
from autotransfer.runtime.memory import memory_budget
from autotransfer.tasks.score import Score
from autotransfer.tasks.task import infer_task
from autotransfer.training.network import to_predictions

__all__ = ["PretrainingData", "prepare_pretraining_data"]


@dataclass(frozen=True, kw_only=True)
class PretrainingData:
    """Decoded images.

    Attributes:
        images: The images.
        train: Rows to learn from.
        held: Rows to score on.
        fold: The labels; None without any.
    """

    store: Store
    train: np.ndarray
    held: np.ndarray
    fold: Fold | None = None

    @property
    def held_out(self) -> Store:
        """The images that are held out."""
        return self.store.take(self.held)

    def score(self, outputs: np.ndarray) -> Score:
        """Score what a network says of the held-out rows (N, outputs): logits, or standardised values."""
        assert self.fold is not None  # only where there are labels
        fold = self.fold
        shift, scale = fold.standardisation()
        predictions = to_predictions(fold.task, torch.from_numpy(outputs * scale + shift))
        return Score.of(fold.task, fold.targets[self.held], predictions, fold.group_ids_of(self.held))


def prepare_pretraining_data(
    examples: Examples,
    wanted: Sequence[InputFormat],
    *,
    share: float,
    seed: int,
    show: Progress,
    reading: Mapping[str, Any] | None = None,
) -> PretrainingData:
    """Decode every image once, for all that look at them, and hold a share of them out.

    Args:
        examples: Labelled or not.
        wanted: How those that look at them want them.
        share: Share of the images that is held out.
        seed: Seed of the split.
        show: Is told how far decoding is, and what a user should know of the images.
        reading: What the values of examples mean to a model; None decides it over these.

    Raises:
        DataError: No image can be decoded, or there are too few.
    """
    show.phase(f"decoding {len(examples)} images")
    store = modality_of(examples).load(
        examples.items,
        examples.names,
        wanted,
        options={},
        reading=reading,
        exact=False,
        memory_limit=memory_budget(None),
        progress=lambda done, total: show.step(f"decoding images: {done} of {total}"),
    )
    show.warnings.add(*store.warnings)
    if store.skipped:
        show.say(f"{len(store.skipped)} images cannot be read: {store.skipped[0].name}, …")
    if examples.targets is None:
        train, held = _split_once(store, share, seed)
        return PretrainingData(store=store, train=train, held=held)
    targets = [examples.targets[i] for i in store.kept]
    task = infer_task(targets)
    encoded = task.encode(targets)
    groups = None if examples.groups is None else [examples.groups[i] for i in store.kept]
    train, held = split(encoded, task, store.digests, share=share, seed=seed, groups=groups)
    group_ids = assign_group_ids(store.digests, groups)
    fold = Fold(task=task, targets=encoded, train_rows=train, validation_rows=held, group_ids=group_ids)
    return PretrainingData(store=store, train=train, held=held, fold=fold)


def _split_once(store: Store, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split unlabelled images; copies of one stay on one side."""
    _, of = np.unique(store.digests, return_inverse=True)
    order = np.random.default_rng(seed).permutation(of.max() + 1)
    if len(order) < 2:
        raise DataError("One image is not enough: some are held out to score on.")
    held = np.isin(of, order[: max(1, round(share * len(order)))])
    return np.flatnonzero(~held), np.flatnonzero(held)
