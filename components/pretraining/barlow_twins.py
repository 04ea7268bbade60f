"""Barlow Twins: each feature of two views agrees, and no two features say the same.

Shapes: B images, embeddings [B, D] of one view of each.
"""

import tensorflow as tf

__all__ = ["barlow_twins_loss"]


def barlow_twins_loss(
    first: tf.Tensor, second: tf.Tensor, redundancy_weight: float = 5e-3
) -> tf.Tensor:
    """Returns sum_i (1 - C_ii)^2 + lambda sum_(i, j != i) C_ij^2, a float32 scalar.

    C is the cross-correlation of the two embeddings over the batch, in float32 whatever theirs is.
    A feature that is the same for all images is correlated with none.

    Args:
        first: Embeddings of one view of each image, [B, D], B > 1.
        second: Those of another view, [B, D].
        redundancy_weight: lambda; the paper's 0.005.

    Reference: Zbontar et al., 2021, arXiv:2103.03230, equations 1 and 2.
    """
    scaled_first, scaled_second = _standardise(first), _standardise(second)
    correlation = tf.matmul(scaled_first, scaled_second, transpose_a=True)
    diagonal = tf.linalg.diag_part(correlation)
    # Not the sum of all squares less that of the diagonal: rounding would remain.
    others = correlation - tf.linalg.diag(diagonal)
    invariance = tf.reduce_sum(tf.square(1.0 - diagonal))
    return invariance + redundancy_weight * tf.reduce_sum(tf.square(others))


def _standardise(embeddings: tf.Tensor) -> tf.Tensor:
    """Returns features of mean 0 and length 1 over the batch; 0 where they are all the same."""
    values = tf.cast(embeddings, tf.float32)
    return tf.math.l2_normalize(values - tf.reduce_mean(values, 0), axis=0)
