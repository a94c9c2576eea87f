"""What a modality brings along to show a search on: see ``Modality.demo_data``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["DemoData"]


@dataclass(frozen=True, kw_only=True)
class DemoData:
    """Labelled examples that need no network and no file, in a form that ``fit`` takes.

    Attributes:
        title: What the examples are, in a few words, such as "Handwritten digits".
        train: Examples to train on.
        targets: Their targets.
        test: Examples to test on, in an order that mixes the classes.
        test_targets: Their targets.
        predict: What stands for a user's examples behind ``autotransfer predict RUN``, such as "IMAGE_OR_FOLDER".
        fit: What stands for a user's data behind ``autotransfer fit``.
        layout: What these data look like, in a few words.
    """

    title: str
    train: Any
    targets: Sequence[Any]
    test: Any
    test_targets: Sequence[Any]
    predict: str = "EXAMPLES"
    fit: str = "YOUR_DATA --test YOUR_TEST_DATA"
    layout: str = "folders with a sub-folder for each class, or tables"
