"""Penalty-reduced focal loss of heat maps of the centres of objects.

Shapes: logits and targets [B, h, w, C]; a target is 1 at a centre and falls to 0 around it.
Reference: Law and Deng, 2018, arXiv:1808.01244, equation 1; Zhou et al., 2019, arXiv:1904.07850.
"""

from typing import Any

import keras

__all__ = ["centre_focal_loss"]

_FOCUS, _PENALTY = 2, 4


def centre_focal_loss(logits: Any, targets: Any, weights: Any = 1.0) -> Any:
    """Returns -(1 - p)^2 log p at the centres, -(1 - y)^4 p^2 log(1 - p) elsewhere, [B, h, w, C].

    Args:
        logits: Of p.
        targets: y.
        weights: What each value is multiplied by, [B, h, w, C] or a part of it.
    """
    logits = keras.ops.cast(logits, "float32")
    p = keras.ops.sigmoid(logits)
    log_p, log_rest = keras.ops.log_sigmoid(logits), keras.ops.log_sigmoid(-logits)
    there = -((1.0 - p) ** _FOCUS) * log_p
    elsewhere = -((1.0 - targets) ** _PENALTY) * p**_FOCUS * log_rest
    return weights * keras.ops.where(targets >= 1.0, there, elsewhere)
