"""Optimizer steps of accumulated micro-batches, and the gradient norms that noise scales need.

Shapes: K steps, M micro-batches a step, b images a micro-batch, images uint8 [K, M, b, H, W, C],
targets {name: [K, M, b, ...]}.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from kfp_vision.components.shared.training.replicas import check_shares, on_replicas
from kfp_vision.components.shared.training.traced import Traced
from kfp_vision.components.shared.training.trainer import StepFigures, Trainer

__all__ = ["GradientFigures", "MicroBatchSteps"]


@dataclasses.dataclass(frozen=True)
class GradientFigures(StepFigures):
    """What K steps of M micro-batches measured beside, before clipping and without weight decay.

    Attributes:
        micro_sq_norms, sq_norms: Squared gradient norms of the micro-batches, [K, M], and of their
            mean, [K].
        scaled_micro_sq_norms, scaled_sq_norms: The same of the gradients divided by the root of the
            optimizer's second moments; equal to the raw ones for SGD.
    """

    micro_sq_norms: np.ndarray
    sq_norms: np.ndarray
    scaled_micro_sq_norms: np.ndarray
    scaled_sq_norms: np.ndarray


class MicroBatchSteps:
    """Steps of a trainer whose batch is M accumulated micro-batches; traced once."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self._weights = trainer.model.trainable_weights
        self._compiled = Traced(self._run_steps, num_free_axes=3)

    def run(
        self, images: np.ndarray, targets: Mapping[str, np.ndarray], learning_rates: np.ndarray
    ) -> GradientFigures:
        """Runs K optimizer steps, one per learning rate, and measures their gradients.

        Raises:
            ValueError: There are fewer images in a micro-batch than replicas.
        """
        check_shares(self._trainer.strategy, images.shape[2])
        figures = self._compiled(images, dict(targets), learning_rates)
        return GradientFigures(**{name: value.numpy() for name, value in figures.items()})

    def _run_steps(
        self, images: tf.Tensor, targets: dict[str, tf.Tensor], learning_rates: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        trainer, strategy = self._trainer, self._trainer.strategy

        def take(step: tf.Tensor) -> dict[str, tf.Tensor]:
            scale = self._scale()
            labels = {name: value[step] for name, value in targets.items()}
            mean, loss, raw, scaled = self._accumulate(images[step], labels, scale)
            norm = on_replicas(
                strategy, trainer.apply, (), self._unflatten(mean), learning_rates[step]
            )
            return {
                "losses": loss,
                "gradient_norms": norm,
                "micro_sq_norms": raw,
                "sq_norms": norm**2,
                "scaled_micro_sq_norms": scaled,
                "scaled_sq_norms": _sq_norm(scale * mean),
            }

        names = [field.name for field in dataclasses.fields(GradientFigures)]
        signature = {
            name: tf.TensorSpec([None] if "micro" in name else [], tf.float32) for name in names
        }
        steps = tf.range(tf.shape(images)[0])
        figures: dict[str, tf.Tensor] = tf.map_fn(take, steps, fn_output_signature=signature)
        return figures

    def _accumulate(
        self, images: tf.Tensor, targets: dict[str, tf.Tensor], scale: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns the means of gradient and loss, and the squared norms of the micro-batches."""
        num_micro = tf.shape(images)[0]

        def add(
            micro: tf.Tensor,
            total: tf.Tensor,
            loss: tf.Tensor,
            raw: tf.TensorArray,
            scaled: tf.TensorArray,
        ) -> tuple[Any, ...]:
            batch = images[micro], {name: value[micro] for name, value in targets.items()}
            trainer = self._trainer
            micro_loss, gradients = on_replicas(trainer.strategy, trainer.gradients, batch)
            flat = _flatten(
                tf.zeros_like(weight) if gradient is None else gradient
                for weight, gradient in zip(self._weights, gradients, strict=True)
            )
            raw = raw.write(micro, _sq_norm(flat))
            scaled = scaled.write(micro, _sq_norm(scale * flat))
            return micro + 1, total + flat, loss + micro_loss, raw, scaled

        norms = (tf.TensorArray(tf.float32, num_micro) for _ in range(2))
        start = (0, tf.zeros_like(scale), 0.0, *norms)
        _, total, loss, raw, scaled = tf.while_loop(lambda micro, *_: micro < num_micro, add, start)
        count = tf.cast(num_micro, tf.float32)
        return total / count, loss / count, raw.stack(), scaled.stack()

    def _scale(self) -> tf.Tensor:
        """Returns how the optimizer weighs each component of the gradient, up to one factor."""
        optimizer = self._trainer.optimizer
        moments = getattr(optimizer, "_velocities", None)
        if moments is None:
            return tf.ones([sum(math.prod(weight.shape) for weight in self._weights)])
        # Without the correction early steps would outweigh late ones by orders of magnitude.
        steps = tf.cast(optimizer.iterations, tf.float32)
        correction = tf.maximum(1.0 - optimizer.beta_2**steps, 1.0 - optimizer.beta_2)
        return 1.0 / (tf.sqrt(_flatten(moments) / correction) + optimizer.epsilon)

    def _unflatten(self, vector: tf.Tensor) -> list[tf.Tensor]:
        parts = tf.split(vector, [math.prod(weight.shape) for weight in self._weights])
        return [tf.reshape(part, w.shape) for part, w in zip(parts, self._weights, strict=True)]


def _flatten(tensors: Iterable[Any]) -> tf.Tensor:
    return tf.concat([tf.reshape(tensor, [-1]) for tensor in tensors], axis=0)


def _sq_norm(vector: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(vector**2)
