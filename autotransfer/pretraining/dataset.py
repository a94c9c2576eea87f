"""Training and validation images of pretraining and distillation, with labels if there are any."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch

from autotransfer.contract.specs import CropMode, Preprocessing
from autotransfer.data.examples import Examples, Images
from autotransfer.data.folds import Fold
from autotransfer.data.split import assign_group_ids, split
from autotransfer.errors import DataError
from autotransfer.images.decode import decode
from autotransfer.images.decoding import Decoding
from autotransfer.run.progress import Progress
from autotransfer.runtime.memory import memory_budget
from autotransfer.tasks.score import Score
from autotransfer.tasks.task import infer_task
from autotransfer.training.network import to_predictions

__all__ = ["PretrainingData", "prepare_pretraining_data"]


@dataclass(frozen=True, kw_only=True)
class PretrainingData:
    """Decoded images of pretraining.

    Attributes:
        images: The images.
        train_rows: Rows that train.
        validation_rows: Rows that score.
        fold: Targets of the images; None without labels.
    """

    images: Images
    train_rows: np.ndarray
    validation_rows: np.ndarray
    fold: Fold | None = None

    @property
    def validation_images(self) -> Images:
        """The validation images."""
        return replace(
            self.images,
            pixels={mode: pixels[self.validation_rows] for mode, pixels in self.images.pixels.items()},
            digests=tuple(self.images.digests[i] for i in self.validation_rows),
            kept=self.images.kept[self.validation_rows],
        )

    def score(self, outputs: np.ndarray) -> Score:
        """Score outputs (N, outputs) for the validation images: logits, or standardised values."""
        assert self.fold is not None  # callers score labelled images only
        fold = self.fold
        shift, scale = fold.standardisation()
        predictions = to_predictions(fold.task, torch.from_numpy(outputs * scale + shift))
        return Score.of(
            fold.task, fold.targets[self.validation_rows], predictions, fold.group_ids_of(self.validation_rows)
        )


def prepare_pretraining_data(
    examples: Examples,
    wanted: Iterable[Preprocessing],
    *,
    share: float,
    seed: int,
    progress: Progress,
    decoding: Decoding | None = None,
) -> PretrainingData:
    """Decode every image once, for student and teacher, and split the images.

    Args:
        examples: Images with or without targets.
        wanted: Preprocessing of each backbone that sees the images.
        share: Share of the images that is held out for validation.
        seed: Seed of the split.
        progress: Shows the progress of decoding, and collects warnings.
        decoding: Value range of the images, as a model takes it; None determines it from the images.

    Raises:
        DataError: No image can be decoded, or there are too few.
    """
    progress.phase(f"decoding {len(examples)} images")
    sides: dict[CropMode, int] = {}
    for how in wanted:
        sides[how.crop_mode] = max(how.resized, sides.get(how.crop_mode, 0))
    images = decode(
        examples,
        sides,
        decoding=decoding,
        memory_limit=memory_budget(None),
        progress=lambda done, total: progress.step(f"decoding images: {done} of {total}"),
    )
    progress.warnings.add(*images.warnings)
    if images.skipped:
        progress.say(f"{len(images.skipped)} images cannot be read: {images.skipped[0].name}, …")
    if examples.targets is None:
        train, validation = _split_once(images, share, seed)
        return PretrainingData(images=images, train_rows=train, validation_rows=validation)
    targets = [examples.targets[i] for i in images.kept]
    task = infer_task(targets)
    encoded = task.encode(targets)
    groups = None if examples.groups is None else [examples.groups[i] for i in images.kept]
    train, validation = split(encoded, task, images.digests, share=share, seed=seed, groups=groups)
    group_ids = assign_group_ids(images.digests, groups)
    fold = Fold(task=task, targets=encoded, train_rows=train, validation_rows=validation, group_ids=group_ids)
    return PretrainingData(images=images, train_rows=train, validation_rows=validation, fold=fold)


def _split_once(images: Images, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split unlabelled images; copies of an image stay on one side."""
    _, of = np.unique(images.digests, return_inverse=True)
    order = np.random.default_rng(seed).permutation(of.max() + 1)
    if len(order) < 2:
        raise DataError("One image is not enough: some are held out to score on.")
    validation = np.isin(of, order[: max(1, round(share * len(order)))])
    return np.flatnonzero(~validation), np.flatnonzero(validation)
