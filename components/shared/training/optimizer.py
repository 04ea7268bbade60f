"""The optimizers that a recipe can name."""

import keras
import tensorflow as tf

from kfp_vision.components.shared.recipe.hyperparameters import Hyperparameters

__all__ = ["build_optimizer"]


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
    # A variable, so that a compiled step serves every value.
    optimizer.weight_decay = tf.Variable(settings.weight_decay, trainable=False)
    return optimizer
