"""Training and validation examples of pretraining and distillation, with labels if there are any."""

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
    """Decoded examples of pretraining.

    Attributes:
        store: The examples.
        train_rows: Rows that train.
        validation_rows: Rows that score.
        fold: Targets of the examples; None without labels.
    """

    store: Store
    train_rows: np.ndarray
    validation_rows: np.ndarray
    fold: Fold | None = None

    @property
    def held_out(self) -> Store:
        """The validation examples."""
        return self.store.take(self.validation_rows)

    def score(self, outputs: np.ndarray) -> Score:
        """Score outputs (N, outputs) for the validation examples: logits, or standardised values."""
        assert self.fold is not None  # callers score labelled examples only
        fold = self.fold
        shift, scale = fold.standardisation()
        predictions = to_predictions(fold.task, torch.from_numpy(outputs * scale + shift))
        return Score.of(
            fold.task, fold.targets[self.validation_rows], predictions, fold.group_ids_of(self.validation_rows)
        )


def prepare_pretraining_data(
    examples: Examples,
    wanted: Sequence[InputFormat],
    *,
    share: float,
    seed: int,
    progress: Progress,
    reading: Mapping[str, Any] | None = None,
    modality_options: Mapping[str, Any] | None = None,
) -> PretrainingData:
    """Read every example once, for student and teacher, and split the examples.

    Args:
        examples: Examples with or without targets.
        wanted: Preprocessing of each backbone that sees the examples.
        share: Share of the examples that is held out for validation.
        seed: Seed of the split.
        progress: Shows the progress of decoding, and collects warnings.
        modality_options: Options of the modality of the examples.
        reading: How a model reads the values of examples; None determines this from the examples.

    Raises:
        DataError: No example can be decoded, or there are too few.
    """
    modality = modality_of(examples)
    progress.phase(f"reading {len(examples)} {modality.noun}s")
    store = modality.load(
        examples.items,
        examples.names,
        wanted,
        options=modality.read_options(modality_options),
        reading=reading,
        exact=False,
        memory_limit=memory_budget(None),
        progress=lambda done, total: progress.update(f"reading {modality.noun}s: {done} of {total}"),
    )
    progress.warnings.add(*store.warnings)
    if store.skipped:
        progress.print(f"{len(store.skipped)} {modality.noun}s cannot be read: {store.skipped[0].name}, …")
    if examples.targets is None:
        train, validation = _split_once(store, share, seed)
        return PretrainingData(store=store, train_rows=train, validation_rows=validation)
    targets = [examples.targets[i] for i in store.kept]
    task = infer_task(targets)
    encoded = task.encode(targets)
    groups = None if examples.groups is None else [examples.groups[i] for i in store.kept]
    train, validation = split(encoded, task, store.digests, share=share, seed=seed, groups=groups)
    group_ids = assign_group_ids(store.digests, groups)
    fold = Fold(task=task, targets=encoded, train_rows=train, validation_rows=validation, group_ids=group_ids)
    return PretrainingData(store=store, train_rows=train, validation_rows=validation, fold=fold)


def _split_once(store: Store, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split unlabelled examples; copies of an example stay on one side."""
    _, of = np.unique(store.digests, return_inverse=True)
    order = np.random.default_rng(seed).permutation(of.max() + 1)
    if len(order) < 2:
        raise DataError("One example is not enough: some are held out to score on.")
    validation = np.isin(of, order[: max(1, round(share * len(order)))])
    return np.flatnonzero(~validation), np.flatnonzero(validation)
