"""The learning rate at its corners, and against Keras."""

import keras
import numpy as np

from kfp_vision.components.shared.training.schedules import warmup_cosine


def test_corners() -> None:
    rates = warmup_cosine(np.arange(1001), peak=2.0, warmup_steps=100, total_steps=1000)
    np.testing.assert_allclose(
        rates[[0, 99, 100, 550, 1000]], [0.02, 2.0, 2.0, 1.0, 0.0], atol=1e-6
    )
    assert np.all(np.diff(rates[:100]) > 0)
    assert np.all(np.diff(rates[100:]) < 0)


def test_the_cosine_is_the_one_of_keras() -> None:
    steps = np.arange(100, 1000, 37)
    theirs = keras.optimizers.schedules.CosineDecay(2.0, decay_steps=900)
    ours = warmup_cosine(steps, peak=2.0, warmup_steps=100, total_steps=1000)
    np.testing.assert_allclose(ours, [float(theirs(step - 100)) for step in steps], atol=1e-5)


def test_no_warm_up_starts_at_the_peak() -> None:
    assert warmup_cosine(np.array([0]), 3.0, 0, 10) == 3.0
