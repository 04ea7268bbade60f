"""The network that learns from two views of each image: a projector in place of its head.

Shapes: M images, batches of B, of which both views are one batch of 2B: first all first ones, then
all second ones. Features [N, F] are what the head reads, embeddings [N, D] what the projector makes
of them.
"""

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from kfp_vision.components.shared.augmentation.augment import Augmented
from kfp_vision.components.shared.datasets.loader import BatchOrder, ImageSource
from kfp_vision.components.shared.tasks import Outputs, Targets

__all__ = ["TwinImages", "TwinLoss", "TwinTask", "add_projector", "twin_batch_size"]

TwinLoss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
# Of both hidden layers and of the embedding.
_WIDTH = 256
# Images of a batch, of each two views: the losses compare them with each other.
_MOST, _FEWEST = 256, 32


def twin_batch_size(affordable: int, num_images: int, num_replicas: int) -> int:
    """Returns B, a multiple of the replicas, each of which gets two images at least.

    Replica r of n has every n-th row from r on of first and second views: the same images of both
    only where n divides B.

    Args:
        affordable: Images that memory is meant for.
        num_images: M.
        num_replicas: n.
    """
    wanted = min(_MOST, max(_FEWEST, affordable), num_images)
    return max(2, wanted // num_replicas) * num_replicas


class TwinTask:
    """The loss of two views as that of a task; it has no labels.

    One compiled step serves all losses.
    """

    def __init__(self, losses: Sequence[TwinLoss]) -> None:
        """Takes losses of a batch, of which the first one counts."""
        self._losses = losses
        self._used = tf.Variable(0, trainable=False)

    def use(self, place: int) -> None:
        """Makes another of the losses count in the steps to come."""
        self._used.assign(place)

    def augment_targets(
        self, targets: Targets, augmented: Augmented
    ) -> Sequence[tuple[Any, Targets]]:
        """Returns the targets: nothing in them depends on what happened to the pixels."""
        return [(1.0, targets)]

    def loss(self, targets: Targets, outputs: Outputs, **regularisation: Any) -> tf.Tensor:
        """Returns the loss of the batch, or of the share of a replica, for each view, [2B]."""
        first, second = tf.split(outputs, 2)
        branches = [functools.partial(each, first, second) for each in self._losses]
        return tf.fill(tf.shape(outputs)[:1], tf.switch_case(tf.identity(self._used), branches))


def add_projector(model: keras.Model) -> keras.Model:
    """Returns pixels -> embeddings [B, 256], by the layers of a model below its head.

    Args:
        model: Of `build_model`; its layers are shared, so that it learns what the result learns.

    Reference: Zbontar et al., 2021, arXiv:2103.03230, section 3.2: three layers, the first two with
    BatchNorm; narrower, as the networks and batches are.
    """
    values = layers.Flatten(name="projected_features")(model.layers[-1].input)
    for place in (1, 2):
        values = layers.Dense(_WIDTH, use_bias=False, name=f"projector{place}")(values)
        values = layers.BatchNormalization(momentum=0.9, name=f"projector{place}_norm")(values)
        values = layers.ReLU(name=f"projector{place}_relu")(values)
    embedding = layers.Dense(_WIDTH, use_bias=False, dtype="float32", name="embedding")(values)
    return keras.Model(model.inputs[0], embedding)


class TwinImages:
    """Batches of two views of each image, in a seeded order without an end."""

    def __init__(self, source: ImageSource, rows: np.ndarray, batch_size: int, seed: int) -> None:
        """Reads nothing yet.

        Args:
            source: The images.
            rows: Which of them, int [M].
            batch_size: B.
            seed: Of the order.
        """
        self._source, self._rows = source, rows
        self.batch_size = batch_size
        self._order = BatchOrder(len(rows), batch_size, seed)

    def __len__(self) -> int:
        """Returns M."""
        return len(self._rows)

    def take(self, step: int, num_steps: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Returns the batches from `step` on: images uint8 [K, 2B, H, W, C], and `row`, `view`.

        The views of an image have other numbers in each pass over the images.
        """
        places = self._order.indices(step, num_steps)
        positions = step * self.batch_size + np.arange(places.size).reshape(places.shape)
        passes = positions // len(self._rows)
        rows = self._rows[np.concatenate([places, places], 1)].astype(np.int32)
        views = np.concatenate([2 * passes, 2 * passes + 1], 1).astype(np.int32)
        return self._source.take(rows), {"row": rows, "view": views}

    def sample(self, count: int) -> Iterator[np.ndarray]:
        """Yields so many images as they are, or all there are, always the same."""
        chosen = np.sort(np.random.default_rng(0).permutation(self._rows)[:count])
        parts = math.ceil(len(chosen) / self._source.images_per_batch)
        yield from map(self._source.take, np.array_split(chosen, parts))

    def plain_batches(self, count: int) -> Iterator[np.ndarray]:
        """Yields the first batches of the order, one view of each image, as it is."""
        for step in range(count):
            yield self._source.take(self._rows[self._order.indices(step)[0]])
