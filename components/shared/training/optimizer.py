"""The optimizers that a recipe can name; early layers may learn at a lower rate."""

from typing import Any

import keras
import tensorflow as tf

from kfp_vision.components.shared.recipe.hyperparameters import Hyperparameters

__all__ = ["build_optimizer", "layer_rates"]


def build_optimizer(model: keras.Model, settings: Hyperparameters) -> keras.optimizers.Optimizer:
    """Returns a built optimizer whose weight decay spares biases and normalisation parameters."""
    shared = {"learning_rate": settings.learning_rate, "weight_decay": settings.weight_decay}
    kind, further = {
        "adamw": (keras.optimizers.AdamW, {}),
        "sgd": (keras.optimizers.SGD, {"momentum": 0.9, "nesterov": True}),
        "lamb": (keras.optimizers.Lamb, {}),
    }[settings.optimizer]
    weights = model.trainable_weights
    if settings.first_layer_rate < 1:
        kind = _with_layer_rates(kind, layer_rates(weights, settings.first_layer_rate))
    optimizer = kind(**shared, **further)
    # Biases, gammas and betas are the parameters with one axis.
    optimizer.exclude_from_weight_decay(
        var_list=[weight for weight in weights if len(weight.shape) < 2]
    )
    optimizer.build(weights)
    # A variable, so that a compiled step serves every value.
    optimizer.weight_decay = tf.Variable(settings.weight_decay, trainable=False)
    return optimizer


def layer_rates(weights: list[Any], first_layer_rate: float) -> list[float]:
    """Returns the factor of the learning rate for each weight: geometric from first to last layer.

    Layers of a network that was trained before change the less the earlier they are (Clark et al.,
    2020, arXiv:2003.10555, appendix A; Bao et al., 2022, arXiv:2106.08254, table 9).

    Args:
        weights: Trainable weights in the order of the network.
        first_layer_rate: Factor of the first layer, in (0, 1]; that of the last one is 1.
    """
    # The kernel and the bias of a layer have one path but for their own names.
    layers = [weight.path.rpartition("/")[0] for weight in weights]
    depth = {layer: place for place, layer in enumerate(dict.fromkeys(layers))}
    last = max(len(depth) - 1, 1)
    return [first_layer_rate ** (1 - depth[layer] / last) for layer in layers]


def _with_layer_rates(kind: type[Any], rates: list[float]) -> type[Any]:
    """Returns a subclass that multiplies the rate of each weight, not its weight decay."""

    class WithLayerRates(kind):  # type: ignore[misc]
        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            rate = rates[self._get_variable_index(variable)]
            super().update_step(gradient, variable, learning_rate * rate)

    return WithLayerRates
