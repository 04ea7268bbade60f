"""Distance of places that cells point to, masked by what is known.

Shapes: offsets [..., 2] as (x, y).
"""

from typing import Any

import keras

__all__ = ["offset_l1_loss"]


def offset_l1_loss(offsets: Any, wanted: Any, weights: Any) -> Any:
    """Returns weights * (|x - x'| + |y - y'|) [...]; 0 where a weight is 0, whatever is wanted.

    Args:
        offsets: As they are said.
        wanted: As they should be.
        weights: [...], 0 where nothing is known.
    """
    apart = keras.ops.sum(keras.ops.abs(keras.ops.cast(offsets, "float32") - wanted), axis=-1)
    return keras.ops.where(weights > 0.0, weights * apart, keras.ops.zeros_like(apart))
