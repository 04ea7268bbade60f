"""The compiled step: K optimizer steps per call, one trace for every chunk length.

Shapes: K steps, B images a batch, images uint8 [K, B, H, W, C], targets {name: [K, B, ...]}.
"""

import contextlib
import dataclasses
import functools
import operator
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kfp_vision.components.shared.architectures.norms import fuse_norms, norm_layers
from kfp_vision.components.shared.augmentation.augment import Augmented, augment
from kfp_vision.components.shared.augmentation.draw import batch_keys, draw_seed, view_keys
from kfp_vision.components.shared.augmentation.policy import IDENTITY, Policy, policy_tensors
from kfp_vision.components.shared.recipe.hyperparameters import Hyperparameters
from kfp_vision.components.shared.tasks import Outputs, Targets, Task
from kfp_vision.components.shared.training.optimizer import build_optimizer
from kfp_vision.components.shared.training.replicas import (
    average_replicas,
    check_shares,
    on_replicas,
)
from kfp_vision.components.shared.training.traced import Traced

__all__ = ["StepFigures", "Trainer"]


@dataclasses.dataclass(frozen=True)
class StepFigures:
    """What K steps measured, both [K]: mean loss and gradient norm before clipping.

    What regularisers of the user's own model add to the loss is in the gradient alone.
    """

    losses: np.ndarray
    gradient_norms: np.ndarray


