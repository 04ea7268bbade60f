"""Two views of each image: which, in which order, and what learns from them."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kfp_vision.components.pretraining.simclr import nt_xent_loss
from kfp_vision.components.pretraining.twins import (
    TwinImages,
    TwinTask,
    add_projector,
    twin_batch_size,
)
from kfp_vision.components.shared.architectures.zoo import build_model
from kfp_vision.components.shared.datasets.loader import ImageSource
from kfp_vision.components.shared.tasks import get_task


@pytest.fixture
def source(few_digits_dir):
    return ImageSource(few_digits_dir, "train", (16, 16), 1)


def test_a_batch_holds_both_views_of_each_image_and_no_view_is_seen_twice(source):
    rows = np.array([3, 8, 9, 21, 30])
    images = TwinImages(source, rows, 2, seed=1)
    pixels, targets = images.take(0, 5)
    assert pixels.shape == (5, 4, 16, 16, 1)
    np.testing.assert_array_equal(pixels, source.take(targets["row"]))
    first, second = np.split(targets["row"], 2, axis=1)
    np.testing.assert_array_equal(first, second)
    # Ten places are two passes over five images.
    np.testing.assert_array_equal(np.sort(first.ravel()), np.repeat(rows, 2))
    views = np.stack([targets["row"], targets["view"]], -1).reshape(-1, 2)
    assert len(np.unique(views, axis=0)) == len(views) == 20
    assert set(views[:, 1]) == {0, 1, 2, 3}
    # A resumed run sees what an uninterrupted one has seen.
    later = TwinImages(source, rows, 2, seed=1).take(3, 2)[1]
    np.testing.assert_array_equal(later["view"], targets["view"][3:])
    np.testing.assert_array_equal(later["row"], targets["row"][3:])


@pytest.mark.parametrize("kind", ["zoo", "headless", "own_head"])
def test_the_projector_learns_through_every_layer_below_the_head(kind, trained_models):
    task = get_task("multiclass")
    name = trained_models.get(kind, "separable")
    model = build_model(name, task, (16, 16, 1), 10)
    twin = add_projector(model)
    pixels = tf.constant(np.random.default_rng(0).integers(0, 256, (6, 16, 16, 1)), tf.float32)
    with tf.GradientTape() as tape:
        outputs = twin(pixels, training=True)
        loss = tf.reduce_mean(TwinTask([nt_xent_loss]).loss({}, outputs))
    assert outputs.shape == (6, 256)
    first, second = tf.split(outputs, 2)
    assert float(loss) == pytest.approx(float(nt_xent_loss(first, second)))
    body = model.trainable_weights[: -len(model.layers[-1].trainable_weights)]
    gradients = tape.gradient(loss, body)
    assert all(float(tf.reduce_max(tf.abs(each))) > 0 for each in gradients)
    assert isinstance(model.layers[-1], keras.layers.Dense)


@pytest.mark.parametrize("replicas", [1, 2, 3, 8])
@pytest.mark.parametrize(("affordable", "rows"), [(113, 113), (1, 40), (999, 500), (64, 7)])
def test_every_replica_has_both_views_of_the_same_images(affordable, rows, replicas):
    batch = twin_batch_size(affordable, rows, replicas)
    assert batch <= max(256, 2 * replicas)
    both = np.tile(np.arange(batch), 2)
    for replica in range(replicas):
        # As `on_replicas` shares a batch out.
        first, second = np.split(both[replica::replicas], 2)
        np.testing.assert_array_equal(first, second)
        assert len(first) >= 2


def test_on_one_device_a_batch_is_as_large_as_memory_and_images_allow():
    assert twin_batch_size(113, 1000, 1) == 113
    assert twin_batch_size(4096, 1000, 1) == 256
    assert twin_batch_size(1, 1000, 1) == 32
    assert twin_batch_size(113, 1000, 2) == 112
