"""Which branch a number falls into."""

import numpy as np
import tensorflow as tf

from kfp_vision.components.shared.augmentation.draw import _branches


def test_a_number_falls_into_the_branch_that_ends_behind_it() -> None:
    generator = np.random.default_rng(0)
    widths = generator.exponential(size=256).astype("float32")
    # As of policies of fewer branches: the last ones are empty.
    widths[200:] = 0
    ends = np.cumsum(widths / widths.sum(), dtype="float32")
    numbers = generator.random((500, 4), "float32")
    # On the ends themselves, too.
    numbers[:50] = ends[:200].reshape(50, 4)
    expected = np.searchsorted(ends[:-1], numbers, side="right")
    found = _branches(tf.constant(ends), tf.constant(numbers)).numpy()
    np.testing.assert_array_equal(found, expected)
