"""The digits of the demonstration."""

from __future__ import annotations

import numpy as np

from autotransfer_plugins.modalities.image.modality import IMAGE


def test_digits_to_train_and_to_test_on_differ() -> None:
    data, again = IMAGE.demo_data(), IMAGE.demo_data()
    assert data.train.shape == (1297, 8, 8)
    assert data.test.shape == (500, 8, 8)
    assert data.train.max() == 255, "256 grey levels"
    assert set(data.targets) == set(data.test_targets) == set(range(10))
    assert np.array_equal(data.test, again.test)
