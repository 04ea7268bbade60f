"""Stochastic depth out of what Keras has, so that a saved model needs no custom layer.

Source: Huang et al., 2016, arXiv:1603.09382: drop a residual branch for a whole image.
"""

from typing import Any

from keras import layers

__all__ = ["drop_branch", "linear_rates"]


def linear_rates(final_rate: float, num_branches: int) -> list[float]:
    """Returns the drop rate of each residual branch l = 1..L: `final_rate` * l / L.

    Reference: Huang et al., 2016, section 3, the linear decay rule, p_l = 1 - (l / L)(1 - p_L).
    """
    return [final_rate * (index + 1) / num_branches for index in range(num_branches)]


def drop_branch(branch: Any, rate: float, name: str) -> Any:
    """Returns the branch [B, h, w, F], in training zero with probability `rate` per image.

    Survivors are scaled by 1 / (1 - rate) in training instead of all by 1 - rate at inference,
    which has the same mean and leaves nothing of it in an exported model.
    """
    if rate == 0:
        return branch
    return layers.Dropout(rate, noise_shape=(None, 1, 1, 1), name=name)(branch)
