"""The colours of classes."""

import numpy as np
import pytest

from kfp_vision.components.shared.datasets.palette import class_colour, oklab


def test_a_lightness_is_that_of_oklab():
    # Ottosson's own values of white and pure red.
    assert oklab(np.array([255, 255, 255])) == pytest.approx([1, 0, 0], abs=1e-4)
    assert oklab(np.array([255, 0, 0])) == pytest.approx([0.62796, 0.22486, 0.12585], abs=1e-4)


def test_colours_are_told_apart():
    colours = np.array([class_colour(label) for label in range(20)])
    places = oklab(colours)
    apart = np.linalg.norm(places[:, None] - places, axis=-1) + np.eye(20)
    # Of black and white it is 1; from 0.02 on a difference is seen at all.
    assert apart.min() > 0.13
    assert apart[:11, :11].min() > 0.2
    # In grays, too, not all are the same.
    assert np.ptp(places[:, 0]) > 0.4
    assert len({class_colour(label) for label in range(255)}) == 255
