"""The compiled step: K optimizer steps per call, one trace for every chunk length.

Shapes: K steps, B images a batch, images uint8 [K, B, H, W, C], targets {name: [K, B, ...]}.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kfp_vision.components.shared.tasks import Task
from kfp_vision.components.shared.training.hyperparameters import Hyperparameters

__all__ = ["StepFigures", "Trainer", "build_optimizer"]


@dataclasses.dataclass(frozen=True)
class StepFigures:
    """What K steps measured, both [K]: mean loss and gradient norm before clipping."""

    losses: np.ndarray
    gradient_norms: np.ndarray


def build_optimizer(model: keras.Model, settings: Hyperparameters) -> keras.optimizers.Optimizer:
    """Returns a built optimizer whose weight decay spares biases and normalisation parameters."""
    shared = {"learning_rate": settings.learning_rate, "weight_decay": settings.weight_decay}
    optimizer = {
        "adamw": lambda: keras.optimizers.AdamW(**shared),
        "sgd": lambda: keras.optimizers.SGD(momentum=0.9, nesterov=True, **shared),
        "lamb": lambda: keras.optimizers.Lamb(**shared),
    }[settings.optimizer]()
    # Biases, gammas and betas are the parameters with one axis.
    optimizer.exclude_from_weight_decay(
        var_list=[weight for weight in model.trainable_weights if len(weight.shape) < 2]
    )
    optimizer.build(model.trainable_weights)
    return optimizer


class Trainer:
    """A model, its optimizer and the moving average of its weights, with compiled steps."""

    def __init__(
        self,
        model: keras.Model,
        task: Task,
        settings: Hyperparameters,
        class_weights: np.ndarray | None = None,
        jit_compile: bool = False,
    ) -> None:
        """Builds the optimizer; compiles at the first call.

        Args:
            model: float32 pixels 0..255 in, logits out.
            task: Its loss is minimised.
            settings: The optimizer is built from them.
            class_weights: [C] or None.
            jit_compile: Compile the step with XLA.
        """
        self.model = model
        self._task = task
        self._settings = settings
        self._class_weights = (
            None if class_weights is None else tf.constant(class_weights, "float32")
        )
        self.optimizer = build_optimizer(model, settings)
        self._average = (
            [tf.Variable(weight, trainable=False) for weight in model.trainable_weights]
            if settings.ema_momentum > 0
            else []
        )
        # Inlined into the loop unless XLA has to compile it: a call costs a tenth of a small step.
        self._step = (
            tf.function(self._train_step, jit_compile=True) if jit_compile else self._train_step
        )
        self._run = tf.function(self._run_steps, reduce_retracing=True)
        self._forward = tf.function(self._infer, reduce_retracing=True)
        self._estimate = tf.function(self._update_statistics)

    def run_steps(
        self, images: np.ndarray, targets: Mapping[str, np.ndarray], learning_rates: np.ndarray
    ) -> StepFigures:
        """Runs K optimizer steps, one per learning rate."""
        losses, norms = self._run(
            tf.constant(images),
            {name: tf.constant(value) for name, value in targets.items()},
            tf.constant(learning_rates),
        )
        return StepFigures(losses.numpy(), norms.numpy())

    def _run_steps(
        self, images: tf.Tensor, targets: dict[str, tf.Tensor], learning_rates: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        num_steps = tf.shape(learning_rates)[0]
        losses = tf.TensorArray(tf.float32, num_steps)
        norms = tf.TensorArray(tf.float32, num_steps)
        for step in tf.range(num_steps):
            loss, norm = self._step(
                images[step],
                {name: value[step] for name, value in targets.items()},
                learning_rates[step],
            )
            losses, norms = losses.write(step, loss), norms.write(step, norm)
        return losses.stack(), norms.stack()

    def _train_step(
        self, images: tf.Tensor, targets: dict[str, tf.Tensor], learning_rate: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        weights = self.model.trainable_weights
        with tf.GradientTape() as tape:
            logits = self.model(tf.cast(images, tf.float32), training=True)
            losses = self._task.loss(
                targets,
                logits,
                label_smoothing=self._settings.label_smoothing,
                class_weights=self._class_weights,
            )
            # A user's own model may carry regularisers.
            loss = tf.add_n([tf.reduce_mean(losses), *self.model.losses])
        gradients = tape.gradient(loss, weights)
        norm = tf.linalg.global_norm(gradients)
        if self._settings.clip_norm > 0:
            scale = self._settings.clip_norm / tf.maximum(norm, self._settings.clip_norm)
            gradients = [None if grad is None else grad * scale for grad in gradients]
        self.optimizer.learning_rate.assign(learning_rate)
        self.optimizer.apply(gradients, weights)
        # An average that is still short follows the weights closely.
        updates = tf.cast(self.optimizer.iterations, tf.float32)
        momentum = tf.minimum(self._settings.ema_momentum, (1.0 + updates) / (10.0 + updates))
        for average, weight in zip(self._average, weights, strict=False):
            average.assign(momentum * average + (1.0 - momentum) * weight)
        return loss, norm

    def _infer(self, images: tf.Tensor) -> tf.Tensor:
        return self.model(tf.cast(images, tf.float32), training=False)

    def _update_statistics(self, images: tf.Tensor) -> None:
        self.model(tf.cast(images, tf.float32), training=True)

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Returns the logits of a batch uint8 [B, H, W, C] in inference mode."""
        logits: np.ndarray = self._forward(tf.constant(images)).numpy()
        return logits

    def average_weights(self, batches: Iterable[np.ndarray]) -> list[np.ndarray]:
        """Swaps the moving average in, with batch statistics re-estimated for it.

        Args:
            batches: Training images uint8 [B, H, W, C] for the statistics (Izmailov et al., 2018,
                arXiv:1803.05407, section 3.2); about 30 batches at a momentum of 0.9.

        Returns:
            The variables of the model before the swap, for `set_variables`.
        """
        before = self.model_variables()
        for weight, average in zip(self.model.trainable_weights, self._average, strict=True):
            weight.assign(average)
        for batch in batches:
            self._estimate(tf.constant(batch))
        return before

    @property
    def averages(self) -> bool:
        """Whether there is a moving average."""
        return bool(self._average)

    def model_variables(self) -> list[np.ndarray]:
        """Returns the variables of the model, random states included."""
        return [np.array(variable) for variable in self.model.variables]

    def set_variables(self, values: list[np.ndarray]) -> None:
        """Assigns the variables of the model, random states included."""
        for variable, value in zip(self.model.variables, values, strict=True):
            variable.assign(value)

    def state(self) -> list[np.ndarray]:
        """Returns everything that a step changes: weights, statistics, random states, optimizer."""
        return [np.array(variable) for variable in self._variables()]

    def restore(self, state: list[np.ndarray]) -> None:
        """Assigns what `state` returned."""
        for variable, value in zip(self._variables(), state, strict=True):
            variable.assign(value)

    def _variables(self) -> list[Any]:
        return [*self.model.variables, *self.optimizer.variables, *self._average]
