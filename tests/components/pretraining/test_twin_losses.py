"""The losses of two views against NumPy in float64, written from the equations of the papers."""

import numpy as np
import pytest
import tensorflow as tf

from kfp_vision.components.pretraining.barlow_twins import barlow_twins_loss
from kfp_vision.components.pretraining.simclr import nt_xent_loss

LOSSES = [barlow_twins_loss, nt_xent_loss]


def barlow_twins_reference(first: np.ndarray, second: np.ndarray, weight: float) -> float:
    """Equations 1 and 2, a sum at a time."""
    first, second = first - first.mean(0), second - second.mean(0)
    total, width = 0.0, first.shape[1]
    for i in range(width):
        for j in range(width):
            numerator = sum(first[:, i] * second[:, j])
            correlation = numerator / (
                np.sqrt(sum(first[:, i] ** 2)) * np.sqrt(sum(second[:, j] ** 2))
            )
            total += (1 - correlation) ** 2 if i == j else weight * correlation**2
    return float(total)


def nt_xent_reference(first: np.ndarray, second: np.ndarray, temperature: float) -> float:
    """Algorithm 1: views 2k - 1 and 2k are of the same image."""
    views = np.stack([first, second], 1).reshape(2 * len(first), -1)

    def similarity(i: int, j: int) -> float:
        norms = np.linalg.norm(views[i]) * np.linalg.norm(views[j])
        return float(views[i] @ views[j] / norms)

    def loss(i: int, j: int) -> float:
        others = [k for k in range(len(views)) if k != i]
        total = sum(np.exp(similarity(i, k) / temperature) for k in others)
        return float(-np.log(np.exp(similarity(i, j) / temperature) / total))

    pairs = [(2 * k, 2 * k + 1) for k in range(len(first))]
    return sum(loss(i, j) + loss(j, i) for i, j in pairs) / len(views)


def embeddings(batch: int, width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Returns those of two views that have something in common."""
    generator = np.random.default_rng(seed)
    shared, *own = generator.normal(size=(3, batch, width))
    first, second = (2.0 * shared + each + 0.5 for each in own)
    return first, second


def as_tensors(first: np.ndarray, second: np.ndarray) -> tuple[tf.Tensor, tf.Tensor]:
    return tf.constant(first, tf.float32), tf.constant(second, tf.float32)


@pytest.mark.parametrize(("batch", "width"), [(2, 3), (7, 5), (32, 16), (33, 8)])
@pytest.mark.parametrize("weight", [5e-3, 1.0])
def test_barlow_twins_is_that_of_the_paper(batch, width, weight):
    first, second = embeddings(batch, width)
    expected = barlow_twins_reference(first, second, weight)
    loss = barlow_twins_loss(*as_tensors(first, second), weight)
    assert float(loss) == pytest.approx(expected, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize(("batch", "width"), [(1, 4), (2, 3), (7, 5), (33, 8)])
@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_simclr_is_that_of_the_paper(batch, width, temperature):
    first, second = embeddings(batch, width)
    expected = nt_xent_reference(first, second, temperature)
    loss = nt_xent_loss(*as_tensors(first, second), temperature)
    assert float(loss) == pytest.approx(expected, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_compiled_loss_is_the_same(loss):
    first, second = (tf.constant(each, tf.float32) for each in embeddings(9, 6))
    compiled = tf.function(loss, jit_compile=True)
    np.testing.assert_allclose(compiled(first, second), loss(first, second), rtol=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("kind", [tf.float16, tf.bfloat16])
def test_short_floats_are_computed_in_float32(loss, kind):
    # Large: the sum of their squares is beyond float16.
    first, second = (tf.cast(100.0 * each, kind) for each in embeddings(64, 16))
    result = loss(first, second)
    assert result.dtype == tf.float32
    assert float(result) == float(loss(*(tf.cast(each, tf.float32) for each in (first, second))))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("scale", [1e-4, 1e3])
def test_the_scale_of_an_embedding_does_not_matter(loss, scale):
    first, second = (tf.constant(each, tf.float32) for each in embeddings(16, 8))
    np.testing.assert_allclose(loss(scale * first, scale * second), loss(first, second), rtol=1e-4)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_constant_embedding_has_a_finite_loss_and_gradient(loss):
    weights = tf.Variable(tf.zeros([5, 4]))
    with tf.GradientTape() as tape:
        value = loss(weights + 1.0, weights + 1.0)
    assert np.isfinite(value)
    assert np.isfinite(tape.gradient(value, weights)).all()


def test_perfect_embeddings_have_the_least_loss():
    # Features that agree in both views and are not correlated.
    best = tf.constant(np.linalg.qr(embeddings(16, 6)[0] - embeddings(16, 6)[0].mean(0))[0])
    assert float(barlow_twins_loss(best, best)) == pytest.approx(0.0, abs=1e-8)
    # All images are at right angles: exp(1 / T) / (exp(1 / T) + 2 B - 2).
    apart = tf.eye(8)
    expected = np.log(np.exp(2.0) + 14) - 2.0
    assert float(nt_xent_loss(apart, apart, 0.5)) == pytest.approx(expected, rel=1e-6)
