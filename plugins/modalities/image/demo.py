"""The images of the demonstration: handwritten digits that scikit-learn brings along."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from autotransfer.contract.demo_data import DemoData

__all__ = ["digits"]

TEST_EXAMPLES = 500


def digits() -> DemoData:
    """Return 1,297 images (8, 8) of digits to train on, and 500 to test on."""
    data = load_digits()
    images, test, labels, truth = train_test_split(
        np.rint(data.images * (255 / 16)).astype(np.uint8),
        data.target,
        test_size=TEST_EXAMPLES,
        random_state=0,
        stratify=data.target,
    )
    return DemoData(
        title="Handwritten digits",
        train=images,
        targets=labels,
        test=test,
        test_targets=truth,
        predict="IMAGE_OR_FOLDER",
        fit="YOUR_IMAGES --test YOUR_TEST_IMAGES",
        layout="folders with a sub-folder for each class",
    )