class Trainer:
    """A model, its optimizer and the moving average of its weights, with compiled steps.

    Made in the scope of a `tf.distribute.Strategy`, with a model of that scope, it trains on all
    replicas; loss, norm and step are those of the whole batch. Layers see the share of their
    replica: batch normalisation takes its statistics from it, and dropout draws the same for each
    share. The statistics of the first replica are kept, and it does the inference.
    """

    def __init__(
        self,
        model: keras.Model,
        task: Task,
        settings: Hyperparameters,
        class_weights: np.ndarray | None = None,
        policy: Policy | None = None,
        seed: int = 0,
    ) -> None:
        """Builds the optimizer; compiles at the first call.

        Args:
            model: float32 pixels 0..255 in, raw outputs of the task out.
            task: Its loss is minimised.
            settings: The optimizer is built from them.
            class_weights: [C] or None.
            policy: Augments the images of every step; None for none. It may be changed later.
            seed: Of the augmentation, which is a function of the seed and the step.
        """
        self.model = model
        fuse_norms(model)
        self._task = task
        self._settings = settings
        self._class_weights = (
            None if class_weights is None else tf.constant(class_weights, "float32")
        )
        self.strategy = tf.distribute.get_strategy()
        self._num_replicas = self.strategy.num_replicas_in_sync
        self.optimizer = build_optimizer(model, settings)
        self._policy = None if policy is None else _variables(policy_tensors(policy))
        # A variable, so that a compiled step serves every seed.
        self._seed = tf.Variable(draw_seed(seed, 0)[0], trainable=False)
        self._label_smoothing = tf.Variable(settings.label_smoothing, trainable=False)
        self._average = (
            [tf.Variable(weight, trainable=False) for weight in model.trainable_weights]
            if settings.ema_momentum > 0
            else []
        )
        # Inlined into the loop unless XLA has to compile it: a call costs a tenth of a small step.
        # Not on several replicas: XLA cannot compile an optimizer that has to meet the others.
        self._step = (
            tf.function(self._train_step, jit_compile=True, autograph=False)
            if settings.jit_compile and self._num_replicas == 1
            else self._train_step
        )
        # XLA compiles the augmentation for one batch size.
        self._run = Traced(self._run_steps, num_free_axes=2 if policy is None else 1)
        self._forward = Traced(self._infer, num_free_axes=1)
        self._estimate = Traced(self._update_statistics, num_free_axes=1)

    def use_policy(self, policy: Policy) -> None:
        """Changes the augmentation of the steps to come; nothing is compiled anew.

        Raises:
            ValueError: The trainer was made without a policy.
        """
        if self._policy is None:
            raise ValueError(
                "A trainer must have been made with a policy to be given another one. Received: "
                "none then. Make it with `policy=IDENTITY`."
            )
        for name, tensor in policy_tensors(policy).items():
            self._policy[name].assign(tensor)

    def reseed(self, seed: int) -> None:
        """Draws augmentation and dropout of the steps to come from other random numbers.

        Args:
            seed: Not negative, of any size.
        """
        self._seed.assign(draw_seed(seed, 0)[0])
        # Of every layer that draws: a seed and how often it has drawn.
        states = [each for each in self.model.variables if each.name == "seed_generator_state"]
        words = np.random.SeedSequence(seed).generate_state(len(states))
        for state, word in zip(states, words, strict=True):
            state.assign(np.array([word, 0], state.dtype))

    def regularise(self, label_smoothing: float, weight_decay: float) -> None:
        """Changes the regularisation of the steps to come; nothing is compiled anew."""
        self._label_smoothing.assign(label_smoothing)
        self.optimizer.weight_decay.assign(weight_decay)

    @contextlib.contextmanager
    def unregularised(self) -> Iterator[None]:
        """Steps within it see images and labels as they are; nothing is compiled anew."""
        policy = self._policy or {}
        changed = [self._label_smoothing, self.optimizer.weight_decay, *policy.values()]
        before = [np.array(variable) for variable in changed]
        self.regularise(0.0, 0.0)
        if policy:
            self.use_policy(IDENTITY)
        try:
            yield
        finally:
            for variable, value in zip(changed, before, strict=True):
                variable.assign(value)

    def run_steps(
        self, images: np.ndarray, targets: Mapping[str, np.ndarray], learning_rates: np.ndarray
    ) -> StepFigures:
        """Runs K optimizer steps, one per learning rate.

        Raises:
            ValueError: There are fewer images in a batch than replicas.
        """
        check_shares(self.strategy, images.shape[1])
        losses, norms = self._run(images, dict(targets), learning_rates)
        return StepFigures(losses.numpy(), norms.numpy())

    def _run_steps(
        self, images: tf.Tensor, targets: dict[str, tf.Tensor], learning_rates: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        # `map_fn` would rewrite it where functions run eagerly.
        @tf.autograph.experimental.do_not_convert  # type: ignore[untyped-decorator]
        def take(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            batch = images[step], {name: value[step] for name, value in targets.items()}
            loss, norm = on_replicas(self.strategy, self._step, batch, learning_rates[step])
            return loss, norm

        steps = tf.range(tf.shape(learning_rates)[0])
        losses, norms = tf.map_fn(take, steps, fn_output_signature=(tf.float32, tf.float32))
        return losses, norms

    def _train_step(
        self, images: tf.Tensor, targets: dict[str, tf.Tensor], learning_rate: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        if self._policy is None:
            loss, gradients = self.gradients(images, targets)
        else:
            augmented = _compiled_augment(images, self._policy, self._keys(targets))
            loss, gradients = self.gradients(augmented.images, targets, augmented)
        return loss, self.apply(gradients, learning_rate)

    def _keys(self, targets: dict[str, tf.Tensor]) -> tf.Tensor:
        """Returns what the augmentation of each image is drawn from, int32 [B, 2]."""
        if "view" in targets:
            return view_keys(self._seed, targets["row"], targets["view"])
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        draw = tf.cast(self.optimizer.iterations, tf.int32) * self._num_replicas + replica
        batch = next(iter(targets.values())).shape[0]
        return batch_keys(tf.stack([self._seed, draw]), batch)

    def gradients(
        self,
        images: tf.Tensor,
        targets: dict[str, tf.Tensor],
        augmented: Augmented | None = None,
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Returns loss and gradients of a batch [B, H, W, C], within a step of a replica.

        Args:
            images: As the model takes them.
            targets: Before the augmentation.
            augmented: What the augmentation has done; None for nothing.
        """
        with tf.GradientTape() as tape:
            outputs = self.model(tf.cast(images, tf.float32), training=True)
            if augmented is None:
                losses = self._loss(targets, outputs)
            else:
                parts = self._task.augment_targets(targets, augmented)
                losses = functools.reduce(
                    operator.add, [share * self._loss(part, outputs) for share, part in parts]
                )
            loss = tf.reduce_mean(losses)
            # A user's own model may carry regularisers.
            penalised = tf.add_n([loss, *self.model.losses])
        gradients = tape.gradient(penalised, self.model.trainable_weights)
        if self._num_replicas > 1:
            return average_replicas(loss, gradients, tf.shape(images)[0])
        return loss, gradients

    def _loss(self, targets: Targets, outputs: Outputs) -> tf.Tensor:
        return self._task.loss(
            targets,
            outputs,
            label_smoothing=self._label_smoothing,
            class_weights=self._class_weights,
        )

    def apply(self, gradients: list[tf.Tensor], learning_rate: tf.Tensor) -> tf.Tensor:
        """Updates the weights and their average, within a step of a replica.

        Args:
            gradients: Of each trainable weight; None where the loss does not depend on it.
            learning_rate: Of the step.

        Returns:
            The gradient norm before clipping.
        """
        weights = self.model.trainable_weights
        norm = tf.linalg.global_norm(gradients)
        if self._settings.clip_norm > 0:
            scale = self._settings.clip_norm / tf.maximum(norm, self._settings.clip_norm)
            gradients = [None if grad is None else grad * scale for grad in gradients]
        if self._num_replicas > 1:
            # Keras adds up what the replicas apply, and theirs is the mean already.
            gradients = [None if grad is None else grad / self._num_replicas for grad in gradients]
        self.optimizer.learning_rate.assign(learning_rate)
        self.optimizer.apply(gradients, weights)
        # An average that is still short follows the weights closely.
        updates = tf.cast(self.optimizer.iterations, tf.float32)
        momentum = tf.minimum(self._settings.ema_momentum, (1.0 + updates) / (10.0 + updates))
        for average, weight in zip(self._average, weights, strict=False):
            average.assign(momentum * average + (1.0 - momentum) * weight)
        return norm

    def _infer(self, images: tf.Tensor) -> Outputs:
        return self.model(tf.cast(images, tf.float32), training=False)

    def _update_statistics(self, images: tf.Tensor, momentum: tf.Tensor) -> None:
        norms = list(norm_layers(self.model))
        before = [norm.momentum for norm in norms]
        try:
            for norm in norms:
                norm.momentum = momentum
            self.model(tf.cast(images, tf.float32), training=True)
        finally:
            for norm, value in zip(norms, before, strict=True):
                norm.momentum = value

    def outputs(self, images: np.ndarray) -> Outputs:
        """Returns the raw outputs of a batch uint8 [B, H, W, C] in inference mode, as arrays."""
        return tf.nest.map_structure(np.asarray, self._forward(images))

    def mean_loss(self, images: np.ndarray, targets: Mapping[str, np.ndarray]) -> float:
        """Returns the loss that steps minimise, of a batch [B, H, W, C], in inference mode."""
        return float(tf.reduce_mean(self._loss(dict(targets), self._forward(images))))

    def frequency_loss(self, targets: Mapping[str, np.ndarray]) -> float:
        """Returns that loss of a model that knows the frequencies of the labels alone."""
        weights = None if self._class_weights is None else self._class_weights.numpy()
        return self._task.frequency_loss(targets, weights)

    def average_weights(self, batches: Iterable[np.ndarray]) -> list[np.ndarray]:
        """Swaps the moving average in, with batch statistics re-estimated for it.

        Args:
            batches: Training images uint8 [B, H, W, C] for the statistics (Izmailov et al., 2018,
                arXiv:1803.05407, section 3.2).

        Returns:
            The variables of the model before the swap, for `set_variables`.
        """
        before = self.model_variables()
        for weight, average in zip(self.model.trainable_weights, self._average, strict=True):
            weight.assign(average)
        self.recalibrate_batch_norm(batches)
        return before

    def recalibrate_batch_norm(self, batches: Iterable[np.ndarray]) -> None:
        """Replaces the statistics of all BatchNorm layers by their means over some batches.

        Those of the last steps are of few images, and of augmented ones. Frozen ones stay.

        Args:
            batches: Training images uint8 [B, H, W, C].
        """
        if not self.has_statistics:
            return
        for done, batch in enumerate(batches):
            self._estimate(batch, np.float32(done / (done + 1)))

    def restart_average(self) -> None:
        """Lets the moving average begin with the weights as they are now."""
        for average, weight in zip(self._average, self.model.trainable_weights, strict=False):
            average.assign(weight)

    @property
    def has_statistics(self) -> bool:
        """Whether there is a BatchNorm whose statistics are not frozen."""
        return any(norm.trainable for norm in norm_layers(self.model))

    @property
    def needs_statistics(self) -> bool:
        """Whether an evaluation estimates statistics of BatchNorm, for averaged weights."""
        return self.averages and self.has_statistics

    @property
    def class_weights(self) -> tf.Tensor | None:
        """Of the loss that steps minimise, float32 [C]; None for none."""
        return self._class_weights

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


def _augment(images: tf.Tensor, policy: Mapping[str, tf.Tensor], keys: tf.Tensor) -> Augmented:
    return augment(
        images, {name: tf.convert_to_tensor(value) for name, value in policy.items()}, keys
    )


_compiled_augment = tf.function(_augment, jit_compile=True, autograph=False)


def _variables(tensors: Mapping[str, tf.Tensor]) -> dict[str, tf.Variable]:
    return {name: tf.Variable(tensor, trainable=False) for name, tensor in tensors.items()}
