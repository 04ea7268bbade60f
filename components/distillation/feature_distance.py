"""How far what a student makes of a picture is from the features that its teacher sees in it.

Reference: Romero et al., 2015, FitNets, arXiv:1412.6550, equation 3, here for the features that the
last layers read, as the mean over them. Shapes: B images, K features.
"""

from typing import Any

import keras

__all__ = ["feature_distance"]


def feature_distance(features: Any, projected: Any) -> Any:
    """Returns the mean squared difference of each image, [B].

    Where the features have variance 1 in the mean, its mean is the share of their variance that is
    not explained: 1 - R^2.

    Args:
        features: Of the teacher, [B, K].
        projected: What the student makes of its own, [B, K].
    """
    return keras.ops.mean(keras.ops.square(features - projected), axis=-1)
